"""The tables at the end of a run."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.console import Console
from experiments.console import Console as DisplayConsole
from experiments.display import RunDisplay
from experiments.figures_table import update_warnings, updates_table
from experiments.head_results import show_heads
from experiments.results import show_results, traffic_table
from tests.generated_campaign import write_campaign
from tests.support import write_rounds
from training.checkpoint import Progress
from training.errors import RunFolderError
from training.run_folder import RunFolder
from training.score_counts import ScoreCounts
from training.scores import SCORES, further_scores, score_block


def record(failures: int, transport: float, waiting: float = 0.0) -> dict[str, Any]:
    """A round of three clients: 30 MB to them, 2 MB from each that did not fail."""
    answered = 3 - failures
    return {
        "bytes_sent": 30_000_000,
        "bytes_received": 2_000_000 * answered,
        "clients": {f"client-{index}": {} for index in range(answered)},
        "failures": {f"client-{2 - index}": "its process died" for index in range(failures)},
        "seconds": {"round": 10.0, "transport": transport, "waiting": waiting},
    }


def test_what_travelled() -> None:
    """30 MB to three clients are 10 to each, also to one that fails; 6 and 4 from five are 2."""
    table = traffic_table([record(0, 1.5), record(1, 2.0)])
    assert list(table.columns[1].cells) == ["10.00", "60.00"]
    assert list(table.columns[2].cells) == ["2.00", "10.00"]
    assert table.caption == "Transport: 3.5 s of the rounds' 20.0 s"


def test_waiting_for_a_turn_is_said_apart_from_transport() -> None:
    table = traffic_table([record(0, 1.5, 0.5), record(0, 2.0, 4.0)])
    assert str(table.caption).splitlines() == [
        "Transport: 3.5 s of the rounds' 20.0 s",
        "Clients waiting for their turn: 4.5 s",
    ]


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, RunFolder]:
    """A finished run of each command."""
    names = write_campaign(tmp_path, rounds=3, backbones=["swin_t"])
    return {name.split("-")[0]: RunFolder(tmp_path / "trials" / name) for name in names}


def shown(folder: RunFolder, show: Any = show_results) -> list[str]:
    """The lines that a person sees on a terminal of 80 columns."""
    output = io.StringIO()
    show(Console(file=output, width=80), folder)
    lines = output.getvalue().splitlines()
    assert max(len(line) for line in lines if str(folder.path) not in line) <= 80
    return lines


def row(lines: list[str], name: str) -> list[list[str]]:
    """The cells of every row that a name begins."""
    return [line.split() for line in lines if line.strip().startswith(name)]


def change(folder: RunFolder, old: str = "", new: str = "", **metrics: Any) -> None:
    """Change keys of metrics.json, then one word throughout."""
    text = json.dumps({**folder.metrics(), **metrics})
    folder.write_metrics(json.loads(text.replace(old, new) if old else text))


def test_a_run_whose_clients_have_arrays_of_their_own_says_of_which_model_its_figures_are(
    runs: dict[str, RunFolder],
) -> None:
    said = "arrays stay at the clients"
    assert said not in " ".join(shown(runs["simulate"]))
    change(runs["simulate"], local_arrays=100)
    assert f"100 {said}: each client's figures are of a model of its own" in " ".join(
        " ".join(shown(runs["simulate"])).split()
    )
    metrics = runs["simulate"].metrics()
    del metrics["global_test"]
    runs["simulate"].write_metrics(metrics)
    assert "There is no global test set" not in " ".join(shown(runs["simulate"]))


def test_the_shared_model_has_rows_beside_the_clients_own(runs: dict[str, RunFolder]) -> None:
    metrics = runs["simulate"].metrics()
    shared = {**metrics["clients"]["client-1"], "acc": 12.34}
    pooled = {**metrics["client_test"], "acc": 98.76}
    change(runs["simulate"], shared={"client_test": pooled, "clients": {"client-1": shared}})
    lines = shown(runs["simulate"])
    own, of_shared, *_ = row(lines, "client-1")
    assert own[2] == f"{metrics['clients']['client-1']['acc']:.2f}"
    assert of_shared[:5] == ["client-1,", "shared", "model", str(shared["n"]), "12.34"]
    assert row(lines, "client-2, shared")[0][3:] == ["–"] * 8, "it did not answer"
    assert any("98.76" in line for line in lines)
    assert "but for rows of the shared model" in " ".join(" ".join(lines).split())


def test_recall_by_class_stands_below_with_melanoma_first(runs: dict[str, RunFolder]) -> None:
    """Nine nevi of ten images: the study's figures look well, and no melanoma was found."""
    confusion = [[0] * 7] * 4 + [[0, 0, 0, 0, 0, 3, 0], [0, 0, 0, 0, 0, 27, 0], [0] * 7]
    block = score_block(ScoreCounts(np.array(confusion)))
    intervals = runs["simulate"].metrics()["global_test"]["intervals"]
    change(runs["simulate"], global_test={**block, "loss": 1.0, "intervals": intervals})
    lines = shown(runs["simulate"])
    figures, recall, scores = row(lines, "global test set")
    assert figures[3:7] == ["30", "90.00", "50.00", "2"], "BACC is over 2 classes"
    assert recall[3:] == ["0/3", "–", "–", "–", "–", "27/27", "–"]
    # By predicted classes alone nothing is said of probabilities; kappa is 0, and MCC 0/0.
    assert scores[3:10] == ["–", "50.00", "85.71", "–", "–", "0.000", "–"]
    heads, *_ = [line.split() for line in lines if "akiec" in line]
    assert heads[-7:] == ["mel", "akiec", "bcc", "bkl", "df", "nv", "vasc"]
    assert row(lines, "nv ")[-1][1:4] == ["–", "100.00", "0.00"]


