"""The runs that were ordered from a coordinator, and their states."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from operation.errors import OperationError
from operation.files import read_json, read_record, write_json
from operation.serving import serving
from training.run_folder import RunFolder, now
from training.run_state import RunState

UNFINISHED = (RunState.WAITING, RunState.RUNNING)


@dataclass(frozen=True)
class Order:
    """An ordered run."""

    number: int  # its number for people, counted from 1
    run_dir: str  # its run folder, with its config and all its results so far
    sites: list[str]  # names of the participating sites, fixed for the whole run
    bundle: str  # SHA-256 of its bundle
    submitted: str  # when it was ordered, UTC, ISO 8601
    state: RunState = RunState.WAITING  # any but lost
    cause: str | None = None  # why it failed, in one line


class Orders:
    """The orders in a coordinator's folder, one file each."""

    def __init__(self, folder: CoordinatorFolder) -> None:
        self._folder = folder

    def all(self) -> list[Order]:
        """Return the orders by number.

        Raises:
            OperationError: one of them is damaged.
        """
        return [self._read(path) for path in sorted(self._folder.runs.glob("*.json"))]

    def get(self, number: int) -> Order:
        """Return one order.

        Raises:
            OperationError: there is no order with this number.
        """
        path = self._path(number)
        if not path.is_file():
            numbers = [order.number for order in self.all()]
            known = f"1 to {numbers[-1]}" if numbers else "none yet"
            raise OperationError(f"run {number}: there is no such run here; known are: {known}")
        return self._read(path)

    def find(self, run_dir: Path) -> Order | None:
        """Return the order of a run folder, if there is one."""
        return next((order for order in self.all() if order.run_dir == str(run_dir)), None)

    def next(self) -> Order | None:
        """Return the next order to work on: one already begun, otherwise the oldest waiting one."""
        unfinished = [order for order in self.all() if order.state in UNFINISHED]
        return min(unfinished, key=lambda o: (o.state != RunState.RUNNING, o.number), default=None)

    def add(self, run_dir: Path, sites: list[str], bundle: str) -> Order:
        """Order a run, or order an ended run again: it continues from its last finished round.

        Raises:
            OperationError: the run folder's order is waiting or running.
        """
        with self._folder.changing():
            before = self.find(run_dir)
            if before is None:
                number = max((order.number for order in self.all()), default=0) + 1
                order = Order(number, str(run_dir), sites, bundle, now())
            elif before.state not in UNFINISHED:
                order = replace(
                    before, sites=sites, bundle=bundle, state=RunState.WAITING, cause=None
                )
            else:
                raise OperationError(f"{run_dir}: is run {before.number}, which is {before.state}")
            self._write(order)
        return order

    def stop(self, number: int) -> None:
        """Stop a run; the process that serves the folder ends an active run within a second.

        Raises:
            OperationError: there is no such run, or it has ended.
            RunFolderError: its run folder is damaged.
        """
        with self._folder.changing():
            order = self.get(number)
            if order.state not in UNFINISHED:
                raise OperationError(f"run {number}: has ended, it is {order.state}")
            self._write(replace(order, state=RunState.STOPPED, cause=RunState.STOPPED))
        if order.state == RunState.WAITING or serving(self._folder.path) is None:
            close_run(order, RunState.STOPPED)

    def record(self, number: int, state: RunState, cause: str | None = None) -> None:
        """Record the outcome of an unfinished run; a stopped run stays stopped."""
        with self._folder.changing():
            order = self.get(number)
            if order.state in UNFINISHED:
                self._write(replace(order, state=state, cause=cause))

    def _path(self, number: int) -> Path:
        return self._folder.runs / f"{number:04}.json"

    def _read(self, path: Path) -> Order:
        return read_record(Order, read_json(path), path)

    def _write(self, order: Order) -> None:
        write_json(self._path(order.number), asdict(order))


def close_run(order: Order, cause: str) -> None:
    """Write into an order's run folder that it ended without a result, unless it has one.

    Raises:
        RunFolderError: the run folder is damaged.
    """
    folder = RunFolder(Path(order.run_dir))
    if folder.exists() and not folder.is_completed():
        folder.fail(cause)
