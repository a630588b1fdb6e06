"""FL4Health's server with Flower's FedAvg, as in its basic example."""

import sys
from typing import Any

import client_work
import flwr
from fl4health.metrics.metric_aggregation import (
    evaluate_metrics_aggregation_fn,
    fit_metrics_aggregation_fn,
)
from fl4health.servers.base_server import FlServer
from fl4health.utils.parameter_extraction import get_all_model_parameters
from flwr.server.client_manager import SimpleClientManager
from flwr.server.strategy import FedAvg


def config(round_number: int) -> dict[str, Any]:
    """Return what a client gets with the weights."""
    return {
        "current_server_round": round_number,
        "local_epochs": 1,
        "batch_size": client_work.JOB["batch_size"],
    }


if __name__ == "__main__":
    everyone = client_work.JOB["clients"]
    strategy = FedAvg(
        min_fit_clients=everyone,
        min_evaluate_clients=everyone,
        min_available_clients=everyone,
        on_fit_config_fn=config,
        on_evaluate_config_fn=config,
        fit_metrics_aggregation_fn=fit_metrics_aggregation_fn,
        evaluate_metrics_aggregation_fn=evaluate_metrics_aggregation_fn,
        initial_parameters=get_all_model_parameters(client_work.Network(initial=True)),
    )
    flwr.server.start_server(
        server=FlServer(
            client_manager=SimpleClientManager(),
            fl_config={},
            strategy=strategy,
            accept_failures=False,
        ),
        server_address=sys.argv[1],
        config=flwr.server.ServerConfig(num_rounds=client_work.JOB["rounds"]),
    )
