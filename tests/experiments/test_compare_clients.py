"""``fedskin compare --clients``: runs on their clients' own test images."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from experiments.reporting.run_results import answers_of
from tests.experiments.compared_runs import compare, compared, refusal
from tests.experiments.reporting.hospital_campaign import LABELS, write_hospital_campaign
from training import score_differences
from training.predictions import read_predictions
from training.run_folder import RunFolder
from training.score_counts import Answers
from training.scores import score_block

HOSPITALS = ("north", "south", "west")
CLIENTS = "--clients"


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign's folder; nobody writes to it."""
    folder = tmp_path_factory.mktemp("compare") / "campaign"
    write_hospital_campaign(folder, losses=["balanced"])
    return folder


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(score_differences.score_differences.__kwdefaults__, "resamples", 60)


@pytest.fixture
def runs(campaign: Path, tmp_path: Path) -> dict[str, Path]:
    """Copies of the runs of seed 0, by strategy."""
    found = {}
    for path in (campaign / "trials").iterdir():
        config = RunFolder(path).config()
        if config.seed == 0:
            found[config.strategy] = shutil.copytree(path, tmp_path / config.strategy)
    return found


def own_answers(run: Path, classes: list[str]) -> list[Answers]:
    files = [run / f"clients/client-{number}/predictions-test.csv" for number in range(3)]
    return [answers_of(read_predictions(file), classes) for file in files]


def test_every_client_is_judged_by_its_own_model(runs: dict[str, Path]) -> None:
    """Local has no global model, and of Ditto the clients' own models are compared."""
    sides = [runs["local"], runs["fedavg"], runs["ditto"]]
    found = compared(CLIENTS, *sides)
    assert found["images"] == 3 * len(LABELS)
    assert found["unit"] == "lesion"
    assert found["notes"] == [
        "C, Ditto: the figures are of the clients' own models, not of the shared one."
    ]
    accuracy, baccs = [], []
    for run, side in zip(sides, found["sides"], strict=True):
        answers = own_answers(run, found["classes"])
        right = sum(int((one.predicted == one.labels).sum()) for one in answers)
        assert side["scores"]["acc"] == pytest.approx(100 * right / (3 * len(LABELS)))
        baccs.append([score_block(one.counts())["bacc"] for one in answers])
        accuracy.append(side["scores"]["acc"])
    assert accuracy == sorted(accuracy)
    assert "clients" not in found["sides"][0]
    for side, ours in zip(found["sides"][1:], baccs[1:], strict=True):
        rows = side["clients"]
        assert [row["client"] for row in rows] == list(HOSPITALS)
        assert [row["images"] for row in rows] == [len(LABELS)] * 3
        assert [row["first"] for row in rows] == pytest.approx(baccs[0])
        assert [row["second"] for row in rows] == pytest.approx(ours)
        for row in rows:
            assert row["difference"] == pytest.approx(row["second"] - row["first"], abs=1e-4)
            assert row["low"] < row["difference"] < row["high"]
            assert row["p_value"] <= row["p_holm"]


