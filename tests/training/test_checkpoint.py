import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import training.checkpoint
from tests.support import assert_same_bits
from training.checkpoint import Checkpoint, OwnBest, Progress
from training.errors import RunFolderError
from training.scores import SCORES

Weights = dict[str, NDArray]


def weights_of(round_number: int) -> Weights:
    return {"w": np.full(3, round_number, np.float32), "steps": np.array(round_number)}


def finish(progress: Progress) -> Progress:
    """What a run does after a round: the round's record, not yet validated."""
    number = progress.round + 1
    return replace(progress, round=number, records=[*progress.records, {"round": number}])


def validation(figure: float | None, by: str = "avg") -> dict[str, Any]:
    """Of a model's validation what the choice of the best looks at; without images loss is 0."""
    if figure is None:
        return {"pooled": {"n": 0, by: 0.0 if by == "loss" else None}}
    return {"pooled": {"n": 9, by: figure}}


def after(*figures: float | None, by: str = "avg") -> Progress:
    """The progress after rounds whose models were validated with these figures."""
    progress = Progress()
    for figure in figures:
        progress = finish(progress).validated(validation(figure, by), by)
    return progress


def test_a_longer_run_goes_on_as_if_the_last_round_had_not_been_validated(tmp_path: Path) -> None:
    """By all clients: a longer run's next round has another sample of them, and another best."""
    checkpoint = Checkpoint(tmp_path)
    before = after(50.0, 40.0)
    for number in (1, 2, 3):
        at = finish(before) if number == 3 else after(*(50.0, 40.0)[:number])
        checkpoint.save(at, weights_of(number))
    ended = at.validated(validation(60.0), "avg")
    checkpoint.save(replace(ended, earlier=(at.best_round, at.best_figure)))
    read = checkpoint.progress()
    assert (read.best_round, read.reopened()) == (3, at)
    assert at.best_round == 1
    for number in (1, 3):
        assert_same_bits(checkpoint.weights(number), weights_of(number))
    checkpoint.save(read.reopened())
    assert_same_bits(checkpoint.weights(1), weights_of(1))
    assert after(50.0).reopened() == after(50.0)


@pytest.mark.parametrize("by", [name for name in SCORES if SCORES[name].higher_is_better])
@pytest.mark.parametrize(
    "figures, best_round, best",
    [
        ((50.0, 60.0, 55.0), 2, 60.0),
        ((50.0, 60.0, 60.0), 2, 60.0),  # the earliest on ties
        ((0.0, 0.0), 1, 0.0),  # even the worst model is a model
        ((None, 40.0, None), 2, 40.0),  # nobody has validation images in some rounds
        ((None, None), 0, None),
        ((), 0, None),
    ],
)
def test_the_best_is_the_earliest_best(
    by: str, figures: tuple[float | None, ...], best_round: int, best: float | None
) -> None:
    progress = after(*figures, by=by)
    assert (progress.round, progress.best_round) == (len(figures), best_round)
    assert progress.best_figure == best


@pytest.mark.parametrize("by", ["loss", "ece", "brier"])
@pytest.mark.parametrize(
    "losses, best_round, best",
    [
        ((0.9, 0.4, 0.5), 2, 0.4),
        ((0.9, 0.4, 0.4), 2, 0.4),  # the earliest on ties
        ((None, 0.9), 2, 0.9),  # the 0 of no images is no loss
        ((0.0, 0.1), 1, 0.0),
    ],
)
def test_of_losses_and_errors_the_lowest_is_the_best(
    by: str, losses: tuple[float | None, ...], best_round: int, best: float
) -> None:
    progress = after(*losses, by=by)
    assert (progress.best_round, progress.best_figure) == (best_round, best)


def test_a_round_without_the_figure_is_not_the_best() -> None:
    """Where it is not defined though there are images, as MCC if all are taken for one class."""
    progress = Progress()
    for figure in (None, 0.2, None, 0.1):
        undefined = {"pooled": {"n": 9, "mcc": figure}}
        progress = finish(progress).validated(undefined, "mcc")
    assert (progress.best_round, progress.best_figure) == (2, 0.2)


def test_the_named_figure_decides_alone() -> None:
    """A model that most of the nevi speak for, and a later one that finds more of the rest."""
    blocks = [
        {"n": 9, "avg": 70.0, "acc": 80.0, "bacc": 40.0, "loss": 0.9},
        {"n": 9, "avg": 68.0, "acc": 79.0, "bacc": 60.0, "loss": 0.8},
    ]
    chosen = {}
    for by in ("avg", "acc", "bacc", "loss"):
        progress = Progress()
        for block in blocks:
            progress = finish(progress).validated({"pooled": block}, by)
        chosen[by] = progress.best_round
    assert chosen == {"avg": 1, "acc": 1, "bacc": 2, "loss": 2}


