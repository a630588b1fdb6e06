"""Sites' introductions, and which of them the coordinator accepts."""

import time
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from fl_server.nodes import FederationError, Introduction
from fl_server.site_grid import SiteGrid
from fl_server.site_introductions import collect_introductions, site_names
from tests.fl_server.sites_in_memory import REFUSED, Answer, SitesInMemory
from tests.support import settings_of

pytestmark = pytest.mark.usefixtures("flower_task")

NAMES = {7: "hospital-2", 3: "hospital-10"}
SETTINGS = {"experiment": "seed = 0", "run": "0" * 32}


def says(name: str, **changes: Any) -> Answer:
    about = {
        "name": name,
        "dataset": "ham10000",
        "classes": ["a", "b"],
        "fingerprint": "f" * 64,
        "synthetic": False,
        "device": "cpu",
        **changes,
    }
    numbers = {"num-train": 6, "num-validation": 2, "num-test": 2, "threads": 4}
    content = RecordDict({"client": ConfigRecord(about), "metrics": MetricRecord(numbers)})
    return lambda message: Message(content, reply_to=message)


def ask(scripts: dict[int, list[Answer]], **options: Any) -> dict[str, Introduction]:
    flower = SitesInMemory(
        {7: [says("hospital-2")], 3: [says("hospital-10")]} | scripts,
        options.pop("connected", None),
    )
    grid = SiteGrid(flower, NAMES, needed=1, poll_seconds=0.001)
    options = {"needed": 2, "patience": 0.0, "timeout": 0.1} | options
    found = collect_introductions(grid, NAMES, SETTINGS, **options)
    told = [dict(settings_of(message)) for message in flower.sent]
    assert all(SETTINGS.items() <= said.items() for said in told)
    ranks = {list(NAMES).index(message.metadata.dst_node_id) for message in flower.sent}
    assert {int(said["client-index"]) for said in told} == ranks
    return found


def test_sites_come_in_the_natural_order_of_their_names() -> None:
    sites = {"hospital-10": 3, "hospital-2": 7}
    assert site_names({"sites": sites}, 2) == {7: "hospital-2", 3: "hospital-10"}
    assert list(site_names({"sites": sites}, 2).values()) == ["hospital-2", "hospital-10"]


def test_the_order_is_that_of_the_first_start() -> None:
    """A revoked site keeps its place, under a number that no node has; a new one is left out."""
    manifest = {"sites": {"c": 3, "b": 2, "new": 9}, "clients": {"a": {}, "b": {}, "c": {}}}
    assert site_names(manifest, 3) == {-1: "a", 2: "b", 3: "c"}


def test_another_number_of_sites_is_refused() -> None:
    message = r"has 2 sites \(a, b\), but the config has clients = 3: set clients = 2, or admit"
    with pytest.raises(FederationError, match=message):
        site_names({"sites": {"b": 2, "a": 1}}, 3)


def test_every_site_is_asked_who_it_is() -> None:
    found = ask({})
    assert list(found) == ["hospital-2", "hospital-10"]
    assert found["hospital-2"].describe() == {
        "train": 6,
        "validation": 2,
        "test": 2,
        "device": "cpu",
        "threads": 4,
        "fingerprint": "f" * 64,
        "synthetic": False,
    }
    assert found["hospital-2"].classes == ("a", "b")


def test_a_site_that_cannot_take_part_is_named_with_its_reason() -> None:
    def refuse(message: Message) -> Message:
        from flwr.app import Error

        reason = "Traceback\n<class 'DataError'>:<'/data: no such folder'>"
        return Message(Error(REFUSED, reason), reply_to=message)

    with pytest.raises(FederationError) as caught:
        ask({3: [refuse]})
    assert str(caught.value) == 'hospital-10 cannot take part: "/data: no such folder"'


def test_sites_that_stay_away_are_named_when_time_is_up() -> None:
    started = time.monotonic()
    with pytest.raises(FederationError) as caught:
        ask({3: [None]}, connected={7: [None]})
    assert time.monotonic() - started < 5
    assert str(caught.value) == (
        'hospital-2 cannot take part: "is not connected"; '
        'hospital-10 cannot take part: "no answer within 0.1 s"'
    )


def test_a_run_that_goes_on_needs_only_some() -> None:
    assert list(ask({}, connected={3: [None]}, needed=1)) == ["hospital-2"]


def test_a_site_under_another_name_is_refused() -> None:
    message = r'^hospital-2 calls itself "hospital-3": .*site\.toml'
    with pytest.raises(FederationError, match=message):
        ask({7: [says("hospital-3")]})


def test_a_site_of_another_version_is_refused() -> None:
    with pytest.raises(FederationError, match=r"^hospital-2 sends an invalid introduction"):
        ask({7: [lambda message: Message(RecordDict(), reply_to=message)]})
    lacking = RecordDict(
        {"client": ConfigRecord({"name": "hospital-2"}), "metrics": MetricRecord({"num-train": 3})}
    )
    with pytest.raises(FederationError, match=r"^hospital-2 sends an invalid introduction"):
        ask({7: [lambda message: Message(lacking, reply_to=message)]})
