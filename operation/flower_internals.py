"""All private parts of Flower that this project uses, and why; no other file imports any.

They may change with every version, so the version is checked. What Flower documents (flwr.app,
flwr.clientapp, flwr.serverapp, flwr.common.log) is imported where it is used.

No process needs all of them, and some take a second to import. So each is imported when it is first
asked for: only the type checker makes the imports below, which this file reads as a table.
"""
# ruff: noqa: F401, I001 (imported for others, and in an order of their own)

import ast
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flwr.app import Message

    # --- Messages, at both sides -------------------------------------------------------------
    # Tells a lost connection from a process that died and from an app that raised an error.
    from flwr.common.constant import ErrorCode

    # The parts of a message are read one by one and checked before an array takes memory; Flower's
    # public classes read whole messages only.
    from flwr.proto.message_pb2 import Message as ProtoMessage
    from flwr.proto.message_pb2 import Metadata as ProtoMetadata
    from flwr.proto.message_pb2 import ObjectTree
    from flwr.supercore.inflatable.inflatable_object import (
        UnexpectedObjectContentError,
        get_object_head_values_from_object_content,
        get_object_tree,
        iterate_object_tree,
    )
    from flwr.supercore.inflatable.inflatable_utils import (
        ObjectPullError,
        ObjectPushError,
        ObjectUnavailableError,
        pull_objects,
    )

    # --- The ServerApp's grid (fl_server/streaming_grid.py) ----------------------------------
    # The type that the public class Grid returns.
    from flwr.proto.node_pb2 import NodeInfo

    # Flower's own grid over sites, whose connection is used.
    from flwr.supercore.runtime import RuntimeHttpClient
    from flwr.superlink.grid.http_grid import HttpGrid

    # It holds a model once more while it sends, twice more while it receives: so its requests are
    # made here, a chunk at a time.
    from flwr.app.message import remove_content_from_message
    from flwr.app.message.arraychunk import ArrayChunk
    from flwr.common.serde import message_to_proto
    from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
    from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
    from flwr.supercore.inflatable.inflatable_object import (
        InflatableObject,
        get_all_nested_objects,
        no_object_id_recompute,
    )
    from flwr.supercore.inflatable.inflatable_protobuf_utils import (
        make_pull_object_fn_protobuf,
        make_push_object_fn_protobuf,
    )

    # --- The ServerApp's grid in a simulation (fl_server/simulated_grid.py) ------------------
    # It sends and returns everything at once; each delivery looks at all messages of all nodes.
    from flwr.superlink.grid.inmemory_grid import InMemoryGrid

    # --- Robust means (strategies/methods/krum.py) -------------------------------------------
    # Flower's own choice by them leaves equal scores to rounding.
    from flwr.serverapp.strategy.multikrum import compute_distances

    # --- The coordinator ---------------------------------------------------------------------
    # The Control API: the program `flwr` takes seconds for a request.
    from flwr.common.serde import user_config_to_proto
    from flwr.proto.control_pb2 import (
        ListNodesRequest,
        ListRunsRequest,
        RegisterNodeRequest,
        StartRunRequest,
        StopRunRequest,
        UnregisterNodeRequest,
    )
    from flwr.proto.fab_pb2 import Fab as ProtoFab
    from flwr.supercore.constant import NodeStatus
    from flwr.supercore.control import ControlHttpClient
    from flwr.supercore.error import FlowerError
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes
    from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

    # A bundle in memory: `flwr run` would build another one than the sites have approved.
    from flwr.cli.build import build_fab_from_disk

    # The SuperLink's app, as flwr.superlink.cli.flower_superlink puts it together: its program
    # serves it on one socket, where everybody reaches the Control API.
    from flwr.common.constant import ISOLATION_MODE_PROCESS, TRANSPORT_TYPE_GRPC_RERE
    from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME
    from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
    from flwr.superlink.config_loader import SuperLinkLifespanConfig, load_control_authn_plugin
    from flwr.superlink.main import create_app as create_superlink_app
    from flwr.superlink.routers.fleet.router import router as fleet_router

    # The requests of the Fleet API, which it accepts for any message and object.
    from flwr.common.constant import SUPERLINK_NODE_ID
    from flwr.proto.fab_pb2 import GetFabRequest
    from flwr.proto.fleet_pb2 import (
        PullMessagesRequest,
        PullMessagesResponse,
        PushMessagesRequest,
        PushMessagesResponse,
    )
    from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
    from flwr.proto.message_pb2 import PullObjectRequest, PushObjectRequest
    from flwr.proto.run_pb2 import GetRunRequest
    from flwr.supercore.object_store import NoObjectInStoreError

    # --- A site ------------------------------------------------------------------------------
    # The SuperNode's loop and API: its program accepts no other connection than its own.
    from flwr.common.serde_utils import metadata_to_proto
    from flwr.supercore.exit import add_exit_handler
    from flwr.supercore.fab import Fab
    from flwr.supercore.object_store import ObjectStore, ObjectStoreFactory
    from flwr.supercore.run import Run, RunNotRunningException
    from flwr.supernode import start_client_internal
    from flwr.supernode.main import create_app as create_supernode_app
    from flwr.supernode.nodestate import NodeStateFactory
    from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

    # The superexec: its program starts Python anew for every message.
    from flwr.supercore.constant import TaskType
    from flwr.supercore.superexec import run_superexec
    from flwr.supercore.superexec.executor import (
        ExecutionSpec,
        LaunchResult,
        SubprocessExecutor,
    )
    from flwr.supercore.utils import disable_process_dumping
    from flwr.supernode.runtime.run_clientapp import run_clientapp

    # --- A simulation ------------------------------------------------------------------------
    # Its SuperLink and its app are forks. The programs are `flower-superlink`, `flwr run`,
    # `flower-superexec`, which asks for a task every half second, and `flwr-simulation`; each
    # imports Flower anew.
    from flwr.proto.runtime_pb2 import AcquireTaskRequest
    from flwr.simulation.app import run_simulation_process
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
    from flwr.supercore.utils import simulation_config_from_json
    from flwr.superlink.cli.flower_superlink import flower_superlink

VERSION = "1.41"
_installed = metadata.version("flwr")
assert _installed.startswith(f"{VERSION}."), f"this is for flwr {VERSION}, but {_installed} is here"


def set_message_id(message: "Message", message_id: str) -> None:
    """Give a message its id, which Flower itself does only when it sends it."""
    message.metadata.__dict__["_message_id"] = message_id


def let_clients_work_at_once(most: int) -> None:
    """Let a simulation have as many clients at work as Ray has room for, up to so many.

    Flower starts a thread for each of them, but at most 32, or four more than there are cores.
    """
    from concurrent.futures import ThreadPoolExecutor
    from functools import partial

    from flwr.server.superlink.fleet.vce import vce_api

    vars(vce_api)["ThreadPoolExecutor"] = partial(ThreadPoolExecutor, max_workers=most)


def runtime_client(grid: "HttpGrid") -> "RuntimeHttpClient":
    """Return the connection of Flower's grid."""
    return grid._runtime_client


def _names() -> dict[str, tuple[str, str]]:
    """Return module and name there of each import above."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.asname or alias.name: (str(node.module), alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


_NAMES = _names()


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, there = _NAMES[name]
    # As "from … import …" does it: the name may be that of a module.
    found = getattr(__import__(module, fromlist=[there]), there)
    globals()[name] = found
    return found