def test_every_table_of_figures_says_recall_by_class(runs: dict[str, RunFolder]) -> None:
    for folder, show in (
        (runs["clip"], show_results),
        (runs["simulate"], show_results),
        (runs["heads"], show_heads),
    ):
        lines = shown(folder, show)
        assert "Recall by class: found, of how many" in " ".join(lines)
        assert "over: how many classes occur; BACC is their mean recall" in " ".join(lines)
    heads = shown(runs["heads"], show_heads)
    block = runs["heads"].metrics()["heads"]["svm"]
    mel = block["confusion"][4]
    assert f"{mel[4]}/{sum(mel)}" == row(heads, "+SVM")[1][1]


def test_brain_scans_begin_with_high_grade_and_tell_patients(runs: dict[str, RunFolder]) -> None:
    lines = shown(runs["clip"])
    heads, *_ = [line.split() for line in lines if "LGG" in line]
    assert heads[-2:] == ["HGG", "LGG"]
    assert [cells[-1].split("/")[1] for cells in row(lines, "by patient")[2:4]] == ["16", "16"]
    block = runs["clip"].metrics()["global_test"]["patients"]
    assert row(lines, "by patient")[4][2] == f"{block['auroc']:.2f}"


def test_a_complete_run_says_so(runs: dict[str, RunFolder]) -> None:
    text = " ".join(" ".join(shown(runs["simulate"])).split())
    assert "Every client took part in all rounds (3 of 3)." in text
    assert "all clients, pooled" in text
    assert (
        "The best round is the one with the highest AVG on the clients' validation images" in text
    )
    assert "took part" not in " ".join(shown(runs["clip"])), "a centralized run has no clients"


def test_without_validation_images_nobody_chose_the_best_round(runs: dict[str, RunFolder]) -> None:
    none = ScoreCounts(np.zeros((7, 7), dtype=np.int64))
    nothing = {**score_block(none), "loss": 0.0, "missing": {}}
    change(runs["simulate"], validation=nothing)
    text = " ".join(" ".join(shown(runs["simulate"])).split())
    assert "No client has validation images, so the last round counts as the best." in text
    assert "is the one with" not in text


def test_of_a_loss_the_lowest_is_best(runs: dict[str, RunFolder]) -> None:
    change(runs["simulate"], best_by="loss")
    text = " ".join(" ".join(shown(runs["simulate"])).split())
    assert "The best round is the one with the lowest LOSS on the clients'" in text
    change(runs["simulate"], best_by="loss", best_rounds={"client-0": 1})
    text = " ".join(" ".join(shown(runs["simulate"])).split())
    assert "Each client's best round is the one with the lowest LOSS on its own" in text


def test_who_is_missing_is_named(runs: dict[str, RunFolder]) -> None:
    final = runs["simulate"].metrics()
    del final["clients"]["client-2"]
    missing = {"client-2": "its process died"}
    change(
        runs["simulate"],
        "client-2",
        "client-2 (vidir_molemax)",
        clients=final["clients"],
        participation={"client-0": 3, "client-1": 3, "client-2": 1},
        client_test={**final["client_test"], "missing": missing},
        validation={**final["validation"], "missing": missing},
    )
    lines = shown(runs["simulate"])
    text = " ".join(" ".join(lines).split())
    assert "NOT COMPLETE: some clients are missing from these figures." in text
    assert "client-0: in 3 of 3 rounds" in text
    assert (
        "client-2 (vidir_molemax): in 1 of 3 rounds, not in the validation of the best round, "
        "not in the pooled test figures"
    ) in text
    assert "2 of 3 clients, pooled" in text
    assert row(lines, "client-2 (vidir")[0][2:] == ["–"] * 8


def test_pooled_patients_of_fewer_clients_say_so(runs: dict[str, RunFolder]) -> None:
    """client-1 sends its images' counts only: the row by patient is of the other two."""
    pooled = runs["simulate"].metrics()["client_test"]
    patients = {**score_block(ScoreCounts(np.eye(7, dtype=np.int64))), "missing": {}}
    change(runs["simulate"], client_test={**pooled, "patients": patients})
    lines = shown(runs["simulate"])
    assert [cells[2] for cells in row(lines, "by patient")[:3]] == ["7", "1/1", "–"]
    missing = {"client-1": "sends no counts of patients"}
    change(
        runs["simulate"],
        client_test={**pooled, "patients": {**patients, "missing": missing}},
    )
    lines = shown(runs["simulate"])
    text = " ".join(" ".join(lines).split())
    assert text.count("by patient, 2 of 3 ") >= 3, "of the figures, the recalls and the scores"
    assert "all clients, pooled" in text
    assert "client-1: not in the pooled test figures by patient" in text


