"""The table of what is trained and sent, as it stands in the documentation."""

from pathlib import Path

import pytest

from experiments import backbones_command
from models.registry import BACKBONES

DOCS = Path(__file__).parents[2] / "docs" / "communication.md"


@pytest.fixture(scope="module")
def rows() -> list[list[str]]:
    return [backbones_command._row(name) for name in BACKBONES]


@pytest.mark.slow
def test_the_documentation_has_the_table_of_the_command(rows: list[list[str]]) -> None:
    table = backbones_command._markdown(rows)
    assert f"\n\n{table}\n\n" in DOCS.read_text(encoding="utf-8")


def test_a_row_counts_parameters_and_bytes() -> None:
    """convnext_t: a head of 7 (768 + 1) = 5,383 numbers, an adapter of 48 · 769 + 768 · 49 more.

    resnet18 has no layers for LoRA.
    """
    row = backbones_command._row("convnext_t")
    assert row[:6] == ["convnext_t", "27.8", "111", "0.005", "0.02", "0.02"]
    assert row[6:9] == ["0.080", "0.32", "0.29"]
    assert backbones_command._row("resnet18")[-3:] == ["–", "–", "–"]


def test_both_tables_have_every_backbone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backbones_command, "_row", lambda name: [name, *["1"] * 11])
    monkeypatch.setattr(backbones_command, "console", backbones_command.Console(width=80))
    for markdown in (True, False):
        backbones_command.backbones_command(markdown=markdown)
        shown = capsys.readouterr().out
        assert all(name in shown for name in BACKBONES)
