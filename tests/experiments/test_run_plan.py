"""``--plan``: what a run will need, as a person reads it, and beside the run itself."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import joblib
import pytest

from experiments.centralized_clip import clip_command
from experiments.console import Console
from experiments.federated import simulate_command
from experiments.ml_heads import heads_command
from experiments.planning import run_plan, site_plan
from experiments.planning.estimate import SMALL_RUN
from experiments.planning.run_plan import plan_run
from experiments.planning.run_plan_tables import traffic_table
from experiments.planning.step_times import Setting, StepTime, setting
from experiments.planning.traffic import Traffic
from fl_server.federated_config import messages_under_way, prepare_deployed
from models.errors import WeightsError
from tests.runs import fedskin, read_json, tiny_config, tiny_options
from training.config import ExperimentConfig
from training.errors import ConfigError, RunFolderError
from training.run_folder import RunFolder


def measure(configs: Iterable[ExperimentConfig], *_: object) -> dict[Setting, StepTime]:
    """An image takes a second to train on, 0.1 to judge, and a batch of them 300 MB."""
    return {
        setting(each): StepTime(1.0, 0.0, 0.1, 0.1, 3 * 10**8, 4, SMALL_RUN) for each in configs
    }


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step is run: see `measure`."""
    monkeypatch.setattr(run_plan, "measure_steps", measure)


def options(data: Path, cache: Path, **changes: Any) -> list[str]:
    return tiny_options(data, cache, **changes)[1::2]


@pytest.mark.usefixtures("measured")
def test_a_plan_says_everything_and_makes_nothing(
    synthetic_ham: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """30 images at 3 clients, 6, 2 and 2 each. A round: three clients of 6 s for training and 0.2 s
    for validating. The 100 images are stored at 37 pixels; resnet18 has 44.76 MB.
    """
    out = tmp_path / "out"
    simulate_command(None, options(synthetic_ham, tmp_path / "cache"), out, plan=True)
    said = capsys.readouterr().out
    assert said.startswith("SYNTHETIC images")
    rows = [line.split() for line in said.splitlines()]
    assert ["backbone", "resnet18", "convnext_t"] in rows  # was set
    assert ["optimizer", "sgd", "auto"] in rows  # was open
    (clients,) = [row for row in rows if row[:2] == ["all", "clients"]]
    assert clients[-1] == "18"
    assert ["global", "test", "set", "70"] in rows
    assert ["a", "client,", "a", "round", "44.76", "44.76"] in rows
    # 2 GB for Flower and Ray, the weights, their sum, and the replies of all clients under way.
    held = 2 + min(3, messages_under_way(joblib.cpu_count()))
    (server,) = [row for row in rows if row[:3] == ["server,", "Flower,", "Ray"]]
    assert server[3] == f"{2 + held * 0.045:.1f}"
    assert any(row[:4] == ["decoded", "images", "0", "MB"] for row in rows)
    assert any(row[:3] == ["activations", "0.3", "GB"] for row in rows)
    assert "coverage = 0.9 needs 9 validation images, and there are 6" in said
    assert "Nothing was trained, and no folder was made" in said
    assert not out.exists()
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("command", ["clip", "heads"])
def test_a_centralized_run_is_planned(
    command: str, synthetic_ham: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """24 of 30 images are trained on in an epoch, 6 validate; nothing travels."""
    run = clip_command if command == "clip" else heads_command
    run(None, options(synthetic_ham, tmp_path), tmp_path / "out", plan=True)
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines()]
    assert any(row[:3] == ["all", "images", "train"] and row[-1] == "24" for row in rows)
    assert any(row[:4] == ["an", "epoch", "25", "s"] for row in rows)
    assert "Communication" not in said
    assert ("Fitting the heads is not in the time" in said) == (command == "heads")


@pytest.mark.parametrize("key", ["weights", "images", "folder"])
def test_what_is_missing_is_said_as_the_run_would(
    key: str, synthetic_ham: Path, tmp_path: Path
) -> None:
    out, changes = tmp_path / "out", {}
    error: type[Exception] = ConfigError
    if key == "weights":
        changes = {"pretrained": True, "weights_dir": tmp_path}
        error = WeightsError
    elif key == "images":
        changes = {"data_dir": ""}
    else:
        out.mkdir()
        (out / "config.toml").touch()
        error = RunFolderError
    given = options(synthetic_ham, tmp_path, **changes)
    said = []
    for plan in (True, False):
        with pytest.raises(error) as refused:
            simulate_command(None, given, out, plan=plan)
        said.append(str(refused.value))
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("--resume", {"resume": True}),
        ("--seeds", {"seeds": "0,1"}),
        ("--ray-address", {"ray_address": "auto"}),
    ],
)
def test_a_plan_is_for_one_new_run_here(option: str, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"leave out {option}"):
        simulate_command(plan=True, **given)


