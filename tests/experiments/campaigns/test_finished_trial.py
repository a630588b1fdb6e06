"""A trial's folder is read whole, or set aside with a reason in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.campaigns.ledger import read_ledger
from tests.experiments.campaigns.trials import edit, halve, replace

Damage = Callable[[Path], object]


def halved(name: str) -> Damage:
    return lambda run: halve(run / name)


def removed(name: str) -> Damage:
    return lambda run: (run / name).unlink()


def edited(name: str, change: Callable[[Any], object]) -> Damage:
    return lambda run: edit(run / name, change)


def replaced(name: str, old: str, new: str) -> Damage:
    return lambda run: replace(run / name, old, new)


def renamed(name: str) -> Damage:
    return lambda run: run.rename(run.with_name(name.format(run.name)))


def without_last_round(run: Path) -> None:
    lines = (run / "rounds.jsonl").read_bytes().splitlines(keepends=True)
    (run / "rounds.jsonl").write_bytes(b"".join(lines[:-1]))


DAMAGE: dict[str, tuple[Damage, str]] = {
    "a manifest cut in half": (
        halved("manifest.json"),
        "manifest.json: is not JSON: EOF while parsing",
    ),
    "a manifest without the data": (
        edited("manifest.json", lambda m: m.pop("data")),
        "manifest.json: data: Field required",
    ),
    "a time that is none": (
        edited("manifest.json", lambda m: m.update(started="at noon")),
        "manifest.json: started: Input should be a valid datetime",
    ),
    "no figures": (
        removed("metrics.json"),
        "metrics.json: cannot be read: No such file or directory",
    ),
    "figures cut in half": (
        halved("metrics.json"),
        "metrics.json: Invalid JSON: EOF while parsing",
    ),
    "a figure that is missing": (
        replaced("metrics.json", '"bacc"', '"balanced"'),
        "metrics.json: global_test.bacc: Field required",
    ),
    "a figure that is no percentage": (
        edited("metrics.json", lambda m: m["client_test"].update(acc=101)),
        "metrics.json: client_test.acc: Input should be less than or equal to 100",
    ),
    "counts that are not square": (
        edited("metrics.json", lambda m: m["client_test"].update(confusion=[[1, 2]])),
        "metrics.json: client_test: Value error, confusion is not square",
    ),
    "counts of other images": (
        edited("metrics.json", lambda m: m["client_test"].update(n=7)),
        "metrics.json: client_test: Value error, confusion does not count n = 7",
    ),
    "a score out of its range": (
        edited("metrics.json", lambda m: m["client_test"].update(kappa=-1.5)),
        "metrics.json: client_test.kappa: Input should be greater than or equal to -1",
    ),
    "a score of other classes": (
        edited("metrics.json", lambda m: m["client_test"]["by_class"].update(auroc=[50.0])),
        "metrics.json: client_test: Value error, by_class does not hold 7 figures of auroc",
    ),
    "a score of a class out of its range": (
        edited("metrics.json", lambda m: m["client_test"]["by_class"].update(auroc=[101.0] * 7)),
        "metrics.json: client_test: Value error, by_class does not hold 7 figures of auroc",
    ),
    "counts of other classes": (
        edited("manifest.json", lambda m: m["data"].update(classes=["mel", "nv"])),
        "metrics.json: confusion is not of 2 classes",
    ),
    "who took part in an earlier version": (
        edited("metrics.json", lambda m: m.pop("participation")),
        "metrics.json: participation: not of 3 clients",
    ),
    "a sample that its config does not have": (
        edited("metrics.json", lambda m: m.update(sampled=m["participation"])),
        "metrics.json: sampled: not as clients-per-round says",
    ),
    "a config that is no TOML": (
        lambda run: (run / "config.toml").write_text("seed = \n"),
        "config.toml: is not TOML: Invalid value (at line 1, column 8)",
    ),
    "a config that is no text": (
        lambda run: (run / "config.toml").write_bytes(b"\xff\xfe"),
        "config.toml: is not TOML: 'utf-8' codec can't decode",
    ),
    "a later version's key": (
        replaced("config.toml", "seed = 0", "seed = 0\nsecure-sums = true"),
        "config.toml: of another version, key secure-sums is unknown",
    ),
    "an earlier version's config": (
        replaced("config.toml", "min-replies = 2\n", ""),
        "config.toml: of another version, key min-replies is missing",
    ),
    "a value of the wrong type": (
        replaced("config.toml", "seed = 0", 'seed = "zero"'),
        "config.toml: seed = 'zero': allowed is an integer",
    ),
    "a config as a person writes it": (
        replaced("config.toml", "beta1 = 0.0", 'beta1 = "auto"'),
        "config.toml: holds auto: a config as written",
    ),
    "another backbone than its name says": (
        replaced("config.toml", "swin_t", "swin_s"),
        "holds a run of simulate with swin_s, not what its name says",
    ),
    "another command than its name says": (
        edited("manifest.json", lambda m: m.update(command="clip")),
        "holds a run of clip with swin_t, not what its name says",
    ),
    "rounds cut within a line": (
        halved("rounds.jsonl"),
        "rounds.jsonl, line 2: Invalid JSON: EOF while parsing",
    ),
    "rounds that lack the last line": (
        without_last_round,
        "rounds.jsonl: does not hold rounds 1 to 3",
    ),
    "no rounds": (
        removed("rounds.jsonl"),
        "rounds.jsonl: cannot be read: No such file or directory",
    ),
    "a foreign name": (
        renamed("my favourite run"),
        "its name is not that of a trial",
    ),
    "a copy": (
        renamed("{} (copy)"),
        "its name is not that of a trial",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_or_foreign_is_set_aside(
    three: dict[str, Path], tmp_path: Path, damage: str
) -> None:
    """The others' rows are there, and the folder is left as it is."""
    do, reason = DAMAGE[damage]
    do(three["simulate"])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    found = read_ledger(tmp_path)
    [(name, said)] = found.set_aside.items()
    assert (tmp_path / "trials" / name).is_dir()
    assert said.startswith(reason)
    assert "\n" not in said
    assert found.table["command"].unique().tolist() == ["clip", "heads"]
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
