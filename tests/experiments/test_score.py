"""``fedskin score`` as a person meets it; the official scorer has tests of its own."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from experiments import challenge, cli
from experiments.command_runner import run_command_line
from tests.data_partition.layouts import metadata, one_hot, write
from tests.experiments.scored_runs import finished_run, sure_of, write_answers
from tests.runs import read_json
from tests.support import make_config
from training.run_folder import RunFolder

LABELS = {
    "ISIC_0034524": "nv",
    "ISIC_0034525": "nv",
    "ISIC_0034526": "akiec",
    "ISIC_0034527": "bcc",
    "ISIC_0034528": "bkl",
    "ISIC_0034529": "df",
    "ISIC_0034530": "vasc",
    "ISIC_0034531": "mel",
    "ISIC_0035068": "bkl",
}
# All are right but the last two: of mel it is undecided between mel and nv, and the image that
# the official rules leave out is answered nv.
ANSWERS = sure_of(*list(LABELS.values())[:8], "nv")
ANSWERS[7] = [0, 0, 0, 0, 0.5, 0.5, 0]

# Plain, mel precedes nv and wins, and one of two bkl is found: recalls 1, 1, 1/2, 1, 1, 1, 1.
PLAIN_BACC = 100 * 6.5 / 7
# By the official rules mel is wrong, and the bkl that is wrong does not count.
OFFICIAL_BACC = 100 * 6 / 7


class Ended(NamedTuple):
    status: int
    output: str
    errors: list[str]


Score = Callable[..., Ended]


@pytest.fixture
def score_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Score:
    """``fedskin score`` in this process, on a machine without the official scorer."""
    monkeypatch.setitem(sys.modules, "isic_challenge_scoring", None)  # cannot be imported

    def score_run(*arguments: object) -> Ended:
        with pytest.raises(SystemExit) as ended:
            run_command_line(lambda: cli.app(["score", *map(str, arguments)]))
        output, errors = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, output, errors.splitlines())

    return score_run


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return finished_run(tmp_path / "run", LABELS, ANSWERS)


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """The challenge's truth, in another order than the run's answers."""
    return write(tmp_path / "truth.csv", one_hot(dict(reversed(LABELS.items()))))


@pytest.fixture
def scorer_says(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Puts a balanced accuracy into the official scorer's mouth."""

    def scorer_says(accuracy: float) -> None:
        figures = {"bacc": 100 * accuracy, "version": "5.6.0"}
        monkeypatch.setattr(challenge, "official_figures", lambda *_: figures)

    return scorer_says


def test_three_counts_side_by_side(
    folder: RunFolder, truth: Path, score_run: Score, scorer_says: Callable[[float], None]
) -> None:
    scorer_says(6 / 7)
    ended = score_run(folder.path, truth)
    assert (ended.status, ended.errors) == (0, [])
    found = read_json(folder.path / "score.json")
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
    folder: RunFolder, truth: Path, score_run: Score
) -> None:
    score_run(folder.path, truth)
    lines = (folder.path / "submission.csv").read_text().splitlines()
    assert lines[:3] == [
        "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC",
        "ISIC_0035068,0.0,1.0,0.0,0.0,0.0,0.0,0.0",
        "ISIC_0034531,0.5,0.5,0.0,0.0,0.0,0.0,0.0",
    ]
    assert len(lines) == 1 + len(LABELS)


def test_the_submission_holds_every_bit_so_that_only_ties_tie(
    folder: RunFolder, truth: Path, score_run: Score
) -> None:
    """Answers of mel and nv that are neighbours among float32, and answers that are equal."""
    third = np.float32(1 / 3)
    answers = ANSWERS.copy()
    answers[7, 4:6] = np.nextafter(third, np.float32(1)), third
    answers[0, 4:6] = third
    write_answers(folder, "global_test", LABELS, answers)
    score_run(folder.path, truth)
    assert read_json(folder.path / "score.json")["ties"] == 1
    lines = (folder.path / "submission.csv").read_text().splitlines()
    written = {line.split(",")[0]: line.split(",")[1:3] for line in lines}
    assert np.array(written["ISIC_0034531"], np.float32).tolist() == answers[7, 4:6].tolist()
    assert float(written["ISIC_0034531"][0]) > float(written["ISIC_0034531"][1])
    assert len(set(written["ISIC_0034524"])) == 1


