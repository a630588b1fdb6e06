"""``fedskin simulate`` as a person meets it."""

import json
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import typer

from data_partition.ham10000_tables import HAM10000_CLASSES
from experiments import federated, run_setup
from fl_server.federated_config import Resources
from fl_server.simulation import SimulationFailed
from tests.run_shape import assert_like_a_generated_one
from tests.runs import fedskin, read_json, tiny_options
from tests.support import make_config
from training.metrics import METRIC_NAMES, confusion_matrix, metrics
from training.run_folder import RunFolder
from training.score_counts import Answers, Histograms, ScoreCounts
from training.scores import score_block

LONG = "/".join(["a-folder-of-thirty-characters-x"] * 3)


@pytest.fixture(scope="module")
def finished(synthetic_ham: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run folder and the output of a tiny run, started in a folder that is not a checkout."""
    here = tmp_path_factory.mktemp("anywhere")
    options = tiny_options(synthetic_ham, here / "cache", rounds=2)
    result = fedskin("simulate", *options, "--out", "out", cwd=here)
    assert result.returncode == 0, result.stdout + result.stderr
    return here / "out", result.stdout


def test_run_folder_is_complete(finished: tuple[Path, str]) -> None:
    out, _ = finished
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == {
        "config.toml",
        "manifest.json",
        "rounds.jsonl",
        "checkpoint",
        "metrics.json",
        "histograms.json",
        "predictions-global_test.csv",
        "predictions-last_global_test.csv",
        "clients",
        "flower.log",
    }
    manifest = read_json(out / "manifest.json")
    assert manifest["status"] == "completed"
    assert manifest["data"]["synthetic"] is True
    # 30 images over 3 clients are 10 each; of 10, 60/20/20 are 6, 2 and 2.
    assert manifest["clients"]["client-2"] == {"train": 6, "validation": 2, "test": 2}


def test_generated_run_folders_are_like_this_one(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    assert_like_a_generated_one(finished[0], tmp_path)


def test_every_figure_can_be_recomputed_from_the_predictions(finished: tuple[Path, str]) -> None:
    out, _ = finished
    final = read_json(out / "metrics.json")
    for name, block in (("", final), ("last_", final["last"])):
        table = pd.read_csv(out / f"predictions-{name}global_test.csv", dtype={"image_id": str})
        labels = table["label"].map(HAM10000_CLASSES.index).to_numpy()
        probabilities = table[list(HAM10000_CLASSES)].to_numpy(np.float32)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
        confusion = confusion_matrix(labels, probabilities.argmax(axis=1), 7)
        assert block["global_test"]["confusion"] == confusion.tolist()
        assert {key: block["global_test"][key] for key in METRIC_NAMES} == metrics(confusion)
        scores = score_block(Answers(probabilities, labels).counts())
        assert {key: block["global_test"][key] for key in scores} == scores


def test_pooled_figures_are_those_of_the_summed_counts(finished: tuple[Path, str]) -> None:
    out, _ = finished
    final = read_json(out / "metrics.json")
    total = sum(np.array(block["confusion"]) for block in final["clients"].values())
    assert final["client_test"]["confusion"] == total.tolist()
    assert {key: final["client_test"][key] for key in METRIC_NAMES} == metrics(total)
    kept = read_json(out / "histograms.json")
    for histograms, figures in (("client_test", final), ("last_client_test", final["last"])):
        counts = [
            ScoreCounts(
                np.array(figures["clients"][client]["confusion"]), Histograms.of_fields(fields, 7)
            )
            for client, fields in kept[histograms].items()
        ]
        scores = score_block(ScoreCounts.pooled(counts, 7))
        assert {key: figures["client_test"][key] for key in scores} == scores
    rounds = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
    assert [record["round"] for record in rounds] == [1, 2]
    averages = [record["validation"]["pooled"]["avg"] for record in rounds]
    assert final["best_round"] == 1 + averages.index(max(averages))


def test_output_shows_rounds_table_and_folder(finished: tuple[Path, str]) -> None:
    out, output = finished
    assert "round 2 of 2" in output
    assert "SYNTHETIC" in output
    assert all(name.upper() in output for name in METRIC_NAMES)
    assert str(out) in output


def test_completed_run_is_shown_not_run_again(finished: tuple[Path, str]) -> None:
    out, _ = finished
    before = (out / "metrics.json").stat().st_mtime_ns
    again = fedskin("simulate", "--resume", "--out", out, cwd=out.parent)
    assert again.returncode == 0
    assert "completed" in again.stdout
    assert (out / "metrics.json").stat().st_mtime_ns == before


def test_used_folder_is_refused_without_resume(finished: tuple[Path, str]) -> None:
    out, _ = finished
    result = fedskin("simulate", "-c", "rounds=2", "--out", out, cwd=out.parent)
    assert result.returncode == 2
    assert "--resume" in result.stderr


def test_resume_with_another_config_names_the_key(
    finished: tuple[Path, str], synthetic_ham: Path
) -> None:
    out, _ = finished
    options = tiny_options(synthetic_ham, out.parent / "cache", rounds=2, seed=9)
    result = fedskin("simulate", *options, "--resume", "--out", out, cwd=out.parent)
    assert result.returncode == 2
    assert "seed" in result.stderr


BAD = {
    "unknown key": (["-c", "colour=red"], ["colour"]),
    "two faults at once": (["-c", "rounds=0", "-c", "backbone=vgg"], ["rounds", "vgg"]),
    "no data": ([], ["data-dir"]),
    "no such folder": (["-c", "data-dir=nowhere"], ["nowhere"]),
    "size that the backbone does not take": (
        ["-c", "backbone=vit_l_16", "-c", "image-size=64"],
        ["image-size", "224"],
    ),
    "no file": (["missing.toml"], ["missing.toml"]),
    "nothing to resume": (["--resume", "--out", "nothing"], ["nothing"]),
    "resume without a folder": (["--resume"], ["--out"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_status_2(case: str, tmp_path: Path) -> None:
    arguments, words = BAD[case]
    result = fedskin("simulate", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert all(word in result.stderr for word in words)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == (2 if case == "two faults at once" else 1)
    assert all(line.startswith("fedskin: ") for line in lines)
    assert list(tmp_path.iterdir()) == [], "nothing may be left behind"


def test_more_clients_than_images(synthetic_ham: Path, tmp_path: Path) -> None:
    options = tiny_options(synthetic_ham, tmp_path / "cache", clients=31)
    result = fedskin("simulate", *options, "--out", "out", cwd=tmp_path)
    assert result.returncode == 2
    assert "31" in result.stderr
    assert "30" in result.stderr
    assert not (tmp_path / "out").exists()


def test_missing_weights_are_named_before_anything_starts(
    synthetic_ham: Path, tmp_path: Path
) -> None:
    (tmp_path / "weights").mkdir()
    options = tiny_options(
        synthetic_ham, tmp_path / "cache", pretrained=True, weights_dir=tmp_path / "weights"
    )
    result = fedskin("simulate", *options, "--out", "out", cwd=tmp_path)
    assert result.returncode == 2
    assert "resnet18-" in result.stderr
    assert not (tmp_path / "out").exists()


def test_help_has_examples() -> None:
    result = fedskin("simulate", "--help", cwd=Path.cwd())
    assert result.returncode == 0
    assert "fedskin simulate --resume --out runs/first" in result.stdout


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "Interrupted. Resume with: fedskin simulate --resume --out {}"),
        (SimulationFailed("no such file: " + LONG), 1, "The run failed: no such file: " + LONG),
    ],
    ids=["Ctrl-C", "failure"],
)
def test_what_to_copy_is_on_one_line(
    error: BaseException,
    status: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a file rich wraps at 80 columns; half a command would then be copied."""
    folder = RunFolder(tmp_path / LONG)
    folder.create(make_config())
    interrupt(monkeypatch, folder, error, status)
    assert said.format(folder.path) in capsys.readouterr().out.splitlines()


def test_how_many_compute_at_the_same_time_is_said_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of three clients on four cores all could; on a cluster Ray's places decide, too."""
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)
    config = make_config(clients=3, threads_per_client=1)
    for resources, said in (
        (Resources(3, 1, 0.0), "3 clients, 3 at the same time; "),
        (Resources(2, 1, 0.0), "3 clients, 2 at the same time, which is what the memory holds; "),
        (Resources(2, 1, 0.0, cluster_cpus=1), "3 clients, 2 at the same time; "),
    ):
        assert federated.clients_line(config, resources) == f"{said}CPU threads of each: 1"


def test_ctrl_c_before_a_run_began_leaves_its_folder_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While images are decoded, which may last an hour."""
    folder = RunFolder(tmp_path / "run")
    interrupt(monkeypatch, folder, KeyboardInterrupt(), 130)
    assert "nothing was written" in capsys.readouterr().out
    assert not folder.path.exists()


def interrupt(
    monkeypatch: pytest.MonkeyPatch, folder: RunFolder, error: BaseException, status: int
) -> None:
    """Let a simulation end with an error, and check the command's status."""

    def ends(*_: object) -> None:
        raise error

    monkeypatch.setattr(run_setup, "open_run", lambda *_, **__: (make_config(), folder))
    monkeypatch.setattr(federated, "run_simulation", ends)
    with pytest.raises(typer.Exit) as ended:
        federated.simulate_command(None)
    assert ended.value.exit_code == status
