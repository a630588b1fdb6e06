"""The display during a run, in a file or a batch system's log."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.console import Console
from experiments.display import RunDisplay
from tests.support import make_config, write_rounds
from training.checkpoint import Progress
from training.run_folder import RunFolder

ROUNDS = 4


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create(make_config(rounds=ROUNDS))
    return folder


def record(number: int, *, missing: tuple[str, ...] = (), clients: int = 3) -> dict[str, Any]:
    """A round of `number` minutes; every client's figures are the same."""
    names = [f"client-{index}" for index in range(clients)]
    block = {"n": 6, "avg": 50.0, "bacc": 40.0, "mcc": 0.1234, "loss": 0.5}
    return {
        "round": number,
        "train_loss": 1.0,
        "seconds": {"round": 60.0 * number},
        "failures": {},
        "validation": {
            "clients": {name: block for name in names if name not in missing},
            "pooled": {**block, "missing": dict.fromkeys(missing, "left")},
        },
    }


def reach(folder: RunFolder, done: int, validated: int, phase: str = "training") -> None:
    """Bring a run to where `done` rounds are averaged and `validated` of them validated."""
    records = [record(number) for number in range(1, validated + 1)]
    folder.checkpoint.folder.mkdir(exist_ok=True)
    folder.checkpoint.save(Progress(round=done, records=records))
    write_rounds(folder, records)
    folder.update_manifest(phase=phase)


def shown(folder: RunFolder, steps: list[tuple[int, int, str]], before: int = 0) -> list[str]:
    output = io.StringIO()
    with RunDisplay(Console(file=output, width=300), ROUNDS, before=before) as display:
        for done, validated, phase in steps:
            reach(folder, done, validated, phase)
            display.show(folder)
    return output.getvalue().splitlines()


def test_lines_come_in_order_and_the_last_round_before_the_judging(folder: RunFolder) -> None:
    lines = shown(
        folder,
        [
            (0, 0, "starting Flower"),
            (1, 0, "training"),
            (3, 2, "training"),  # two at once, on a slow look
            (4, 3, "judging"),
            (4, 4, "judging"),
            (4, 4, "completed"),
        ],
    )
    starts = ["starting Flower", "training", *(f"round {n} of 4" for n in range(1, 5))]
    starts += ["judging", "completed"]
    assert [line[: len(start)] for line, start in zip(lines, starts, strict=True)] == starts


def test_a_note_on_the_method_is_shown_once(folder: RunFolder) -> None:
    folder.update_manifest(notes=["FedBN: nothing stays [at the clients]"])
    lines = shown(folder, [(0, 0, "training"), (1, 0, "training")])
    assert [line for line in lines if "FedBN" in line] == ["FedBN: nothing stays [at the clients]"]


def test_the_time_left_is_that_of_the_rounds_that_are_missing(folder: RunFolder) -> None:
    """Round n takes n minutes. The first is a bound, as it may have prepared what the others use:
    after 2 of 4 it says 2 minutes; after 3, round 2 says another 2.
    """
    lines = shown(folder, [(2, 1, "training"), (3, 2, "training"), (4, 4, "judging")])
    first, second, third, fourth = (line for line in lines if line.startswith("round"))
    assert first.endswith("60.0 s  up to 0:02:00 left")
    assert second.endswith("120.0 s  about 0:02:00 left")
    assert third.endswith("180.0 s")
    assert fourth.endswith("240.0 s")


def test_the_newest_line_has_the_best_round_so_far(folder: RunFolder) -> None:
    folder.update_manifest(best_by="mcc")
    output = io.StringIO()
    with RunDisplay(Console(file=output, width=300), ROUNDS) as display:
        for done, best in ((2, 0), (3, 1), (4, 3)):
            reach(folder, done, done - 1)
            progress = folder.checkpoint.progress()
            figure = 0.1 * best if best else None
            folder.checkpoint.save(replace(progress, best_round=best, best_figure=figure))
            display.show(folder)
    lines = [line for line in output.getvalue().splitlines() if line.startswith("round")]
    assert "best" not in lines[0], "nothing is validated that counts"
    assert lines[1].endswith("  best: round 1, MCC 0.100  about 0:02:00 left")
    assert lines[2].endswith("  best: round 3, MCC 0.300")


def test_rounds_of_an_earlier_start_are_not_shown_as_new(folder: RunFolder) -> None:
    reach(folder, 3, 2)
    lines = shown(folder, [(3, 2, "training"), (4, 3, "training")], before=2)
    assert lines[0] == "continuing: 2 of 4 rounds are validated"
    assert [line for line in lines if "training loss" in line] == [lines[-1]]
    assert lines[-1].startswith("round 3 of 4")
    assert "180.0 s" in lines[-1]


@pytest.mark.parametrize(
    "missing, said",
    [
        ((), "validation of 3 clients AVG 50.00, BACC 40.00"),
        (("client-1",), "validation of 2 of 3 clients, not client-1: AVG 50.00, BACC 40.00"),
    ],
)
def test_a_line_says_whose_figures_are_pooled(missing: tuple[str, ...], said: str) -> None:
    line = RunDisplay(Console(), ROUNDS)._line(record(1, missing=missing), "")
    assert said in line


def test_a_line_says_the_score_that_chooses_the_best_round() -> None:
    for best_by, said in (("avg", "40.00"), ("mcc", "40.00, MCC 0.123"), ("loss", "LOSS 0.5000")):
        line = RunDisplay(Console(), ROUNDS)._line(record(1), "", best_by)
        assert f"{said}  60.0 s" in line


def test_a_centralized_epoch_has_no_clients() -> None:
    epoch = record(1)
    del epoch["validation"]["clients"]
    line = RunDisplay(Console(), ROUNDS, unit="epoch")._line(epoch, "")
    assert line.startswith("epoch 1 of 4  training loss 1.0000  validation AVG 50.00, BACC 40.00")


def test_the_time_goes_on_while_the_models_are_judged(folder: RunFolder) -> None:
    output = io.StringIO()
    display = RunDisplay(Console(file=output, force_terminal=True, width=80), ROUNDS)
    with display:
        reach(folder, ROUNDS, ROUNDS, "judging")
        display.show(folder)
        (task,) = display._progress.tasks
        assert task.start_time is not None
        task.start_time -= 90  # as if judging took so long
        display._progress.refresh()
    assert "0:01:30" in output.getvalue()


def test_the_elapsed_time_is_whole_on_a_terminal_of_80_columns() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    display = RunDisplay(console, 40)
    said = {"left": "up to 0:04:19 left", "best": "best: round 1, BACC 31.35"}
    display._progress.update(display._task, description="training", completed=2, **said)
    console.print(display._progress.get_renderable())
    assert "0:00:00" in console.file.getvalue()  # type: ignore[attr-defined]
