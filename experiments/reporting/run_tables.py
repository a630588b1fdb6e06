"""The tables of one run's report."""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from scipy.stats import binomtest

from experiments.figures_table import (
    NONE,
    OVER,
    metric_cells,
    metric_columns,
    three_digits,
    with_patients,
)
from experiments.head_results import TITLES
from experiments.reporting.run_results import RunResults, TestSet
from experiments.reporting.set_tables import set_tables
from experiments.reporting.tables import Table
from experiments.results import blocks_of, megabytes
from training.metrics import METRIC_NAMES
from training.participation import local_arrays_note
from training.scores import as_text, further_scores


def run_tables(run: RunResults) -> list[Table]:
    """Return the tables of what a run has so far."""
    blocks = [(name.strip(), block) for name, block in blocks_of(run.metrics) if block]
    heads = run.metrics.get("heads", {}).items()
    blocks += [(TITLES[name], block) for name, block in heads if name != "network"]
    blocks = with_patients(blocks)
    tables = []
    further_names = tuple(further_scores(str(run.metrics.get("best_by", "avg"))))
    if blocks:
        rows = [
            {
                "": name,
                "n": block["n"],
                **{key: block.get(key) for key in (*METRIC_NAMES, *further_names)},
            }
            for name, block in blocks
        ]
        study = [[str(b["n"]), *metric_cells(b)] for _, b in blocks]
        further = [[as_text(key, b.get(key)) for key in further_names] for _, b in blocks]
        names = [name for name, _ in blocks]
        columns = ["n", *metric_columns()]
        whose = local_arrays_note(run.metrics)
        notes = () if whose is None else (f"{whose[0].upper()}{whose[1:]}.",)
        title = "Figures, in percent"
        tables.append(_table(run, "figures", title, rows, names, columns, study, notes=notes))
        columns = [key.upper() for key in further_names]
        title = "Further scores"
        tables.append(_table(run, "scores", title, rows, names, columns, further, notes=notes))
    for number, test_set in enumerate(run.test_sets, start=1):
        tables.append(_by_class(run, f"classes-{number}", test_set))
    tables += set_tables(run)
    if any("clients" in record for record in run.rounds):
        tables.append(_clients(run))
    return tables


def _table(
    run: RunResults,
    name: str,
    title: str,
    numbers: Sequence[dict[str, Any]],
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    first: str = "evaluated on",
    notes: tuple[str, ...] = (),
) -> Table:
    table = pd.DataFrame(cells, columns=list(columns))
    table.insert(0, first, list(rows))
    best = pd.DataFrame(False, index=table.index, columns=table.columns)
    notes = (f"{OVER}.", *notes) if "over" in columns else notes
    return Table(name, title, run.synthetic, pd.DataFrame(numbers), table, best, notes)


def _by_class(run: RunResults, name: str, test_set: TestSet) -> Table:
    """Return how many were found, the 95 % interval of that share, and the scores by class.

    The interval is that of a binomial share, as if images were independent (E. B. Wilson: Probable
    inference, the law of succession, and statistical inference, JASA 22, 1927).
    """
    scores = test_set.block["by_class"]
    numbers, cells = [], []
    for label in run.order:
        index = run.classes.index(label)
        found, of = int(test_set.confusion[index, index]), int(test_set.confusion[index].sum())
        row: dict[str, Any] = {"class": label, "found": found, "of": of}
        texts = [f"{found}/{of}", NONE]
        if of:
            bounds = binomtest(found, of).proportion_ci(0.95, method="wilson")
            row |= {"low": 100 * bounds.low, "high": 100 * bounds.high}
            texts[1] = f"{row['low']:.1f} – {row['high']:.1f}"
        row |= {score: values[index] for score, values in scores.items()}
        texts += [as_text(score, values[index]) for score, values in scores.items()]
        numbers.append(row)
        cells.append(texts)
    return _table(
        run,
        name,
        f"By class · {test_set.name}",
        numbers,
        run.order,
        ["found", "95 %", *map(str.upper, scores)],
        cells,
        first="class",
        notes=("95 %: Wilson's interval of the sensitivity, as if images were independent.",),
    )


def _clients(run: RunResults) -> Table:
    """Return each client's images, rounds, update norm and bytes."""
    clients = run.manifest.get("clients", {})
    numbers = list(_of_clients(run, clients))
    cells = [
        [
            *(str(row.get(split, NONE)) for split in ("train", "validation", "test")),
            f"{row['rounds']} of {len(run.rounds)}",
            NONE if row["norm"] is None else three_digits(row["norm"]),
            NONE if row["cosine"] is None else f"{row['cosine']:.2f}",
            megabytes(row["bytes_received"]),
            f"{row['seconds']:.1f}",
            str(row["missed"] or ""),
        ]
        for row in numbers
    ]
    columns = ["training", "validation", "test", "rounds", "norm", "cosine", "MB sent", "seconds"]
    notes = ("Of the rounds validated so far. Norm and cosine of the updates: medians.",)
    return _table(
        run,
        "clients",
        "The clients",
        numbers,
        [row["client"] for row in numbers],
        [*columns, "missed"],
        cells,
        first="client",
        notes=notes,
    )


def _of_clients(run: RunResults, clients: dict[str, Any]) -> Iterator[dict[str, Any]]:
    names = dict.fromkeys([*clients, *(n for record in run.rounds for n in record["clients"])])
    for name in names:
        said = [record["clients"][name] for record in run.rounds if name in record["clients"]]
        norms = [one["update"]["norm"] for one in said]
        cosines = [u["update"]["cosine"] for u in said if u["update"]["cosine"] is not None]
        about = clients.get(name, {})
        yield {
            "client": name,
            **{split: about[split] for split in ("train", "validation", "test") if split in about},
            "rounds": len(said),
            "norm": statistics.median(norms) if norms else None,
            "cosine": statistics.median(cosines) if cosines else None,
            "bytes_received": sum(one["bytes_received"] for one in said),
            "seconds": sum(one["seconds"]["training"] for one in said),
            "missed": run.absences.get(name),
        }
