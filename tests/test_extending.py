"""The package of docs/extending.md, installed as a reader would, in an environment of its own."""

import io
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from experiments.centralized import train_centralized
from experiments.console import Console
from experiments.results import show_results
from fl_client.site.approved_bundles import open_bundle
from operation.plugins import GROUPS
from tests.fl_client.site.fake_coordinator import (
    FakeCoordinator,
    Node,
    reason,
    train_message,
    train_reply,
)
from tests.fl_client.site.sites import approve, make_site
from tests.packages import Packages
from tests.runs import read_json
from training.config import parse
from training.config_file import read_config
from training.run_folder import RunFolder

CHECKOUT = Path(__file__).parents[1]
PAGE = (CHECKOUT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```(?:toml|python)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
EXPERIMENT = {
    **{"dataset": "prefixed", "backbone": "tiny:8", "strategy": "step-size", "loss": "smoothed"},
    **{
        "best-by": "worst-recall",
        "step-size": 0.5,
        "pretrained": False,
        "image-size": 32,
        "batch-size": 4,
        "rounds": 2,
    },
    **{"threads-per-client": 1, "device": "cpu"},
}
TOML = "".join(
    f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}\n"
    for key, value in EXPERIMENT.items()
)
# What an app in a bundle knows, where nothing but the bundle has the package.
LOOK = """
from data_partition.datasets import DATASETS
from models.registry import PROVIDERS, find_backbone
from operation.files import parse_toml
from training.config import parse
from training.losses import LOSSES

config = parse(parse_toml(open("experiment.toml").read()))
print(config.to_flat()["step-size"], find_backbone("tiny:8").width, LOSSES["smoothed"].objectives)
print(DATASETS["prefixed"].title, PROVIDERS["tiny"].USAGE)
"""


def test_each_example_is_one_file_of_under_thirty_lines() -> None:
    modules = {name: text for name, text in FILES.items() if name.endswith(".py")}
    assert len(modules) == len(GROUPS)
    for name, text in modules.items():
        assert len(text.splitlines()) + 1 < 30, name
        assert f"fedskin_example.{Path(name).stem}:" in FILES["pyproject.toml"]
    assert {f'"fedskin.{group}"' for group in GROUPS} == set(
        re.findall(r'"fedskin\.\w+"', FILES["pyproject.toml"])
    )


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment with the package; it sees this one's packages."""
    home, source = (tmp_path_factory.mktemp(name) for name in ("environment", "source"))
    venv.create(home, symlinks=True)
    (site,) = home.glob("lib/python3*/site-packages")
    seen = [CHECKOUT, *(path for path in sys.path if path.endswith("-packages"))]
    (site / "seen.pth").write_text("".join(f"{path}\n" for path in seen))
    python = home / "bin" / "python"
    for script in Path(sysconfig.get_path("scripts")).glob("fl*"):  # Flower's programs
        first, _, rest = script.read_text().partition("\n")
        assert first.startswith("#!")
        (home / "bin" / script.name).write_text(f"#!{python}\n{rest}")
        (home / "bin" / script.name).chmod(0o755)
    for name, text in {**FILES, "fedskin_example/__init__.py": ""}.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text, encoding="utf-8")
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    run(python, "-m", "pip", "install", *options, source, cwd=source)
    return python


def run(*command: object, cwd: Path) -> str:
    """Run a command to its end and return what it printed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write_images(folder: Path, count: int) -> Path:
    """Images of three classes, whose labels are in their names; one channel is the class's."""
    folder.mkdir()
    rng = np.random.default_rng(count)
    for number in range(count):
        pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        pixels[..., number % 3] //= 3
        label = ("melanoma", "naevus", "scar")[number % 3]
        Image.fromarray(pixels).save(folder / f"{label}_{number}.png")
    return folder


def worst_recall(block: dict[str, Any]) -> float:
    rows = enumerate(block["confusion"])
    return min(100 * row[k] / sum(row) for k, row in rows if sum(row))


def test_it_is_trained_centrally(packages: Packages, tmp_path: Path) -> None:
    """In this process, with the package's files in a folder as an installer leaves them."""
    points = tomllib.loads(FILES["pyproject.toml"])["project"]["entry-points"]
    entries = {group.removeprefix("fedskin."): places for group, places in points.items()}
    modules = {name: text for name, text in FILES.items() if name.endswith(".py")}
    packages.add({**modules, "fedskin_example/__init__.py": ""}, entries)
    images, test = write_images(tmp_path / "images", 45), write_images(tmp_path / "test", 12)
    places = {"data-dir": images, "test-dir": test, "cache-dir": tmp_path / "cache"}
    keys = {**EXPERIMENT, **{key: str(path) for key, path in places.items()}}
    folder = RunFolder(tmp_path / "run")
    console = Console(record=True, file=io.StringIO(), width=120)
    train_centralized(console, parse({**keys, "epochs": 1}), folder, kind="heads")
    assert folder.manifest()["plugins"] == {"fedskin-example": "1.0"}
    figures = folder.metrics()
    assert figures["global_test"]["worst-recall"] == worst_recall(figures["global_test"])
    show_results(console, folder)
    said = console.export_text()
    assert "WORST-RECALL" in said
    assert f"{worst_recall(figures['global_test']):.2f}" in said


@pytest.mark.slow
def test_it_is_in_a_campaign_and_its_report(python: Path, tmp_path: Path) -> None:
    """Two trials that differ in the loss, the package's and fedskin's own."""
    images, test = write_images(tmp_path / "images", 45), write_images(tmp_path / "test", 12)
    part = '[[part]]\ncommand = "heads"\ngrid = { loss = ["smoothed", "cross-entropy"] }\n'
    keys = TOML.replace('loss = "smoothed"\n', "").replace("loss = 'smoothed'\n", "")
    (tmp_path / "campaign.toml").write_text(f'name = "plug-ins"\n[base]\n{keys}{part}')
    places = {"test-dir": test, "cache-dir": tmp_path / "cache", "heads": "knn", "epochs": 1}
    options = [word for key, value in places.items() for word in ("-c", f"{key}={value}")]
    options += ["--data", f"prefixed={images}", "--out", "campaign"]
    fedskin = (python, "-m", "fedskin")
    run(*fedskin, "campaign", "run", "campaign.toml", *options, cwd=tmp_path)
    run(*fedskin, "report", "campaign", cwd=tmp_path)
    ledger = pd.read_csv(tmp_path / "campaign" / "ledger.csv")
    of_network = ledger[(ledger["test_set"] == "global_test") & (ledger["model"] == "network")]
    assert set(of_network["config.loss"]) == {"smoothed", "cross-entropy"}
    for _, row in of_network.iterrows():
        final = read_json(tmp_path / "campaign" / "trials" / row["trial"] / "metrics.json")
        assert row["worst-recall"] == pytest.approx(worst_recall(final["global_test"]))
    tables = (tmp_path / "campaign" / "report" / "tables").glob("*-scores.md")
    assert all("WORST-RECALL" in table.read_text() for table in tables)


@pytest.mark.slow
def test_it_is_simulated(python: Path, tmp_path: Path) -> None:
    (tmp_path / "experiment.toml").write_text(TOML)
    images, test = write_images(tmp_path / "images", 45), write_images(tmp_path / "test", 12)
    places = {"data-dir": images, "test-dir": test, "cache-dir": tmp_path / "cache"}
    options = [word for key, path in places.items() for word in ("-c", f"{key}={path}")]
    fedskin = (python, "-m", "fedskin")
    run(*fedskin, "simulate", "experiment.toml", *options, "--out", "run", cwd=tmp_path)
    manifest = read_json(tmp_path / "run" / "manifest.json")
    assert manifest["status"] == "completed"
    assert manifest["plugins"] == {"fedskin-example": "1.0"}
    assert manifest["data"]["classes"] == ["melanoma", "naevus", "scar"]
    figures = read_json(tmp_path / "run" / "metrics.json")
    assert figures["global_test"]["n"] == 12
    assert figures["best_by"] == "worst-recall"
    for block in (figures["validation"], figures["global_test"], figures["client_test"]):
        assert block["worst-recall"] == worst_recall(block)
    config = (tmp_path / "run" / "config.toml").read_text()
    assert all(line in config for line in ("step-size = 0.5", 'loss = "smoothed"'))
    said = run(*fedskin, "--help", cwd=tmp_path)
    assert "fedskin-example 1.0" in said
    assert "tiny:…, of fedskin-example 1.0" in run(*fedskin, "backbones", cwd=tmp_path)


@pytest.mark.slow
def test_a_site_runs_it_only_from_the_bundle(python: Path, tmp_path: Path) -> None:
    fedskin = (python, "-m", "fedskin", "coordinator")
    run(*fedskin, "init", "coordinator", "--host", "fed.example.org", cwd=tmp_path)
    answers = []
    for name, include in (("without", ()), ("with", ("--include", "fedskin-example"))):
        said = run(*fedskin, "bundle", "coordinator", *include, cwd=tmp_path)
        bundle = Path(said.splitlines()[0])
        site = make_site(tmp_path / name)
        coordinator = FakeCoordinator(approve(site, bundle))
        coordinator.ask(train_message(experiment=TOML))
        answers += Node(site, coordinator).work(train_reply)
    assert reason(answers[0]).startswith(
        "refused by hospital-a: experiment: strategy = 'step-size'"
    )
    assert answers[1].has_content()
    held = open_bundle(bundle)
    assert {plugin.group for plugin in held.plugins} == GROUPS.keys()
    assert {name for name in held.files if "example" in name} == {
        *(name for name in FILES if name.endswith(".py")),
        "fedskin_example/__init__.py",
    }
    # This environment does not have the package; the app has it from the bundle.
    app = tmp_path / "app"
    zipfile.ZipFile(io.BytesIO(held.content)).extractall(app)
    (app / "experiment.toml").write_text(TOML)
    assert run(sys.executable, "-c", LOOK, cwd=app).splitlines() == [
        "0.5 8 ('classifier', 'clip')",
        "images called LABEL_NUMBER tiny:WIDTH, two convolutions, such as tiny:32",
    ]


def test_this_environment_does_not_have_it(tmp_path: Path) -> None:
    path = tmp_path / "experiment.toml"
    path.write_text(TOML)
    with pytest.raises(ValueError, match="strategy = 'step-size': allowed is fedavg, "):
        read_config(path)
