"""``fedskin runs`` lists the runs below a folder, and removes those that failed."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from experiments import runs as runs_module
from experiments.cli import app
from experiments.console import Console
from tests.generated_campaign import write_campaign
from tests.support import BACKBONE, make_config
from training.run_folder import RunFolder
from training.run_state import RunState
from training.scores import as_text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A campaign with a trial of each command, and copies of the federated one in other states."""
    names = write_campaign(tmp_path / "campaign", rounds=3, backbones=["swin_t"])
    trials = tmp_path / "campaign" / "trials"
    federated = next(trials / name for name in names if name.startswith("simulate"))
    for state in (RunState.FAILED, RunState.RUNNING):
        run = tmp_path / state
        run.mkdir()
        for name in ("config.toml", "manifest.json"):
            (run / name).write_bytes((federated / name).read_bytes())
        RunFolder(run).update_manifest(status=state, cause="no luck" if state == "failed" else None)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.toml").write_text("rounds = 3")
    (tmp_path / "broken" / "manifest.json").write_text("{")
    return tmp_path


def runs(*arguments: object, answer: str = "") -> Result:
    return CliRunner().invoke(app, ["runs", *map(str, arguments)], input=answer)


def listed(*arguments: object) -> dict[str, dict[str, object]]:
    return {run["run"]: run for run in json.loads(runs(*arguments, "--json").stdout)}


def test_a_line_has_the_figures_of_the_run(folder: Path) -> None:
    found = listed(folder)
    assert {name for name in found if "/" not in name} == {"failed", "running", "broken"}
    for name, run in found.items():
        if run["state"] == "completed":
            of = RunFolder(folder / name)
            block = of.metrics()["global_test"]
            assert [run[key] for key in ("avg", "bacc", "auroc")] == [
                block[key] for key in ("avg", "bacc", "auroc")
            ]
            assert run["done"] == run["rounds"] == 3
            assert run["bytes"] == sum(p.stat().st_size for p in of.path.rglob("*") if p.is_file())
            assert bool(run["method"]) == (run["command"] == "simulate")
            assert f"{run['run']} " in runs(folder).stdout, "whole, however long"


def test_the_list_says_what_the_figures_are_of_where_runs_differ_in_it(folder: Path) -> None:
    """Local and FedBN have no global test set, Ditto's global test set judges its shared model."""
    assert {run["on"] for run in listed(folder).values()} == {"global test", ""}
    assert "  on  " not in runs(folder).stdout.splitlines()[0]
    federated = (n for n, run in listed(folder, "--where", "state=completed").items() if "sim" in n)
    changes: dict[str, dict[str, object]] = {
        "global test": {"shared": {}},
        "clients' tests": {},
        "clients' tests, own models": {"local_arrays": 122},
    }
    for name, (on, change) in zip(federated, changes.items(), strict=False):
        run = RunFolder(folder / name)
        metrics = run.metrics() | change
        if on != "global test":
            del metrics["global_test"]
        run.write_metrics(metrics)
        (found,) = listed(folder, "--where", f"run={name}").values()
        assert found["on"] == on
        assert found["avg"] == metrics.get("global_test", metrics["client_test"])["avg"]
    head, *lines = runs(folder).stdout.splitlines()
    assert "  on  " in head
    place = head.index("  on  ") + 2
    assert {line[place:].split("  ")[0] for line in lines if " completed " in line} == {*changes}
    assert len(listed(folder, "--where", "on=clients' tests")) == 1


