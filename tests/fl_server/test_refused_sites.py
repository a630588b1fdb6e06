"""Sites that a deployed run refuses: by name, and without harm to the others."""

from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, MetricRecord

from fl_server.federated_run import RunFailed
from fl_server.streaming_grid import Arrival
from tests.fl_server.hospitals import NODES, Hospitals, act
from tests.fl_server.sites_in_memory import REFUSED, SitesInMemory

pytestmark = pytest.mark.usefixtures("flower_task")


def test_a_site_whose_images_changed_is_refused_by_name(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospitals.mishaps = {("hospital-c", "train"): [REFUSED]}
    with pytest.raises(RunFailed, match='hospital-c: "mishap"'):
        hospitals.run(monkeypatch)
    config = hospitals.node_configs
    config["hospital-b"]["data-dir"] = config["hospital-c"]["data-dir"]
    with pytest.raises(RunFailed, match=r"^hospital-b holds other images than when this run began"):
        hospitals.run(monkeypatch)
    assert hospitals.run_folder.manifest()["status"] == "failed"


def test_a_first_site_with_other_classes_does_not_accuse_the_others(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Renamed(SitesInMemory):
        """hospital-a, the first in the order of names, says that it has another class."""

        def read(self, arrival: Arrival, question: Message, deadline: float) -> Message:
            reply = super().read(arrival, question, deadline)
            about = reply.content["client"]
            assert isinstance(about, ConfigRecord)
            if about["name"] == "hospital-a":
                about["classes"] = ["other"]
            return reply

    monkeypatch.setattr("tests.fl_server.hospitals.SitesInMemory", Renamed)
    with pytest.raises(RunFailed) as caught:
        hospitals.run(monkeypatch)
    assert str(caught.value) == (
        'hospital-a has the classes "other", but ham10000 has "akiec", "bcc", "bkl", "df", "mel", '
        '"nv", "vasc": it must correct its data folder'
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num-partitions": 4, "partition-id": 1}, "holds shard 2 of 4, but .* clients = 3"),
        ({"data-dir": "/nowhere"}, "/nowhere"),
    ],
)
def test_a_site_that_cannot_open_its_images_is_named(
    hospitals: Hospitals,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    message: str,
) -> None:
    hospitals.node_configs["hospital-b"] |= changes
    with pytest.raises(RunFailed, match=f"^hospital-b cannot take part: .*{message}"):
        hospitals.run(monkeypatch)


def hostile(message: Message, node: int, node_config: dict[str, Any]) -> Message:
    """Valid replies, each with one invalid metric of another kind."""
    reply = act(message, node, node_config)
    metrics = reply.content["metrics"]
    assert isinstance(metrics, MetricRecord)
    if message.metadata.message_type == "train":
        metrics["num-examples"] = 10**15
    else:
        del metrics["test-confusion"]
    return reply


def test_a_compromised_site_costs_the_run_its_own_answers_and_nothing_else(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training and in judging; weighted by examples it would have had all the weight."""
    hospitals.cheats = {"hospital-b": hostile}
    found = hospitals.run(monkeypatch, min_replies=2, aggregation_weights="examples")
    assert list(found["clients"]) == ["hospital-a", "hospital-c"]
    for record in hospitals.run_folder.rounds():
        assert list(record["clients"]) == ["hospital-a", "hospital-c"]
        assert record["failures"] == {"hospital-b": "its num-examples is not 6: 1000000000000000"}
    assert "test-confusion" in found["client_test"]["missing"]["hospital-b"]


def test_a_site_that_is_not_as_it_was_does_not_end_a_run_that_goes_on(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other images, or an invalid introduction; min-replies others are there, so it is not
    asked.
    """
    hospitals.mishaps = {(f"hospital-{name}", "evaluate"): [REFUSED] for name in "ac"}
    with pytest.raises(RunFailed, match=r"^judging: 1 of 3"):
        hospitals.run(monkeypatch, min_replies=2, rounds=1)
    config = hospitals.node_configs
    config["hospital-b"]["data-dir"] = config["hospital-c"]["data-dir"]
    found = hospitals.run(monkeypatch, min_replies=2, rounds=1)
    assert list(found["clients"]) == ["hospital-a", "hospital-c"]
    assert found["client_test"]["missing"]["hospital-b"].startswith(
        "hospital-b holds other images than when this run began"
    )
    asked = [m for m in hospitals.grid.sent if m.metadata.dst_node_id == NODES["hospital-b"]]
    assert {message.metadata.message_type for message in asked} == {"query"}
