"""What surrounds a run at the server."""

from pathlib import Path

import pytest

from fl_server.run import check_same_data
from training.errors import RunFolderError
from training.run_folder import RunFolder


def test_a_run_does_not_go_on_with_other_images(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    check_same_data(folder, "a")  # nothing is known yet
    folder.update_manifest(data={"fingerprint": "a"})
    check_same_data(folder, "a")
    with pytest.raises(RunFolderError, match="other images"):
        check_same_data(folder, "b")
