"""The progress of a campaign: ``fedskin campaign run`` shows it live, and ``status`` once."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiments.campaigns.campaign_folder import CampaignFolder, Planned, State
from experiments.console import Console, marked, shown
from training.errors import RunFolderError
from training.participation import absences_of
from training.run_state import RunState
from training.scores import SCORES, as_text

_MOST_SHOWN = 20  # failures, and trials that are not complete
_REFRESH_SECONDS = 3.0
_ENDED = State(RunState.COMPLETED, "", {})


def finals(folder: CampaignFolder, states: Mapping[str, State]) -> dict[str, dict[str, Any]]:
    """Return ``metrics.json`` of every finished trial that can be read, by trial id."""
    found = {}
    for trial_id, state in states.items():
        if state.state == RunState.COMPLETED:
            with suppress(OSError, RunFolderError):  # damaged
                found[trial_id] = folder.run_folder(trial_id).metrics()
    return found


def best_so_far(finals: Mapping[str, Mapping[str, Any]]) -> tuple[str, str, float] | None:
    """Return the finished trial with the best validation figure, the score's name, and the figure.

    The score is that of key ``best-by``; AVG where trials differ in it, or chose by the loss.
    """
    names = {str(final.get("best_by", "avg")) for final in finals.values()}
    name = names.pop() if len(names) == 1 else "avg"
    name = name if name in SCORES else "avg"
    blocks = {trial_id: final.get("validation", {}) for trial_id, final in finals.items()}
    found = [(block[name], i) for i, block in blocks.items() if block.get(name) is not None]
    if not found:
        return None
    figure, trial_id = (max if SCORES[name].higher_is_better else min)(found)
    return trial_id, name, figure


def incomplete(finals: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return for each trial that is not complete what its clients missed."""
    absences = {trial_id: absences_of(final) for trial_id, final in finals.items()}
    return {
        trial_id: "; ".join(f"{client}: {what}" for client, what in said.items())
        for trial_id, said in absences.items()
        if said
    }


def seconds_left(
    planned: Sequence[Planned], states: Mapping[str, State], side_by_side: int
) -> float | None:
    """Estimate the remaining time; None before a trial has ended.

    A trial is assumed to need the mean time of finished trials with its command and backbone, or
    else of all finished trials. A running trial is assumed to need half of that.
    """
    seconds: dict[tuple[str, str], list[float]] = {}
    everything: list[float] = []
    for trial in planned:
        if states[trial.id].state == RunState.COMPLETED and "seconds" in states[trial.id].attempt:
            took = float(states[trial.id].attempt["seconds"])
            seconds.setdefault(_kind(trial), []).append(took)
            everything.append(took)
    if not everything:
        return None
    total = 0.0
    for trial in planned:
        known = seconds.get(_kind(trial), everything)
        share = {RunState.WAITING: 1.0, RunState.RUNNING: 0.5}.get(states[trial.id].state, 0.0)
        total += share * sum(known) / len(known)
    return total / max(1, side_by_side)


def overview(
    name: str, folder: CampaignFolder, planned: Sequence[Planned], states: Mapping[str, State]
) -> RenderableType:
    """Return counts, the running trials, those that are not complete, and the failures."""
    counts = Counter(state.state for state in states.values())
    final = finals(folder, states)
    lacking = incomplete(final)
    done = f"{counts[RunState.COMPLETED]} of {len(planned)} done"
    if lacking:
        done += f", [yellow]{len(lacking)} of them not complete[/]"
    summary = Table.grid(padding=(0, 2))
    summary.add_row(
        marked(f"[bold]{shown(name)}[/]"),
        ProgressBar(total=len(planned), completed=counts[RunState.COMPLETED], width=30),
        marked(done),
        f"{counts[RunState.RUNNING]} running",
        marked(f"[red]{counts[RunState.FAILED]} failed[/]")
        if counts[RunState.FAILED]
        else "0 failed",
        f"{counts[RunState.WAITING]} waiting",
    )
    facts = []
    best = best_so_far(final)
    if best:
        trial_id, score, figure = best
        facts.append(f"best validation {score.upper()} so far {as_text(score, figure)}: {trial_id}")
    left = seconds_left(planned, states, counts[RunState.RUNNING])
    if left and counts[RunState.RUNNING]:
        facts.append(f"about {timedelta(seconds=round(left))} left")
    parts: list[RenderableType] = [summary, *facts]
    running = [trial for trial in planned if states[trial.id].state == RunState.RUNNING]
    if running:
        parts.append(_running(folder, running))
    failed = {trial.id: states[trial.id].cause for trial in planned}
    failed = {i: cause for i, cause in failed.items() if states[i].state == RunState.FAILED}
    parts += _lines("[yellow]not complete[/]", lacking) + _lines("[red]failed[/]", failed)
    return Group(*parts)


def _lines(word: str, said: Mapping[str, str]) -> list[Text]:
    lines = [_line(word, i, text) for i, text in said.items()]
    if len(lines) > _MOST_SHOWN:
        lines[_MOST_SHOWN:] = [marked(f"{word} and {len(lines) - _MOST_SHOWN} more")]
    return lines


def _line(word: str, trial_id: str, said: str) -> Text:
    return marked(f"{word} {shown(trial_id)}: {shown(said)}")


def _running(folder: CampaignFolder, trials: Sequence[Planned]) -> Table:
    table = Table("running", "finished", "best validation", box=None)
    for trial in trials:
        try:
            progress = folder.run_folder(trial.id).checkpoint.progress()
        except RunFolderError:
            continue  # it may be complete the next time
        unit = "rounds" if trial.command == "simulate" else "epochs"
        figure, by = progress.best_figure, str(trial.config["best-by"])
        best = "–" if figure is None else f"{by.upper()} {as_text(by, figure)}"
        table.add_row(trial.id, f"{progress.round} of {trial.config[unit]} {unit}", best)
    return table


def _kind(trial: Planned) -> tuple[str, str]:
    return trial.command, str(trial.config["backbone"])


class CampaignDisplay:
    """Shows a campaign while it runs: a live table, or without a terminal a line for each trial."""

    def __init__(
        self, console: Console, name: str, folder: CampaignFolder, planned: Sequence[Planned]
    ) -> None:
        self._console = console
        self._name = name
        self._folder = folder
        self._planned = planned
        self._live = Live(console=console, transient=True, auto_refresh=False)
        self._refresh_at = 0.0

    def __enter__(self) -> "CampaignDisplay":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, ended: Mapping[str, str]) -> None:
        """Show the progress.

        Args:
            ended: trials that ended since the last call: id → "" or the cause of the failure.
        """
        for trial_id, cause in ended.items():
            lacking = {} if cause else incomplete(finals(self._folder, {trial_id: _ENDED}))
            word = Text(f"done   {trial_id}")
            if cause or lacking:
                kind = "[red]failed[/]" if cause else "done, [yellow]not complete[/]"
                word = _line(kind, trial_id, cause or lacking[trial_id])
            self._console.say(word)
        if self._console.is_terminal and (began := time.monotonic()) >= self._refresh_at:
            states = self._folder.states(self._planned, at_work=True)
            view = overview(self._name, self._folder, self._planned, states)
            self._live.update(view, refresh=True)
            # Reading the state of many trials takes CPU time that the trials need: a twentieth.
            now = time.monotonic()
            self._refresh_at = now + max(_REFRESH_SECONDS, 20 * (now - began))
