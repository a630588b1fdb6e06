import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.kills import Killed, killed_after
from tests.support import make_config
from training.checkpoint import Progress
from training.errors import RunFolderError
from training.metrics import confusion_matrix, metrics
from training.predictions import write_predictions
from training.run_folder import RunFolder
from training.run_state import RunState


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "runs" / "one")
    folder.create(make_config())
    return folder


def test_a_new_folder_holds_the_config(tmp_path: Path) -> None:
    folder, config = RunFolder(tmp_path / "runs" / "one"), make_config(seed=3)
    assert not folder.exists()
    folder.create(config)
    assert folder.exists()
    assert folder.config() == config


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    RunFolder(tmp_path).create(make_config())
    assert RunFolder(tmp_path).exists()


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r": holds other files; choose an empty folder$"):
        RunFolder(tmp_path).create(make_config())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_same_run_elsewhere_is_the_same_run(folder: RunFolder) -> None:
    moved = make_config(run_dir="/elsewhere", cache_dir="/cache")
    folder.create(moved)
    assert folder.config() == moved


def test_another_config_is_refused_and_every_difference_named(folder: RunFolder) -> None:
    other = make_config(seed=5, strategy="fedprox", run_dir="/elsewhere")
    with pytest.raises(RunFolderError) as caught:
        folder.create(other)
    assert str(caught.value) == (
        f"{folder.path}: holds a run of another config "
        "(strategy = 'fedavg', not 'fedprox'; seed = 0, not 5); only rounds and patience may "
        "change when a run is resumed; choose another folder for another config"
    )
    assert folder.config() == make_config()


@pytest.mark.parametrize(
    "command, key, other",
    [
        ("simulate", "rounds", "epochs"),
        ("run", "rounds", "epochs"),
        ("clip", "epochs", "rounds"),
        ("heads", "epochs", "rounds"),
    ],
)
def test_a_run_may_become_longer_and_not_shorter_than_what_is_done(
    command: str, key: str, other: str, folder: RunFolder
) -> None:
    folder.update_manifest(command=command, status="failed")
    folder.checkpoint.save(Progress(round=2), {"weight": np.zeros(1, np.float32)})
    for length in (7, 2):
        folder.create(make_config(**{key: length}))
        assert folder.config().to_flat()[key] == length
    with pytest.raises(RunFolderError, match=rf": {key} = 1: 2 are done; allowed are 2 and more$"):
        folder.create(make_config(**{key: 1}))
    with pytest.raises(RunFolderError, match=rf"{other} = .*; only {key} and patience may change"):
        folder.create(make_config(**{key: 2, other: 7}))
    assert folder.config() == make_config(**{key: 2})


@pytest.mark.parametrize(("key", "value"), [("schedule", "cosine"), ("loss", "ldam")])
def test_a_run_whose_training_depends_on_its_length_keeps_it(
    tmp_path: Path, key: str, value: str
) -> None:
    folder = RunFolder(tmp_path / value)
    folder.create(make_config(**{key: value}, rounds=3))
    folder.create(make_config(**{key: value}, rounds=3))
    with pytest.raises(
        RunFolderError,
        match=rf"rounds = 3, not 5\); not even rounds may change when a run with {key} = {value}",
    ):
        folder.create(make_config(**{key: value}, rounds=5))


def test_a_completed_run_that_becomes_longer_loses_the_results_of_the_shorter_one(
    folder: RunFolder,
) -> None:
    kept, results = ["rounds.jsonl", "clients/a", "flower.log"], ["heads/knn.skops", "features/a"]
    results += ["metrics.json", "predictions-global_test.csv", "score.json", "submission.csv"]
    for name in (*kept, *results):
        (folder.path / name).parent.mkdir(exist_ok=True)
        (folder.path / name).touch()
    rounds = make_config().rounds
    folder.update_manifest(command="simulate", status="completed", finished="now")
    folder.create(make_config())
    assert folder.is_completed(make_config())
    assert all((folder.path / name).exists() for name in (*kept, *results))
    assert not folder.is_completed(make_config(rounds=rounds + 1))
    folder.create(make_config(rounds=rounds + 1))
    manifest = folder.manifest()
    assert (manifest["status"], manifest["finished"]) == ("running", None)
    assert [name for name in (*kept, *results) if (folder.path / name).exists()] == kept


