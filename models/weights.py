"""torchvision's pretrained weights: from a folder of files, torch.hub's folder, or the network.

Nothing in a file is executed and nothing is taken on trust: torchvision's file names end in the
first hex digits of the content's SHA-256, which is checked on every read.
"""

import hashlib
import pickle
import re
import sys
import zipfile
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from models.errors import WeightsError, first_line

_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth$")


def locate(url: str, weights_dir: Path | None) -> Path:
    """Return the local file of published weights, its hash checked.

    Args:
        url: where torchvision publishes the weights; the last part is the file's name.
        weights_dir: the folder that holds the file. None means torch.hub's
            (``$TORCH_HOME/hub/checkpoints``), into which a missing file is downloaded.

    Raises:
        WeightsError: the file is missing, cannot be downloaded, or is damaged.
    """
    path = _in_folder(url, weights_dir) if weights_dir is not None else _in_hub(url)
    _check_hash(path)
    return path


def load_pretrained(trunk: nn.Module, path: Path, *, head: str) -> None:
    """Fill ``trunk`` with the weights in a file, in place and strictly.

    Args:
        trunk: the network without its classifier. Its tensors are replaced, not written to, so
            it may lie on the meta device; afterwards it is on the CPU and owns its memory.
        path: what `locate` returned.
        head: name in the file of the Linear layer which the trunk lacks; it is left out.
            Every other name in the file must be in the trunk, and the other way round.

    Raises:
        WeightsError: the file holds something other than this network's weights.
    """
    # Cloned, since a tensor of a mapped file would change under us if someone rewrote the file.
    state = {
        name: tensor.clone()
        for name, tensor in _read(path).items()
        if not name.startswith(f"{head}.")
    }
    fill(trunk, state, path)


def fill(trunk: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Make the tensors of ``state`` those of ``trunk``, strictly; ``path`` is where they are from.

    Raises:
        WeightsError: they are not this network's.
    """
    try:
        # Assigned, not copied into place: the oldest published files lack BatchNorm's counters,
        # and only for counters on the meta device does torch then start at zero.
        trunk.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"{path} holds the weights of some other network") from error


def _file_name(url: str) -> str:
    return PurePosixPath(urlparse(url).path).name


def _in_folder(url: str, folder: Path) -> Path:
    path = folder / _file_name(url)
    if not path.is_file():
        raise WeightsError(
            f"weights-dir: {path.name} is not in {folder}; bring that file from {url}, "
            "or set pretrained = false"
        )
    return path


def _in_hub(url: str) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / _file_name(url)
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            url, str(path), _hash_in_name(path.name), progress=sys.stderr.isatty()
        )
    # RuntimeError is torch.hub's word for a download whose hash is wrong.
    except (OSError, HTTPException, RuntimeError) as error:
        raise WeightsError(
            f"pretrained: cannot download {url} ({first_line(error)}); bring {path.name} "
            "in a folder and name it as weights-dir, or set pretrained = false"
        ) from error
    return path


def _hash_in_name(name: str) -> str:
    match = _HASH_IN_NAME.search(name)
    if match is None:
        raise WeightsError(f"{name}: the file's name does not end in a hash and .pth")
    return match.group(1)


def _check_hash(path: Path) -> None:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror})") from error
    expected = _hash_in_name(path.name)
    if not digest.startswith(expected):
        raise WeightsError(
            f"{path} is damaged or another file: its SHA-256 begins {digest[: len(expected)]}, "
            "not as its name says; remove it and bring it anew"
        )


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``torch.save`` file, mapped where its format allows.

    Files saved before torch 1.6 are no zip archives and can only be read whole.
    """
    try:
        state = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{path} is not a file of weights ({first_line(error)})") from error
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise WeightsError(f"{path} is not a file of weights (no table of named tensors)")
    return state
