"""A run in TensorBoard: what its own reader finds in the file."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from experiments.campaigns.ledger import read_ledger
from experiments.console import Console
from experiments.tracking.campaign_trials import track
from experiments.tracking.event_file import FILE, FOLDER, EventFile
from experiments.tracking.follower import Sending, tracked, tracker_of_run
from experiments.tracking.tracker import TrackingError
from tests.generated_campaign import write_campaign
from tests.support import write_rounds
from training.errors import ConfigError
from training.run_folder import RunFolder
from training.run_state import INTERRUPTED, RunState
from training.scores import SCORES

# Slow, since make test does not install TensorBoard.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("tensorboard") is None,
        reason="TensorBoard is not installed: pip install -e '.[tensorboard]'",
    ),
]

ROUNDS = 3


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A completed federated run of three rounds."""
    # The first six of a backbone are of clip.
    ids = write_campaign(tmp_path, trials=7, rounds=ROUNDS, backbones=["swin_t"])
    return RunFolder(tmp_path / "trials" / ids[-1])


def reader(run: RunFolder) -> Any:
    """TensorBoard's own view of a run, which gives up at a damaged record."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run.path / FOLDER), size_guidance={"scalars": 0, "tensors": 0})
    return found.Reload()


def curve(run: RunFolder, tag: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in reader(run).Scalars(tag)]


def states(run: RunFolder) -> list[str]:
    return [event.tensor_proto.string_val[0].decode() for event in reader(run).Tensors("state")]


def parameters(run: RunFolder) -> dict[str, Any]:
    from tensorboard.plugins.hparams import metadata

    content = reader(run).PluginTagToContent("hparams")[metadata.SESSION_START_INFO_TAG]
    found = metadata.parse_session_start_info_plugin_data(content).hparams
    return {key: getattr(value, value.WhichOneof("kind")) for key, value in found.items()}


def going_on(run: RunFolder, rounds: int, status: str = RunState.RUNNING, **more: str) -> None:
    """Bring a completed run back to when that many rounds were validated."""
    write_rounds(run, run.rounds()[:rounds])
    run.update_manifest(status=status, **more)


def follow(run: RunFolder) -> None:
    with tracked(EventFile(run.path), run, Console(quiet=True)):
        pass


def test_a_curve_for_each_score_pooled_and_by_client(run: RunFolder) -> None:
    follow(run)
    records = run.rounds()
    for tag, key in (("train_loss", "train_loss"), ("bytes_sent", "bytes_sent")):
        expected = [(r["round"], pytest.approx(r[key])) for r in records]
        assert curve(run, tag) == expected
    assert curve(run, "train_loss/client-2") == [
        (r["round"], pytest.approx(r["clients"]["client-2"]["train_loss"])) for r in records
    ]
    for name in ("loss", *SCORES):
        pooled = [(r["round"], pytest.approx(r["validation"]["pooled"][name])) for r in records]
        assert curve(run, f"validation/{name}") == pooled
        own = [r["validation"]["clients"]["client-1"][name] for r in records]
        expected = [(n, pytest.approx(value)) for n, value in enumerate(own, 1)]
        assert curve(run, f"validation/client-1.{name}") == expected


def test_the_end_has_every_test_set_the_config_and_the_state(run: RunFolder) -> None:
    follow(run)
    metrics = run.metrics()
    for tag, block in (
        ("global_test/network", metrics["global_test"]),
        ("client_test/network", metrics["client_test"]),
        ("client-0/network", metrics["clients"]["client-0"]),
    ):
        for name in SCORES:
            expected = [(metrics["best_round"], pytest.approx(block[name]))]
            assert curve(run, f"{tag}.{name}") == expected
    assert states(run) == ["running", "completed"]
    found = parameters(run)
    assert found.pop("fedskin.images") == "SYNTHETIC"
    assert found.pop("fedskin.command") == "simulate"
    assert found == run.config().to_flat()


def test_a_resumed_run_appends_only_what_is_new(run: RunFolder, tmp_path: Path) -> None:
    """Interrupted after a round, then completed: as if it had never been interrupted."""
    done = tmp_path / "done"
    shutil.copytree(run.path, done)
    going_on(run, 1, RunState.FAILED, cause=INTERRUPTED)
    follow(run)
    assert states(run) == ["running", "stopped: interrupted"]
    for name in ("manifest.json", "rounds.jsonl"):
        shutil.copy(done / name, run.path)
    follow(run)
    assert states(run) == ["running", "stopped: interrupted", "running", "completed"]
    assert [step for step, _ in curve(run, "validation/client-0.mcc")] == [1, 2, 3]
    assert [path.name for path in (run.path / FOLDER).iterdir()] == [FILE]
    size = (run.path / FOLDER / FILE).stat().st_size
    follow(run)
    assert (run.path / FOLDER / FILE).stat().st_size == size, "all was there"


@pytest.mark.parametrize("cut", [1, 5, 13, 100])
def test_a_round_cut_off_by_a_kill_is_written_again(run: RunFolder, cut: int) -> None:
    """Within the second round's event: its last bytes, or all but a part of its length."""
    full = [json.dumps(record) for record in run.rounds()]
    going_on(run, 1)
    follow(run)
    path = run.path / FOLDER / FILE
    one = path.stat().st_size
    (run.path / "rounds.jsonl").write_text("\n".join(full[:2]) + "\n", encoding="utf-8")
    follow(run)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - cut] if cut > 1 else content[: one + cut])
    follow(run)
    assert path.read_bytes() == content
    assert [step for step, _ in curve(run, "seconds")] == [1, 2]


def test_a_run_that_goes_on_elsewhere_stays_running(run: RunFolder) -> None:
    going_on(run, 2, command="run")
    with pytest.raises(KeyboardInterrupt), tracked(EventFile(run.path), run, Console(quiet=True)):
        raise KeyboardInterrupt
    assert states(run) == ["running"]
    assert [step for step, _ in curve(run, "train_loss")] == [1, 2]


def test_a_failure_is_said_with_its_cause(run: RunFolder) -> None:
    going_on(run, 2, RunState.FAILED, cause="round 3: the loss is NaN")
    follow(run)
    assert states(run) == ["running", "failed: round 3: the loss is NaN"]


def test_what_fails_after_the_training_is_a_failure(run: RunFolder) -> None:
    """As when heads cannot be fitted on a network that is there."""
    with pytest.raises(ValueError), tracked(EventFile(run.path), run, Console(quiet=True)):
        raise ValueError("no head")
    assert states(run) == ["running", "failed: no head"]


def test_a_trial_of_a_campaign_is_written_once(run: RunFolder) -> None:
    folder = run.path.parent.parent
    ledger = read_ledger(folder)
    assert track(ledger, folder, "tensorboard") == 7
    assert track(ledger, folder, "tensorboard") == 0
    assert len(curve(run, "validation/avg")) == ROUNDS


def test_a_file_that_cannot_be_written_is_one_line(run: RunFolder) -> None:
    (run.path / FOLDER).write_text("taken", encoding="utf-8")
    with pytest.raises(TrackingError, match=r"cannot be written \(Not a directory\)") as caught:
        Sending(EventFile(run.path), run).rounds()
    assert "\n" not in str(caught.value)


def test_an_unknown_tracker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--track wandb: allowed are mlflow and tensorboard"):
        tracker_of_run("wandb", tmp_path)