def test_a_client_that_trains_alone_has_a_best_round_of_its_own() -> None:
    """The earliest on ties; c has no validation images, b none in the first round, and the last
    round is not validated yet.
    """
    found = [
        {"a": {"n": 5, "bacc": 40.0}, "b": {}, "c": {"n": 0, "bacc": None}},
        {"a": {"n": 5, "bacc": 40.0}, "b": {"n": 4, "bacc": 10.0}, "c": {"n": 0, "bacc": None}},
        {"a": {"n": 5, "bacc": 39.0}, "b": {"n": 4, "bacc": 20.0}, "c": {"n": 0, "bacc": None}},
    ]
    records = [
        {"round": number, "validation": {"clients": clients}}
        for number, clients in enumerate(found, start=1)
    ]
    assert OwnBest("bacc", [*records, {"round": 4}]).rounds == {"a": 1, "b": 3}
    own = OwnBest("bacc", records[:2])
    assert own.rounds == {"a": 1, "b": 2}
    own.add(records[2])
    assert own.rounds == {"a": 1, "b": 3}


def of_clients(number: int, clients: int) -> dict[str, Any]:
    """A validated round's record of so many clients."""
    said = {f"client-{index}": {"n": 9, "avg": 50.0} for index in range(clients)}
    found = {**validation(50.0), "clients": said}
    return {"round": number, "clients": said, "failures": {}, "validation": found, "warnings": []}


def test_only_the_last_two_records_have_what_is_said_of_single_clients(tmp_path: Path) -> None:
    """In the file the last one: so neither memory nor file grows by the clients of every round."""
    sizes = {}
    for clients in (3, 300):
        progress, checkpoint = Progress(), Checkpoint(tmp_path / str(clients))
        for number in (1, 2, 3, 4):
            progress = progress.finished(of_clients(number, clients))
            assert [len(r.get("clients", ())) for r in progress.records[-2:]][-1] == clients
            checkpoint.save(progress)
            sizes[clients, number] = (checkpoint.folder / "state.json").stat().st_size
        pooled = {"round": 1, "validation": validation(50.0), "warnings": []}
        assert progress.records[0] == pooled
        assert progress.records[2:] == [of_clients(3, clients), of_clients(4, clients)]
        read = checkpoint.progress().records
        assert read[0] == pooled
        assert read[3] == of_clients(4, clients)
    assert sizes[300, 4] - sizes[300, 3] == sizes[3, 4] - sizes[3, 3]


def test_validation_completes_the_last_record_only() -> None:
    before = finish(after(50.0))
    validated = before.validated(validation(60.0), "avg")
    assert before.records == [{"round": 1, "validation": validation(50.0)}, {"round": 2}]
    assert validated.records[0] == before.records[0]
    assert validated.records[1] == {"round": 2, "validation": validation(60.0)}


def test_an_untouched_folder_is_round_zero(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path / "checkpoint").progress() == Progress()


def test_progress_and_weights_come_back(tmp_path: Path) -> None:
    progress = after(81.66)
    Checkpoint(tmp_path / "checkpoint").save(progress, weights_of(1))
    again = Checkpoint(tmp_path / "checkpoint")
    assert again.progress() == progress
    assert_same_bits(again.weights(1), weights_of(1))


def test_only_the_last_and_the_best_weights_are_kept(tmp_path: Path) -> None:
    """As a run saves: with each round's weights, knowing the validation of the rounds before."""
    checkpoint, progress = Checkpoint(tmp_path / "checkpoint"), Progress()
    kept = []
    for avg in (50.0, 60.0, 55.0, 60.0, 61.0):
        progress = finish(progress)
        checkpoint.save(progress, weights_of(progress.round))
        kept.append(sorted(int(p.stem[-5:]) for p in checkpoint.folder.glob("*.safetensors")))
        progress = progress.validated(validation(avg), "avg")
    # Round r is saved before it is validated: then the best is that of the rounds before it.
    assert kept == [[1], [1, 2], [2, 3], [2, 4], [2, 5]]
    checkpoint.save(progress)
    assert {p.name for p in checkpoint.folder.iterdir()} == {
        "round-00005.safetensors",
        "state.json",
    }


