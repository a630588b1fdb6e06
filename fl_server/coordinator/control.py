"""Control of the coordinator's SuperLink: Flower's Control API.

Flower's program ``flwr`` takes seconds per call and builds a new bundle from files each time, but
exactly the approved bytes must be submitted.
"""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx

from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from fl_server.coordinator.door import PASSWORD_HEADER, password
from operation.flower_internals import (
    ControlHttpClient,
    FlowerError,
    ListNodesRequest,
    ListRunsRequest,
    NodeStatus,
    ProtobufCall,
    ProtobufRequestContext,
    ProtoFab,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
    public_key_to_bytes,
    user_config_to_proto,
)
from training.config import Scalar

# A SuperLink on the same machine answers in milliseconds, or is being restarted.
ANSWER_SECONDS = 10.0


class ControlError(RuntimeError):
    """A SuperLink that does not answer, or gives an unexpected answer, in one line."""


class ControlRefused(ControlError):
    """A request that the SuperLink will always refuse, in one line."""


class _Password:
    """Adds the password to every request, for the door."""

    def __init__(self, password: str) -> None:
        self._password = password

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        context.request.headers[PASSWORD_HEADER] = self._password
        return call_next(context)


class Control:
    """The Control API of a SuperLink on this machine.

    Args:
        address: HOST:PORT of its inner socket.
    """

    def __init__(self, address: str, folder: CoordinatorFolder) -> None:
        self._client = ControlHttpClient(
            f"https://{address}",
            interceptors=[_Password(password(folder.secret.read_bytes()))],
            verify=ssl.create_default_context(cafile=folder.ca_certificate),
            timeout=ANSWER_SECONDS,
        )

    def register(self, name: str, public_key: str) -> int:
        """Admit a site, and return the number that Flower gives it.

        Args:
            public_key: OpenSSH text.

        Raises:
            ControlError: as in every method, the SuperLink does not answer, or refuses.
        """
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_ssh_public_key

        key = load_ssh_public_key(public_key.encode("ascii"))
        assert isinstance(key, ec.EllipticCurvePublicKey)
        request = RegisterNodeRequest(public_key=public_key_to_bytes(key), name=name)
        with _plain_errors():
            return int(self._client.RegisterNode(request).node_id)

    def unregister(self, node_id: int) -> None:
        """Remove a site."""
        with _plain_errors():
            self._client.UnregisterNode(UnregisterNodeRequest(node_id=node_id))

    def online(self) -> set[int]:
        """Return the numbers of the sites that are connected."""
        with _plain_errors():
            nodes = self._client.ListNodes(ListNodesRequest()).nodes_info
        return {int(node.node_id) for node in nodes if node.status == NodeStatus.ONLINE}

    def start(self, bundle: bytes, sha256: str, run_config: Mapping[str, Scalar]) -> int:
        """Start a run of exactly this bundle, and return Flower's number for it."""
        request = StartRunRequest(
            fab=ProtoFab(hash_str=sha256, content=bundle),
            override_config=user_config_to_proto(dict(run_config)),
        )
        with _plain_errors():
            answer = self._client.StartRun(request)
        if not answer.HasField("run_id"):
            raise ControlRefused("the SuperLink refuses the run: its bundle is too large")
        return int(answer.run_id)

    def status(self, run_id: int) -> str:
        """Return Flower's status of a run, such as ``running`` or ``finished:failed``."""
        with _plain_errors():
            runs = self._client.ListRuns(ListRunsRequest(run_id=run_id)).run_dict
        status = runs[run_id].status
        words = (status.status, status.sub_status, status.details)
        return ":".join(word for word in words if word)

    def stop(self, run_id: int) -> None:
        """End a run, so that its messages are no longer delivered."""
        with _plain_errors():
            self._client.StopRun(StopRunRequest(run_id=run_id))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPStatusError as error:
        said = FlowerError.from_json(error.response.text)
        kind = ControlRefused if error.response.is_client_error else ControlError
        raise kind(f"the SuperLink refuses: {said or error}") from None
    except httpx.HTTPError as error:
        raise ControlError(f"the SuperLink does not answer: {error}") from None
