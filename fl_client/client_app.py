"""The Flower ClientApp: it receives messages and replies.

The training code is imported on the first message, not with this module: Flower also loads the app
in processes that never train, and a simulation's clients then import torch in parallel.
"""

import os
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from operation.environment import let_threads_sleep

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.clip_text import ClipText

# When started by  flwr run . , only this sets it before torch is loaded.
let_threads_sleep()


def end_with_the_machine(
    message: Message, context: Context, call: Callable[[Message, Context], Message]
) -> Message:
    """Answer a message; in a simulation, end this process if its machine has failed.

    Too little memory, of the machine or of its GPU, and a GPU that fails are no faults of a client:
    without its reply the round would give another model than on a larger machine. The server ends
    the run when the process has died, as it does where the system ends a process for its memory. At
    a site it is the client's machine, and the client is absent.
    """
    try:
        return call(message, context)
    except Exception as error:
        if "site" in context.node_config or not _is_of_machine(error):
            raise
        traceback.print_exc()
        os._exit(1)


def _is_of_machine(error: Exception) -> bool:
    import torch

    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError | torch.AcceleratorError)
        # torch has no type of its own for the CPU's memory.
        or "DefaultCPUAllocator: can't allocate memory" in str(error)
    )


app = ClientApp(mods=[end_with_the_machine])


@app.query()
def introduce(message: Message, context: Context) -> Message:
    """Reply with what the server needs to know about this client; nothing about a single image."""
    import fl_client.local_training  # noqa: F401, what round one needs is loaded by then
    from fl_client.client import base_of
    from fl_client.client_setup import check_site, open_client
    from strategies.expected_replies import CLASS_COUNTS

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
    if client.config.class_counts == "federation" and client.sends_class_counts:
        counts = client.splits["train"].class_counts(client.num_classes)
        numbers[CLASS_COUNTS] = counts.tolist()
    content = RecordDict({"client": about, "metrics": numbers})
    return Message(content, reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Validate the received global model if asked to, train it, and reply with the result."""
    from fl_client.client_setup import open_client
    from fl_client.local_training import train_locally
    from fl_client.packing import pack_update
    from strategies.layout import LAYOUT, Layout

    started = time.perf_counter()
    settings = _settings(message)
    client = open_client(settings, context.node_config)
    text = _text(message)
    layout = Layout.read(message.content.get(LAYOUT))
    # Packing needs the received weights. Whole weights do not, so the message's bytes can be freed
    # before training.
    whole = client.config.wire_format == "float32"
    received = {} if whole else layout.views(_arrays(message))
    arrays, metrics = train_locally(client, _take_arrays(message), settings, text, reuse=True)
    number = int(str(settings["round"]))
    counted = int(str(settings.get("counted", number)))
    record = pack_update(client, arrays, received, layout, number, counted)
    metrics["seconds-message"] = time.perf_counter() - started
    content = RecordDict({"arrays": record, "metrics": MetricRecord(metrics)})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the received model on the splits that the message names; a site also stores it."""
    from fl_client.client_setup import open_client
    from fl_client.local_training import evaluate_locally
    from strategies.exchange import arrays_of

    settings = _settings(message)
    client = open_client(settings, context.node_config)
    metrics = evaluate_locally(
        client, arrays_of(message.content), settings, _text(message), reuse=True
    )
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)


@app.query("heads")
def heads(message: Message, context: Context) -> Message:
    """Fit this client's own heads and classify the features in the message."""
    from fl_client.client_setup import open_client
    from fl_client.local_heads import fit_heads_locally
    from strategies.arrays import views
    from strategies.exchange import arrays_of

    settings = _settings(message)
    client = open_client(settings, context.node_config)
    record = message.content["test"]
    assert isinstance(record, ArrayRecord)
    answers = fit_heads_locally(
        client,
        arrays_of(message.content),
        views(record)["features"],
        settings,
        _text(message),
    )
    return Message(RecordDict({"metrics": MetricRecord(answers)}), reply_to=message)


def _text(message: Message) -> "ClipText | None":
    """Return the text features for objective clip; no client ever builds a text tower."""
    from strategies.arrays import views
    from training.clip_text import ClipText

    record = message.content.get("text")
    if not isinstance(record, ArrayRecord):
        return None
    arrays = views(record)
    return ClipText(arrays["features"], float(arrays["logit-scale"]))


# Not .array_records and .config_records: these create a reference cycle with the message, which
# keeps the weights until the garbage collector runs.
def _arrays(message: Message) -> ArrayRecord:
    record = message.content["arrays"]
    assert isinstance(record, ArrayRecord)
    return record


def _take_arrays(message: Message) -> "dict[str, NDArray]":
    """Return views of the arrays, and remove them from the message, which lives until the reply."""
    from strategies.exchange import arrays_of

    received = arrays_of(message.content)
    del message.content["arrays"]
    return received


def _settings(message: Message) -> ConfigRecord:
    record = message.content["config"]
    assert isinstance(record, ConfigRecord)
    return record
