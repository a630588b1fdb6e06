"""A small run over hospitals during which failures happen, and the same run in a simulation."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import tomli_w

from benchmarks.hospitals_here import Hospitals
from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.coordinator.orders import Orders
from operation.files import read_json
from training.run_folder import RunFolder

# Adam's persistent state would reveal a step that was taken twice.
CONFIG: dict[str, Any] = {
    "dataset": "ham10000",
    "backbone": "resnet18",
    "pretrained": False,
    "image-size": 32,
    "batch-size": 8,
    "optimizer": "adam",
    "client-optimizer": "persistent",
    "threads-per-client": 1,
    "device": "cpu",
}

# A killed SuperNode can connect again when its heartbeat has expired, after about a minute, and a
# busy machine is slow.
_LIMIT_SECONDS = 600.0


class DisturbedRun:
    """A run that starts with the ``with`` block and is no longer watched after its end.

    Args:
        hospitals: already serving; any that stops is started again.
        out: the run folder.
        rounds: number of rounds.
        min_replies: if it equals the number of hospitals, no round ends without all of them.
        settings: further keys of the config, or others than those of `CONFIG`.
    """

    def __init__(
        self,
        hospitals: Hospitals,
        out: Path,
        *,
        rounds: int,
        min_replies: int,
        settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.folder = RunFolder(out)
        self._hospitals = hospitals
        self._config = {**_config(hospitals, rounds=rounds, min_replies=min_replies), **settings}

    def __enter__(self) -> "DisturbedRun":
        out = self.folder.path
        config = self._hospitals.folder / f"{out.name}.toml"
        config.write_text(tomli_w.dumps(self._config), encoding="utf-8")
        words = ("run", str(config), "--on", str(self._hospitals.coordinator), "--out", str(out))
        self._run = self._hospitals.start(out.name, *words)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run.kill()
        self._run.wait()

    def wait_for(self, what: str, happened: Callable[[], bool]) -> None:
        """Wait until something has happened.

        Raises:
            RuntimeError: the run ends first, or it does not happen within ten minutes.
        """
        deadline = time.monotonic() + _LIMIT_SECONDS
        while not happened():
            self._hospitals.tend()
            if self._run.poll() is not None:
                raise RuntimeError(self._output())
            if time.monotonic() > deadline:
                raise RuntimeError(f"no {what} in {_LIMIT_SECONDS:.0f} s")
            time.sleep(0.05)

    def wait_for_round(self, rounds: int) -> None:
        """Wait until ``rounds`` rounds are finished, so that the next one is in progress.

        Raises:
            RuntimeError: see `wait_for`.
        """
        self.wait_for(f"end of round {rounds}", lambda: self.rounds_done() >= rounds)

    def rounds_done(self) -> int:
        """Return the number of rounds that are finished."""
        state = read_json(self.folder.path / "checkpoint" / "state.json")
        return 0 if state is None else int(state["round"])

    def shortest_round(self) -> float:
        """Return the seconds of the shortest round so far; at least one is finished."""
        records = self.folder.checkpoint.progress().records
        return min(float(record["seconds"]["round"]) for record in records)

    def took_part(self) -> list[set[str]]:
        """Return the participants of each round that is finished and validated."""
        return [set(record["clients"]) for record in self.folder.rounds()]

    def stop(self) -> None:
        """Stop the run."""
        coordinator = self._hospitals.coordinator
        order = Orders(CoordinatorFolder(coordinator)).find(self.folder.path)
        assert order is not None, "it was started"
        self._hospitals.fedskin("coordinator", "stop", str(coordinator), str(order.number))

    def finish(self) -> dict[str, Any]:
        """Return the run's final metrics.

        Raises:
            RuntimeError: the run fails.
        """
        while self._run.poll() is None:
            self._hospitals.tend()
            time.sleep(0.2)
        if self._run.returncode != 0:
            raise RuntimeError(self._output())
        return self.folder.metrics()

    def _output(self) -> str:
        return self._hospitals.output(self.folder.path.name).read_text(encoding="utf-8")


def simulated(
    hospitals: Hospitals,
    out: Path,
    data: Path,
    *,
    rounds: int,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Run the same rounds in a simulation, in which every client replies; return the final metrics.

    Args:
        hospitals: the simulation uses their command line and has as many clients.
        out: the run folder.
        data: the release whose shards the hospitals have.
        rounds: number of rounds of the run over the hospitals.
        settings: see `DisturbedRun`.
    """
    config = write_simulation(hospitals, out, data, rounds, settings)
    hospitals.fedskin("simulate", str(config), "--out", str(out))
    return RunFolder(out).metrics()


def write_simulation(
    hospitals: Hospitals, out: Path, data: Path, rounds: int, settings: Mapping[str, Any]
) -> Path:
    """Write the config file of a simulation, and return its path; for arguments see `simulated`."""
    values = {**_config(hospitals, rounds=rounds, min_replies=len(hospitals.names)), **settings}
    config = hospitals.folder / f"{out.name}.toml"
    config.write_text(tomli_w.dumps({**values, "data-dir": str(data)}), encoding="utf-8")
    return config


def _config(hospitals: Hospitals, *, rounds: int, min_replies: int) -> dict[str, Any]:
    clients = len(hospitals.names)
    return {**CONFIG, "clients": clients, "min-replies": min_replies, "rounds": rounds}
