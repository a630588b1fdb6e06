"""Who is answered by the page's server, and what to; without a socket."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.types import ASGIApp

from data_partition import decode
from experiments import trained_model
from experiments.prediction import predictions_of
from experiments.showing import page_server
from experiments.showing.model_page import page
from experiments.showing.page_server import show_app
from experiments.showing.shown_model import ClassFigures, ShownModel
from tests.experiments.exporting.exported_runs import CLASSES, finished_run

TOKEN = "a-secret"


class Browser:
    """Asks an app without a socket."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self._ask("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self._ask("POST", path, **options)

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as one:
                return await one.request(method, path, **options)

        return asyncio.run(ask())


async def pieces(*sizes: int) -> AsyncIterator[bytes]:
    """A body whose length is not said before."""
    for size in sizes:
        yield bytes(size)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> ShownModel:
    folder = finished_run(tmp_path_factory.mktemp("showing") / "run").path
    model = trained_model.find_model(folder, None)
    confusion = np.diag([2] * 7)
    confusion[0, 1] = 6
    words = tuple(f"{name} in words" for name in CLASSES)
    figures = ClassFigures("the global test set", confusion)
    card = "# Model card\n\n<b>x</b> [a](http://example.org)\n\n| a | n |\n|---|---:|\n| b | 1 |\n"
    return ShownModel(
        "run", "The run's best model", model, trained_model.Classifier(model), words, figures, card
    )


@pytest.fixture
def browser(shown: ShownModel) -> Browser:
    app = show_app(page(shown), shown, TOKEN, lambda host: host == "127.0.0.1:1")
    return Browser(app)


def image_file(width: int = 60, height: int = 45, kind: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


def test_the_page_says_what_it_is_not_and_loads_nothing(browser: Browser) -> None:
    reply = browser.get(f"/{TOKEN}/")
    assert reply.status_code == 200
    assert "Not a medical device" in reply.text
    assert "SYNTHETIC" in reply.text
    assert not any(word in reply.text for word in ("src=", 'href="http', "style=", "url("))
    # What comes from the run is text, whatever it looks like.
    assert "&lt;b&gt;x&lt;/b&gt; [a]" in reply.text
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/", "/wrong/", "/a-secre/", "/a-secret2/", "//a-secret/", "/ä/"])
def test_without_the_secret_nothing_is_there(browser: Browser, path: str) -> None:
    assert browser.get(path).status_code == 404
    assert browser.post(f"{path}answer", content=image_file()).status_code == 404


def test_another_host_is_refused_even_with_the_secret(browser: Browser) -> None:
    reply = browser.get(f"/{TOKEN}/", headers={"host": "evil.example:1"})
    assert (reply.status_code, reply.text) == (403, "this server is not called so\n")


def test_an_image_is_answered_as_predict_does(
    browser: Browser, shown: ShownModel, tmp_path: Path
) -> None:
    file = tmp_path / "image.jpg"
    file.write_bytes(image_file())
    expected = predictions_of(shown.model, [file]).iloc[0]
    found = browser.post(f"/{TOKEN}/answer", content=image_file()).json()
    assert found["predicted"] == expected["predicted"] == found["classes"][0]["name"]
    for one in found["classes"]:
        assert one["probability"] == pytest.approx(expected[one["name"]], abs=1e-6)
        calibrated = expected[f"calibrated:{one['name']}"]
        assert one["calibrated"] == pytest.approx(calibrated, abs=1e-6)
        assert one["words"] == f"{one['name']} in words"
    shares = [one["probability"] for one in found["classes"]]
    assert shares == sorted(shares, reverse=True)
    assert found["set"] == list(expected["set"])
    assert found["set_by_class"] == list(expected["set by class"])
    assert found["always_inside"] == {"marginal": [], "by_class": [CLASSES[0]]}
    assert [one["name"] for one in found["figures"]] == [
        one["name"] for one in found["classes"][:3]
    ]
    for name in ("photo", "heat_map"):
        assert found[name].startswith("data:image/jpeg;base64,")


def test_recall_and_precision_are_of_counts() -> None:
    """Of 8 images of class 0 two were called so, and 0 others; of 3 called 1, two were."""
    confusion = np.array([[2, 6, 0], [0, 2, 0], [0, 0, 0]])
    figures = ClassFigures("", confusion)
    assert figures.of_class(0) == {"recall": 25.0, "precision": 100.0, "images": 8}
    assert figures.of_class(1) == {"recall": 100.0, "precision": 25.0, "images": 2}
    assert figures.of_class(2) == {"recall": None, "precision": None, "images": 0}


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "the image: the file is empty"),
        (b"no image", "the image: not a readable image (unknown format)"),
        (image_file()[:600], "the image: not a readable image"),
    ],
)
def test_what_is_no_photograph_is_said_in_a_line(
    browser: Browser, data: bytes, reason: str
) -> None:
    reply = browser.post(f"/{TOKEN}/answer", content=data)
    assert reply.status_code == 422
    assert reply.text.startswith(reason)
    assert "\n" not in reply.text


def test_more_pixels_than_allowed_are_not_decoded(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "MAX_PIXELS", 60 * 45 - 1)
    reply = browser.post(f"/{TOKEN}/answer", content=image_file())
    assert reply.status_code == 422
    assert "60x45 pixels are more than" in reply.text


def test_more_bytes_than_allowed_are_not_read(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_server, "LARGEST_BYTES", 1000)
    # Whether the length is said before or not.
    assert browser.post(f"/{TOKEN}/answer", content=bytes(1001)).status_code == 413
    assert browser.post(f"/{TOKEN}/answer", content=pieces(400, 400, 400)).status_code == 413
    assert browser.post(f"/{TOKEN}/answer", content=bytes(1000)).status_code == 422
    assert browser.get(f"/{TOKEN}/", content=b"x").status_code == 413


def test_a_network_without_maps_says_so(shown: ShownModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained_model, "find_spec", lambda name: None)
    monkeypatch.delitem(shown.classify.__dict__, "heat_maps", raising=False)
    found = shown.answer(image_file(kind="PNG"))
    assert found["heat_map"] is None
    assert "the extra 'explain' is not installed" in found["no_heat_map"]
