"""The Flower ClientApp: messages in, messages out.

What trains is imported on the first message, not with this module: Flower also loads the app
where nothing trains, and a simulation's clients then import torch side by side.
"""

import time
from typing import TYPE_CHECKING

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from operation.environment import let_threads_sleep

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from strategies.layout import Layout
    from training.text import Text

# Started by  flwr run . , this process has nobody else who does it before torch is loaded.
let_threads_sleep()

app = ClientApp()


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Answer with what the server needs to know of this client: no word of any single image."""
    import fl_client.local_training  # noqa: F401, what round one needs is loaded by then
    from fl_client.at_site import check_site
    from fl_client.client import base_of
    from fl_client.opening import open_client

    settings = _settings(message)
    if "site" in context.node_config:
        check_site(settings, context.node_config)
    client = open_client(settings, context.node_config)
    about = ConfigRecord(
        {
            "name": client.name,
            "classes": list(client.classes),
            "dataset": client.config.dataset,
            "fingerprint": client.fingerprint,
            "device": client.config.device,
            "synthetic": client.synthetic,
        }
    )
    if client.config.trainable != "all":
        about["base"] = base_of(client.config)
    numbers = MetricRecord({f"num-{name}": len(split) for name, split in client.splits.items()})
    numbers["threads"] = client.config.threads_per_client
    content = RecordDict({"client": about, "metrics": numbers})
    return Message(content, reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Validate the received global model if asked to, train it, and answer with the result."""
    from fl_client.local_training import train_locally
    from fl_client.opening import open_client
    from fl_client.packing import pack_update

    started = time.perf_counter()
    settings = _settings(message)
    client = open_client(settings, context.node_config)
    text = _text(message)
    layout = _layout(message)
    # A difference needs what it is to; whole weights let the message's bytes go before training.
    whole = client.config.wire_format == "float32"
    received = {} if whole else layout.views(_arrays(message))
    arrays, metrics = train_locally(client, _take_arrays(message), settings, text)
    record = pack_update(client, arrays, received, layout, int(str(settings["round"])))
    metrics["seconds-message"] = time.perf_counter() - started
    content = RecordDict({"arrays": record, "metrics": MetricRecord(metrics)})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Judge the received model on the splits that the message names; a site also keeps it."""
    from fl_client.local_training import evaluate_locally
    from fl_client.opening import open_client
    from fl_client.taking_home import take_home

    settings = _settings(message)
    client = open_client(settings, context.node_config)
    received, text = _layout(message).views(_arrays(message)), _text(message)
    metrics = evaluate_locally(client, received, settings, text)
    if client.at_site:
        take_home(client, received, settings, text)
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)


@app.query("heads")
def heads(message: Message, context: Context) -> Message:
    """Fit this client's own heads and answer for the features that the message brings."""
    from fl_client.local_heads import fit_heads_locally
    from fl_client.opening import open_client
    from strategies.arrays import views

    settings = _settings(message)
    client = open_client(settings, context.node_config)
    record = message.content["test"]
    assert isinstance(record, ArrayRecord)
    answers = fit_heads_locally(
        client,
        _layout(message).views(_arrays(message)),
        views(record)["features"],
        settings,
        _text(message),
    )
    return Message(RecordDict({"metrics": MetricRecord(answers)}), reply_to=message)


def _text(message: Message) -> "Text | None":
    """Return what objective clip compares images with: no client ever builds a text tower."""
    from strategies.arrays import views
    from training.text import Text

    record = message.content.get("text")
    if not isinstance(record, ArrayRecord):
        return None
    arrays = views(record)
    return Text(arrays["features"], float(arrays["logit-scale"]))


# Not .array_records and .config_records: what these return holds the message in a circle, and the
# weights with it, until the garbage collector comes by.
def _arrays(message: Message) -> ArrayRecord:
    record = message.content["arrays"]
    assert isinstance(record, ArrayRecord)
    return record


def _layout(message: Message) -> "Layout":
    from strategies.layout import LAYOUT, Layout

    return Layout.read(message.content.get(LAYOUT))


def _take_arrays(message: Message) -> "dict[str, NDArray]":
    """Return views of the arrays, and let the message go of them: it lives until the reply does."""
    received = _layout(message).views(_arrays(message))
    del message.content["arrays"]
    return received


def _settings(message: Message) -> ConfigRecord:
    record = message.content["config"]
    assert isinstance(record, ConfigRecord)
    return record
