"""Weight files in safetensors from the Hugging Face hub, or from a folder with the same names.

Unlike torchvision's, their names contain no hash to check; but a safetensors file holds only
tensors and nothing to execute.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import WeightsError, first_line

if TYPE_CHECKING:
    from torch import Tensor

_TIMEOUT = 10  # seconds until the hub must start to answer


@dataclass(frozen=True)
class HubFile:
    """Where a network's weights are."""

    file_name: str  # on the hub
    repository: str  # on the hub, as ``owner/name``; empty if they are in a folder only
    name: str = ""  # of the network's files in a folder, besides the repository's name

    def in_folder(self, folder: Path) -> list[Path]:
        """Return the paths that are looked for in a folder, in this order."""
        names = dict.fromkeys(filter(None, (self.repository.rpartition("/")[2], self.name)))
        return [
            path
            for n in names
            for path in (folder / n / self.file_name, folder / f"{n}.safetensors")
        ]

    def find(self, weights_dir: Path | None) -> Path | None:
        """Return the file if it is on this machine, without torch or a network.

        Args:
            weights_dir: the folder that holds ``name/file_name`` or ``name.safetensors``; None:
                the hub's own cache.
        """
        if weights_dir is not None:
            places = self.in_folder(weights_dir)
        elif self.repository:
            from huggingface_hub.constants import HF_HUB_CACHE

            kept = Path(HF_HUB_CACHE) / f"models--{self.repository.replace('/', '--')}"
            places = sorted((kept / "snapshots").glob(f"*/{self.file_name}"))
        else:
            places = []
        return next((path for path in places if path.is_file()), None)

    def locate(self, weights_dir: Path | None) -> Path:
        """Return the file, downloaded to the hub's cache if ``weights_dir`` is None.

        Raises:
            WeightsError: it is missing or cannot be downloaded.
        """
        if weights_dir is None:
            return self._in_hub()
        path = self.find(weights_dir)
        if path is None:
            raise WeightsError(self._missing(weights_dir))
        return path

    def _missing(self, folder: Path) -> str:
        if not self.repository:
            return (
                f"weights-dir: {self.name}.safetensors is not in {folder}; put the weights there "
                "under this name, or set pretrained = false"
            )
        name = self.repository.rpartition("/")[2]
        archives = ", ".join(sorted(path.name for path in folder.glob("*.pt")))
        unread = f" (OpenAI's TorchScript archives are not read: {archives})" if archives else ""
        return (
            f"weights-dir: {name}/{self.file_name} is not in {folder}{unread}; get it with  "
            f"hf download {self.repository} {self.file_name} --local-dir {folder / name}, "
            "or set pretrained = false"
        )

    def _in_hub(self) -> Path:
        if not self.repository:
            raise WeightsError(
                f"pretrained: which weights {self.name} starts from is not known; put them as "
                f"{self.name}.safetensors into a folder and set weights-dir to that folder, or set "
                "pretrained = false"
            )
        # Imported here: most runs do not need it.
        import httpx
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return Path(hf_hub_download(self.repository, self.file_name, local_files_only=True))
        except LocalEntryNotFoundError:
            pass  # not downloaded yet
        try:
            # One quick request first: the download itself retries for half a minute.
            get_hf_file_metadata(hf_hub_url(self.repository, self.file_name), timeout=_TIMEOUT)
            return Path(hf_hub_download(self.repository, self.file_name, etag_timeout=_TIMEOUT))
        except (OSError, httpx.HTTPError) as error:
            name = self.repository.rpartition("/")[2]
            raise WeightsError(
                f"pretrained: cannot download {self.file_name} of {self.repository} from the hub "
                f"({first_line(error)}); put it as {name}.safetensors into a folder and set "
                "weights-dir to that folder, or set pretrained = false"
            ) from error


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file; only the requested tensors are read.

    They are torch tensors that map the file; copy those that are used after it is closed.

    Raises:
        WeightsError: the file cannot be read or is damaged.
    """
    # Imported here: it imports torch.
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is not a safetensors file ({first_line(error)})") from error


def read_tensors(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Return a file's tensors whose names start with ``prefix``, which is removed.

    They own their memory. Floats of fewer bits become float32.

    Raises:
        WeightsError: the file cannot be read or is damaged.
    """
    import torch

    with open_tensors(path) as file:
        found = {
            name.removeprefix(prefix): file.get_tensor(name)
            for name in file.keys()  # noqa: SIM118 (it is not a dictionary)
            if name.startswith(prefix)
        }
        return {
            name: tensor.to(
                torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True
            )
            for name, tensor in found.items()
        }
