import importlib
import io
import tomllib
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk, build_fab_from_files

from fl_server.bundle import PACKAGES, write_app
from training.config import DEFAULTS

ROOT = Path(__file__).parents[2]


def unpack(fab: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(fab)) as bundle:
        return {name: bundle.read(name) for name in bundle.namelist()}


def files_of(app: Path) -> dict[str, bytes]:
    """The files that Flower sends to the clients for this folder."""
    return unpack(build_fab_from_disk(app))


def files_of_checkout() -> dict[str, bytes]:
    """The same for the checkout, but that Flower would spend seconds on walking through .venv."""
    found = {".gitignore": ROOT / ".gitignore"}
    for top in ROOT.iterdir():
        if not top.name.startswith(".") and top.name != "runs":
            files = [top] if top.is_file() else [p for p in top.rglob("*") if p.is_file()]
            found.update({path.relative_to(ROOT).as_posix(): path for path in files})
    return unpack(build_fab_from_files(found)[0])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("app") / "fedskin"
    write_app(folder)
    return files_of(folder)


def test_the_bundle_holds_the_apps_packages_and_nothing_else(written: dict[str, bytes]) -> None:
    """No tests, no experiments, no docs, no data: their changes must not change its hash."""
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).glob("*.py")
    }
    assert set(written) == sources | {"pyproject.toml", ".info/CONTENT"}
    assert {name.split("/")[0] for name in sources} == {
        *("data_partition", "models", "strategies", "training"),
        *("operation", "fl_server", "fl_client"),
    }


def test_what_operates_a_federation_is_left_out_and_nothing_in_the_bundle_needs_it(
    written: dict[str, bytes],
) -> None:
    """A site's own process watches over the bundle, so nothing of it may come from the bundle."""
    below = {
        path.parent.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).glob("*/**/*.py")
    }
    assert below - set(PACKAGES) == {"fl_server/coordinator", "fl_client/site"}
    for name, content in written.items():
        assert b"fl_server.coordinator" not in content, name
        assert b"fl_client.site" not in content, name


def test_it_is_the_checkouts_bundle(written: dict[str, bytes]) -> None:
    """`fedskin simulate` from an install and `flwr run .` in a checkout run the same code."""
    checkout = files_of_checkout()
    assert {n: c for n, c in written.items() if n.endswith(".py")} == {
        n: c for n, c in checkout.items() if n.endswith(".py")
    }
    ours, theirs = (tomllib.loads(f["pyproject.toml"].decode()) for f in (written, checkout))
    assert ours["tool"]["flwr"]["app"] == theirs["tool"]["flwr"]["app"]
    for key in ("name", "version", "description", "license"):
        assert ours["project"][key] == theirs["project"][key]


def test_its_config_is_that_of_the_defaults(written: dict[str, bytes]) -> None:
    pyproject = tomllib.loads(written["pyproject.toml"].decode())
    config = pyproject["tool"]["flwr"]["app"]["config"]
    assert [(k, type(v), v) for k, v in config.items()] == [
        (k, type(v), v) for k, v in DEFAULTS.items()
    ]


def test_nothing_is_installed_for_it(written: dict[str, bytes]) -> None:
    """A site has the packages already; Flower would fetch gigabytes for every run."""
    pyproject = tomllib.loads(written["pyproject.toml"].decode())
    assert pyproject["project"]["dependencies"] == []


def test_its_components_exist(written: dict[str, bytes]) -> None:
    pyproject = tomllib.loads(written["pyproject.toml"].decode())
    components = pyproject["tool"]["flwr"]["app"]["components"]
    assert components.keys() == {"serverapp", "clientapp"}
    for place in components.values():
        module, _, name = place.partition(":")
        assert module.replace(".", "/") + ".py" in written
        assert hasattr(importlib.import_module(module), name)


def test_writing_it_twice_gives_the_same_bytes(written: dict[str, bytes], tmp_path: Path) -> None:
    write_app(tmp_path / "again")
    assert files_of(tmp_path / "again") == written
