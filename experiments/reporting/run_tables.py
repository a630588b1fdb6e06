"""The tables of one run's report: figures, by class, of prediction sets, and by client."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scipy.stats import binomtest

from experiments.calibration_text import GUARANTEE, always_line, calibration_lines
from experiments.figures_table import (
    NONE,
    OVER,
    megabytes,
    metric_cells,
    metric_columns,
    three_digits,
    with_patients,
)
from experiments.head_results import TITLES
from experiments.reporting.run_results import RunResults, TestSet
from experiments.reporting.tables import Table
from experiments.results import blocks_of, named_in_full
from training.calibration import Calibration
from training.metrics import METRIC_NAMES
from training.participation import local_arrays_note
from training.scores import as_text, further_scores

_SPLITS = {"train": "training", "validation": "validation", "test": "test"}


def run_tables(run: RunResults) -> list[Table]:
    """Return the tables of what a run has so far."""
    blocks = [(name, block) for name, block in blocks_of(run.metrics) if block]
    heads = run.metrics.get("heads", {}).items()
    blocks += [(TITLES[name], block) for name, block in heads if name != "network"]
    every = named_in_full(with_patients(blocks))
    tables = list(_figures(run, every)) if every else []
    for number, test_set in enumerate(run.test_sets, start=1):
        tables.append(_by_class(run, f"classes-{number}", test_set))
    tables += _sets(run, [(name, block["sets"]) for name, block in every if "sets" in block])
    if any("clients" in record for record in run.rounds):
        tables.append(_clients(run))
    return tables


def _figures(run: RunResults, blocks: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[Table]:
    further = tuple(further_scores(str(run.metrics.get("best_by", "avg"))))
    study, others, numbers = [], [], []
    for name, block in blocks:
        figures = zip(metric_columns(), metric_cells(block), strict=True)
        study.append({"evaluated on": name, "n": str(block["n"]), **dict(figures)})
        texts = {key.upper(): as_text(key, block.get(key)) for key in further}
        others.append({"evaluated on": name, **texts})
        scores = {key: block.get(key) for key in (*METRIC_NAMES, *further)}
        bounds = {
            f"{key}_{end}": bound
            for key, both in _intervals(block)
            for end, bound in zip(("low", "high"), both, strict=True)
        }
        numbers.append({"": name, "n": block["n"], **scores, **bounds})
    whose = local_arrays_note(run.metrics)
    notes = [] if whose is None else [f"{whose[0].upper()}{whose[1:]}."]
    title, over = "Figures, in percent", [f"{OVER}.", *_interval_notes(blocks), *notes]
    yield Table.of("figures", title, run.synthetic, numbers, study, notes=over)
    yield Table.of("scores", "Further scores", run.synthetic, numbers, others, notes=notes)


def _intervals(block: Mapping[str, Any]) -> list[tuple[str, tuple[float, float]]]:
    """Return the scores of a block that have a 95 % interval, with its bounds."""
    found = block.get("intervals", {}).items()
    return [(name, (bounds[0], bounds[1])) for name, bounds in found if bounds is not None]


def _interval_notes(blocks: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    """Yield a sentence with the 95 % intervals of each row that has some."""
    unit = "patients" if any("patients" in block for _, block in blocks) else "images"
    for name, block in blocks:
        if found := _intervals(block):
            said = (
                f"{key.upper()} {as_text(key, low)} – {as_text(key, high)}"
                for key, (low, high) in found
            )
            yield f"95 % intervals, {name}, by a bootstrap over {unit}: {', '.join(said)}."


def _by_class(run: RunResults, name: str, test_set: TestSet) -> Table:
    """Return how many were found, the 95 % interval of that share, and the scores by class.

    The interval is that of a binomial share, as if images were independent (E. B. Wilson: Probable
    inference, the law of succession, and statistical inference, JASA 22, 1927).
    """
    numbers, cells = [], []
    for label in run.order:
        index = run.classes.index(label)
        found, of = int(test_set.confusion[index, index]), int(test_set.confusion[index].sum())
        row: dict[str, Any] = {"class": label, "found": found, "of": of}
        cell = {"class": label, "found": f"{found}/{of}", "95 %": NONE}
        if of:
            bounds = binomtest(found, of).proportion_ci(0.95, method="wilson")
            row |= {"low": 100 * bounds.low, "high": 100 * bounds.high}
            cell["95 %"] = f"{row['low']:.1f} – {row['high']:.1f}"
        for score, values in test_set.block["by_class"].items():
            row[score], cell[score.upper()] = values[index], as_text(score, values[index])
        numbers.append(row)
        cells.append(cell)
    title = f"By class · {test_set.name}"
    notes = ("95 %: Wilson's interval of the sensitivity, as if images were independent.",)
    return Table.of(name, title, run.synthetic, numbers, cells, notes=notes)


def _sets(run: RunResults, sets: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[Table]:
    """Yield the tables of prediction sets: by test set and hospital, and by class."""
    if not sets:
        return
    notes = [
        *calibration_lines(run.metrics, run.classes),
        "Coverage: percentage of images whose set holds their class; size: mean number of classes "
        "in a set. Sets by class have a threshold for each class. " + GUARANTEE,
    ]
    rows = [{"evaluated on": name, **_flat(of, "")} for name, of in sets]
    yield _set_table(run, "sets", "Prediction sets", rows, notes)
    found = Calibration.of_block(run.metrics["calibration"], len(run.classes))
    always = always_line(found, run.classes)
    for number, test_set in enumerate(run.test_sets, start=1):
        if "sets" in test_set.block:
            columns = _flat(test_set.block["sets"], "_by_class").items()
            places = {label: run.classes.index(label) for label in run.order}
            rows = [
                {"class": label, **{head: figures[place] for head, figures in columns}}
                for label, place in places.items()
            ]
            title = f"Prediction sets, for each class · {test_set.name}"
            yield _set_table(run, f"sets-{number}", title, rows, [f"{always}."] if always else ())


def _flat(sets: Mapping[str, Mapping[str, Any]], end: str) -> dict[str, Any]:
    """Return coverage and size of both kinds of sets by the heads of their columns.

    Args:
        end: of their names in the block.
    """
    return {
        f"{key}{said}": sets[kind][f"{key}{end}"]
        for kind, said in (("marginal", ""), ("by_class", ", by class"))
        for key in ("coverage", "size")
        if f"{key}{end}" in sets[kind]
    }


def _set_table(
    run: RunResults, name: str, title: str, rows: Sequence[Mapping[str, Any]], notes: Sequence[str]
) -> Table:
    def cell(key: str, value: str | float | None) -> str:
        if isinstance(value, str):
            return value
        return NONE if value is None else f"{value:.{1 if key.startswith('coverage') else 2}f}"

    cells = [{key: cell(key, value) for key, value in row.items()} for row in rows]
    return Table.of(name, title, run.synthetic, rows, cells, notes=notes)


def _clients(run: RunResults) -> Table:
    """Return each client's images, rounds, update norm and bytes."""
    about = run.manifest.get("clients", {})
    numbers, cells = [], []
    for name in dict.fromkeys([*about, *(n for record in run.rounds for n in record["clients"])]):
        said = [record["clients"][name] for record in run.rounds if name in record["clients"]]
        norms = [one["update"]["norm"] for one in said]
        cosines = [u["update"]["cosine"] for u in said if u["update"]["cosine"] is not None]
        of = about.get(name, {})
        images = {split: of[split] for split in _SPLITS if split in of}
        row: dict[str, Any] = {
            "client": name,
            **images,
            "rounds": len(said),
            "norm": statistics.median(norms) if norms else None,
            "cosine": statistics.median(cosines) if cosines else None,
            "bytes_received": sum(one["bytes_received"] for one in said),
            "seconds": sum(one["seconds"]["training"] for one in said),
            "missed": run.absences.get(name),
        }
        numbers.append(row)
        cells.append(
            {
                "client": name,
                **{head: str(images.get(split, NONE)) for split, head in _SPLITS.items()},
                "rounds": f"{len(said)} of {len(run.rounds)}",
                "norm": three_digits(row["norm"]) if norms else NONE,
                "cosine": f"{row['cosine']:.2f}" if cosines else NONE,
                "MB sent": megabytes(row["bytes_received"]),
                "seconds": f"{row['seconds']:.1f}",
                "missed": row["missed"] or "",
            }
        )
    sent, received = (sum(r[f"bytes_{way}"] for r in run.rounds) for way in ("sent", "received"))
    seconds = sum(record["seconds"]["round"] for record in run.rounds)
    notes = (
        "Of the rounds validated so far. Norm and cosine of the updates: medians. MB sent: by the "
        "client; seconds: of its training.",
        f"All clients: {megabytes(sent)} MB to them, {megabytes(received)} MB from them; the "
        f"rounds took {seconds:.1f} s.",
    )
    return Table.of("clients", "The clients", run.synthetic, numbers, cells, notes=notes)
