"""Orders: one run at a time, the others in order, and none is lost."""

from pathlib import Path

import pytest

from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.coordinator.orders import Orders
from operation.errors import OperationError
from tests.support import make_config
from training.run_folder import RunFolder
from training.run_state import RunState

SITES = ["hospital-a", "hospital-b"]


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    (tmp_path / "runs").mkdir()
    return Orders(CoordinatorFolder(tmp_path))


def test_orders_are_numbered_and_kept(orders: Orders, tmp_path: Path) -> None:
    first = orders.add(tmp_path / "first", SITES, "ab" * 32)
    second = orders.add(tmp_path / "second", SITES, "ab" * 32)
    assert (first.number, first.state, second.number) == (1, RunState.WAITING, 2)
    assert orders.all() == [first, second]
    assert orders.get(2) == second == orders.find(tmp_path / "second")
    assert orders.find(tmp_path / "third") is None


def test_a_new_order_takes_no_number_that_is_in_use(orders: Orders, tmp_path: Path) -> None:
    """A person may have removed the file of an old one."""
    orders.add(tmp_path / "first", SITES, "ab" * 32)
    second = orders.add(tmp_path / "second", SITES, "ab" * 32)
    (tmp_path / "runs" / "0001.json").unlink()
    assert orders.add(tmp_path / "third", SITES, "ab" * 32).number == 3
    assert orders.get(2) == second


def test_what_was_begun_goes_on_first_and_then_who_waits_longest(
    orders: Orders, tmp_path: Path
) -> None:
    assert orders.next() is None
    for name in ("one", "two", "three"):
        orders.add(tmp_path / name, SITES, "")
    orders.record(2, RunState.RUNNING)
    assert next_number(orders) == 2
    orders.record(2, RunState.COMPLETED)
    assert next_number(orders) == 1
    orders.record(1, RunState.FAILED, "a cause")
    assert next_number(orders) == 3
    orders.stop(3)
    assert next_number(orders) is None


def next_number(orders: Orders) -> int | None:
    order = orders.next()
    return order.number if order else None


@pytest.mark.parametrize("end", [RunState.FAILED, RunState.STOPPED])
def test_what_failed_or_was_stopped_can_be_put_back(
    end: str, orders: Orders, tmp_path: Path
) -> None:
    orders.add(tmp_path / "run", SITES, "old bundle")
    if end == RunState.STOPPED:
        orders.stop(1)
    else:
        orders.record(1, RunState.FAILED, "a cause")
    assert orders.get(1).cause
    again = orders.add(tmp_path / "run", ["hospital-c"], "new bundle")
    assert (again.number, again.state, again.cause) == (1, RunState.WAITING, None)
    assert (again.sites, again.bundle) == (["hospital-c"], "new bundle")


@pytest.mark.parametrize("state", [RunState.WAITING, RunState.RUNNING])
def test_what_is_under_way_is_not_ordered_again(state: str, orders: Orders, tmp_path: Path) -> None:
    orders.add(tmp_path / "run", SITES, "")
    orders.record(1, state)
    with pytest.raises(OperationError, match=f"is run 1, which is {state}"):
        orders.add(tmp_path / "run", SITES, "")


def test_a_stopped_run_stays_stopped(orders: Orders, tmp_path: Path) -> None:
    """The supervisor may be about to write what became of it."""
    orders.add(tmp_path / "run", SITES, "")
    orders.stop(1)
    orders.record(1, RunState.COMPLETED)
    assert orders.get(1).state == RunState.STOPPED
    with pytest.raises(OperationError, match="run 1: has ended, it is stopped"):
        orders.stop(1)


def test_a_stopped_run_that_waited_says_so_in_its_folder(orders: Orders, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(make_config())
    folder.update_manifest(status="running")
    orders.add(folder.path, SITES, "")
    orders.stop(1)
    manifest = folder.manifest()
    assert (manifest["status"], manifest["cause"]) == ("failed", "stopped")


def test_a_number_of_nothing_is_said(orders: Orders, tmp_path: Path) -> None:
    with pytest.raises(OperationError, match=r"run 7: there is no such run here; .* none yet"):
        orders.stop(7)
    orders.add(tmp_path / "run", SITES, "")
    with pytest.raises(OperationError, match="known are: 1 to 1"):
        orders.get(7)


def test_a_damaged_order_is_named(orders: Orders, tmp_path: Path) -> None:
    (tmp_path / "runs" / "0001.json").write_text('{"number": 1}')
    with pytest.raises(OperationError, match=r"0001.json: is damaged, or was written by"):
        orders.all()
