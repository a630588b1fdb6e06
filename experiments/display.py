"""The display of a run in progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.console import Console, marked, shown

if TYPE_CHECKING:
    from training.run_folder import RunFolder


@contextmanager
def counting(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar for a job that calls back with (done, total); nothing if it never does."""
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(what, visible=False, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)


class RunDisplay:
    """A bar over the rounds, and a line for each round whose model has been validated.

    Args:
        console: where to show it.
        rounds: how many there will be.
        unit: ``round``, or ``epoch`` for a centralized run.
    """

    def __init__(self, console: Console, rounds: int, unit: str = "round") -> None:
        self._console = console
        self._rounds = rounds
        self._unit = unit
        self._shown: set[int] = set()
        self._warned: set[int] = set()
        self._phase = ""
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn(unit + " {task.completed:.0f} of {task.total}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=rounds)

    def __enter__(self) -> RunDisplay:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, folder: RunFolder) -> None:
        """Show the progress of the run."""
        phase = str(folder.manifest().get("phase") or "")
        if phase != self._phase:
            self._phase = phase
            if not self._console.is_terminal:
                self._console.print(f"{phase} …", highlight=False)
        progress = folder.checkpoint.progress()
        self._progress.update(self._task, completed=progress.round, description=phase)
        # At once: a round's own line waits until its model was validated.
        for record in progress.records:
            if record["round"] not in self._warned:
                self._warned.add(record["round"])
                for warning in record.get("warnings", ()):
                    line = f"[bold yellow]round {record['round']}: {shown(warning)}[/]"
                    self._console.print(marked(line), highlight=False)
        for record in folder.rounds():
            if record["round"] not in self._shown:
                self._shown.add(record["round"])
                self._console.print(marked(self._line(record)), highlight=False)

    def step(self, done: int, total: int) -> None:
        """Show the progress of the current epoch, in batches."""
        task = self._progress.tasks[self._task]
        self._progress.update(self._task, completed=int(task.completed) + done / (total + 1))

    def _line(self, record: dict) -> str:
        pooled = record["validation"]["pooled"]
        seconds = record["seconds"].get("round")
        parts = [
            f"{self._unit} {record['round']:>{len(str(self._rounds))}} of {self._rounds}",
            f"training loss {record['train_loss']:.4f}",
        ]
        if pooled["n"]:
            parts.append(f"validation AVG {pooled['avg']:5.2f}, BACC {pooled['bacc']:5.2f}")
        if seconds is not None:
            parts.append(f"{seconds:.1f} s")
        for client, reason in record["failures"].items():
            parts.append(f"[yellow]without {shown(client)}: {shown(reason)}[/]")
        return "  ".join(parts)