def test_a_coordinator_says_what_it_can_know(
    synthetic_ham: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not how many images the sites have, nor how long a round takes; 1,000 images take 1,000 s."""
    monkeypatch.setattr(site_plan, "measure_steps", measure)
    changes = {"dataset": "ham10000", "test_dir": synthetic_ham}
    wanted = tiny_config(Path(), tmp_path, data_dir="", **changes)
    sites, out = ["hospital-a", "hospital-b", "hospital-c"], RunFolder(tmp_path / "out")
    site_plan.show_site_plan(Console(width=120), wanted, prepare_deployed(wanted), sites, out)
    said = capsys.readouterr().out
    assert said.startswith("SYNTHETIC images")
    rows = [line.split() for line in said.splitlines()]
    assert ["hospital-b", "unknown", "before", "it", "connects"] in rows
    assert ["global", "test", "set", "70"] in rows
    assert ["a", "round", "134.28", "134.28"] in rows
    assert "unknown before the sites connect" in said
    assert "17 min to train on 1000 images for a round (of" in said
    assert not out.path.exists()


def test_a_coordinator_says_what_features_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a head, a thousand images: 0.1 ms each, 32 steps of 1 ms, for two models; 0.1 s each."""
    times = StepTime(1e-4, 1e-3, 0.1, 0.1, 3 * 10**8, 4, SMALL_RUN)
    monkeypatch.setattr(
        site_plan, "measure_steps", lambda configs, *_: {setting(each): times for each in configs}
    )
    changes = {"dataset": "ham10000", "trainable": "head", "strategy": "ditto", "batch_size": 32}
    wanted = tiny_config(Path(), tmp_path, data_dir="", **changes)
    sites, out = ["hospital-a", "hospital-b", "hospital-c"], RunFolder(tmp_path / "out")
    site_plan.show_site_plan(Console(width=300), wanted, prepare_deployed(wanted), sites, out)
    said = capsys.readouterr().out
    assert "One core here takes 0.26 s to train on 1000 images for a round (of" in said
    assert "after 1.7 min once for their features" in said


@pytest.mark.slow
def test_a_run_is_as_its_plan_said(synthetic_ham: Path, tmp_path: Path) -> None:
    """The bytes of its messages to the byte, its images, and that its features are kept then."""
    changes = {"rounds": 2, "strategy": "scaffold", "optimizer": "sgd", "wire_format": "int8"}
    changes |= {"trainable": "adapter"}
    given = tiny_options(synthetic_ham, tmp_path / "cache", **changes)
    told = fedskin("simulate", *given, "--out", "out", "--plan", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert not (tmp_path / "out").exists()
    config = tiny_config(synthetic_ham, tmp_path / "cache", **changes)
    plan = plan_run("simulate", config)
    assert plan.traffic is not None
    assert plan.estimate.features > 0 < plan.feature_bytes
    ran = fedskin("simulate", *given, "--out", "out", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    lines = (tmp_path / "out" / "rounds.jsonl").read_text().splitlines()
    for record in map(json.loads, lines):
        assert record["bytes_sent"] == 3 * plan.traffic.down
        assert record["bytes_received"] == 3 * plan.traffic.up
    clients = read_json(tmp_path / "out" / "manifest.json")["clients"].values()
    counts = [
        {"train": each.train, "validation": each.validation, "test": each.test}
        for each in plan.division.counts.clients
    ]
    assert counts == list(clients)
    again = plan_run("simulate", config)
    assert (again.decoding, again.store_bytes) == (0, 0)
    assert (again.estimate.features, again.feature_bytes) == (0, 0)


@pytest.mark.parametrize("decay, models", [(0.0, 2), (0.9, 3)])
def test_what_is_judged_at_the_end_is_sent_to_every_client(
    decay: float, models: int, tmp_path: Path
) -> None:
    """The last model, the best, and the moving average if there is one, of 10 MB each."""
    config = tiny_config(Path(), tmp_path, data_dir="", clients=4, ema_decay=decay)
    table = traffic_table(Traffic(down=0, up=0, judged=10**7), 4, config)
    assert list(table.columns[1].cells)[-1] == f"{models * 40}.00"