def test_every_table_of_figures_says_the_further_scores(runs: dict[str, RunFolder]) -> None:
    """A score that is not in percent has three decimals."""
    block = runs["simulate"].metrics()["client_test"]
    lines = shown(runs["simulate"])
    found = [cell for cells in row(lines, "all clients, pooled")[2:] for cell in cells[3:]]
    assert found == [
        f"{block[name]:.{2 if SCORES[name].in_percent else 3}f}" for name in further_scores()
    ]
    block = runs["heads"].metrics()["heads"]["svm"]
    assert row(shown(runs["heads"], show_heads), "+SVM")[2][1] == f"{block['auroc']:.2f}"


def test_whose_histograms_are_missing_is_said(runs: dict[str, RunFolder]) -> None:
    """The run is complete all the same: the study's six figures are of everybody."""
    pooled = runs["simulate"].metrics()["client_test"]
    why = {"client-1": "sends no histograms"}
    change(runs["simulate"], client_test={**pooled, "no_histograms": why})
    text = " ".join(" ".join(shown(runs["simulate"])).split())
    assert (
        "client-1 sends no histograms: its images are not in the clients' pooled AUROC, ECE, BRIER."
    ) in text
    assert "NOT COMPLETE" not in text


def test_a_score_that_no_round_has_chose_no_round(runs: dict[str, RunFolder]) -> None:
    validation = {**runs["simulate"].metrics()["validation"], "mcc": None}
    change(runs["simulate"], best_by="mcc", validation=validation)
    text = " ".join(" ".join(shown(runs["simulate"])).split())
    assert "MCC is defined in no round, so the last round counts as the best." in text


def test_what_must_be_known_of_the_images_stands_below(runs: dict[str, RunFolder]) -> None:
    for command in ("simulate", "clip"):
        data = runs[command].manifest()["data"]
        notice = "5,015 of 10,015 images that the table names are missing in /data"
        runs[command].update_manifest(data={**data, "notices": [notice]})
        assert notice in " ".join(" ".join(shown(runs[command])).split())


def test_another_versions_run_is_refused_in_a_line(runs: dict[str, RunFolder]) -> None:
    final = runs["simulate"].metrics()
    del final["participation"]
    runs["simulate"].write_metrics(final)
    with pytest.raises(RunFolderError, match="was written by another version, 'participation'"):
        shown(runs["simulate"])


def updated(number: int, norms: list[float], cosine: float | None, *warnings: str) -> dict:
    clients = {
        f"client-{index}": {"update": {"norm": norm, "cosine": cosine, "clipped": norm > 100}}
        for index, norm in enumerate(norms)
    }
    return {"round": number, "clients": clients, "warnings": list(warnings)}


def test_how_far_each_client_moved_the_weights() -> None:
    """client-1's norms are 2, 4 and 900; client-2 answered once, and its weights stayed."""
    rounds = [updated(1, [1.0, 2.0, 0.0], 0.5), updated(2, [1.0, 4.0], 0.7)]
    rounds.append(updated(3, [1.0, 900.0], None, "the update of client-1 is long"))
    table = updates_table(rounds)
    cells = [list(column.cells) for column in table.columns]
    assert [str(name) for name in cells[0]] == ["client-0", "client-1", "client-2"]
    assert cells[1:] == [
        ["3", "3", "1"],
        ["1.00", "4.00", "0.00"],
        ["1.00", "900", "0.00"],
        ["0.60", "0.60", "0.50"],
        ["0", "1", "0"],
    ]
    assert [str(line) for line in update_warnings(rounds)] == [
        "Round 3: the update of client-1 is long"
    ]


def test_an_update_that_was_named_stands_below_the_tables(runs: dict[str, RunFolder]) -> None:
    folder = runs["simulate"]
    records = folder.rounds()
    records[1]["warnings"] = ["the update of client-1 (norm 400) is 1,000 times the median"]
    write_rounds(folder, records)
    text = " ".join(" ".join(shown(folder)).split())
    assert "Round 2: the update of client-1 (norm 400) is 1,000 times the median" in text
    assert "The clients' updates" in text


def test_an_update_is_named_while_the_run_goes_on(runs: dict[str, RunFolder]) -> None:
    """After its own round, not a round later with the line of its validation; and once."""
    folder = runs["simulate"]
    odd = {**folder.rounds()[-1], "round": 4, "warnings": ["the update of [client-1] is long"]}
    del odd["validation"]
    (folder.path / "checkpoint").mkdir(exist_ok=True)
    folder.checkpoint.save(Progress(round=4, best_round=1, records=[*folder.rounds(), odd]))
    output = io.StringIO()
    display = RunDisplay(DisplayConsole(file=output, width=200), rounds=9)
    display.show(folder)
    display.show(folder)
    assert output.getvalue().count("round 4: the update of [client-1] is long") == 1
