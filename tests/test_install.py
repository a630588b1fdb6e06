"""A plain install, outside any checkout, can do all that a checkout can."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fl_server.bundle import PACKAGES
from tests.runs import read_json, tiny_options

CHECKOUT = Path(__file__).parents[1]


def test_extras_are_installed_from_the_checkout() -> None:
    """fedskin is on no index: `pip install 'fedskin[…]'` would bring somebody else's package."""
    names = ("README.md", "docs/**/*.md", "experiments/**/*.py", "pyproject.toml", "Makefile")
    texts = {
        path.relative_to(CHECKOUT).as_posix(): path.read_text(encoding="utf-8")
        for pattern in names
        for path in CHECKOUT.glob(pattern)
    }
    assert [name for name, text in texts.items() if "fedskin[" in text] == []
    from_the_checkout = "pip install -c constraints.txt -e '.[score,mlflow,tensorboard]'"
    assert from_the_checkout in texts["README.md"]


@pytest.mark.slow
def test_simulate_works_from_a_plain_install(synthetic_ham: Path, tmp_path: Path) -> None:
    site, source = tmp_path / "site", tmp_path / "source"
    # A copy, since a build leaves its own folder beside the sources.
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    for package in {name.split("/")[0] for name in (*PACKAGES, "experiments", "fedskin")}:
        shutil.copytree(CHECKOUT / package, source / package)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([*install, *options, str(source)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    run = [sys.executable, "-m", "fedskin"]
    found = subprocess.run(
        [sys.executable, "-c", "import fl_server; print(fl_server.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert found.stdout.startswith(str(site)), "the checkout must not be what is tested"
    options = tiny_options(synthetic_ham, tmp_path / "cache", rounds=1)
    result = subprocess.run(
        [*run, "simulate", *options, "--out", "run"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    manifest = read_json(tmp_path / "run" / "manifest.json")
    assert manifest["status"] == "completed"
    assert manifest["git_commit"] is None
