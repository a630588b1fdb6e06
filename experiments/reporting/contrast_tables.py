"""The tables of a key's values side by side."""

import math
from typing import Any

from experiments.reporting.campaign_tables import not_complete
from experiments.reporting.contrasts import COMPARED, FEWEST_PAIRS, Contrast, PairTest
from experiments.reporting.tables import Table, is_best, p_text, rounded, signed, signed_range
from training.scores import scores_with


def contrast_tables(contrast: Contrast) -> list[Table]:
    """Return the means of the values, their differences, and AVG of every block."""
    return [_means(contrast), _differences(contrast), _blocks(contrast)]


def _means(contrast: Contrast) -> Table:
    """Return each score's mean by value, over the blocks that have every value if there are any.

    A score that is not defined in one of them, such as MCC of a model that takes all images for one
    class, has no mean.
    """
    scores = scores_with(*contrast.rows["config.best-by"].unique())
    groups = contrast.shared.groupby("value")
    numbers = groups[list(scores)].mean().where(groups[list(scores)].count().eq(groups.size(), 0))
    numbers = numbers.loc[contrast.values]
    numbers.insert(0, "trials", groups.size())
    numbers = numbers.rename_axis(contrast.key).reset_index()
    cells, best = numbers[[contrast.key, "trials"]].astype(str), {}
    for name, score in scores.items():
        cells[name.upper()] = [rounded(mean, score.digits) for mean in numbers[name]]
        best[name.upper()] = is_best(numbers[name], score.digits, lowest=not score.higher_is_better)
    number = len(contrast.whole)
    over = f"Means over {number} of {len(contrast.blocks)} blocks, those with every value."
    if not number:
        over = "No block has every value: these means are of different blocks; see the differences."
    notes = (over, *contrast.notes, *not_complete(contrast.rows))
    return Table.of(contrast.name, contrast.title, contrast.synthetic, numbers, cells, best, notes)


def _differences(contrast: Contrast) -> Table:
    tests = contrast.tests()
    tested = sum(not math.isnan(test.p_value) for test in tests)
    cells = []
    for test in tests:
        row = {
            contrast.key: f"{test.second} − {test.first}",
            "pairs": str(len(test.differences)),
            "higher": str((test.differences > 0).sum()),
            **{score.upper(): _difference(test, score) for score in COMPARED},
            "p": p_text(test.p_value),
        }
        cells.append(row | ({"p, Holm": p_text(test.p_holm)} if tested > 1 else {}))
    notes = [
        "Mean of the paired differences in percentage points, with its 95 % interval (Student's "
        "t). Higher: in how many pairs AVG is.",
    ]
    if tested < len(tests):
        few = f"No p with fewer than {FEWEST_PAIRS} pairs that differ: it could not be below 0.05."
        notes.append(few)
    if tested:
        notes.append(
            "p: Wilcoxon's signed-rank test on AVG. Pairs on the same test images are not "
            "independent: read a small p as a hint."
        )
    notes += contrast.notes
    numbers = [_numbers(test) for test in tests]
    name, title = f"{contrast.name}-pairs", f"Differences · {contrast.title}"
    return Table.of(name, title, contrast.synthetic, numbers, cells, notes=notes)


def _numbers(test: PairTest) -> dict[str, Any]:
    found = {
        "first": test.first,
        "second": test.second,
        "pairs": len(test.differences),
        "higher": int((test.differences > 0).sum()),
    }
    for name in COMPARED:
        ends = test.means.get(name, (math.nan,) * 3)
        found |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
    return {**found, "p_value": test.p_value, "p_holm": test.p_holm}


def _difference(test: PairTest, score: str) -> str:
    mean, low, high = test.means.get(score, (math.nan,) * 3)
    return signed(mean) if math.isnan(low) else f"{signed(mean)} ({signed_range(low, high)})"


def _blocks(contrast: Contrast) -> Table:
    table = contrast.side_by_side("avg")
    names = [contrast.blocks[int(block)] or "all" for block in table.index]
    numbers = table.reset_index(drop=True).rename_axis(columns=None)
    shown = numbers.round(2)
    best = {value: shown[value] == shown.max(axis=1) for value in contrast.values}
    cells = numbers.map(lambda value: rounded(value, 2))
    for one in (numbers, cells):
        one.insert(0, "block", names)
    name, title = f"{contrast.name}-blocks", f"AVG · {contrast.title}"
    return Table.of(name, title, contrast.synthetic, numbers, cells, best, contrast.notes)
