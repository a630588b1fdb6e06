"""Runs in which one client's update is many times too large."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from numpy.typing import NDArray

from fl_server.federated_run import RunFailed
from strategies.layout import LAYOUT, Layout
from tests.fl_server.clients_in_memory import Clients, run_in_memory
from tests.support import received_by
from training.errors import TrainingError
from training.run_folder import RunFolder

# The norm of a damaged update, as a multiple of that of what was sent: enough to ruin the model,
# while 1,000 times are refused at once. Not a multiple of the client's own update: how far this
# short training moves the weights, 1 to 23 times their norm, varies by processor.
TIMES = 300.0

pytestmark = pytest.mark.usefixtures("flower_run")


def norm(arrays: Iterable[NDArray]) -> float:
    """The Euclidean norm over all of them."""
    return math.sqrt(sum(float(np.sum(np.square(a, dtype=np.float64))) for a in arrays))


class Spoiling(Clients):
    """client-1 makes its first update so long that it ruins the model; its variances stay what they
    may be.

    Args:
        times: the new norm of the update of the weights, as a multiple of their norm as sent; and
            how often the running means have moved what they did.
    """

    def __init__(self, times: float) -> None:
        super().__init__()
        self._times = times

    def _act(self, message: Message) -> Message:
        kind, node = message.metadata.message_type, message.metadata.dst_node_id
        if (kind, node) != ("train", 1) or message.content.config_records["config"]["round"] != 1:
            try:
                return super()._act(message)
            except TrainingError as error:  # as Flower's process of a client tells it
                told = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, str(error))
                return Message(told, reply_to=message)
        layout = Layout.read(message.content[LAYOUT])
        before = layout.views(received_by(message))  # the app takes them out of the message
        reply = super()._act(message)
        arrays = layout.views(received_by(reply))
        means = [name for name in arrays if name.endswith("running_mean")]
        statistics = ("running_mean", "running_var", "num_batches_tracked")
        weights = [name for name in arrays if not name.endswith(statistics)]
        update = {name: arrays[name].astype(np.float64) - before[name] for name in means + weights}
        own = norm(update[name] for name in weights)
        factors = dict.fromkeys(means, self._times)
        factors |= dict.fromkeys(weights, self._times * norm(before[n] for n in weights) / own)
        changed = {
            name: (before[name] + factors[name] * change).astype(arrays[name].dtype)
            for name, change in update.items()
        }
        reply.content["arrays"] = layout.flatten({**arrays, **changed})
        return reply


def spoiled_run(data: Path, cache: Path, out: Path, times: float, **changes: object) -> RunFolder:
    run_in_memory(data, cache, out, Spoiling(times), rounds=2, **changes)
    return RunFolder(out)


def test_a_bound_keeps_the_model_where_the_others_are(
    synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    """The damaged update counts with the allowed norm, that of the longest valid one."""
    honest = tmp_path / "honest"
    run_in_memory(synthetic_ham, cache, honest, rounds=2)
    bound, next_round = (
        max(client["update"]["norm"] for client in record["clients"].values())
        for record in RunFolder(honest).rounds()
    )
    folder = spoiled_run(synthetic_ham, cache, tmp_path / "run", TIMES, clip_updates=bound)
    first, second = folder.rounds()
    assert [said["update"]["clipped"] for said in first["clients"].values()] == [False, True, False]
    norms = [said["update"]["norm"] for said in second["clients"].values()]
    assert max(norms) < 10 * next_round  # no client starts from weights that are far off


def test_who_spoils_the_model_is_named_at_once_and_when_the_run_ends_of_it(
    synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    """The weights are finite, but afterwards no client's reply is; the other sites are not to
    blame.
    """
    with np.errstate(all="ignore"), pytest.raises(RunFailed) as caught:
        spoiled_run(synthetic_ham, cache, tmp_path / "run", TIMES)
    said = str(caught.value)
    assert said.startswith("round 2: 0 of 3 clients answered")
    assert "look at this first: round 1: the update of client-1 (norm " in said
    assert "smaller learning-rate" not in said
    folder = RunFolder(tmp_path / "run")
    (first,) = folder.checkpoint.progress().records
    weights, statistics = first["warnings"]  # its running means are as far off
    assert statistics.startswith("the change of BatchNorm's running statistics at client-1 (norm ")
    updates = {client: one["update"] for client, one in first["clients"].items()}
    assert updates["client-1"]["times_median"] > 10  # from there on it is an outlier
    assert updates["client-1"]["cosine"] > 0.99  # the mean is hardly anything else
    assert f"round 1: {weights}" in folder.log_path.read_text(encoding="utf-8")


def test_an_enormous_update_costs_its_client_the_round_and_nobody_else_anything(
    synthetic_ham: Path, cache: Path, tmp_path: Path
) -> None:
    """Finite, so it could be averaged; the weights are those of a run without it, bit for bit."""
    folder = spoiled_run(synthetic_ham, cache, tmp_path / "run", 1e30, min_replies=2)
    first, second = folder.rounds()
    assert list(first["failures"]) == ["client-1"]
    assert "times the norm of what it was sent" in first["failures"]["client-1"]
    assert list(second["clients"]) == ["client-0", "client-1", "client-2"]
    assert folder.metrics()["participation"] == {"client-0": 2, "client-1": 1, "client-2": 2}
    absent = run_in_memory(
        synthetic_ham, cache, tmp_path / "absent", Clients(refuses=1), rounds=2, min_replies=2
    )
    assert folder.metrics()["weights_sha256"] == absent["weights_sha256"]
