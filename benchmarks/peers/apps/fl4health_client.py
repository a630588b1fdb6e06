"""An FL4Health client, as in its basic example."""

import socket
import sys
import time
from pathlib import Path
from typing import Any

import client_work
import flwr
import torch
from fl4health.clients.basic_client import BasicClient
from fl4health.metrics import Accuracy
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Client(BasicClient):
    """The client of a number, whose batches differ from round to round."""

    number: int
    record: client_work.Record

    def get_data_loaders(self, config: dict[str, Any]) -> tuple[DataLoader, DataLoader]:
        """Return round one's training batches and the validation batches."""
        return self._loader(*client_work.training_data(self.number, 1)), self._loader(
            *client_work.validation_data(self.number)
        )

    def get_criterion(self, config: dict[str, Any]) -> nn.Module:
        """Return the loss."""
        return nn.CrossEntropyLoss()

    def get_optimizer(self, config: dict[str, Any]) -> torch.optim.Optimizer:
        """Return the optimizer, which has no state."""
        return client_work.optimizer(self.model)

    def get_model(self, config: dict[str, Any]) -> nn.Module:
        """Return the network."""
        return client_work.Network().to(self.device)

    def update_before_train(self, current_server_round: int) -> None:
        """Take the round's batches."""
        self.train_loader = self._loader(
            *client_work.training_data(self.number, current_server_round)
        )
        self.record = client_work.Record(self.number, current_server_round)

    def train_step(self, input: Any, target: Any) -> Any:
        """Note the loss of the step."""
        losses, predictions = super().train_step(input, target)
        self.record.add(losses.backward["backward"].item())
        return losses, predictions

    @staticmethod
    def _loader(*tensors: torch.Tensor) -> DataLoader:
        return DataLoader(TensorDataset(*tensors), batch_size=client_work.JOB["batch_size"])


def wait_for_server(host: str, port: str) -> None:
    """Return as soon as the server listens; a client that comes before would end."""
    while True:
        try:
            return socket.create_connection((host, int(port))).close()
        except ConnectionRefusedError:
            time.sleep(0.1)


if __name__ == "__main__":
    torch.set_num_threads(1)  # three clients at a time
    client = Client(Path(), [Accuracy("accuracy")], torch.device("cpu"))
    client.number = int(sys.argv[2])
    wait_for_server(*sys.argv[1].split(":"))
    flwr.client.start_client(server_address=sys.argv[1], client=client.to_client())
    client.shutdown()
