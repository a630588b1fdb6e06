"""pfl's federated averaging in simulation, as in its image classification benchmark."""

from collections import Counter

import client_work
import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.central_evaluation import CentralEvaluationCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Weighted
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn

JOB = client_work.JOB
NEVER = 10**9


class Classifier(client_work.Network):
    """The network with the two methods that pfl asks for."""

    record: client_work.Record

    def loss(self, images: Tensor, labels: Tensor, first: list[tuple[int, int]]) -> Tensor:
        """Return a training batch's mean loss; ``first`` holds client and round until a step."""
        if first:
            self.record = client_work.Record(*first.pop())
        self.train()
        loss = nn.functional.cross_entropy(self(images), labels)
        self.record.add(loss.item())
        return loss

    @torch.no_grad()
    def metrics(self, images: Tensor, labels: Tensor) -> dict[str, Weighted]:
        """Return the accuracy of a batch."""
        self.eval()
        correct = int((self(images).argmax(1) == labels).sum())
        return {"accuracy": Weighted(correct, len(labels))}


rounds: Counter[int] = Counter()


def user(client: int) -> Dataset:
    """Return a client's data of its next round."""
    rounds[client] += 1
    first = [(client, rounds[client])]
    data = client_work.training_data(client, rounds[client])
    return Dataset(data, user_id=str(client), train_kwargs={"first": first})


if __name__ == "__main__":
    np.random.seed(0)  # noqa: NPY002  pfl draws from numpy's own generator
    clients = list(range(JOB["clients"]))
    network = Classifier(initial=True)
    model = PyTorchModel(
        network,
        local_optimizer_create=lambda parameters, lr: torch.optim.SGD(
            parameters, **{**JOB["sgd"], "lr": lr}
        ),
        central_optimizer=torch.optim.SGD(network.parameters(), 1.0),
    )
    users = FederatedDataset(user, get_user_sampler("minimize_reuse", clients))
    held = [client_work.validation_data(client) for client in clients]
    validation = Dataset(tuple(torch.cat(parts) for parts in zip(*held, strict=True)))
    batch = NNEvalHyperParams(local_batch_size=JOB["batch_size"])
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=JOB["rounds"],
            evaluation_frequency=NEVER,  # of the training images
            train_cohort_size=len(clients),
            val_cohort_size=None,
        ),
        SimulatedBackend(users, users, [WeightByDatapoints()]),
        model,
        NNTrainHyperParams(
            local_learning_rate=JOB["sgd"]["lr"],
            local_num_epochs=1,
            local_batch_size=JOB["batch_size"],
        ),
        batch,
        [CentralEvaluationCallback(validation, batch)],
    )