def test_dataverses_truth_gives_the_same(
    folder: RunFolder, truth: Path, tmp_path: Path, score_run: Score
) -> None:
    score_run(folder.path, truth)
    by_challenge = read_json(folder.path / "score.json")
    score_run(folder.path, write(tmp_path / "truth.tab", metadata(LABELS, "\t")))
    assert read_json(folder.path / "score.json") == by_challenge


def test_without_the_extra_all_that_is_ours_is_done(
    folder: RunFolder, truth: Path, score_run: Score
) -> None:
    ended = score_run(folder.path, truth)
    assert ended.status == 2
    (line,) = ended.errors
    assert line.startswith(f"fedskin: {folder.path}: no official score; the extra 'score' is not")
    assert "pip install -c constraints.txt -e '.[score]'" in line
    found = read_json(folder.path / "score.json")
    assert found["official"] is None
    assert found["official_rules"]["bacc"] == pytest.approx(OFFICIAL_BACC, rel=1e-12)
    assert (folder.path / "submission.csv").is_file()


@pytest.mark.parametrize("difference, status", [(0.9e-9, 0), (1.1e-9, 1), (-1.1e-9, 1)])
def test_disagreement_is_said_and_fails(
    difference: float,
    status: int,
    folder: RunFolder,
    truth: Path,
    score_run: Score,
    scorer_says: Callable[[float], None],
) -> None:
    scorer_says(6 / 7 + difference)
    ended = score_run(folder.path, truth)
    assert ended.status == status
    assert len(ended.errors) == status
    if status:
        assert "differs by 1.1e-09 from fedskin's" in ended.errors[0]


def test_a_head_is_judged_by_its_answer_and_scored_by_its_probabilities(
    folder: RunFolder, truth: Path, score_run: Score
) -> None:
    """The head answers nv where it is undecided: plain, mel is wrong, too: (5 + 1/2)/7."""
    predicted = [*list(LABELS.values())[:7], "nv", "nv"]
    write_answers(folder, "heads-knn", LABELS, ANSWERS, predicted)
    score_run(folder.path, truth, "--head", "knn")
    found = read_json(folder.path / "score-heads-knn.json")
    assert found["plain"]["bacc"] == pytest.approx(100 * 5.5 / 7, rel=1e-12)
    assert found["official_rules"]["bacc"] == pytest.approx(OFFICIAL_BACC, rel=1e-12)
    assert (folder.path / "submission-heads-knn.csv").is_file()
    assert not (folder.path / "score.json").exists()


def test_another_truth_than_the_runs_is_said(
    folder: RunFolder, tmp_path: Path, score_run: Score
) -> None:
    changed = write(tmp_path / "truth.csv", one_hot({**LABELS, "ISIC_0034525": "mel"}))
    ended = score_run(folder.path, changed)
    assert "a different label in the truth than in the run: 1" in ended.output


def test_synthetic_images_are_called_so(folder: RunFolder, truth: Path, score_run: Score) -> None:
    folder.update_manifest(data={"synthetic": True})
    assert "SYNTHETIC" in score_run(folder.path, truth).output


def without(image_id: str) -> dict[str, str]:
    return {name: label for name, label in LABELS.items() if name != image_id}


BAD_TRUTHS = {
    "no table": ("Dear patient,\n", ["truth.csv: is not a ground truth file"]),
    "image twice": (
        one_hot(LABELS).replace("ISIC_0034525", "ISIC_0034524"),
        ["ISIC_0034524 has two rows"],
    ),
    "class missing": (one_hot(without("ISIC_0034529")), ["no scored image is of class df"]),
    # The only other bkl is the one that does not count.
    "class left out": (
        one_hot(without("ISIC_0034528")),
        ["class bkl", "give the whole ground truth"],
    ),
    "header only": (one_hot({}), ["class akiec, bcc, bkl, df, mel, nv, vasc"]),
    "images missing": (
        one_hot(without("ISIC_0034525")),
        ["only in the truth: none; only in the predictions: ISIC_0034525;"],
    ),
    "other images": (
        one_hot({name.replace("ISIC", "X"): label for name, label in LABELS.items()}),
        ["only in the truth: X_0034524, X_0034525, X_0034526 and 6 more;"],
    ),
}