def test_seeds_are_named_where_runs_differ_in_them_and_a_narrow_table_is_shortened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seed in (("first", 0), ("second", 0)):
        run = RunFolder(tmp_path / name)
        run.create(make_config(seed=seed))
        run.update_manifest(status="failed", command="simulate", started="2026-01-01T00:00:00")
    assert "seed" not in runs(tmp_path).stdout.splitlines()[0].split()
    config = make_config(seed=7)
    (tmp_path / "second" / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    assert runs(tmp_path, "--key", "seed").stdout.splitlines()[0].split().count("seed") == 1
    same = f"the same in all: command simulate, method fedavg, backbone {BACKBONE}, data ham10000"
    for width, narrow in ((80, True), (200, False)):
        terminal = Console(force_terminal=True, width=width, color_system=None)
        monkeypatch.setattr(runs_module, "console", terminal)
        head, *lines = runs(tmp_path, "--sort", "run").stdout.splitlines()
        place = head.split().index("seed")
        assert [line.split()[place] for line in lines[:2]] == ["0", "7"]
        assert ("backbone" not in head.split()) is narrow
        assert (same in lines) is narrow
        assert all(len(line) <= width for line in (head, *lines[:2]))


def test_a_run_whose_heads_are_not_fitted_says_so(folder: Path) -> None:
    name = next(name for name, run in listed(folder).items() if run["command"] == "heads")
    assert listed(folder)[name]["cause"] == ""
    run = RunFolder(folder / name)
    metrics = run.metrics()
    del metrics["heads"]
    run.write_metrics(metrics)
    said = f"{name}: completed: its network is trained, the heads are not fitted yet"
    assert said in runs(folder).stdout.splitlines()


def test_the_average_of_a_runs_models_is_listed_where_there_is_one(folder: Path) -> None:
    assert "EMA" not in runs(folder).stdout
    name = next(name for name, run in listed(folder).items() if run["state"] == "completed")
    run = RunFolder(folder / name)
    average = {"avg": 12.25, "bacc": 23.5, "auroc": None}
    run.write_metrics({**run.metrics(), "ema": {"global_test": average}})
    found = listed(folder, "--sort", "ema_bacc")
    assert next(iter(found)) == name
    for other, values in found.items():
        figures = {key: values[f"ema_{key}"] for key in average}
        assert figures == (average if other == name else dict.fromkeys(average))
    head, first, *_ = runs(folder, "--sort", "ema_bacc").stdout.splitlines()
    assert "  EMA AVG  EMA BACC  EMA AUROC  began" in head
    assert first.split()[0] == name
    assert all(as_text(key, figure) in first.split() for key, figure in average.items())


def test_figures_are_sorted_with_the_best_first_and_no_figure_last(folder: Path) -> None:
    figures = [run["bacc"] for run in listed(folder, "--sort", "bacc").values()]
    known = [figure for figure in figures if figure is not None]
    assert known == sorted(known, reverse=True)
    assert figures[len(known) :] == [None] * 3


def test_conditions_hold_together(folder: Path) -> None:
    found = listed(folder, "--where", "command=simulate", "--where", "state=failed")
    assert found.keys() == {"failed"}
    assert "no such runs" in runs(folder, "--where", "backbone=none").stdout


def test_keys_of_the_config_are_columns_too(folder: Path) -> None:
    """Numbers of a config from the lowest on; a value as it is written after ``-c``."""
    for rate, name in ((0.5, "failed"), (0.25, "running")):
        path = folder / name / "config.toml"
        config = RunFolder(folder / name).config().replace(learning_rate=rate, pretrained=False)
        path.write_text(config.to_toml(), encoding="utf-8")
    asked = ("--where", "pretrained=false", "--sort", "learning-rate")
    found = listed(folder, *asked)
    assert list(found) == ["running", "failed"]
    assert found["failed"]["config"]["learning-rate"] == 0.5  # type: ignore[index]
    keys = ("--key", "learning-rate", "--key", "loss", "--key", "backbone")
    head, *lines = runs(folder, *asked, *keys).stdout.splitlines()
    assert head.split()[7:9] == ["learning-rate", "loss"]
    assert head.split().count("backbone") == 1
    assert [line.split()[7] for line in lines[:2]] == ["0.25", "0.5"]
    assert "–" in runs(folder, "--where", "state=damaged", "--key", "loss").stdout.split()


@pytest.mark.parametrize(
    "condition", ["learning-rate=2.5e-1", "learning-rate=0.250", "loss=cross*", "run=runn*"]
)
def test_a_condition_is_a_pattern_and_a_number_is_a_number(folder: Path, condition: str) -> None:
    path = folder / "running" / "config.toml"
    config = RunFolder(folder / "running").config().replace(learning_rate=0.25)
    path.write_text(config.to_toml(), encoding="utf-8")
    assert "running" in listed(folder, "--where", condition)
    assert "running" not in listed(folder, "--where", condition.replace("2", "3").replace("*", ""))


def test_values_of_any_kind_are_sorted_and_printed(folder: Path) -> None:
    """Another version, or a hand, may have written them."""
    written = {"failed": "[1, 2]", "running": "2026-01-01"}
    for name, value in written.items():
        path = folder / name / "config.toml"
        path.write_text(path.read_text().replace("seed = 0", f"seed = {value}"), encoding="utf-8")
    found = listed(folder, "--sort", "seed")
    order = [run["config"].get("seed") for run in found.values()]  # type: ignore[attr-defined]
    assert order[-3:] == ["2026-01-01", "[1, 2]", None]
    (folder / "failed" / "config.toml").write_text("strategy = nan", encoding="utf-8")
    assert "NaN" not in runs(folder, "--json").stdout


def test_a_folder_without_runs_knows_no_keys_and_refuses_none(tmp_path: Path) -> None:
    assert "no such runs" in runs(tmp_path, "--where", "loss=focal").stdout


def test_a_run_without_a_process_is_lost_once_it_had_the_time_to_begin(folder: Path) -> None:
    assert listed(folder)["running"]["state"] == "running", "it may be about to take its lock"
    os.utime(folder / "running" / "manifest.json", (0, 0))
    with RunFolder(folder / "running").lock():
        assert listed(folder)["running"]["state"] == "running"
    assert listed(folder)["running"]["state"] == "lost"


def test_a_run_over_sites_waits_for_its_coordinator(folder: Path) -> None:
    RunFolder(folder / "running").update_manifest(command="run")
    os.utime(folder / "running" / "manifest.json", (0, 0))
    assert listed(folder)["running"]["state"] == "running"


def test_a_lost_run_is_removed_and_a_network_that_heads_use_stays(folder: Path) -> None:
    os.utime(folder / "running" / "manifest.json", (0, 0))
    heads = folder / "heads"
    heads.mkdir()
    (heads / "config.toml").write_bytes((folder / "failed" / "config.toml").read_bytes())
    origin = {"run": "../failed", "weights_sha256": "", "command": "simulate"}
    RunFolder(heads).update_manifest(command="heads", status=RunState.COMPLETED, **{"from": origin})
    said = runs(folder, "--clean", answer="y\n").stdout
    assert "Runs removed: 1" in said
    assert "failed: failed, stays: heads use its network" in said
    assert not (folder / "running").exists()
    assert (folder / "failed").is_dir()


def test_a_campaigns_trials_stay_wherever_one_stands(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = next(folder.glob("campaign/trials/simulate*"))
    RunFolder(trial).update_manifest(status=RunState.FAILED)
    monkeypatch.chdir(trial.parent)
    said = runs(".", "--clean", answer="y\n").stdout
    assert "There is nothing to remove below ." in said
    assert f"{trial.name}: failed, stays: its campaign attempts it again" in said
    assert trial.is_dir()


def test_what_failed_is_removed_if_the_answer_is_yes(folder: Path) -> None:
    trial = next(folder.glob("campaign/trials/simulate*"))
    RunFolder(trial).update_manifest(status=RunState.FAILED)
    asked = runs(folder, "--clean", "--key", "loss", answer="n\n").stdout
    assert "failed: no luck" in asked
    assert "loss" in asked.splitlines()[0].split()
    assert (folder / "failed").is_dir()
    answered = runs(folder, "--clean", answer="y\n").stdout
    assert "Runs removed: 1" in answered
    left = listed(folder)
    assert "failed" not in left
    assert left.keys() >= {"running", "broken", trial.relative_to(folder).as_posix()}
    said = runs(folder, "--clean").stdout
    assert "There is nothing to remove" in said
    assert "broken: damaged, stays: only you can tell" in said
    assert "no failed or lost runs" in runs(folder, "--clean", "--where", "state=completed").stdout


def test_a_run_that_another_process_took_up_meanwhile_stays(folder: Path) -> None:
    (folder / "too").mkdir()
    for name in ("config.toml", "manifest.json"):
        (folder / "too" / name).write_bytes((folder / "failed" / name).read_bytes())
    with RunFolder(folder / "failed").lock():
        answered = runs(folder, "--clean", answer="y\n").stdout
    assert "failed: another process is running this run: it stays" in answered
    assert "Runs removed: 1" in answered
    assert not (folder / "too").exists()


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("manifest.json", "{", "{run}/manifest.json: is damaged, or of another version; copy the"),
        ("manifest.json", "{}", "manifest.json lacks command, status"),
        ("manifest.json", '{"command": "run"}', "manifest.json lacks status"),
        ("metrics.json", "{}", "metrics.json lacks rounds"),
        ("metrics.json", '{"rounds": 3, "global_test": 3}', "an entry of its files is of another"),
        ("metrics.json", None, "{run}: is incomplete: metrics.json is missing; copy the folder"),
        ("config.toml", "rounds = 3", "config.toml lacks strategy, backbone, dataset"),
        ("config.toml", "rounds =", "{run}/config.toml: is not TOML: Invalid value"),
    ],
)
def test_a_damaged_run_is_in_the_list_with_the_reason_in_plain_words(
    name: str, content: str | None, cause: str, folder: Path
) -> None:
    run = next(folder.glob("campaign/trials/simulate*"))
    (run / name).unlink()
    if content is not None:
        (run / name).write_text(content)
    found = listed(folder)[run.relative_to(folder).as_posix()]
    assert found["state"] == "damaged"
    assert str(found["cause"]).startswith(cause.format(run=run))


def test_what_is_removed_after_a_question_is_not_json(folder: Path) -> None:
    assert "--clean: asks" in str(runs(folder, "--clean", "--json").exception)
    assert (folder / "failed").is_dir()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--sort", "bac"], "did you mean bacc"),
        (["--where", "nothing=1"], "nothing: is no column and no key of a config"),
        (["--key", "los"], "los: is no key of a config; did you mean loss"),
        (["--key", "bacc"], "bacc: is no key of a config"),
        (["--where", "state"], "--where state: has no value; write state=VALUE"),
    ],
)
def test_an_unknown_column_is_refused(folder: Path, arguments: list[str], said: str) -> None:
    assert said in str(runs(folder, *arguments).exception)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "is not a folder" in str(runs(tmp_path / "none").exception)
