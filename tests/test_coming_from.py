"""docs/coming-from.md: every key, value and file that it names on our side exists."""

import re
from pathlib import Path

import pytest

from training.config import DEFAULTS
from training.config_file import read_config
from training.errors import ConfigError

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "coming-from.md").read_text(encoding="utf-8")

# Calls are parsed with those of other pages, in tests/test_deploy.py.
NOT_KEYS = re.compile(r"fedskin |flwr run |fedskin\.|make |-c |--track |flwr\.")


def our_words() -> list[str]:
    """What the last column of each table names, without commands."""
    rows = re.findall(r"^\|.*\| ([^|]+) \|$", PAGE, re.M)
    words = [word for row in rows for word in re.findall(r"`([^`]+)`", row)]
    return sorted({word for word in words if not NOT_KEYS.match(word)})


def exists(word: str) -> bool:
    key, equals, value = word.partition(" = ")
    if key not in DEFAULTS:
        pages = [(DOCS / name).read_text("utf-8") for name in ("run-folder.md", "deployment.md")]
        return not equals and any(f"`{word}`" in page for page in pages)
    if not equals:
        return True
    try:
        read_config(None, [f"{key}={value}"])
    except ConfigError as error:  # also where a value needs another key, which is named first
        return "allowed is" not in str(error)
    return True


@pytest.mark.parametrize("word", our_words())
def test_what_is_named_exists(word: str) -> None:
    assert exists(word)


def test_many_are_found_and_a_wrong_one_would_be_noticed() -> None:
    assert len(our_words()) > 60
    wrong = ("strategi = fedavg", "strategy = fedavgg", "no-such-key", "rounds.txt", "seed = -1")
    assert [word for word in wrong if exists(word)] == []


def test_links_lead_somewhere() -> None:
    for page, anchor in re.findall(r"\]\(([^)#]*)(#[^)]*)?\)", PAGE):
        if not page.startswith("http"):
            text = (DOCS / page).read_text("utf-8") if page.endswith(".md") else ""
            assert (DOCS / page).exists()
            target = text if page else PAGE
            heads = re.findall(r"^#+ (.+)$", target, re.M)
            names = [re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads]
            assert not anchor or anchor[1:] in names, page + anchor
