"""A network link between a coordinator and a hospital on this machine, which can be cut."""

import os
import subprocess
from types import TracebackType

# From RFC 5737, reserved for documentation: no machine has these addresses.
ADDRESS, _OTHER_ADDRESS = "192.0.2.1", "192.0.2.2"

_END = "end"


class NetworkLink:
    """Two network namespaces and a link between them, until the end of the ``with`` block.

    Attributes:
        near: prefix for commands that run where `ADDRESS` is the machine's own.
        far: prefix for commands that reach it only over the link.

    Raises:
        OSError: the program ``ip`` (Debian: iproute2) is missing, or network namespaces are not
            permitted here.
    """

    def __init__(self) -> None:
        self._near, self._far = (f"fedskin-{os.getpid()}-{end}" for end in ("near", "far"))
        self.near = ("ip", "netns", "exec", self._near)
        self.far = ("ip", "netns", "exec", self._far)

    def __enter__(self) -> "NetworkLink":
        try:
            for end in (self._near, self._far):
                _ip("netns", "add", end)
                _ip("-n", end, "link", "set", "lo", "up")
            peer = ("peer", "name", _END, "netns", self._far)
            _ip("link", "add", _END, "netns", self._near, "type", "veth", *peer)
            for end, address in ((self._near, ADDRESS), (self._far, _OTHER_ADDRESS)):
                _ip("-n", end, "address", "add", f"{address}/30", "dev", _END)
                _ip("-n", end, "link", "set", _END, "up")
        except OSError:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def cut(self) -> None:
        """Set the link down: packets on their way are lost, and neither side is notified."""
        _ip("-n", self._far, "link", "set", _END, "down")

    def mend(self) -> None:
        """Set the link up again."""
        _ip("-n", self._far, "link", "set", _END, "up")

    def _remove(self) -> None:
        present = _ip("netns", "list").split()
        for end in (self._near, self._far):
            if end in present:
                _ip("netns", "delete", end)


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
