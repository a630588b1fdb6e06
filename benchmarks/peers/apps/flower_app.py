"""A Flower app as Flower's PyTorch quickstart writes it."""

import client_work
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
    client_work.train(network, number, int(message.content["config"]["server-round"]))
    arrays = ArrayRecord(network.state_dict())
    metrics = MetricRecord({"num-examples": client_work.JOB["train_images"]})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@client.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the received model."""
    number = int(context.node_config["partition-id"])
    accuracy = client_work.evaluate(_received(message), number)
    values = {"num-examples": len(client_work.validation_data(number)[1]), "accuracy": accuracy}
    return Message(RecordDict({"metrics": MetricRecord(values)}), reply_to=message)


@server.main()
def main(grid: Grid, _context: Context) -> None:
    """Run the rounds."""
    everyone = client_work.JOB["clients"]
    strategy = FedAvg(
        min_train_nodes=everyone, min_evaluate_nodes=everyone, min_available_nodes=everyone
    )
    arrays = ArrayRecord(client_work.Network(initial=True).state_dict())
    strategy.start(grid, arrays, num_rounds=client_work.JOB["rounds"])


def _received(message: Message) -> client_work.Network:
    network = client_work.Network()
    network.load_state_dict(message.content["arrays"].to_torch_state_dict())
    return network
