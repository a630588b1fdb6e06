"""What the pages show of TOML is TOML: whole files of this version's keys, and single keys."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from experiments.campaigns.campaign_file import read_campaign
from training.config import DEFAULTS, parse

CHECKOUT = Path(__file__).parents[1]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(
        re.findall(r"^```toml\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    )
]


def check_file(text: str, path: Path) -> str:
    """Read a file as the program does, and return its kind.

    Raises:
        ConfigError, ValueError: it is not TOML, or a key or a value is wrong.
    """
    values = tomllib.loads(text)
    if "part" in values:
        path.write_text(text, encoding="utf-8")
        read_campaign(path)
        return "campaign"
    if values.keys() & DEFAULTS.keys():
        parse(values)
        return "config"
    for table in values.get("data", {}).values():  # a part of a campaign
        parse(table)
    return "other"


def unquoted(text: str) -> list[str]:
    """Return each ``key = value`` within sentences that would not be TOML."""
    found = []
    for key, value in re.findall(r"`([a-z0-9-]+)\s=\s([^`]+)`", text):
        try:
            tomllib.loads(f"{key} = {value}")
        except tomllib.TOMLDecodeError:
            if key in DEFAULTS:
                found.append(f"{key} = {value}")
    return found


@pytest.mark.parametrize("block", BLOCKS)
def test_a_file_that_is_shown_is_read(block: str, tmp_path: Path) -> None:
    assert check_file(block, tmp_path / "campaign.toml") in ("config", "campaign", "other")


def test_whole_files_are_among_them(tmp_path: Path) -> None:
    kinds = [check_file(block.values[0], tmp_path / "c.toml") for block in BLOCKS]  # type: ignore[arg-type]
    assert kinds.count("config") >= 2
    assert kinds.count("campaign") >= 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_text_has_quotes(page: Path) -> None:
    assert unquoted(page.read_text("utf-8")) == []


def test_what_is_wrong_would_be_noticed(tmp_path: Path) -> None:
    wrong: list[Any] = ['strategi = "fedavg"\nrounds = 2', 'strategy = "fedavgg"', "rounds = two"]
    for text in wrong:
        with pytest.raises(ValueError):
            check_file(text, tmp_path / "c.toml")
    assert unquoted("`strategy = local`, `rounds = 2`, `no-key = x`") == ["strategy = local"]
