"""The guard between Flower's connection and the node: it checks every message and every reply.

It runs in the SuperNode's own process, outside the bundle, and wraps the callbacks of Flower's
connection; nothing else in Flower is changed. A message that the site refuses is answered here: it
never reaches the app, and its arrays are never fetched. A reply is checked in the node's object
store, before its first byte leaves.

Memory: only records and array heads, some kilobytes. The object store has the one copy of a model:
the message's until the app has read it, and then the reply's.
"""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from flwr.app import Message

from fl_client.site.approved_bundles import Approvals, Bundle
from fl_client.site.cache import make_room
from fl_client.site.connection import Connection, wait_until_whole
from fl_client.site.message_metadata import Moment, is_reply_to, metadata_agrees
from fl_client.site.policy import check_message_settings, check_override, current_policy
from fl_client.site.records import Records
from fl_client.site.reply_rules import check_policy, check_request
from fl_client.site.site_folder import SiteFolder
from operation.errors import OperationError
from operation.flower_internals import (
    ErrorCode,
    Fab,
    ObjectPullError,
    ObjectPushError,
    ObjectStore,
    ObjectTree,
    ObjectUnavailableError,
    Run,
    RunNotRunningException,
    iterate_object_tree,
    pull_objects,
)
from operation.text import printable
from strategies.exchange import check_what_travels
from strategies.expected_replies import form_of
from strategies.message_objects import Opened, check_data, open_message
from strategies.methods import DEFAULT, OWN
from strategies.refusal import Refused
from strategies.replies import told_error
from strategies.reply_form import ReplyForm

# Time between two polls for messages; Flower's own pause is three seconds.
_POLL_SECONDS = 0.5
# The same while this site has no run; the first message of a run may wait that much longer.
_IDLE_SECONDS = 8.0
# Time between two checks whether the run is still active, while no message comes.
_RUN_SECONDS = 10.0
# Number of attempts, and pause between them, to fetch an object that has not arrived yet.
_LOOKS = 50
_LOOK_SECONDS = 0.2
# Only this much of a refused reply's content is copied into the records.
_MAX_RECORDED = 1000


class _Open(NamedTuple):
    """A message that was accepted and waits for its reply."""

    message: Message
    opened: Opened
    since: Moment
    form: ReplyForm


