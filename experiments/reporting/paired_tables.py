"""The tables of a paired comparison, for files and page."""

from typing import Any

import pandas as pd

from data_partition.datasets import in_naming_order
from experiments.figures_table import NONE
from experiments.reporting.paired import BETTER, WORSE, PairedComparison, Side
from experiments.reporting.tables import Table, p_text, signed, signed_range
from training.scores import ALL_SCORES, as_text

# As many changed images are on the page; the CSV file has all.
SHOWN = 200

_CHANGES = (WORSE, BETTER)


def paired_tables(comparison: PairedComparison) -> list[Table]:
    """Return the tables: of each further side its differences, then the tests and the images."""
    others = list(enumerate(comparison.others, start=1))
    makers = (_scores, _clients, _classes) if comparison.of_clients else (_scores, _classes)
    return [
        *(make(comparison, *side) for side in others for make in makers),
        _tests(comparison),
        *(_changed(comparison, *side) for side in others),
    ]


def score_names(comparison: PairedComparison) -> list[str]:
    """Return the names of the scores, without those of single classes."""
    return [name for name in comparison.scores.scores[0] if name in ALL_SCORES]


def score_label(name: str) -> str:
    """Return a score's name, and whether the lowest is best."""
    return name.upper() if ALL_SCORES[name].higher_is_better else f"{name.upper()} (low: best)"


def _difference(comparison: PairedComparison, number: int, name: str) -> tuple[str, str, Any]:
    """Return how a side differs from the first in a score: the difference and its interval as
    text, and both with the two scores as numbers."""
    found = comparison.scores.differences[number - 1][name]
    digits = ALL_SCORES[name.partition(".")[0]].digits
    value, interval = NONE, NONE
    if found is not None:
        value = signed(found.value, digits)
        if found.low is not None and found.high is not None:
            interval = signed_range(found.low, found.high, digits)
    numbers = {
        "first": comparison.scores.scores[0][name],
        "second": comparison.scores.scores[number][name],
        "difference": found and found.value,
        "low": found and found.low,
        "high": found and found.high,
    }
    return value, interval, numbers


def _scores(comparison: PairedComparison, number: int, side: Side) -> Table:
    first, numbers, cells = comparison.first, [], []
    for name in score_names(comparison):
        value, interval, found = _difference(comparison, number, name)
        numbers.append({"score": name, **found})
        cells.append(
            {
                "score": score_label(name),
                first.letter: as_text(name, found["first"]),
                side.letter: as_text(name, found["second"]),
                "difference": value,
                "95 %": interval,
            }
        )
    notes = [f"{first.title}.", f"{side.title}.", f"{comparison.about}."]
    if len(comparison.pairs) > 1:
        notes.append(f"Means over {len(comparison.pairs)} pairs; McNemar's test names them.")
    name, title = f"differences-{number}", f"{side.letter} minus {first.letter}"
    return Table.of(name, title, comparison.synthetic, numbers, cells, notes=notes)


def _clients(comparison: PairedComparison, number: int, side: Side) -> Table:
    """Return for each client the difference in BACC, and how many of its images changed."""
    first = comparison.first
    changed = comparison.changed[comparison.changed["side"] == side.letter]
    changes = changed.groupby("client")["change"].value_counts()
    rows = [one for one in comparison.of_clients if one.side == side.letter]
    cells = [
        {
            "client": one.client,
            "images": str(one.images),
            first.letter: as_text("bacc", one.first),
            side.letter: as_text("bacc", one.second),
            "difference": signed(one.difference),
            "95 %": signed_range(one.low, one.high),
            "p, Holm": p_text(one.p_holm),
            **{change: str(changes.get((one.client, change), 0)) for change in _CHANGES},
        }
        for one in rows
    ]
    notes = [
        f"Intervals and p: the answers of a random half of the {comparison.unit}s are exchanged.",
        "Holm: corrected for the number of clients and sides; intervals are not.",
    ]
    numbers = [vars(one) for one in rows]
    name, title = f"clients-{number}", f"By client, BACC: {side.letter} minus {first.letter}"
    return Table.of(name, title, comparison.synthetic, numbers, cells, notes=notes)


def _classes(comparison: PairedComparison, number: int, side: Side) -> Table:
    """Return for each class how many images changed, and the differences of its own figures."""
    of_classes = [name for name in score_names(comparison) if ALL_SCORES[name].by_class]
    changed = comparison.changed[comparison.changed["side"] == side.letter]
    changes = changed.groupby("label")["change"].value_counts()
    images = comparison.images["label"].value_counts()
    numbers, cells = [], []
    for label in in_naming_order(comparison.classes):
        cell = {"class": label, "images": str(images.get(label, 0))}
        cell |= {change: str(changes.get((label, change), 0)) for change in _CHANGES}
        for score in of_classes:
            value, interval, found = _difference(comparison, number, f"{score}.{label}")
            numbers.append({"class": label, "score": score, **found})
            cell[score.upper()] = value if interval == NONE else f"{value} ({interval})"
        cells.append(cell)
    name, title = f"classes-{number}", f"By class: {side.letter} minus {comparison.first.letter}"
    return Table.of(name, title, comparison.synthetic, numbers, cells)


def _tests(comparison: PairedComparison) -> Table:
    several, corrected = len(comparison.pairs) > 1, len(comparison.tests) > 1
    letter = comparison.first.letter
    cells = [
        {
            "side": test.side,
            **({"pair": test.pair} if several else {}),
            f"only {letter} right": str(test.only_first),
            "only the side right": str(test.only_second),
            "p": p_text(test.p_value),
            **({"p, Holm": p_text(test.p_holm)} if corrected else {}),
        }
        for test in comparison.tests
    ]
    notes = ["Exact and two-sided; it takes images as independent."]
    if corrected:
        notes.append("Holm: corrected for the number of tests; intervals are not.")
    numbers = [vars(test) for test in comparison.tests]
    title = f"McNemar's test against {letter}"
    return Table.of("mcnemar", title, comparison.synthetic, numbers, cells, notes=notes)


def _changed(comparison: PairedComparison, number: int, side: Side) -> Table:
    changed = comparison.changed[comparison.changed["side"] == side.letter]
    order = {label: rank for rank, label in enumerate(in_naming_order(comparison.classes))}
    keys = changed.assign(rank=changed["label"].map(order))
    changed = changed.loc[keys.sort_values(["change", "rank", "image_id", "pair"]).index]
    shown = changed.iloc[:SHOWN].astype(object)  # without rows, pandas takes text for numbers
    cells = pd.DataFrame({"image": shown["image_id"]})
    if len(comparison.pairs) > 1:
        cells["pair"] = shown["pair"]
    cells["is"] = shown["label"]
    sides = ((comparison.first.letter, "first"), (side.letter, "second"))
    for letter, which in sides:
        cells[letter] = shown[which]
    for letter, which in sides:
        cells[f"{letter}: true class, %"] = (100 * shown[f"{which}_of_true"]).map("{:.0f}".format)
    cells["change"] = shown["change"]
    notes = ["True class, %: the probability that a model gives to it."]
    if len(changed) > SHOWN:
        notes.append(f"The first {SHOWN} of {len(changed):,}; the CSV file has all.")
    title = f"Images that changed sides from {comparison.first.letter} to {side.letter}"
    name = f"changed-{number}"
    return Table.of(name, title, comparison.synthetic, changed, cells, notes=notes)
