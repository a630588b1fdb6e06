"""The tables of a key's values side by side."""

import math

import numpy as np
import pandas as pd

from experiments.figures_table import NONE
from experiments.reporting.contrasts import COMPARED, FEWEST_PAIRS, Contrast, PairTest
from experiments.reporting.paired_tables import p_text
from experiments.reporting.tables import Table, not_complete, signed
from training.scores import Score, scores_with


def contrast_tables(contrast: Contrast) -> list[Table]:
    """Return the means of the values, their differences, and AVG of every block."""
    return [_means(contrast), _differences(contrast), _blocks(contrast)]


def _means(contrast: Contrast) -> Table:
    """Return each score's mean by value, over the blocks that have every value if there are any."""
    whole = contrast.whole
    rows = contrast.rows
    shared = rows[rows["block"].isin(whole)] if whole else rows
    scores: dict[str, Score] = scores_with(*rows["config.best-by"].unique())
    groups = shared.groupby("value")
    numbers = groups[list(scores)].mean().loc[contrast.values]
    numbers.insert(0, "trials", groups.size())
    cells = pd.DataFrame({contrast.key: contrast.values}, index=numbers.index)
    cells["trials"] = numbers["trials"].astype(str)
    best = pd.DataFrame(False, index=cells.index, columns=cells.columns)
    for name, score in scores.items():
        shown = numbers[name].round(score.digits)
        cells[name.upper()] = [
            NONE if pd.isna(mean) else f"{mean:.{score.digits}f}" for mean in numbers[name]
        ]
        best[name.upper()] = shown == (shown.max() if score.higher_is_better else shown.min())
    over = f"Means over {len(whole)} of {len(contrast.blocks)} blocks, those with every value."
    if not whole:
        over = "No block has every value: these means are of different blocks; see the differences."
    numbers = numbers.rename_axis(contrast.key).reset_index()
    return _table(contrast, "", "", numbers, cells, (over, *not_complete(rows)), best)


def _differences(contrast: Contrast) -> Table:
    tests = contrast.tests()
    numbers = pd.DataFrame([_numbers(test) for test in tests])
    several = sum(not math.isnan(test.p_value) for test in tests) > 1
    rows = []
    for test in tests:
        row = [f"{test.second} − {test.first}", str(len(test.differences))]
        row += [f"{int((test.differences > 0).sum())}"]
        row += [_difference(test, score) for score in COMPARED]
        row.append(NONE if math.isnan(test.p_value) else p_text(test.p_value))
        if several:
            row.append(NONE if math.isnan(test.p_holm) else p_text(test.p_holm))
        rows.append(row)
    columns = [contrast.key, "pairs", "higher", *(name.upper() for name in COMPARED), "p"]
    cells = pd.DataFrame(rows, columns=[*columns, *(["p, Holm"] if several else [])], dtype=str)
    notes = [
        "Mean of the paired differences in percentage points, with its 95 % interval (Student's "
        "t). Higher: in how many pairs AVG is.",
    ]
    if any(math.isnan(test.p_value) for test in tests):
        few = f"No p with fewer than {FEWEST_PAIRS} pairs that differ: it could not be below 0.05."
        notes.append(few)
    if not all(math.isnan(test.p_value) for test in tests):
        notes.append(
            "p: Wilcoxon's signed-rank test on AVG. Pairs on the same test images are not "
            "independent: read a small p as a hint."
        )
    return _table(contrast, "-pairs", "Differences · ", numbers, cells, tuple(notes))


def _numbers(test: PairTest) -> dict[str, object]:
    found: dict[str, object] = {
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
    if score not in test.means:
        return NONE
    mean, low, high = test.means[score]
    return signed(mean) if math.isnan(low) else f"{signed(mean)} ({signed(low)} to {signed(high)})"


def _blocks(contrast: Contrast) -> Table:
    table = contrast.side_by_side("avg")
    named = [contrast.blocks[int(block)] or "all" for block in table.index]
    numbers = table.reset_index(drop=True).rename_axis(columns=None)
    numbers.insert(0, "block", named)
    cells = pd.DataFrame({"block": named})
    best = pd.DataFrame(False, index=cells.index, columns=["block"])
    highest = np.round(table.max(axis=1).to_numpy(), 2)
    for value in contrast.values:
        cells[value] = [NONE if pd.isna(one) else f"{one:.2f}" for one in table[value]]
        best[value] = np.round(table[value].to_numpy(), 2) == highest
    return _table(contrast, "-blocks", "AVG · ", numbers, cells, (), best)


def _table(
    contrast: Contrast,
    suffix: str,
    title: str,
    numbers: pd.DataFrame,
    cells: pd.DataFrame,
    notes: tuple[str, ...],
    best: pd.DataFrame | None = None,
) -> Table:
    if best is None:
        best = pd.DataFrame(False, index=cells.index, columns=cells.columns)
    return Table(
        f"{contrast.name}{suffix}",
        f"{title}{contrast.title}",
        contrast.synthetic,
        numbers,
        cells,
        best,
        notes,
    )
