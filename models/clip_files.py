"""Files of CLIP weights: open_clip's names, in safetensors, as the hub keeps them.

Their names carry no hash as torchvision's do, and one cannot be checked against another; but a
safetensors file holds tensors and nothing to execute.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from models.errors import WeightsError, first_line

FILE_NAME = "open_clip_model.safetensors"

_TIMEOUT = 10  # seconds until the hub must have begun to answer


def locate_clip(repository: str, weights_dir: Path | None) -> Path:
    """Return the local file of a CLIP model's weights.

    Args:
        repository: of the hub, as ``owner/name``.
        weights_dir: the folder that holds ``name/open_clip_model.safetensors`` or
            ``name.safetensors``. None means the hub's own cache, into which a missing file is
            downloaded.

    Raises:
        WeightsError: the file is missing or cannot be downloaded.
    """
    if weights_dir is not None:
        return _in_folder(repository, weights_dir)
    return _in_hub(repository)


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file; only the tensors that are asked for are read.

    They are torch tensors that map the file, so that what outlives the file has to be copied.

    Raises:
        WeightsError: the file cannot be read or is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is not a safetensors file ({first_line(error)})") from error


def _in_folder(repository: str, folder: Path) -> Path:
    name = repository.rpartition("/")[2]
    candidates = (folder / name / FILE_NAME, folder / f"{name}.safetensors")
    for path in candidates:
        if path.is_file():
            return path
    archives = ", ".join(sorted(path.name for path in folder.glob("*.pt")))
    unread = f" (OpenAI's TorchScript archives are not read: {archives})" if archives else ""
    raise WeightsError(
        f"weights-dir: {name}/{FILE_NAME} is not in {folder}{unread}; bring it by "
        f"hf download {repository} {FILE_NAME} --local-dir {folder / name}, "
        "or set pretrained = false"
    )


def _in_hub(repository: str) -> Path:
    # Imported here, since most runs find what they need without it.
    import httpx
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, FILE_NAME, local_files_only=True))
    except LocalEntryNotFoundError:
        pass  # not downloaded yet
    try:
        # Asked first, and once: the download itself tries for half a minute before it gives up.
        get_hf_file_metadata(hf_hub_url(repository, FILE_NAME), timeout=_TIMEOUT)
        return Path(hf_hub_download(repository, FILE_NAME, etag_timeout=_TIMEOUT))
    except (OSError, httpx.HTTPError) as error:
        name = repository.rpartition("/")[2]
        raise WeightsError(
            f"pretrained: cannot download {FILE_NAME} of {repository} from the hub "
            f"({first_line(error)}); bring it as {name}.safetensors in a folder and name that "
            "as weights-dir, or set pretrained = false"
        ) from error
