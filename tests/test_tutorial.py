"""docs/tutorial.ipynb: every cell runs, and the page that is read has what they say."""

import sysconfig
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

DOCS = Path(__file__).parents[1] / "docs"
TUTORIAL = DOCS / "tutorial.ipynb"


@pytest.mark.slow
def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error, or a command that fails, ends it."""
    monkeypatch.setenv("PATH", sysconfig.get_path("scripts"), prepend=":")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(TUTORIAL, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, resources=place, kernel_name="python3").execute()
    assert (tmp_path / "tutorial" / "comparison" / "index.html").is_file()
    assert (tmp_path / "tutorial" / "lesions.onnx").is_file()
