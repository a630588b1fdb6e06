"""A plain Flower app as in Flower's tutorials; `benchmarks.bare_flower` runs it.

It is copied into its own folder and imports nothing from this project. Network, number and size of
images, and batches are those of a site; the images are noise.
"""

import json
import time
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict, UserConfig
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from torch import Tensor, nn
from torchvision.models import convnext_large, resnet18

CLASSES = 7
NETWORKS = {"resnet18": resnet18, "convnext_l": convnext_large}

torch.set_num_threads(1)  # as for the clients of the sites
client = ClientApp()
server = ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """Train the received model for an epoch."""
    started = time.perf_counter()
    config = context.run_config
    model = _received(message, config)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model.train()
    num_images = int(config["train-images"])
    for images, labels in _batches(num_images, config):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    arrays = ArrayRecord(model.state_dict())
    seconds = time.perf_counter() - started
    metrics = MetricRecord({"num-examples": num_images, "seconds": seconds})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@client.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the received model."""
    started = time.perf_counter()
    config = context.run_config
    model = _received(message, config)
    model.eval()
    num_images = int(config["validation-images"])
    correct = 0
    with torch.no_grad():
        for images, labels in _batches(num_images, config):
            correct += int((model(images).argmax(1) == labels).sum())
    metrics = MetricRecord(
        {
            "num-examples": num_images,
            "accuracy": correct / num_images,
            "seconds": time.perf_counter() - started,
        }
    )
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds; write the time of each, and how much of it the client functions took."""
    config = context.run_config
    nodes = int(config["nodes"])
    strategy = FedAvg(min_train_nodes=nodes, min_evaluate_nodes=nodes, min_available_nodes=nodes)
    ends: list[float] = []
    result = strategy.start(
        grid,
        ArrayRecord(_network(config).state_dict()),
        num_rounds=int(config["rounds"]),
        # Called before the first round and after each.
        evaluate_fn=lambda server_round, arrays: ends.append(time.perf_counter()),
    )
    rounds = [
        {
            "seconds": ends[number] - ends[number - 1],
            "computing": result.train_metrics_clientapp[number]["seconds"]
            + result.evaluate_metrics_clientapp[number]["seconds"],
        }
        for number in range(1, len(ends))
    ]
    Path(str(config["result"])).write_text(json.dumps(rounds), encoding="utf-8")


def _network(config: UserConfig) -> nn.Module:
    return NETWORKS[str(config["backbone"])](num_classes=CLASSES)


def _received(message: Message, config: UserConfig) -> nn.Module:
    model = _network(config)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    return model


def _batches(num_images: int, config: UserConfig) -> list[tuple[Tensor, Tensor]]:
    size = int(config["image-size"])
    images = torch.rand(num_images, 3, size, size)
    labels = torch.randint(CLASSES, (num_images,))
    batch_size = int(config["batch-size"])
    return list(zip(images.split(batch_size), labels.split(batch_size), strict=True))
