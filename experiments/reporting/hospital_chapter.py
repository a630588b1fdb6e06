"""The chapter "By hospital" of a campaign's page, in plain words and in the order of reading."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from experiments.figures_table import megabytes
from experiments.reporting.hospital_resampling import FLIPS, RESAMPLES
from experiments.reporting.hospital_tables import name_of, tables_of_loss
from experiments.reporting.hospital_trials import ALONE, OWN, POOLED
from experiments.reporting.hospitals import Hospitals
from experiments.reporting.statistics import ALPHA
from experiments.reporting.tables import p_text, signed_range

_SHOWN = 5  # of the trials that lost a hospital


def hospital_chapter(hospitals: Hospitals) -> dict[str, Any]:
    """Return what the page's template shows.

    ``leaks``, ``lost`` and ``lacking`` are what a reader must know first, a line each. The answer
    is ``headline``, empty if there is none yet, and by hospital ``hospitals``; ``further`` belongs
    to it. ``summary``, ``losses`` and ``others`` are names of tables; those of loss ``opened`` are
    open. There are no tables if no predictions could be read.
    """
    trials, best = hospitals.trials, hospitals.best()
    others = ["methods", *(["global"] if len(hospitals.global_figures) else [])]
    lost = [f"Lost: {line}" for line in trials.not_complete[:_SHOWN]]
    if (more := len(trials.not_complete) - _SHOWN) > 0:
        lost.append(f"Lost: a hospital in {more} more trials, listed above")
    return {
        "name": trials.name,
        "heading": f"By hospital · {trials.title}" if trials.title else "By hospital",
        "leaks": trials.leaks,
        "lost": lost,
        "lacking": [*_seeds_apart(hospitals), *trials.lacking],
        "headline": "" if best is None else _headline(hospitals, best),
        "hospitals": [] if best is None else list(_hospital_lines(hospitals, best)),
        "further": [] if best is None else list(_further_lines(hospitals, best)),
        "method": _method(hospitals),
        "summary": name_of(hospitals, "summary"),
        "losses": {
            loss: [name_of(hospitals, what, loss) for what in tables_of_loss(hospitals)]
            for loss in trials.losses
        },
        "opened": "".join(trials.losses[:1]) if best is None else hospitals.entry(best).loss,
        "others": [name_of(hospitals, what) for what in others],
    }


def _seeds_apart(hospitals: Hospitals) -> Iterator[str]:
    numbers = {len(entry.trials) for entry in hospitals.trials.entries}
    if len(numbers) > 1:
        yield (
            f"trials that are not done: rows are of {min(numbers)} to {max(numbers)} seeds, so "
            "figures of rows with other numbers of seeds are not comparable; gains are over common "
            "seeds"
        )


def _headline(hospitals: Hospitals, best: int) -> str:
    """Return how many hospitals gain and lose with the best federated setting; empty if unknown."""
    entry, row = hospitals.entry(best), hospitals.methods.iloc[best]
    if pd.isna(row["gain"]):
        return ""
    whose = "personal models" if entry.model == OWN else "the global model"
    headline = (
        f"{row['gains']} of {row['hospitals']} hospitals gain over training alone with "
        f"{entry.method} ({whose}) and loss {entry.loss}, {row['sure_gains'] or 'none'} of them "
        "significantly"
    )
    if not row["losses"]:
        return f"{headline}."
    lose = "loses" if row["losses"] == 1 else "lose"
    sure = f"{row['sure_losses']} of them" if row["sure_losses"] else "not"
    return f"{headline}; {row['losses']} {lose}, {sure} significantly."


def _hospital_lines(hospitals: Hospitals, best: int) -> Iterator[str]:
    """Yield for each hospital what it gains with the setting of the headline, the most first."""
    figures, loss = hospitals.figures, hospitals.entry(best).loss
    alone = figures[(figures["model"] == ALONE) & (figures["loss"] != loss)].sort_values("bacc")
    rows = hospitals.of(best).sort_values("gain", ascending=False, na_position="last")
    for hospital, row in rows.iterrows():
        line = f"{hospital}: {_of_hospital(row)}"
        others = alone[alone["hospital"] == hospital]
        if len(others) and (other := others.iloc[-1])["bacc"] > row["bacc"]:
            line += f"; but alone with loss {other['loss']} it has {other['bacc']:.1f}"
        yield line


def _of_hospital(row: pd.Series) -> str:
    if pd.isna(row["gain"]):
        return f"BACC {row['bacc']:.1f}; not compared, as no trial of it alone is done"
    verb = "loses" if row["gain"] < 0 else "gains"
    sure = "significant" if row["p_holm"] < ALPHA else "not significant"
    p_value = p_text(row["p_holm"])
    return (
        f"{verb} {abs(row['gain']):.1f} points of BACC "
        f"(95 %: {signed_range(row['gain_low'], row['gain_high'], 1)}), "
        f"from {row['before']:.1f} to {row['before'] + row['gain']:.1f}; {sure}, "
        f"p {p_value if p_value.startswith('<') else f'= {p_value}'}"
    )


def _further_lines(hospitals: Hospitals, best: int) -> Iterator[str]:
    """Yield what the setting of the headline costs, what the ceiling is, and how it was chosen."""
    methods = hospitals.methods
    ours = methods.iloc[best]
    yield (
        f"Worst hospital: {ours['worst_hospital']}, BACC {ours['worst']:.1f}; the best is "
        f"{ours['spread']:.1f} points above it."
    )
    alike = methods[methods["loss"] == ours["loss"]]
    for _, pooled in alike[alike["model"] == POOLED].iterrows():
        yield (
            f"Mean over the hospitals: {ours['mean']:.1f}, {_apart(ours, pooled)} training on "
            f"everybody's images in one place ({pooled['mean']:.1f}{_sure(ours)})."
        )
    alone = methods[methods["model"] == ALONE].sort_values("mean")
    if len(alone):
        strongest = alone.iloc[-1]
        yield (
            f"Alone, hospitals do best with loss {strongest['loss']}: {strongest['mean']:.1f} on "
            f"average; the federation is {_apart(ours, strongest)} that."
        )
    seconds = alike.loc[alike["model"] == ALONE, "seconds"]
    beside = f" (alone {seconds.min():,.0f} s)" if len(seconds) else ""
    yield (
        f"Cost of a trial: {megabytes(ours['bytes_sent'])} MB sent, "
        f"{megabytes(ours['bytes_received'])} MB received, {ours['seconds']:,.0f} s in "
        f"rounds{beside}."
    )
    number = sum(entry.federated for entry in hospitals.trials.entries)
    if number > 1:
        yield (
            f"It was chosen from {number} federated settings by mean BACC on the hospitals' "
            f"validation images ({ours['validated']:.1f}), not by these figures; p-values are "
            f"corrected for all {hospitals.num_tests} gains (Holm)."
        )


def _sure(ours: pd.Series) -> str:
    if pd.isna(ours["apart"]):  # of other seeds or hospitals
        return ""
    return f"; 95 % of the difference: {signed_range(ours['apart_low'], ours['apart_high'], 1)}"


def _apart(ours: pd.Series, other: pd.Series) -> str:
    apart = ours["mean"] - other["mean"]
    points = f"{abs(apart):.1f}"
    if points == "0.0":
        return "as good as"
    return f"{points} points {'better' if apart > 0 else 'worse'} than"


def _method(hospitals: Hospitals) -> str:
    unit = hospitals.tests["unit"].iloc[0]
    return (
        "Of each hospital's own test images, which differ from seed to seed, and each trial's best "
        "round by validation; a hospital alone has a best round of its own. "
        "BACC is of the counts summed over the seeds. Its 95 % interval is the bootstrap "
        f"over the hospital's {unit}s within each class, {RESAMPLES:,} draws: a {unit} is drawn "
        "with all its images, in all seeds at once, so it counts once however many seeds tested "
        "it. How much another training would differ is not in it. A gain is BACC minus that of "
        "training alone with the same loss on the same images. It is tested by exchanging the two "
        f"models' answers {unit} by {unit}, {FLIPS:,} times; its interval reaches as far as 95 % "
        "of such exchanges differ from 0; p is corrected by Holm's method for all hospitals, "
        "methods and losses."
    )