@pytest.mark.parametrize("moment", range(9))
def test_results_that_a_killed_start_left_are_removed_by_the_next(
    folder: RunFolder, moment: int
) -> None:
    """Its heads would otherwise be taken for those of the longer run's network."""
    results = ["metrics.json", "score.json", "submission.csv", "heads/knn.skops"]
    for name in results:
        (folder.path / name).parent.mkdir(exist_ok=True)
        (folder.path / name).touch()
    folder.update_manifest(command="simulate", status="completed")
    longer = make_config(rounds=make_config().rounds + 1)
    with killed_after(moment) as changes, suppress(Killed):
        folder.create(longer)
    assert changes.done == min(moment, 7)  # manifest, checkpoint, four results, config
    folder.create(longer)
    assert not any((folder.path / name).exists() for name in results)
    assert folder.config() == longer


def test_a_folder_in_which_only_a_lock_was_left_takes_a_run(tmp_path: Path) -> None:
    """A campaign that was refused leaves one; the folder looks empty."""
    (tmp_path / ".lock").touch()
    RunFolder(tmp_path).create(make_config())
    assert RunFolder(tmp_path).exists()


def test_what_is_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"is not a run folder: it has no config.toml"):
        RunFolder(tmp_path).config()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seed = 0\n", "", "of another version, key seed is missing; read it with the version of "),
        ("seed = 0\n", "seed = 0\nsums = 1\n", "of another version, key sums is unknown; read it "),
        ("seed = 0\n", 'seed = "x"\n', "seed = 'x': allowed is an integer"),
        ("seed = 0\n", "seed = \n", "is not TOML: "),
    ],
)
def test_a_config_that_this_version_did_not_write_is_refused_in_a_line(
    old: str, new: str, said: str, folder: RunFolder
) -> None:
    """A default in place of a missing key would say of the run what was not so."""
    path = folder.path / "config.toml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RunFolderError) as caught:
        folder.config()
    assert str(caught.value).startswith(f"{path}: {said}")
    assert len(str(caught.value).splitlines()) == 1