@pytest.mark.parametrize("name", BAD_TRUTHS)
def test_a_bad_truth_is_one_line_and_status_2(
    name: str, folder: RunFolder, tmp_path: Path, score_run: Score
) -> None:
    text, words = BAD_TRUTHS[name]
    ended = score_run(folder.path, write(tmp_path / "truth.csv", text))
    check_refused(ended, words)
    assert not (folder.path / "submission.csv").exists()


def edit(old: str, new: str) -> Callable[[RunFolder], None]:
    """Changes the first ``old`` of the predictions."""

    def edit(folder: RunFolder) -> None:
        path = folder.path / "predictions-global_test.csv"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return edit


def unreadable(folder: RunFolder) -> None:
    (folder.path / "predictions-global_test.csv").write_bytes(b"\xff\xfe\x00image_id")


def emptied(folder: RunFolder) -> None:
    (folder.path / "predictions-global_test.csv").write_text("")


def no_predictions(folder: RunFolder) -> None:
    (folder.path / "predictions-global_test.csv").unlink()


def running(folder: RunFolder) -> None:
    folder.update_manifest(status="running")


def no_run(folder: RunFolder) -> None:
    (folder.path / "config.toml").unlink()


def on_brains(folder: RunFolder) -> None:
    config = make_config().replace(dataset="brats2019")
    (folder.path / "config.toml").write_text(config.to_toml())


def on_own_classes(folder: RunFolder) -> None:
    config = make_config().replace(dataset="table")
    (folder.path / "config.toml").write_text(config.to_toml())
    folder.update_manifest(data={"classes": ["mole", "wart"], "synthetic": True})


BAD_RUNS: dict[str, tuple[Callable[[RunFolder], None], list[str]]] = {
    "no run": (no_run, ["is not a run folder"]),
    "not finished": (running, ["not completed", "--resume"]),
    "BraTS2019": (on_brains, ["BraTS2019"]),
    "own classes": (on_own_classes, ["is a run on the classes mole, wart; the challenge is on"]),
    "no predictions": (no_predictions, ["no such predictions", "global test set"]),
    "no text": (unreadable, ["is not a readable table", "copy the folder again"]),
    "empty": (emptied, ["is not a readable table", "copy the folder again"]),
    "torn rows": (edit("1.0,", '"'), ["is not a readable table"]),
    "no column": (edit("vasc", "vascular"), ["lacks the column vasc"]),
    "image twice": (edit("ISIC_0034525", "ISIC_0034524"), ["image ISIC_0034524 has two rows"]),
    "word": (edit("1.0", "sure"), ["image ISIC_0034524 has 'sure' for nv"]),
    "nothing": (edit("1.0", ""), ["image ISIC_0034524 has '' for nv", "not a number in [0, 1]"]),
    "NaN": (edit("1.0", "nan"), ["image ISIC_0034524 has 'nan' for nv"]),
    "infinity": (edit("1.0", "inf"), ["image ISIC_0034524 has 'inf' for nv"]),
    "too large": (edit("1.0", "1.5"), ["image ISIC_0034524 has '1.5' for nv"]),
    "negative": (edit("0.0", "-0.5"), ["image ISIC_0034524 has '-0.5' for akiec"]),
}


@pytest.mark.parametrize("name", BAD_RUNS)
def test_a_bad_run_is_one_line_and_status_2(
    name: str, folder: RunFolder, truth: Path, score_run: Score
) -> None:
    spoil, words = BAD_RUNS[name]
    spoil(folder)
    ended = score_run(folder.path, truth)
    check_refused(ended, [str(folder.path), *words])
    assert not (folder.path / "submission.csv").exists()


def test_a_bad_head_is_one_line_and_status_2(
    folder: RunFolder, truth: Path, score_run: Score
) -> None:
    check_refused(score_run(folder.path, truth, "--head", "svm"), ["run fedskin heads first"])
    write_answers(folder, "heads-svm", LABELS, ANSWERS)
    check_refused(score_run(folder.path, truth, "--head", "svm"), ["lacks the column predicted"])
    write_answers(folder, "heads-svm", LABELS, ANSWERS, ["nv", "naevus", *["nv"] * 7])
    check_refused(
        score_run(folder.path, truth, "--head", "svm"),
        ["image ISIC_0034525 has the prediction 'naevus', which is not a class"],
    )
    assert score_run(folder.path, truth, "--head", "tree").status == 2


def check_refused(ended: Ended, words: list[str]) -> None:
    assert ended.status == 2
    (line,) = ended.errors
    assert line.startswith("fedskin: ")
    assert all(word in line for word in words), line
