"""The display of a run in progress, and notes about its images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

from rich import progress as bars
from rich.table import Column
from rich.text import Text

from experiments.console import Console, marked, shown
from operation.text import counted
from training.rounds_file import NewLines
from training.scores import as_text
from training.whole_files import parse_object

if TYPE_CHECKING:
    from pathlib import Path

    from training.checkpoint import Progress
    from training.run_folder import RunFolder


def show_notes(console: Console, data: Mapping[str, Any]) -> None:
    """Print the notes, a line each."""
    for note in (overlap_note(data), left_out_note(data), copies_note(data)):
        if note is not None:
            console.say(note, style="yellow")


def overlap_note(data: Mapping[str, Any]) -> str | None:
    """Return a line about test images that are also in training; None if there are none."""
    overlap = data["overlap"]
    if overlap is None:
        if not data["test_images"]:
            return None
        return "Whether the sites train on images of the test set is unknown"
    return _too_good("test images", overlap)


def left_out_note(data: Mapping[str, Any]) -> str | None:
    """Return the same line about images of the source left out; None if there are none."""
    left_out = data.get("left_out")
    return _too_good("images left out", left_out["overlap"]) if left_out else None


def _too_good(images: str, overlap: Mapping[str, Any]) -> str | None:
    if not overlap["in_training"]:
        return None
    reasons = ", ".join(f"{reason}: {count}" for reason, count in overlap["by_reason"].items())
    return (
        f"{overlap['in_training']} of the {overlap['test_images']} {images} are also in "
        f"training ({reasons}), so these figures are too good"
    )


def copies_note(data: Mapping[str, Any]) -> str | None:
    """Return a line about training images with identical pixels; None if there are none."""
    copies = data["copies"]
    if not copies or not copies["groups"]:
        return None
    return (
        "Images with identical pixels under several ids: "
        f"{counted(len(copies['groups']), 'group')}, "
        f"{copies['contradicting']} of them with contradicting labels, {copies['straddling']} in "
        "more than one split"
    )


OF_FEATURES = "computes the features of all images, unless the cache holds them"
"""What the first round or epoch does besides, with ``trainable = head`` or ``adapter``."""

# The remaining time is estimated from this many rounds.
_LATEST = 5


@contextmanager
def counting(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar for a job that calls back with (done, total); nothing if it never does."""
    with bars.Progress(
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(what, visible=False, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)


def show_notices(console: Console, notices: Iterable[str]) -> None:
    """Print the notices about the data."""
    for notice in notices:
        console.print(f"NOTE: {notice}", style="bold", highlight=False)


class _Elapsed(bars.ProgressColumn):
    """The time since the start. It goes on after the last round, while the models are judged."""

    def render(self, task: bars.Task) -> Text:
        return Text(str(timedelta(seconds=int(task.elapsed or 0))), style="progress.elapsed")


class RunDisplay:
    """A bar over the rounds, and a line for each round whose model has been validated.

    Args:
        unit: ``round``, or ``epoch`` for a centralized run.
        before: the number of rounds whose lines an earlier start has shown.
    """

    def __init__(
        self, console: Console, rounds: int, unit: str = "round", *, before: int = 0
    ) -> None:
        self._console = console
        self._rounds = rounds
        self._unit = unit
        self._before = before
        self._seconds: list[float] = []  # of the rounds since
        self._lines: NewLines | None = None
        self._shown = before
        self._warned = before
        self._noted = 0
        self._phase = ""
        self._seen: list[tuple[int, ...]] = []
        self._progress = bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            bars.TextColumn(unit + " {task.completed:.0f} of {task.total}"),
            _Elapsed(Column(no_wrap=True, min_width=len("0:00:00"))),
            bars.TextColumn("{task.fields[left]}"),
            bars.TextColumn("{task.fields[best]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=rounds, left="", best="")

    def __enter__(self) -> RunDisplay:
        if self._before:
            self._console.print(
                f"continuing: {self._before} of {self._rounds} {self._unit}s are validated",
                highlight=False,
            )
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, folder: RunFolder) -> None:
        """Show the progress of the run; files that have not changed are not read again."""
        if (seen := folder.stamps()) == self._seen:
            return
        self._seen = seen
        manifest = folder.manifest()
        phase = str(manifest.get("phase") or "")
        progress = folder.checkpoint.progress()
        done = progress.round
        new = self._new_rounds(folder.rounds_file.path)
        self._seconds += [record["seconds"]["round"] for record in new]
        left = self._time_left(done)
        best_by = str(manifest.get("best_by", "avg"))
        best = self._best(progress, best_by)
        self._progress.update(self._task, completed=done, description=phase, left=left, best=best)
        for note in manifest.get("notes", ())[self._noted :]:
            self._console.print(marked(f"[yellow]{shown(note)}[/]"), highlight=False)
            self._noted += 1
        # Printed at once, since a round's line waits until its model is validated.
        for record in progress.records[self._warned :]:
            for warning in record.get("warnings", ()):
                line = f"[bold yellow]round {record['round']}: {shown(warning)}[/]"
                self._console.print(marked(line), highlight=False)
        self._warned = max(self._warned, len(progress.records))
        for record in new:
            newest = record is new[-1] and not self._console.is_terminal  # else the bar has it
            outlook = "  ".join(filter(None, (best, left))) if newest else ""
            line = self._line(record, outlook, best_by)
            self._console.say(marked(line))
            self._shown = record["round"]
        # The last round's model is validated during the final evaluation, so its line comes first.
        awaited = phase == "judging" and self._shown < done
        if phase != self._phase and not awaited:
            self._phase = phase
            if not self._console.is_terminal:
                self._console.print(f"{phase} …", highlight=False)

    def step(self, done: int, total: int) -> None:
        """Show the progress of the current epoch, in batches."""
        task = self._progress.tasks[self._task]
        self._progress.update(self._task, completed=int(task.completed) + done / (total + 1))

    def _new_rounds(self, path: Path) -> list[dict[str, Any]]:
        self._lines = self._lines or NewLines(path)
        records = [parse_object(path, line) for line in self._lines.read()]
        return [record for record in records if record["round"] > self._shown]

    def _time_left(self, done: int) -> str:
        """Return the remaining time, if the missing rounds take as long as the latest ones.

        The first round since the start may have computed features and started processes, which no
        other does: it counts only while it is the only one, and then as a bound.
        """
        seconds = self._seconds
        if not seconds or done >= self._rounds:
            return ""
        each = median((seconds[1:] or seconds)[-_LATEST:])
        left = timedelta(seconds=max(1, round(each * (self._rounds - done))))
        return f"{'about' if seconds[1:] else 'up to'} {left} left"

    def _best(self, progress: Progress, best_by: str) -> str:
        """Return the best validated model so far, by the figure that chooses it."""
        if not progress.best_round:
            return ""
        figure = as_text(best_by, progress.best_figure)
        return f"best: {self._unit} {progress.best_round}, {best_by.upper()} {figure}"

    def _line(self, record: Mapping[str, Any], outlook: str, best_by: str = "avg") -> str:
        validation = record["validation"]
        pooled = validation["pooled"]
        parts = [
            f"{self._unit} {record['round']:>{len(str(self._rounds))}} of {self._rounds}",
            f"training loss {record['train_loss']:.4f}",
        ]
        if pooled["n"]:
            of = _pooled(validation) if "clients" in validation else ""
            figures = f"AVG {pooled['avg']:5.2f}, BACC {pooled['bacc']:5.2f}"
            if best_by not in ("avg", "bacc"):
                figures += f", {best_by.upper()} {as_text(best_by, pooled[best_by])}"
            parts.append(f"validation{of} {figures}")
        parts.append(f"{record['seconds']['round']:.1f} s")
        if outlook:
            parts.append(outlook)
        for client, reason in record["failures"].items():
            parts.append(f"[yellow]without {shown(client)}: {shown(reason)}[/]")
        return "  ".join(parts)


def _pooled(validation: Mapping[str, Any]) -> str:
    """Return of which clients the validation images are pooled: of those asked, except some."""
    missing = validation["pooled"].get("missing", {})
    there = len(validation["clients"])
    if not missing:
        return f" of {there} clients"
    names = ", ".join(shown(name) for name in missing)
    return f" of {there} of {there + len(missing)} clients, not {names}:"
