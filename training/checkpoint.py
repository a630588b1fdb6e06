"""The last and the best weights of a run, readable after a kill at any time.

The weights of round r are in ``round-r.safetensors``, and what the method's server keeps for the
next round, if it keeps anything, in ``server-r.safetensors``; with ``ema-decay`` the moving average
after it in ``ema-r.safetensors``. ``state.json`` names the round of the last and of the best
weights, and contains a record of every round. Weights, server's state and average are written
first, then ``state.json`` is renamed into place, then files that it no longer names are
deleted. So ``state.json`` always names complete files.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from operation.files import parse_json, remove_leftovers, write_text
from training.errors import RunFolderError
from training.scores import ALL_SCORES
from training.weights import Weights, load_weights, save_weights


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        round: the last finished round, 0 before the first.
        best_round: the round of the best validated model so far; 0 if there is none.
        best_figure: its pooled validation figure named by key ``best-by``, a score or the loss;
            None if there is none.
        records: one dictionary per round, as in ``rounds.jsonl``. The last one has no
            ``validation`` until its model has been validated. Those before the last two lack what
            they say of single clients, so that all need the same memory for any number of clients.
        earlier: ``best_round`` and ``best_figure`` before the validation of the last round, if in a
            longer run others would validate it; that round's weights are kept, too.
    """

    round: int = 0
    best_round: int = 0
    best_figure: float | None = None
    records: list[dict[str, Any]] = field(default_factory=list)
    earlier: tuple[int, float | None] | None = None

    def reopened(self) -> "Progress":
        """Return the progress with which a longer run goes on from the end of this one."""
        if self.earlier is None:
            return self
        last = {key: value for key, value in self.records[-1].items() if key != "validation"}
        best_round, best_figure = self.earlier
        return Progress(self.round, best_round, best_figure, [*self.records[:-1], last])

    def finished(self, record: dict[str, Any]) -> "Progress":
        """Return the progress after a further round, whose model is not validated yet."""
        records = [*map(_without_clients, self.records[:-1]), *self.records[-1:], record]
        return replace(self, round=record["round"], records=records)

    def validated(self, validation: dict[str, Any], best_by: str) -> "Progress":
        """Return the progress after a validation; of equally good models the earliest is best.

        Args:
            validation: its ``pooled`` is a block of scores with ``loss``.
            best_by: a score (`training.scores`), or ``loss``, of which the lowest is best.
        """
        records = [*self.records[:-1], {**self.records[-1], "validation": validation}]
        figure = _better(validation["pooled"], self.best_figure, best_by)
        if figure is None:
            return replace(self, records=records)
        return replace(self, records=records, best_round=self.round, best_figure=figure)


def _without_clients(record: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in record.items() if key not in ("clients", "failures")}
    if "validation" in rest:
        found = rest["validation"]
        rest["validation"] = {key: found[key] for key in found if key != "clients"}
    return rest


class OwnBest:
    """Each client's round with the best figure on its own validation images, the earliest.

    Args:
        best_by: a score, or ``loss``.
        records: of rounds, as in ``rounds.jsonl``, one after the other.

    Attributes:
        rounds: by client; those without such a figure are left out.
    """

    def __init__(self, best_by: str, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self.rounds: dict[str, int] = {}
        self._figures: dict[str, float] = {}
        self._best_by = best_by
        for record in records:
            self.add(record)

    def add(self, record: Mapping[str, Any]) -> None:
        """Add the record of the next round."""
        for client, block in record.get("validation", {}).get("clients", {}).items():
            figure = _better(block, self._figures.get(client), self._best_by)
            if figure is not None:
                self.rounds[client], self._figures[client] = record["round"], figure


def _better(block: Mapping[str, Any], best: float | None, best_by: str) -> float | None:
    """Return the figure of a block of scores if it is better than the best so far, else None."""
    figure: float | None = block[best_by] if block.get("n") else None  # no image has loss 0
    higher = best_by != "loss" and ALL_SCORES[best_by].higher_is_better
    if figure is None or (best is not None and (figure <= best if higher else figure >= best)):
        return None
    return figure


class Checkpoint:
    """The folder ``checkpoint/`` of a run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, kind: str, round_number: int) -> Path:
        """Return the path of what is kept of a round: ``round``, ``server`` or ``ema``."""
        return self.folder / f"{kind}-{round_number:05d}.safetensors"

    def progress(self) -> Progress:
        """Read the progress; without a file it is round 0.

        Raises:
            RunFolderError: ``state.json`` is not a valid file.
        """
        path = self.folder / "state.json"
        try:
            return Progress(**parse_json(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return Progress()
        except (ValueError, TypeError):
            raise RunFolderError(f"{path}: is not a checkpoint of this version") from None

    def weights(self, round_number: int) -> Weights:
        """Read the weights of the last or the best round."""
        return load_weights(self.path("round", round_number))

    def server_state(self, round_number: int) -> Weights:
        """Read the server's state after the last round."""
        return load_weights(self.path("server", round_number))

    def average(self, round_number: int) -> Weights:
        """Read the moving average after the last round."""
        return load_weights(self.path("ema", round_number))

    def save(
        self,
        progress: Progress,
        weights: Weights | None = None,
        server_state: Weights | None = None,
        average: Weights | None = None,
    ) -> None:
        """Write the progress and, if a round was finished, its weights, state and average.

        Args:
            progress: with the round's number.
            weights: of the round.
            server_state: after the round; None or empty if the method keeps none.
            average: the moving average after the round; None if there is none.
        """
        self.folder.mkdir(exist_ok=True)
        kept = {self.path("round", progress.best_round)}
        if progress.earlier is not None:
            kept.add(self.path("round", progress.earlier[0]))
        of_round = {"round": weights, "server": server_state or None, "ema": average}
        for kind, arrays in of_round.items():
            kept.add(path := self.path(kind, progress.round))
            if arrays is not None:
                save_weights(path, arrays)
        records = [*map(_without_clients, progress.records[:-1]), *progress.records[-1:]]
        state = {**vars(progress), "records": records}
        # In one line, which Python writes ten times as fast as indented.
        text = json.dumps(state, ensure_ascii=False, allow_nan=False)
        write_text(self.folder / "state.json", text + "\n")
        for path in self.folder.glob("*.safetensors"):
            if path not in kept:
                path.unlink()
        remove_leftovers(self.folder)  # each as large as a model
