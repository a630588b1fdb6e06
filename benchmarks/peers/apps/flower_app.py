"""A Flower app as Flower's PyTorch quickstart writes it."""

import task
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

client = ClientApp()
server = ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """Train the received model for an epoch."""
    network, number = _received(message), int(context.node_config["partition-id"])
    task.train(network, number, int(message.content["config"]["server-round"]))
    arrays = ArrayRecord(network.state_dict())
    metrics = MetricRecord({"num-examples": task.JOB["train_images"]})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@client.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the received model."""
    number = int(context.node_config["partition-id"])
    accuracy = task.evaluate(_received(message), number)
    values = {"num-examples": len(task.validation_data(number)[1]), "accuracy": accuracy}
    return Message(RecordDict({"metrics": MetricRecord(values)}), reply_to=message)


@server.main()
def main(grid: Grid, _context: Context) -> None:
    """Run the rounds."""
    everyone = task.JOB["clients"]
    strategy = FedAvg(
        min_train_nodes=everyone, min_evaluate_nodes=everyone, min_available_nodes=everyone
    )
    arrays = ArrayRecord(task.Network(initial=True).state_dict())
    strategy.start(grid, arrays, num_rounds=task.JOB["rounds"])


def _received(message: Message) -> task.Network:
    network = task.Network()
    network.load_state_dict(message.content["arrays"].to_torch_state_dict())
    return network