class Guard:
    """Guards one connection.

    Args:
        site: its policy, approvals and records are used; they are read again for each message.
    """

    def __init__(self, site: SiteFolder, store: ObjectStore, connection: Connection) -> None:
        self._site = site
        self._name = site.settings().name
        self._store = store
        self._real = connection
        self._records = Records(site.records)
        self._approvals = Approvals(site.approved)
        self._run: Run | None = None
        self._asked = 0.0
        self._round: int | None = None
        self._open: _Open | None = None
        self._pulled: dict[str, bytes] = {}
        self._leaving: set[str] = set()

    def connection(self) -> Connection:
        """Return the guarded callbacks."""
        return Connection(
            self._real.node_id,
            self.receive,
            self.send,
            self.get_run,
            self.get_fab,
            self.pull_object,
            self.push_object,
            self.confirm_message_received,
        )

    def receive(self) -> tuple[Message, ObjectTree]:
        """Wait for the next message that the site accepts; answer the others here."""
        if self._open is not None:  # Flower gave it up, since its arrays did not arrive as expected
            lost = Refused("its arrays did not arrive completely")
            self._refuse(self._open.message, lost, ErrorCode.MESSAGE_UNAVAILABLE)
        while True:
            received = self._real.receive()
            self._site.contact.touch()
            if received is None:
                time.sleep(self._pause())
                continue
            message, tree = received
            try:
                self._open = self._let_in(message, tree)
            except Refused as refused:
                self._refuse(message, refused)
            except ObjectPullError as error:
                lost = Refused("its objects cannot be fetched", str(error))
                self._refuse(message, lost, ErrorCode.MESSAGE_UNAVAILABLE)
            else:
                return received
            # So that the coordinator need not keep its arrays.
            self._real.confirm_message_received(message.metadata.run_id, tree.object_id)

    def send(
        self, message: Message, tree: ObjectTree, clientapp_runtime: float
    ) -> tuple[set[str], str]:
        """Send a reply if it is valid, otherwise an error in its place."""
        waiting = self._open
        if waiting is None or waiting.opened.tree.object_id != message.metadata.reply_to_message_id:
            self._note("refused", message, reason="a reply to no message that was accepted")
            return set(), ""
        self._open = None
        asked = waiting.message
        try:
            if message.has_error():
                code, reason = told_error(message.error.code, message.error.reason)
                self._note("error", asked, reason=reason)
                self._real.send_error(asked, code, reason)
                return set(), ""
            opened = self._check_reply(waiting, message, tree)
            self._note("out", asked, opened)
        except Refused as refused:
            self._refuse(asked, refused)
            return set(), ""
        self._leaving = {node.object_id for node in iterate_object_tree(opened.tree)}
        wanted, session = self._real.send(message, opened.tree, clientapp_runtime)
        # Parts are sent in the order in which the coordinator reads them, so that it can read while
        # the rest is in transit; Flower itself would send an array's data before the array.
        first = wanted - opened.chunks()
        for object_id in first:
            self.push_object(asked.metadata.run_id, session, object_id, self._get(object_id))
        return wanted - first, session

    def get_run(self, run_id: int) -> Run:
        """Return a run; it is fetched once."""
        if self._run is None or self._run.run_id != run_id:
            self._run = self._real.get_run(run_id)
        return self._run

    def get_fab(self, fab_hash: str, run_id: int) -> Fab:
        """Return a run's bundle: the approved file on this site's own disk, and never another."""
        return Fab(fab_hash, self._bundle(fab_hash).content, {})

    def pull_object(self, run_id: int, object_id: str) -> bytes:
        """Fetch an object. The object store checks that the bytes match the id."""
        if object_id in self._pulled:
            return self._pulled.pop(object_id)
        return self._pull(run_id, object_id)

    def push_object(self, run_id: int, session_id: str, object_id: str, contents: bytes) -> None:
        """Send an object of a reply that was allowed."""
        if object_id not in self._leaving:
            raise PermissionError(f"object {object_id} belongs to no reply that was allowed")
        # Flower refuses objects that it already has, for example if the receipt was lost with the
        # connection, and would then give up the whole reply. If it really lacks one, the message is
        # sent to us again.
        with suppress(ObjectPushError):
            self._real.push_object(run_id, session_id, object_id, contents)

    def confirm_message_received(self, run_id: int, object_id: str) -> None:
        """Confirm that a message arrived completely."""
        self._real.confirm_message_received(run_id, object_id)
        self._pulled.clear()

    def _pause(self) -> float:
        """Return the seconds until the next poll for messages."""
        if self._run is not None and time.monotonic() >= self._asked + _RUN_SECONDS:
            self._asked = time.monotonic()
            try:
                self._real.get_run(self._run.run_id)
            except RunNotRunningException:
                self._run = None
        return _IDLE_SECONDS if self._run is None else _POLL_SECONDS

    def _pull(self, run_id: int, object_id: str) -> bytes:
        """Fetch an object as soon as it is at the coordinator's SuperLink.

        A message is announced before its objects arrive there. Flower would poll for a missing one
        after 1, 2, 4, up to 10 seconds.
        """
        for _ in range(_LOOKS):
            with suppress(ObjectUnavailableError):
                return self._real.pull_object(run_id, object_id)
            time.sleep(_LOOK_SECONDS)
        return self._real.pull_object(run_id, object_id)

    def _let_in(self, message: Message, tree: ObjectTree) -> _Open:
        self._round = None
        policy = current_policy(self._site.policy)
        run = self.get_run(message.metadata.run_id)
        bundle = self._bundle(run.fab_hash)
        check_override(policy, run.override_config, bundle)
        self._pulled = {}
        opened = open_message(tree.object_id, lambda ids: self._fetch(run.run_id, ids))
        if opened.has_error or opened.tree != tree or not metadata_agrees(opened, message):
            raise Refused("the message does not match its objects")
        kind = message.metadata.message_type
        check_request(kind, opened.content)
        settings = opened.content.configs["config"]
        self._round = settings["round"] if isinstance(settings.get("round"), int) else None
        config, sent = check_message_settings(policy, settings, bundle)
        methods = {**OWN, **bundle.methods}
        if kind == "train":
            check_what_travels(methods[str(sent.get("strategy", DEFAULT))], opened.content)
        if kind == "train" and self._records.rounds_today() >= policy.max_rounds_per_day:
            raise Refused(f"its policy allows {policy.max_rounds_per_day} rounds in 24 hours")
        form = form_of(kind, opened.content, methods=methods, experiment=sent)
        make_room(self._site.cache, config.image_size, policy.max_cache_bytes)
        self._note("in", message, opened)
        return _Open(message, opened, Moment.now(), form)

    def _bundle(self, sha256: str) -> Bundle:
        try:
            found = self._approvals.find(sha256)
        except OperationError as error:
            raise Refused("its list of approved bundles is damaged", str(error)) from None
        if found is None:
            raise Refused(
                f"bundle {sha256[:12]} is not approved at {self._name}: fedskin site approve"
            )
        return found

    def _fetch(self, run_id: int, ids: Iterable[str]) -> Mapping[str, bytes]:
        wanted = list(dict.fromkeys(ids))
        missing = [object_id for object_id in wanted if object_id not in self._pulled]
        self._pulled |= pull_objects(missing, lambda i: self._pull(run_id, i))
        return {object_id: self._pulled[object_id] for object_id in wanted}

    def _check_reply(self, waiting: _Open, message: Message, tree: ObjectTree) -> Opened:
        policy = current_policy(self._site.policy)
        wait_until_whole(tree, self._store)
        opened = open_message(
            tree.object_id,
            lambda ids: {object_id: self._get(object_id) for object_id in ids},
            waiting.form,
        )
        if opened.has_error or opened.tree != tree:
            raise Refused("its objects are not as Flower writes them", "another tree")
        if not is_reply_to(waiting.opened, waiting.since, opened, message):
            raise Refused("it is not a reply to what was asked")
        check_policy(opened.content.metrics["metrics"], policy)
        check_data(opened, self._get)
        return opened

    def _get(self, object_id: str) -> bytes:
        content = self._store.get(object_id)
        if not content:
            raise Refused("its objects are not as Flower writes them", f"{object_id} is missing")
        return content

    def _refuse(
        self,
        message: Message,
        refused: Refused,
        code: int = ErrorCode.CLIENT_APP_RAISED_EXCEPTION,
    ) -> None:
        self._open = None
        self._pulled = {}
        try:
            self._note("refused", message, reason=refused.whole)
        except Refused as full:  # the refusal is valid even if it cannot be recorded
            refused = full
        self._real.send_error(message, code, f"refused by {self._name}: {refused.reason}")

    def _note(
        self, event: str, message: Message, opened: Opened | None = None, reason: str = ""
    ) -> None:
        facts = {
            "run": str(message.metadata.run_id),
            "round": self._round,
            "type": message.metadata.message_type,
            **({"records": opened.listed()} if opened else {}),
            **({"reason": printable(reason, _MAX_RECORDED)} if reason else {}),
        }
        try:
            self._records.append(event, **facts)
        except OSError as error:
            raise Refused("its records cannot be written", str(error)) from None
