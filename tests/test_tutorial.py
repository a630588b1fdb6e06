"""docs/tutorial.ipynb: every cell runs, and the page that is read has what they say."""

import sysconfig
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

DOCS = Path(__file__).parents[1] / "docs"
TUTORIAL = DOCS / "tutorial.ipynb"


def test_the_tutorial_is_small_and_has_its_outputs() -> None:
    """Readers on the web see outputs; without errors, warnings, or this machine's paths."""
    assert TUTORIAL.stat().st_size < 300_000
    notebook = nbformat.read(TUTORIAL, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} >= {"stream", "display_data"}
    assert [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"] == []
    assert "/home/" not in TUTORIAL.read_text("utf-8")
    assert "/tmp/" not in TUTORIAL.read_text("utf-8")


# What takes long and shows nothing else.
QUICKER = {'"rounds": 6': '"rounds": 2', '"local-epochs": 2': '"local-epochs": 1'}


@pytest.mark.slow
def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error, or a command that fails, ends it."""
    monkeypatch.setenv("PATH", sysconfig.get_path("scripts"), prepend=":")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(TUTORIAL, as_version=4)
    for written, quick in QUICKER.items():
        [cell] = [c for c in notebook.cells if c.cell_type == "code" and written in c.source]
        cell.source = cell.source.replace(written, quick)
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, resources=place, kernel_name="python3").execute()
    assert (tmp_path / "tutorial" / "comparison" / "index.html").is_file()
    assert (tmp_path / "tutorial" / "lesions.onnx").is_file()
