"""A coordinator's Fleet API in memory with two sites: as Flower makes it, and as we do."""

import pytest
from flwr.app import Message

from fl_server.coordinator.coordinator_folder import CoordinatorFolder, CoordinatorSettings
from tests.fl_server.coordinator.fleet_in_memory import Coordinator, Site


@pytest.fixture(scope="session")
def coordinator_folder(tmp_path_factory: pytest.TempPathFactory) -> CoordinatorFolder:
    folder = CoordinatorFolder(tmp_path_factory.mktemp("own") / "coordinator")
    folder.create(CoordinatorSettings(host="localhost", port=443, bind="127.0.0.1"))
    return folder


@pytest.fixture(params=[True, False], ids=["ours", "flower"])
def checked(request: pytest.FixtureRequest) -> bool:
    """Whether the app is ours; each attack is also made on Flower's, where it works."""
    return bool(request.param)


@pytest.fixture
def coordinator(coordinator_folder: CoordinatorFolder, checked: bool) -> Coordinator:
    return Coordinator(coordinator_folder, checked=checked)


@pytest.fixture
def attacker(coordinator: Coordinator) -> Site:
    return Site(coordinator, "hospital-a")


@pytest.fixture
def other(coordinator: Coordinator) -> Site:
    return Site(coordinator, "hospital-b")


@pytest.fixture
def asked(attacker: Site) -> Message:
    """A message that the attacker was given, and has not answered."""
    return attacker.given(1)
