"""FedProx: federated averaging with a proximal term that keeps clients near the global weights."""

from collections.abc import Mapping, Sequence

from flwr.app import ArrayRecord, ConfigRecord

from strategies.fedavg import FedAvg


class FedProx(FedAvg):
    """`FedAvg` whose clients minimise their loss plus (μ/2)‖w − w_glo‖², squared.

    Li et al., Federated Optimization in Heterogeneous Networks, 2020, equation 2. The server only
    sends μ as ``proximal-mu``; a client adds μ(w − w_glo) to its gradients before each step. With μ
    = 0 it is FedAvg, to the bit. With one local step per round it equals FedAvg for any μ, since
    that step is taken at the global weights, where the term's gradient is 0.

    Args:
        proximal_mu: μ ≥ 0.
        clients, aggregation_weights, min_replies, rounds_done, constants, clip_updates, earlier: as
            in `FedAvg`.
    """

    def __init__(
        self,
        *,
        proximal_mu: float,
        clients: Mapping[int, str],
        aggregation_weights: str = "equal",
        min_replies: int = 1,
        rounds_done: int = 0,
        constants: Mapping[str, ArrayRecord | ConfigRecord] | None = None,
        clip_updates: float = 0.0,
        earlier: Sequence[str] = (),
    ) -> None:
        super().__init__(
            clients=clients,
            aggregation_weights=aggregation_weights,
            min_replies=min_replies,
            rounds_done=rounds_done,
            constants=constants,
            clip_updates=clip_updates,
            earlier=earlier,
        )
        self.proximal_mu = proximal_mu

    def client_settings(self) -> dict[str, float]:
        """Return μ."""
        return {"proximal-mu": self.proximal_mu}
