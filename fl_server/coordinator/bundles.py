"""The bundle: the exact bytes that the sites approve and that runs are submitted with."""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

from fl_server.bundle import write_app
from fl_server.coordinator.coordinator_folder import CoordinatorFolder
from operation.errors import OperationError
from operation.files import write_bytes


def write_bundle(folder: CoordinatorFolder) -> tuple[Path, str]:
    """Write the bundle of this version of fedskin, and the invitation that names the version.

    Returns:
        The bundle's path and its SHA-256.
    """
    # Imported here: importing Flower takes a second, and an existing bundle does not need it.
    from fl_server.coordinator.control import build_bundle

    with TemporaryDirectory() as temporary:
        app = Path(temporary) / "app"
        write_app(app)
        content = build_bundle(app)
    write_bytes(folder.bundle, content)
    folder.write_invitation()
    return folder.bundle, hashlib.sha256(content).hexdigest()


def bundle_to_run(folder: CoordinatorFolder) -> str:
    """Return the SHA-256 of the bundle for new runs, which is written if there is none."""
    if not folder.bundle.is_file():
        return write_bundle(folder)[1]
    return hashlib.sha256(folder.bundle.read_bytes()).hexdigest()


def find_bundle(folder: CoordinatorFolder, sha256: str) -> bytes:
    """Return the bundle with a SHA-256, of any version.

    Raises:
        OperationError: it no longer exists.
    """
    for path in folder.path.glob("*.fab"):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
    raise OperationError(
        f"its bundle {sha256[:12]} is no longer in {folder.path}; restore it, or continue with "
        "the new one by  fedskin run --resume"
    )
