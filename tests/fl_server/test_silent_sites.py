"""Deployed runs with a connected site that gives no answer, without Flower's processes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flwr.app import Message

from fl_server import deployment
from fl_server.federated_run import RunFailed
from fl_server.nodes import Introduction
from fl_server.site_introductions import collect_introductions
from tests.fl_server.hospitals import Hospitals, act
from tests.fl_server.sites_in_memory import REFUSED
from tests.support import settings_of
from training.config_keys import MESSAGE_SECONDS
from training.participation import absences_of

pytestmark = pytest.mark.usefixtures("flower_run")


def silent(kind: str, number: int) -> Callable[..., Message | None]:
    """A site that gives no answer to one message, and works as it should otherwise."""

    def answer(message: Message, node: int, node_config: dict[str, Any]) -> Message | None:
        asked = (message.metadata.message_type, settings_of(message)["round"])
        return None if asked == (kind, number) else act(message, node, node_config)

    return answer


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The longest times for introductions, one for each start."""
    given: list[float] = []

    def noting(*arguments: Any, **options: Any) -> dict[str, Introduction]:
        given.append(options["timeout"])
        return collect_introductions(*arguments, **options)

    monkeypatch.setattr(deployment, "collect_introductions", noting)
    return given


def test_a_silent_site_is_absent_in_a_round_whose_time_is_over(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others' weights are those of a run in which it refuses to train in that round."""
    hospitals.cheats = {"hospital-b": silent("train", 1), "hospital-c": silent("evaluate", 1)}
    found = hospitals.run(monkeypatch, rounds=1, min_replies=2, round_timeout=1)
    (record,) = hospitals.run_folder.rounds()
    assert record["failures"] == {"hospital-b": "no answer within 1 s"}
    assert record["validation"]["pooled"]["missing"] == {"hospital-c": "no answer within 1 s"}
    assert absences_of(found) == {
        "hospital-b": "in 0 of 1 rounds",
        "hospital-c": "not in the validation of the best round, not in the pooled test figures",
    }
    folder = hospitals.folder / "other"
    folder.mkdir()
    mishaps: dict[tuple[str, str], list[int | None]] = {("hospital-b", "train"): [REFUSED]}
    other = replace(hospitals, folder=folder, cheats={}, mishaps=mishaps)
    refused = other.run(monkeypatch, rounds=1, min_replies=2)
    assert found["weights_sha256"] == refused["weights_sha256"]


def test_a_run_that_silence_ended_is_resumed_with_another_time(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch, limits: list[float]
) -> None:
    """All are needed. At the first start a site may take as long as its images take to decode."""
    hospitals.cheats = {"hospital-b": silent("train", 1)}
    named = 'round 1: 2 of 3 clients .*hospital-b: "no answer within 1 s"'
    with pytest.raises(RunFailed, match=named):
        hospitals.run(monkeypatch, rounds=1, round_timeout=1)
    hospitals.cheats = {}
    found = hospitals.run(monkeypatch, rounds=1, round_timeout=600)
    assert set(found["participation"].values()) == {1}
    assert hospitals.run_folder.config().round_timeout == 600
    assert limits == [MESSAGE_SECONDS, 600]