def test_the_terminal_and_the_page_have_a_table_by_client(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = compare(CLIENTS, runs["local"], runs["fedavg"], "--out", out)
    assert result.exit_code == 0, result.exception
    said = " ".join(result.output.split())
    assert "By client, BACC: B minus A" in said
    about = f"{3 * len(LABELS)} test images of 3 clients, the same for all; each is classified by"
    assert f"{about} its client's model. Intervals are over their" in said
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "By client, BACC: B minus A" in page
    assert (out / "figures" / "differences-by-client.svg").is_file()
    table = pd.read_csv(out / "tables" / "clients-1.csv")
    assert list(table["client"]) == list(HOSPITALS)
    changed = json.loads((out / "comparison.json").read_text())["sides"][1]["changed"]
    north = [one for one in changed if one["image_id"].startswith("0-")]
    was_right = sum(one["change"] == "right → wrong" for one in north)
    markdown = (out / "tables" / "clients-1.md").read_text(encoding="utf-8")
    (row,) = (line for line in markdown.splitlines() if line.startswith("| north"))
    _, name, images, *_, worse, better, _ = (cell.strip() for cell in row.split("|"))
    expected = ("north", str(len(LABELS)), str(was_right), str(len(north) - was_right))
    assert (name, images, worse, better) == expected


def test_settings_of_a_campaign(campaign: Path) -> None:
    """Another seed makes other test images of each client."""
    found = compared(CLIENTS, campaign, "strategy=local,seed=0", "strategy=ditto,seed=0")
    assert found["sides"][1]["scores"]["acc"] > found["sides"][0]["scores"]["acc"]
    said = refusal(CLIENTS, campaign, "strategy=local", "strategy=ditto")
    assert f"{3 * len(LABELS)} images of ham10000 at 3 clients" in said
    assert said.endswith("compare runs with the same clients, split and seed")


def test_what_has_no_answers_of_clients_is_refused(runs: dict[str, Path]) -> None:
    first, second = runs["local"], runs["fedavg"]
    assert "heads are judged on the global test set only" in refusal(
        CLIENTS, first, f"{second}:knn"
    )
    RunFolder(second).update_manifest(command="run")
    assert "--clients is for simulations; other runs have no predictions" in refusal(
        CLIENTS, first, second
    )
    RunFolder(second).update_manifest(command="simulate")
    path = second / "clients" / "client-1" / "predictions-test.csv"
    pd.read_csv(path).iloc[1:].to_csv(path, index=False)
    said = refusal(CLIENTS, first, second)
    assert f"{path}: is of {len(LABELS) - 1} images, and metrics.json counts {len(LABELS)}" in said
    pd.read_csv(path).assign(mel="?").to_csv(path, index=False)
    assert f"{path}: is damaged" in refusal(CLIENTS, first, second)
    path.unlink()
    assert f"{path}: cannot be read" in refusal(CLIENTS, first, second)
    blocks = RunFolder(second).metrics()
    for damaged in ([], {"client-0": None}, {"client-0": {"acc": 1.0}}):
        RunFolder(second).write_metrics({**blocks, "clients": damaged})
        assert "metrics.json: " in refusal(CLIENTS, first, second)


def test_lesions_are_a_clients_own_and_a_client_may_know_none(runs: dict[str, Path]) -> None:
    """Two images of a lesion each, an odd one alone; those of the last client are drawn alone."""
    before = compared(CLIENTS, runs["local"], runs["fedavg"])
    assert before["units"] == 3 * -(-len(LABELS) // 2)
    for run in (runs["local"], runs["fedavg"]):
        for number in range(3):
            path = run / "clients" / f"client-{number}" / "predictions-test.csv"
            table = pd.read_csv(path)
            lesions = [f"lesion {index // 2}" for index in range(len(table))]
            table = (
                table.assign(lesion_id=lesions) if number < 2 else table.drop(columns="lesion_id")
            )
            table.to_csv(path, index=False)
    found = compared(CLIENTS, runs["local"], runs["fedavg"])
    assert found["units"] == 2 * -(-len(LABELS) // 2) + len(LABELS)
    for side, earlier in zip(found["sides"], before["sides"], strict=True):
        assert side["scores"] == earlier["scores"]


def test_clients_are_in_the_order_of_their_numbers(runs: dict[str, Path]) -> None:
    for run in (runs["local"], runs["fedavg"]):
        metrics = RunFolder(run).metrics()
        metrics["clients"] = {
            name.partition(" ")[0]: block for name, block in metrics["clients"].items()
        }
        metrics["clients"]["client-10"] = metrics["clients"].pop("client-1")
        (run / "clients" / "client-1").rename(run / "clients" / "client-10")
        RunFolder(run).write_metrics(metrics)
    rows = compared(CLIENTS, runs["local"], runs["fedavg"])["sides"][1]["clients"]
    assert [row["client"] for row in rows] == ["client-0", "client-2", "client-10"]


def test_clients_with_other_images_are_refused(runs: dict[str, Path]) -> None:
    """The same images at other clients are another question."""
    first, second = runs["local"], runs["fedavg"]
    metrics = RunFolder(second).metrics()
    names = {"client-0 (north)": "client-0 (south)", "client-1 (south)": "client-1 (north)"}
    metrics["clients"] = {names.get(k, k): block for k, block in metrics["clients"].items()}
    RunFolder(second).write_metrics(metrics)
    assert "compare runs with the same clients, split and seed" in refusal(CLIENTS, first, second)


def test_without_it_the_refusal_names_it(runs: dict[str, Path]) -> None:
    (runs["local"] / "predictions-global_test.csv").unlink()
    result = compare(runs["fedavg"], runs["local"])
    assert "with --clients" in str(result.exception)
