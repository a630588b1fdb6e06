"""Our figures under the official rules against the challenge's own code, an extra."""

from pathlib import Path

import pandas as pd
import pytest

from data_partition.truth_file import as_one_hot
from experiments.challenge import ScorerError, official_figures
from tests.data_partition.layouts import metadata, one_hot, write
from tests.experiments.scored_runs import finished_run, neighbours_answers, write_answers
from tests.runs import fedskin, read_json

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", range(3))
def test_the_official_scorer_agrees_ties_and_all(seed: int, tmp_path: Path) -> None:
    """About a third of such answers tie; the image that is left out stands first in the truth."""
    labels, answers = neighbours_answers(300, seed)
    folder = finished_run(tmp_path / "run", labels, answers)
    truth = write(tmp_path / "truth.csv", one_hot(labels))
    result = fedskin("score", folder.path, truth, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    found = read_json(folder.path / "score.json")
    assert found["ties"] > 50
    assert found["left_out"] == ["ISIC_0035068"]
    assert found["official"]["version"] == "5.6.0"
    # In percent; 1e-9 of the accuracy itself.
    assert found["official"]["bacc"] == pytest.approx(found["official_rules"]["bacc"], abs=1e-7)
    assert found["official"]["bacc"] < found["plain"]["bacc"]


def test_a_head_and_dataverses_truth(tmp_path: Path) -> None:
    labels, answers = neighbours_answers(70, seed=3)
    folder = finished_run(tmp_path / "run", labels, answers)
    write_answers(folder, "heads-knn", labels, answers[::-1], list(labels.values()))
    truth = write(tmp_path / "truth.tab", metadata(labels, "\t"))
    result = fedskin("score", folder.path, truth, "--head", "knn", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    found = read_json(folder.path / "score-heads-knn.json")
    assert found["plain"]["bacc"] == 100.0
    assert found["official"]["bacc"] == pytest.approx(found["official_rules"]["bacc"], abs=1e-7)


def test_what_the_scorer_refuses_is_one_line(tmp_path: Path) -> None:
    labels, _ = neighbours_answers(14, seed=0)
    truth = pd.DataFrame({"image_id": list(labels), "label": list(labels.values())})
    submission = tmp_path / "submission.csv"
    as_one_hot(truth).iloc[1:].to_csv(submission, index=False)
    with pytest.raises(ScorerError, match=r"refuses submission.csv: Missing images .*0035068"):
        official_figures(truth, submission)
