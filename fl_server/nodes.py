"""Participants: waiting for the nodes, and asking for their names before round one."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from operation.text import natural_sort_key, printable
from strategies.expected_replies import CLASS_COUNTS, SPLITS, form_of
from strategies.refusal import Refused
from strategies.replies import cause
from strategies.reply_form import Content

WAIT_FOR_NODES_SECONDS = 15.0
WAIT_FOR_NAMES_SECONDS = 600.0


class FederationError(RuntimeError):
    """A federation that cannot run with this config, in one line."""


@dataclass(frozen=True)
class Introduction:
    """A client's statement about itself and about all its images together."""

    name: str
    sizes: dict[str, int]  # number of images by split
    dataset: str
    classes: tuple[str, ...]  # names of the classes, in the order of the network's outputs
    fingerprint: str
    synthetic: bool  # whether it says that they are generated
    device: str
    threads: int
    base: str | None = None  # sha256 of its network's base, None if the whole network is trained
    # Number of training images of each class, None if it does not say.
    class_counts: list[int] | None = None

    def describe(self) -> dict[str, Any]:
        """Return the manifest's entry about a site."""
        return {
            **self.sizes,
            "device": self.device,
            "threads": self.threads,
            "fingerprint": self.fingerprint,
            "synthetic": self.synthetic,
        }


def wait_for_nodes(
    grid: Grid, clients: int, wait_seconds: float = WAIT_FOR_NODES_SECONDS
) -> list[int]:
    """Return the ids of exactly as many nodes as the config has clients.

    Raises:
        FederationError: after ``wait_seconds`` there are fewer, or there are more.
    """
    deadline = time.monotonic() + wait_seconds
    while len(nodes := sorted(grid.get_node_ids())) < clients and time.monotonic() < deadline:
        time.sleep(0.1)
    if len(nodes) != clients:
        raise FederationError(
            f"the federation has {len(nodes)} nodes, but the config has clients = {clients}: "
            f"start it with  flwr run . --federation-config 'num-supernodes={clients}'  or set "
            f"clients = {len(nodes)}"
        )
    return nodes


@dataclass(frozen=True)
class Gathered:
    """The clients of a run, in their fixed order."""

    names: Mapping[int, str]  # names by node id
    sizes: Mapping[str, Mapping[str, int]]  # number of images by split, by name
    present: Mapping[str, Introduction]  # of those that are there, by name


def summed_class_counts(gathered: Gathered, num_classes: int) -> list[int]:
    """Return the number of training images of each class, summed over the clients.

    Raises:
        FederationError: a client does not say it, or something impossible.
    """
    stated = {name: one.class_counts for name, one in gathered.present.items()}
    silent = [name for name, counts in stated.items() if counts is None]
    if silent:
        raise FederationError(
            f"{', '.join(silent)}: gives no counts of its classes, which its policy forbids; set "
            "class-counts = own"
        )
    total = [0] * num_classes
    for name, counts in stated.items():
        assert counts is not None
        if len(counts) != num_classes or sum(counts) != gathered.sizes[name]["train"]:
            raise FederationError(
                f"{name}: its counts of {num_classes} classes are not those of its "
                f"{gathered.sizes[name]['train']} training images"
            )
        total = [one + other for one, other in zip(total, counts, strict=True)]
    return total


def check_bases(present: Mapping[str, Introduction], expected: str) -> None:
    """Refuse clients whose base differs from the server's.

    Args:
        present: by name.
        expected: the sha256 of the server's base.

    Raises:
        FederationError: names them all.
    """
    if other := [name for name, one in present.items() if one.base != expected]:
        raise FederationError(
            f"{', '.join(other)}: not the base that this server has (sha256 {expected[:12]}…); "
            "each needs the same pretrained weights, and the same versions of torch and torchvision"
        )


def read_introduction(who: str, question: Message, answer: Message) -> Introduction:
    """Return a node's introduction from its answer, which is no error.

    Raises:
        FederationError: the answer has not the form of an introduction.
    """
    said = Content.of(answer)
    try:
        form_of(MessageType.QUERY, Content.of(question)).check(said)
    except Refused as refused:
        raise FederationError(
            f"{who} sends an invalid introduction: {printable(refused.whole)}"
        ) from None
    about, numbers = said.configs["client"], said.metrics["metrics"]
    return Introduction(
        name=about["name"],
        sizes={split: numbers[f"num-{split}"] for split in SPLITS},
        dataset=about["dataset"],
        classes=tuple(about["classes"]),
        fingerprint=about["fingerprint"],
        synthetic=about["synthetic"],
        device=about["device"],
        threads=numbers["threads"],
        base=about.get("base"),
        class_counts=numbers.get(CLASS_COUNTS),
    )


def introductions(
    grid: Grid, nodes: list[int], experiment: str, wait_seconds: float = WAIT_FOR_NAMES_SECONDS
) -> dict[int, Introduction]:
    """Ask every node for its introduction; return them by node id, in the order of their names.

    The natural order of names is the clients' fixed order: a client's index is its rank in it.

    Raises:
        FederationError: a node gave no reply or an error, or two have the same name.
    """
    content = RecordDict({"config": ConfigRecord({"experiment": experiment})})
    sent = [Message(content, node, MessageType.QUERY) for node in nodes]
    answers = {
        answer.metadata.reply_to_message_id: answer
        for answer in grid.send_and_receive(sent, timeout=wait_seconds)
    }
    found = {}
    for message in sent:
        node = message.metadata.dst_node_id
        answer = answers.get(message.metadata.message_id)
        if answer is None:
            raise FederationError(f"node {node} did not send its name within {wait_seconds:.0f} s")
        if answer.has_error():
            raise FederationError(f"node {node} cannot take part: {cause(answer.error.reason)}")
        found[node] = read_introduction(f"node {node}", message, answer)
    names = [one.name for one in found.values()]
    if len(set(names)) < len(names):
        raise FederationError(f"two nodes have the same name; the names are {sorted(names)}")
    return dict(sorted(found.items(), key=lambda item: natural_sort_key(item[1].name)))
