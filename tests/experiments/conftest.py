"""A real browser for tests of pages, headless Chromium as in Debian's packages; a run to score."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from experiments import cli
from experiments.command_runner import run_command_line
from tests.data_partition.layouts import one_hot, write
from tests.experiments.scored_runs import ANSWERS, LABELS, Ended, Score, finished_run
from training.run_folder import RunFolder

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module")
def chromium(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[webdriver.Chrome]:
    if not (CHROMIUM and DRIVER):
        pytest.skip("no browser: install chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    profile = tmp_path_factory.mktemp("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        driver.set_window_size(1300, 1000)
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def score_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Score:
    """``fedskin score`` in this process, on a machine without the official scorer."""
    monkeypatch.setitem(sys.modules, "isic_challenge_scoring", None)  # cannot be imported

    def score_run(*arguments: object) -> Ended:
        with pytest.raises(SystemExit) as ended:
            run_command_line(lambda: cli.app(["score", *map(str, arguments)]))
        output, errors = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, output, errors.splitlines())

    return score_run


@pytest.fixture
def scored_folder(tmp_path: Path) -> RunFolder:
    """A finished run with answers to the labels."""
    return finished_run(tmp_path / "run", LABELS, ANSWERS)


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """The challenge's truth, in another order than the run's answers."""
    return write(tmp_path / "truth.csv", one_hot(dict(reversed(LABELS.items()))))