def test_one_process_at_a_time(folder: RunFolder) -> None:
    """The lock ends with its process, so a killed run does not block its own resume."""
    program = (
        "import sys; from pathlib import Path; from training.run_folder import RunFolder;"
        "lock = RunFolder(Path(sys.argv[1])).lock(); lock.__enter__();"
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        said = r"another process is running this run$"
        with pytest.raises(RunFolderError, match=said), folder.lock():
            pass
        other.kill()
        other.wait()
    with folder.lock(timeout=10):
        assert RunFolder(folder.path).is_held()
    assert not folder.is_held()


def test_a_run_that_goes_on_is_waited_for_and_one_that_was_killed_is_finished(
    folder: RunFolder,
) -> None:
    folder.update_manifest(status=RunState.RUNNING)
    with folder.lock(), pytest.raises(RunFolderError, match=r"still going on; wait until it ends$"):
        folder.check_completed()
    with pytest.raises(RunFolderError, match=r"is not completed; finish it with --resume$"):
        folder.check_completed()
    folder.update_manifest(status=RunState.COMPLETED)
    folder.check_completed()


def test_the_manifest_is_changed_entry_by_entry(folder: RunFolder) -> None:
    assert folder.manifest() == {}
    folder.update_manifest(status="running", phase="training")
    folder.update_manifest(status="completed")
    assert folder.manifest() == {"status": "completed", "phase": "training"}


def test_metrics_come_back_and_are_strict_json(folder: RunFolder) -> None:
    figures = {"global_test": {"acc": 81.66, "bacc": None, "confusion": [[1, 2], [3, 4]]}}
    folder.write_metrics(figures)
    assert folder.metrics() == figures
    with pytest.raises(ValueError, match="JSON"):
        folder.write_metrics({"loss": float("inf")})
    assert folder.metrics() == figures


def test_predictions_hold_every_bit_and_every_figure_can_be_recomputed(folder: RunFolder) -> None:
    """Random probabilities over all of float32's exponents that softmax can give."""
    classes = ("akiec", "bcc", "nv")
    rng = np.random.default_rng(0)
    powers = np.exp(rng.uniform(-100, 0, (500, 3)))
    probabilities = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    probabilities[0] = [1.0, 0.0, np.float32(1e-45)]  # the smallest there is
    labels = rng.integers(0, 3, 500)
    ids = ["007", "NA", 'a,"b"', *(f"ISIC_{number}" for number in range(497))]
    rows = pd.DataFrame({"image_id": ids, "label": [classes[i] for i in labels], "lesion_id": None})
    write_predictions(folder.predictions_path("global_test"), rows, probabilities, classes)

    path = folder.path / "predictions-global_test.csv"
    assert path.read_text(encoding="utf-8").splitlines()[0] == "image_id,label,akiec,bcc,nv"
    # Read as anybody would; the ids are text.
    table = pd.read_csv(path, dtype={"image_id": str}, keep_default_na=False)
    assert table["image_id"].tolist() == ids
    read = table[list(classes)].to_numpy()
    assert read.astype(np.float32).tobytes() == probabilities.tobytes()

    index = {name: number for number, name in enumerate(classes)}
    true, predicted = table["label"].map(index).to_numpy(), read.argmax(axis=1)
    expected = confusion_matrix(labels, probabilities.argmax(axis=1), 3)
    assert metrics(confusion_matrix(true, predicted, 3)) == metrics(expected)


def test_an_empty_test_set_has_a_header(folder: RunFolder) -> None:
    rows = pd.DataFrame({"image_id": [], "label": [], "lesion_id": []})
    write_predictions(
        folder.predictions_path("none"), rows, np.zeros((0, 2), np.float32), ["a", "b"]
    )
    assert (folder.path / "predictions-none.csv").read_text() == "image_id,label,a,b\n"


def test_predictions_name_the_lesions_that_are_known(folder: RunFolder) -> None:
    rows = pd.DataFrame(
        {"image_id": ["1", "2"], "label": ["nv", "mel"], "lesion_id": ["007", None]}
    )
    answers = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    write_predictions(folder.predictions_path("t"), rows, answers, ["mel", "nv"])
    lines = (folder.path / "predictions-t.csv").read_text().splitlines()
    assert lines == ["image_id,label,lesion_id,mel,nv", "1,nv,007,0.25,0.75", "2,mel,,0.5,0.5"]
    assert folder.predictions("t")["lesion_id"].tolist() == ["007", ""]


def test_predictions_of_slices_name_the_patient(folder: RunFolder) -> None:
    rows = pd.DataFrame({"image_id": ["p-1"], "label": ["HGG"], "lesion_id": ["p"]})
    answers = np.array([[0.25, 0.75]], np.float32)
    write_predictions(folder.predictions_path("t"), rows, answers, ["HGG", "LGG"], by_patient=True)
    lines = (folder.path / "predictions-t.csv").read_text().splitlines()
    assert lines == ["image_id,label,patient_id,HGG,LGG", "p-1,HGG,p,0.25,0.75"]


def test_no_file_is_left_half_written(folder: RunFolder) -> None:
    folder.update_manifest(status="running")
    assert {path.name for path in folder.path.iterdir()} == {"config.toml", "manifest.json"}


def test_a_run_does_not_go_on_with_other_images(folder: RunFolder) -> None:
    folder.check_same_images("data-dir", "a")  # nothing is known yet
    folder.update_manifest(data={"fingerprint": "a"})
    folder.check_same_images("data-dir", "a")
    with pytest.raises(RunFolderError, match="other images"):
        folder.check_same_images("data-dir", "b")
