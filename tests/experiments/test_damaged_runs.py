"""Run folders that are half-written, damaged or incomplete: one line with the file and a remedy."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_partition.ham10000_tables import HAM10000_CLASSES
from experiments.cli import app
from experiments.command_runner import run_command_line
from experiments.reporting import run_figures
from tests.experiments.campaigns.trials import edit
from tests.experiments.exporting.exported_runs import finished_run
from tests.generated_campaign import write_campaign
from training.predictions import write_predictions
from training.run_folder import RunFolder

Damage = Callable[[Path], object]
Complaint = Callable[..., str]
METRICS, PREDICTIONS = "metrics.json", "predictions-global_test.csv"


def cut(name: str, length: int) -> Damage:
    """Leave out the last bytes, as a copy that was interrupted."""
    return lambda run: (run / name).write_bytes((run / name).read_bytes()[:-length])


def set_to(name: str, text: str) -> Damage:
    return lambda run: (run / name).write_text(text, encoding="utf-8")


def entry(name: str, key: str, value: object) -> Damage:
    return lambda run: edit(run / name, lambda found: found.update({key: value}))


def without(name: str, key: str) -> Damage:
    return lambda run: edit(run / name, lambda found: found.pop(key))


REPORTED: dict[str, tuple[str, Damage]] = {
    "rounds cut in the last line": ("rounds.jsonl, line 3", cut("rounds.jsonl", 20)),
    "rounds that are no objects": ("rounds.jsonl, line 1", set_to("rounds.jsonl", "[]\n")),
    "rounds of another shape": ("rounds.jsonl", set_to("rounds.jsonl", '{"clients": 3}\n')),
    "predictions that are empty": (PREDICTIONS, set_to(PREDICTIONS, "")),
    "predictions cut in a row": (PREDICTIONS, cut(PREDICTIONS, 40)),
    "predictions cut in a number": (PREDICTIONS, cut(PREDICTIONS, 2)),
    "predictions without numbers": (
        PREDICTIONS,
        set_to(
            PREDICTIONS, "image_id,label," + ",".join(HAM10000_CLASSES) + "\n1,nv" + ",x" * 7 + "\n"
        ),
    ),
    "predictions of other classes": (PREDICTIONS, set_to(PREDICTIONS, "image_id,label\n1,nv\n")),
    "histograms of another shape": (
        "histograms.json",
        set_to("histograms.json", '{"client_test": 3}'),
    ),
    "histograms of a client of another shape": (
        "histograms.json",
        set_to("histograms.json", '{"client_test": {"client-0": 3}}'),
    ),
    "histograms that are cut": ("histograms.json", set_to("histograms.json", '{"client_test": ')),
    "figures of another shape": (METRICS, entry(METRICS, "global_test", [])),
    "figures of clients of another shape": (METRICS, entry(METRICS, "clients", {"client-0": 3})),
    "figures that are no object": (METRICS, set_to(METRICS, "[]")),
    "figures that are missing": (METRICS, lambda run: (run / METRICS).unlink()),
    "a manifest without the data": ("manifest.json", without("manifest.json", "data")),
    "a manifest with other data": ("manifest.json", entry("manifest.json", "data", [])),
}
CLASSIFYING: dict[str, tuple[str, Damage]] = {
    name: REPORTED[name]
    for name in (
        *("figures that are no object", "figures that are missing"),
        *("a manifest without the data", "a manifest with other data"),
    )
} | {"figures without a best round": (METRICS, without(METRICS, "best_round"))}


@pytest.fixture
def complaint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Complaint:
    """A command that ends with status 2: the one line that it says."""

    def complaint(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["fedskin", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_command_line(app)
        said = capsys.readouterr().err
        assert ended.value.code == 2, said
        [line] = said.splitlines()
        return line

    return complaint


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("damaged")
    names = write_campaign(base, rounds=3, backbones=["swin_t"])
    path = base / "trials" / next(name for name in names if name.startswith("simulate"))
    number, classes = 14, HAM10000_CLASSES
    rows = pd.DataFrame(
        {
            "image_id": [f"image-{index}" for index in range(number)],
            "label": [classes[index % 7] for index in range(number)],
            "lesion_id": None,
        }
    )
    probabilities = np.random.default_rng(0).dirichlet(np.ones(7), number).astype(np.float32)
    write_predictions(path / PREDICTIONS, rows, probabilities, classes)
    return path


@pytest.mark.parametrize("damage", REPORTED)
def test_a_report_names_the_file_and_a_remedy(
    damage: str,
    finished: Path,
    tmp_path: Path,
    complaint: Complaint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_figures, "run_drawings", lambda run: [])
    file, do = REPORTED[damage]
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    do(run)
    said = complaint("report", run)
    named = f"{run}: is incomplete: {file} is missing" if "missing" in damage else f"{run / file}: "
    assert said.startswith(f"fedskin: {named}")
    assert "run its config.toml again" in said
    assert not (run / "report").exists()


@pytest.mark.parametrize("damage", CLASSIFYING)
@pytest.mark.parametrize(
    "command",
    [("predict", "RUN", "image.jpg"), ("show", "RUN"), ("export", "RUN", "--card", "card.md")],
    ids=lambda command: command[0],
)
def test_a_model_of_a_damaged_run_is_refused_in_a_line(
    command: tuple[str, ...], damage: str, tmp_path: Path, complaint: Complaint
) -> None:
    file, do = CLASSIFYING[damage]
    run = finished_run(tmp_path / "run").path
    (tmp_path / "image.jpg").write_bytes(b"")
    do(run)
    places = {"RUN": run, "image.jpg": tmp_path / "image.jpg", "card.md": tmp_path / "card.md"}
    said = complaint(*(places.get(word, word) for word in command))
    named = f"{run}: is incomplete: {file} is missing" if "missing" in damage else f"{run / file}: "
    assert said.startswith(f"fedskin: {named}")
    assert "run its config.toml again" in said


def test_figures_of_a_run_that_is_not_completed_are_not_called_missing(
    finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    (run.path / METRICS).unlink()
    run.update_manifest(status="failed")
    with pytest.raises(ValueError, match="the run is not completed; finish it with --resume"):
        run.metrics()
