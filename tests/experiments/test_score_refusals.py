"""``fedskin score`` refuses a truth, a run or a head that cannot be scored, each in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data_partition.layouts import one_hot, write
from tests.experiments.scored_runs import ANSWERS, LABELS, Ended, Score, write_answers
from tests.support import make_config
from training.run_folder import RunFolder


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
    name: str, scored_folder: RunFolder, tmp_path: Path, score_run: Score
) -> None:
    text, words = BAD_TRUTHS[name]
    ended = score_run(scored_folder.path, write(tmp_path / "truth.csv", text))
    check_refused(ended, words)
    assert not (scored_folder.path / "submission.csv").exists()


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
    name: str, scored_folder: RunFolder, truth: Path, score_run: Score
) -> None:
    spoil, words = BAD_RUNS[name]
    spoil(scored_folder)
    ended = score_run(scored_folder.path, truth)
    check_refused(ended, [str(scored_folder.path), *words])
    assert not (scored_folder.path / "submission.csv").exists()


def test_a_bad_head_is_one_line_and_status_2(
    scored_folder: RunFolder, truth: Path, score_run: Score
) -> None:
    check_refused(
        score_run(scored_folder.path, truth, "--head", "svm"), ["run fedskin heads first"]
    )
    write_answers(scored_folder, "heads-svm", LABELS, ANSWERS)
    check_refused(
        score_run(scored_folder.path, truth, "--head", "svm"), ["lacks the column predicted"]
    )
    write_answers(scored_folder, "heads-svm", LABELS, ANSWERS, ["nv", "naevus", *["nv"] * 7])
    check_refused(
        score_run(scored_folder.path, truth, "--head", "svm"),
        ["image ISIC_0034525 has the prediction 'naevus', which is not a class"],
    )
    assert score_run(scored_folder.path, truth, "--head", "tree").status == 2


def check_refused(ended: Ended, words: list[str]) -> None:
    assert ended.status == 2
    (line,) = ended.errors
    assert line.startswith("fedskin: ")
    assert all(word in line for word in words), line
