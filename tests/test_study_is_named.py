"""Every text that speaks of "the study" names it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KINDS = ("", ".py", ".md", ".toml", ".html", ".js", ".sh")
FOLDERS = (
    *("data_partition", "models", "strategies", "training", "operation", "fl_server", "fl_client"),
    *("experiments", "deploy", "docs"),
)
SPEAKS = re.compile(r"\bthe study\b", re.IGNORECASE)

TITLE = "Deep Modeling and Optimization of Medical Image Classification"
NAMED_IN_FULL = (
    *("README.md", "docs/study.md", "experiments/reporting/study_figures.py"),
    *(f"experiments/campaigns/{name}.toml" for name in ("task1-clip", "task2-federated")),
    "experiments/campaigns/task3-heads.toml",
)


def words(path: str) -> str:
    """A file's text on one line, without what marks comments."""
    return " ".join((ROOT / path).read_text(encoding="utf-8").replace("#", " ").split())


@pytest.mark.parametrize("path", NAMED_IN_FULL)
def test_the_study_is_named_in_full(path: str) -> None:
    text = words(path)
    for part in (TITLE, "2505.23040", "AIPMLab/SkinCancerSimulation"):
        assert part in text, part


def test_every_other_file_points_to_where_it_is_named() -> None:
    files = [*ROOT.glob("*.md"), ROOT / "Makefile"]
    files += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")]
    speaking = {
        path: text
        for path in files
        if path.suffix in KINDS and SPEAKS.search(text := path.read_text(encoding="utf-8"))
    }
    assert len(speaking) > 30
    silent = [path for path, text in speaking.items() if "study.md" not in text]
    assert silent == [ROOT / "docs" / "study.md"]
