"""The chapter "By hospital" of a campaign's page, in the order in which it is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.reporting.hospital_resampling import FLIPS, RESAMPLES
from experiments.reporting.hospital_tables import name_of, tables_of_loss
from experiments.reporting.hospital_words import further_lines, headline, hospital_lines
from experiments.reporting.hospitals import Hospitals


@dataclass(frozen=True)
class HospitalChapter:
    """What the page's template shows of one `Hospitals`.

    Attributes:
        name: of the section; figures are under it, too.
        heading: its title.
        leaks, lost, lacking: what a reader must know first, one line each.
        headline: the answer; empty if there is none yet.
        hospitals, further: the answer by hospital, and what else belongs to it.
        method: how the figures are computed.
        summary: name of the first table.
        losses: names of the tables of each loss.
        opened: the loss whose tables are open.
        others: names of the other tables.
    """

    name: str
    heading: str
    leaks: Sequence[str]
    lost: Sequence[str]
    lacking: Sequence[str]
    headline: str
    hospitals: Sequence[str]
    further: Sequence[str]
    method: str
    summary: str
    losses: Mapping[str, Sequence[str]]
    opened: str
    others: Sequence[str]


def hospital_chapter(hospitals: Hospitals) -> HospitalChapter:
    """Return the chapter."""
    trials, best = hospitals.trials, hospitals.best()
    others = ["methods", *(["global"] if len(hospitals.global_figures) else [])]
    return HospitalChapter(
        name=trials.name,
        heading=f"By hospital · {trials.title}" if trials.title else "By hospital",
        leaks=trials.leaks,
        lost=list(_lost(hospitals)),
        lacking=[*_seeds_apart(hospitals), *trials.lacking],
        headline=headline(hospitals),
        hospitals=list(hospital_lines(hospitals)),
        further=list(further_lines(hospitals)),
        method=_method(hospitals),
        summary=name_of(hospitals, "summary"),
        losses={
            loss: [name_of(hospitals, what, loss) for what in tables_of_loss(hospitals)]
            for loss in trials.losses
        },
        opened=trials.losses[0] if best is None else hospitals.entry(best).loss,
        others=[name_of(hospitals, what) for what in others],
    )


def _lost(hospitals: Hospitals) -> Sequence[str]:
    lines = hospitals.trials.not_complete
    shown = 5
    more = len(lines) - shown
    return [
        *(f"Lost: {line}" for line in lines[:shown]),
        *([f"Lost: a hospital in {more} more trials, listed above"] if more > 0 else []),
    ]


def _seeds_apart(hospitals: Hospitals) -> Sequence[str]:
    numbers = [len(entry.trials) for entry in hospitals.trials.entries]
    if len(set(numbers)) < 2:
        return []
    return [
        f"trials that are not done: rows are of {min(numbers)} to {max(numbers)} seeds, so figures "
        "of rows with other numbers of seeds are not comparable; gains are over common seeds"
    ]


def _method(hospitals: Hospitals) -> str:
    unit = hospitals.tests["unit"].iloc[0]
    return (
        "Of each hospital's own test images, which differ from seed to seed, and each trial's best "
        "round. BACC is of the counts summed over the seeds. Its 95 % interval is the bootstrap "
        f"over the hospital's {unit}s within each class, {RESAMPLES:,} draws: a {unit} is drawn "
        "with all its images, in all seeds at once, so it counts once however many seeds tested "
        "it. How much another training would differ is not in it. A gain is BACC minus that of "
        "being alone with the same loss on the same images. It is tested by exchanging the two "
        f"models' answers {unit} by {unit}, {FLIPS:,} times; its interval reaches as far as 95 % "
        "of such exchanges differ from 0; p is corrected by Holm's method for all hospitals, "
        "methods and losses."
    )
