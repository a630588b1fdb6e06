"""torchvision's pretrained weights: from a folder of files, torch.hub's cache, or a download.

Nothing in a file is executed. torchvision's file names end in the first hex digits of the content's
SHA-256, which is checked on every read.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import sys
import zipfile
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from models.errors import WeightsError, first_line

# torch takes seconds to import: to find weights that are there needs none of it.
if TYPE_CHECKING:
    from torch import Tensor, nn

_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth$")


def locate(url: str, weights_dir: Path | None) -> Path:
    """Return the local file of published weights, its hash checked.

    Args:
        url: torchvision's URL of the weights; the last part is the file's name.
        weights_dir: the folder that holds the file. None: torch.hub's cache
            (``$TORCH_HOME/hub/checkpoints``), into which a missing file is downloaded.

    Raises:
        WeightsError: the file is missing, cannot be downloaded, or is damaged.
    """
    path = _in_folder(url, weights_dir) if weights_dir is not None else _in_hub(url)
    check_hash(path)
    return path


def hub_folder() -> Path:
    """Return torch.hub's folder of weights."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", f"{cache}/torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def load_pretrained(trunk: nn.Module, path: Path, *, head: str) -> None:
    """Fill ``trunk`` with the weights in a file, in place and strictly.

    Args:
        trunk: the network without its classifier. Its tensors are replaced, not written to, so
            it may be on the meta device; afterwards it is on the CPU and owns its memory.
        path: returned by `locate`.
        head: name in the file of the Linear layer that the trunk does not have; it is ignored.
            All other names in file and trunk must be the same.

    Raises:
        WeightsError: the file holds something other than this network's weights.
    """
    # Cloned, because a tensor of a mapped file would change if the file is rewritten.
    state = {
        name: tensor.clone()
        for name, tensor in _read(path).items()
        if not name.startswith(f"{head}.")
    }
    fill(trunk, state, path)


def fill(trunk: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Put the tensors of ``state`` into ``trunk``, strictly; ``path`` is for the message.

    Raises:
        WeightsError: they are of another network.
    """
    try:
        # Assigned, not copied: the oldest published files lack BatchNorm's counters, and torch
        # starts missing counters at zero only if they are on the meta device.
        trunk.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"{path} holds the weights of another network") from error


def _file_name(url: str) -> str:
    return PurePosixPath(urlparse(url).path).name


def _in_folder(url: str, folder: Path) -> Path:
    path = folder / _file_name(url)
    if not path.is_file():
        raise WeightsError(
            f"weights-dir: {path.name} is not in {folder}; download that file from {url}, "
            "or set pretrained = false"
        )
    return path


def _in_hub(url: str) -> Path:
    path = hub_folder() / _file_name(url)
    if path.is_file():
        return path
    import torch

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            url, str(path), _hash_in_name(path.name), progress=sys.stderr.isatty()
        )
    # torch.hub raises RuntimeError for a download with a wrong hash.
    except (OSError, HTTPException, RuntimeError) as error:
        raise WeightsError(
            f"pretrained: cannot download {url} ({first_line(error)}); put {path.name} "
            "into a folder and set weights-dir to it, or set pretrained = false"
        ) from error
    return path


def _hash_in_name(name: str) -> str:
    match = _HASH_IN_NAME.search(name)
    if match is None:
        raise WeightsError(f"{name}: the file's name does not end in a hash and .pth")
    return match.group(1)


def check_hash(path: Path) -> None:
    """Refuse a file of published weights that does not hold what its name says.

    Raises:
        WeightsError: its SHA-256 is another, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror})") from error
    expected = _hash_in_name(path.name)
    if not digest.startswith(expected):
        raise WeightsError(
            f"{path} is damaged or another file: its SHA-256 begins {digest[: len(expected)]}, "
            "not as its name says; delete it and download it again"
        )


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``torch.save`` file, memory-mapped if its format allows.

    Files saved before torch 1.6 are not zip archives and can only be read whole.
    """
    import torch

    try:
        state = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{path} is not a weight file ({first_line(error)})") from error
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise WeightsError(f"{path} is not a weight file (no table of named tensors)")
    return state
