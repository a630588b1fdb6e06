"""Files of CLIP weights: open_clip's names, in safetensors, as on the Hugging Face hub.

Unlike torchvision's, their names contain no hash to check; but a safetensors file holds only
tensors and nothing to execute.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from models.errors import WeightsError, first_line

FILE_NAME = "open_clip_model.safetensors"

_TIMEOUT = 10  # seconds until the hub must start to answer


def locate_clip(repository: str, weights_dir: Path | None) -> Path:
    """Return the local file of a CLIP model's weights.

    Args:
        repository: on the hub, as ``owner/name``.
        weights_dir: the folder that holds ``name/open_clip_model.safetensors`` or
            ``name.safetensors``. None: the hub's own cache, into which a missing file is
            downloaded.

    Raises:
        WeightsError: the file is missing or cannot be downloaded.
    """
    if weights_dir is not None:
        return _in_folder(repository, weights_dir)
    return _in_hub(repository)


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file; only the requested tensors are read.

    They are torch tensors that map the file; copy those that are used after it is closed.

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
        f"weights-dir: {name}/{FILE_NAME} is not in {folder}{unread}; get it with  "
        f"hf download {repository} {FILE_NAME} --local-dir {folder / name}, "
        "or set pretrained = false"
    )


def _in_hub(repository: str) -> Path:
    # Imported here: most runs do not need it.
    import httpx
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, FILE_NAME, local_files_only=True))
    except LocalEntryNotFoundError:
        pass  # not downloaded yet
    try:
        # One quick request first: the download itself retries for half a minute.
        get_hf_file_metadata(hf_hub_url(repository, FILE_NAME), timeout=_TIMEOUT)
        return Path(hf_hub_download(repository, FILE_NAME, etag_timeout=_TIMEOUT))
    except (OSError, httpx.HTTPError) as error:
        name = repository.rpartition("/")[2]
        raise WeightsError(
            f"pretrained: cannot download {FILE_NAME} of {repository} from the hub "
            f"({first_line(error)}); put it as {name}.safetensors into a folder and set "
            "weights-dir to that folder, or set pretrained = false"
        ) from error
