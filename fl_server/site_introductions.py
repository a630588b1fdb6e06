"""Participants of a deployed run: sites, by the names under which they were admitted."""

from collections.abc import Mapping
from logging import WARNING
from typing import Any

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.common import log

from fl_server.nodes import FederationError, Introduction, read_introduction
from fl_server.site_grid import SiteGrid
from operation.text import natural_sort_key, quoted
from strategies.replies import cause

# A resumed run waits this long for all its sites if fewer are enough.
PATIENCE_SECONDS = 60.0


def site_names(manifest: Mapping[str, Any], clients: int) -> dict[int, str]:
    """Return the sites of a run by node id, in the fixed order of the clients.

    The order is the natural order of their names at the run's first start.

    Args:
        manifest: ``sites``, node ids by name; and ``clients``, by name, once the run has begun.
        clients: number of clients in the config.

    Raises:
        FederationError: there are more sites, or fewer.
    """
    nodes: dict[str, int] = manifest["sites"]
    names = list(manifest.get("clients") or sorted(nodes, key=natural_sort_key))
    if len(names) != clients:
        raise FederationError(
            f"the coordinator has {len(names)} sites ({', '.join(names)}), but the config has "
            f"clients = {clients}: set clients = {len(names)}, or admit or revoke sites"
        )
    # A site that was revoked since then keeps its place, under a number that no node has.
    return {nodes.get(name, -1 - index): name for index, name in enumerate(names)}


def collect_introductions(
    grid: SiteGrid,
    names: Mapping[int, str],
    settings: Mapping[str, str],
    *,
    needed: int,
    timeout: float,
    patience: float = PATIENCE_SECONDS,
) -> dict[str, Introduction]:
    """Ask every site for its introduction; return them by name, in the order of the clients.

    Args:
        settings: settings in every message: ``experiment`` and ``run``.
        needed: number of sites that must reply.
        timeout: seconds after which no site is waited for.
        patience: seconds to wait for the others, too.

    Raises:
        FederationError: too few valid introductions; names the failed sites with the reasons.
    """
    sent = []
    for index, node in enumerate(names):
        config = ConfigRecord({**settings, "client-index": index})
        sent.append(Message(RecordDict({"config": config}), node, MessageType.QUERY))
    replies = grid.ask(sent, needed=needed, timeout=timeout, patience=patience)
    answers = {reply.metadata.reply_to_message_id: reply for reply in replies}
    found: dict[str, Introduction] = {}
    failures = []
    for message in sent:
        name = names[message.metadata.dst_node_id]
        answer = answers[message.metadata.message_id]
        if answer.has_error():
            failures.append(f"{name} cannot take part: {quoted(cause(answer.error.reason))}")
        else:
            try:
                found[name] = _named(name, read_introduction(name, message, answer))
            except FederationError as refused:
                grid.refuse(message.metadata.dst_node_id, str(refused))
                failures.append(str(refused))
    for failure in failures:
        log(WARNING, "%s", failure)
    if len(found) < needed:
        raise FederationError("; ".join(failures))
    return found


def _named(name: str, said: Introduction) -> Introduction:
    if said.name != name:
        raise FederationError(
            f"{name} calls itself {quoted(said.name)}: let it take the name in its site.toml "
            "under which it was admitted"
        )
    return said
