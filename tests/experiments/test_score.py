"""``fedskin score`` as a person meets it; the official scorer has tests of its own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments import challenge
from tests.data_partition.layouts import metadata, one_hot, write
from tests.experiments.scored_runs import ANSWERS, LABELS, Score, write_answers
from tests.runs import read_json
from training.run_folder import RunFolder

# Plain, mel precedes nv and wins, and one of two bkl is found: recalls 1, 1, 1/2, 1, 1, 1, 1.
PLAIN_BACC = 100 * 6.5 / 7


# By the official rules mel is wrong, and the bkl that is wrong does not count.
OFFICIAL_BACC = 100 * 6 / 7


@pytest.fixture
def scorer_says(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Puts a balanced accuracy into the official scorer's mouth."""

    def scorer_says(accuracy: float) -> None:
        figures = {"bacc": 100 * accuracy, "version": "5.6.0"}
        monkeypatch.setattr(challenge, "official_figures", lambda *_: figures)

    return scorer_says


def test_three_counts_side_by_side(
    scored_folder: RunFolder, truth: Path, score_run: Score, scorer_says: Callable[[float], None]
) -> None:
    scorer_says(6 / 7)
    ended = score_run(scored_folder.path, truth)
    assert (ended.status, ended.errors) == (0, [])
    found = read_json(scored_folder.path / "score.json")
    assert found["plain"]["bacc"] == pytest.approx(PLAIN_BACC, rel=1e-12)
    assert found["official_rules"]["bacc"] == pytest.approx(OFFICIAL_BACC, rel=1e-12)
    assert found["official"] == {
        "bacc": pytest.approx(OFFICIAL_BACC, rel=1e-12),
        "version": "5.6.0",
    }
    assert (found["plain"]["n"], found["official_rules"]["n"]) == (9, 8)
    assert (found["ties"], found["left_out"], found["other_labels"]) == (1, ["ISIC_0035068"], 0)
    shown = [line.split() for line in ended.output.splitlines()]

    def row(name: str) -> list[str]:
        """The cells behind the name, in the first table that has it."""
        words = name.split()
        return next(cells for cells in shown if cells[: len(words)] == words)[len(words) :]

    # n, ACC, BACC and its classes: of nine images eight are right; of eight seven; the scorer
    # gives BACC alone.
    assert row("plain")[:4] == ["9", "88.89", "92.86", "7"]
    assert row("official rules, by fedskin")[:4] == ["8", "87.50", "85.71", "7"]
    assert row("official scorer") == ["–", "–", "85.71", "–", "–", "–", "–", "–"]
    assert "Recall by class" in ended.output
    assert "Images with tied maxima: 1," in ended.output
    assert "Left out under the official rules: ISIC_0035068" in ended.output
    assert "another label" not in ended.output


def test_the_submission_is_the_challenges_table_in_the_truths_order(
    scored_folder: RunFolder, truth: Path, score_run: Score
) -> None:
    score_run(scored_folder.path, truth)
    lines = (scored_folder.path / "submission.csv").read_text().splitlines()
    assert lines[:3] == [
        "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC",
        "ISIC_0035068,0.0,1.0,0.0,0.0,0.0,0.0,0.0",
        "ISIC_0034531,0.5,0.5,0.0,0.0,0.0,0.0,0.0",
    ]
    assert len(lines) == 1 + len(LABELS)


def test_the_submission_holds_every_bit_so_that_only_ties_tie(
    scored_folder: RunFolder, truth: Path, score_run: Score
) -> None:
    """Answers of mel and nv that are neighbours among float32, and answers that are equal."""
    third = np.float32(1 / 3)
    answers = ANSWERS.copy()
    answers[7, 4:6] = np.nextafter(third, np.float32(1)), third
    answers[0, 4:6] = third
    write_answers(scored_folder, "global_test", LABELS, answers)
    score_run(scored_folder.path, truth)
    assert read_json(scored_folder.path / "score.json")["ties"] == 1
    lines = (scored_folder.path / "submission.csv").read_text().splitlines()
    written = {line.split(",")[0]: line.split(",")[1:3] for line in lines}
    assert np.array(written["ISIC_0034531"], np.float32).tolist() == answers[7, 4:6].tolist()
    assert float(written["ISIC_0034531"][0]) > float(written["ISIC_0034531"][1])
    assert len(set(written["ISIC_0034524"])) == 1


def test_dataverses_truth_gives_the_same(
    scored_folder: RunFolder, truth: Path, tmp_path: Path, score_run: Score
) -> None:
    score_run(scored_folder.path, truth)
    by_challenge = read_json(scored_folder.path / "score.json")
    score_run(scored_folder.path, write(tmp_path / "truth.tab", metadata(LABELS, "\t")))
    assert read_json(scored_folder.path / "score.json") == by_challenge


def test_without_the_extra_all_that_is_ours_is_done(
    scored_folder: RunFolder, truth: Path, score_run: Score
) -> None:
    ended = score_run(scored_folder.path, truth)
    assert ended.status == 2
    (line,) = ended.errors
    assert line.startswith(
        f"fedskin: {scored_folder.path}: no official score; the extra 'score' is not"
    )
    assert "pip install -c constraints.txt -e '.[score]'" in line
    found = read_json(scored_folder.path / "score.json")
    assert found["official"] is None
    assert found["official_rules"]["bacc"] == pytest.approx(OFFICIAL_BACC, rel=1e-12)
    assert (scored_folder.path / "submission.csv").is_file()


@pytest.mark.parametrize("difference, status", [(0.9e-9, 0), (1.1e-9, 1), (-1.1e-9, 1)])
def test_disagreement_is_said_and_fails(
    difference: float,
    status: int,
    scored_folder: RunFolder,
    truth: Path,
    score_run: Score,
    scorer_says: Callable[[float], None],
) -> None:
    scorer_says(6 / 7 + difference)
    ended = score_run(scored_folder.path, truth)
    assert ended.status == status
    assert len(ended.errors) == status
    if status:
        assert "differs by 1.1e-09 from fedskin's" in ended.errors[0]


def test_a_head_is_judged_by_its_answer_and_scored_by_its_probabilities(
    scored_folder: RunFolder, truth: Path, score_run: Score
) -> None:
    """The head answers nv where it is undecided: plain, mel is wrong, too: (5 + 1/2)/7."""
    predicted = [*list(LABELS.values())[:7], "nv", "nv"]
    write_answers(scored_folder, "heads-knn", LABELS, ANSWERS, predicted)
    score_run(scored_folder.path, truth, "--head", "knn")
    found = read_json(scored_folder.path / "score-heads-knn.json")
    assert found["plain"]["bacc"] == pytest.approx(100 * 5.5 / 7, rel=1e-12)
    assert found["official_rules"]["bacc"] == pytest.approx(OFFICIAL_BACC, rel=1e-12)
    assert (scored_folder.path / "submission-heads-knn.csv").is_file()
    assert not (scored_folder.path / "score.json").exists()


def test_another_truth_than_the_runs_is_said(
    scored_folder: RunFolder, tmp_path: Path, score_run: Score
) -> None:
    changed = write(tmp_path / "truth.csv", one_hot({**LABELS, "ISIC_0034525": "mel"}))
    ended = score_run(scored_folder.path, changed)
    assert "a different label in the truth than in the run: 1" in ended.output


def test_synthetic_images_are_called_so(
    scored_folder: RunFolder, truth: Path, score_run: Score
) -> None:
    scored_folder.update_manifest(data={"synthetic": True})
    assert "SYNTHETIC" in score_run(scored_folder.path, truth).output