class Killed(Exception):
    """What stands for a kill at one place."""


def server_state_of(round_number: int) -> Weights:
    return {"m/w": np.full(3, -round_number, np.float32)}


@pytest.mark.parametrize(
    "place, survivor",
    [
        ("save_weights", 2),  # before the new weights
        ("second save_weights", 2),  # between the weights and the server's state
        ("write_text", 2),  # between these and the round's number
        ("unlink", 3),  # after the state, before old files go
    ],
)
def test_a_kill_between_the_writes_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, survivor: int
) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint")
    progress = after(70.0, 60.0)
    checkpoint.save(after(70.0), weights_of(1), server_state_of(1))
    checkpoint.save(progress, weights_of(2), server_state_of(2))
    expected = {2: progress, 3: finish(progress)}[survivor]
    save_weights, calls = training.checkpoint.save_weights, []

    def kill(*_: object, **__: object) -> None:
        raise Killed

    def kill_second(path: Path, weights: Weights) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise Killed
        save_weights(path, weights)

    with monkeypatch.context() as patch:
        if place == "unlink":
            patch.setattr(Path, "unlink", lambda path, missing_ok=False: missing_ok or kill())
        elif place == "second save_weights":
            patch.setattr(training.checkpoint, "save_weights", kill_second)
        else:
            patch.setattr(training.checkpoint, place, kill)
        with pytest.raises(Killed):
            checkpoint.save(finish(progress), weights_of(3), server_state_of(3))

    again = Checkpoint(tmp_path / "checkpoint")
    assert again.progress() == expected
    assert_same_bits(again.weights(survivor), weights_of(survivor))
    assert_same_bits(again.server_state(survivor), server_state_of(survivor))
    assert_same_bits(again.weights(1), weights_of(1))  # the best
    # The next save works normally, and cleans up.
    again.save(finish(progress), weights_of(3), server_state_of(3))
    assert_same_bits(again.weights(3), weights_of(3))
    assert sorted(p.name for p in again.folder.glob("*.safetensors")) == [
        "round-00001.safetensors",
        "round-00003.safetensors",
        "server-00003.safetensors",
    ]


def test_the_server_state_of_the_last_round_stays_when_only_figures_are_saved(
    tmp_path: Path,
) -> None:
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save(after(70.0), weights_of(1), server_state_of(1))
    checkpoint.save(after(71.0))
    assert_same_bits(checkpoint.server_state(1), server_state_of(1))


def test_a_method_that_keeps_nothing_has_no_file(tmp_path: Path) -> None:
    """Such a checkpoint is as one of a version that knew no server's state."""
    checkpoint = Checkpoint(tmp_path)
    for nothing in (None, {}):
        checkpoint.save(after(70.0), weights_of(1), nothing)
        assert {p.name for p in tmp_path.iterdir()} == {"round-00001.safetensors", "state.json"}
    with pytest.raises(RunFolderError, match=r"server-00001.safetensors: these weights cannot be"):
        checkpoint.server_state(1)


def test_what_killed_saves_left_half_written_is_removed(tmp_path: Path) -> None:
    """Such a file is as large as a model, and a run may be killed many times."""
    checkpoint = Checkpoint(tmp_path / "checkpoint")
    checkpoint.save(after(70.0), weights_of(1))
    (checkpoint.folder / ".round-00002.safetensors.4711.tmp").write_bytes(b"half")
    checkpoint.save(after(70.0, 60.0), weights_of(2))
    assert not list(checkpoint.folder.glob(".*"))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", '{"round": 1, "colour": "red"}', '"text"', "\xff"],
)
def test_a_state_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(RunFolderError, match=r"state.json: is not a checkpoint of this version$"):
        Checkpoint(tmp_path).progress()


def test_missing_or_damaged_weights_are_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    with pytest.raises(RunFolderError, match=r"round-00003.safetensors: these weights cannot be"):
        checkpoint.weights(3)
    checkpoint.save(after(1.0), weights_of(1))
    path = checkpoint.path("round", 1)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunFolderError, match=r"round-00001.safetensors: these weights cannot be"):
        checkpoint.weights(1)


def test_state_is_strict_json(tmp_path: Path) -> None:
    """A NaN would make a file that other readers refuse; the old state stays."""
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save(after(70.0), weights_of(1))
    broken = replace(after(70.0), records=[{"loss": float("nan")}])
    with pytest.raises(ValueError, match="JSON"):
        checkpoint.save(broken)
    assert json.loads((tmp_path / "state.json").read_text())["best_figure"] == 70.0
