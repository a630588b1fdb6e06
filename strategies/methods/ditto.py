"""Ditto: beside the shared model each client trains one of its own, which is pulled towards it.

The shared w is FedAvg's. With w^t as received, client k also takes the steps
v_k ← v_k − η(∇F_k(v_k) + λ(v_k − w^t)), as many and as long as those of w, from its v_k of the last
round that counted, at first from w^t. v_k never leaves the client. With λ = 0 it is a model trained
alone. BatchNorm's statistics and integers of v_k are its own; those of w take the mean, integers
the largest value.
"""

from __future__ import annotations

from strategies.method import Key, LocalTraining, Method
from strategies.methods.fedprox import Pull


def own_half(training: LocalTraining) -> Pull | None:
    """Return the pull towards the received weights, or nothing if λ is 0."""
    strength = float(training.settings["ditto-lambda"])
    return Pull(training, strength) if strength > 0 else None


METHOD = Method(
    title="Ditto",
    paper="Li et al., Ditto: Fair and Robust Federated Learning Through Personalization, 2021",
    equation="Algorithm 1",
    keys={"ditto-lambda": Key(0.1, ge=0)},
    own_half=own_half,
)
