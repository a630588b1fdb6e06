"""``--help`` answers at once: it does not load the code that does a command's work."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import experiments
from experiments.cli import app

# Each takes a tenth of a second or more to import.
HEAVY = {
    "PIL",
    "flwr",
    "httpx",
    "matplotlib",
    "mlflow",
    "nibabel",
    "numpy",
    "onnx",
    "onnxruntime",
    "open_clip",
    "pandas",
    "ray",
    "scipy",
    "sklearn",
    "timm",
    "torch",
    "torchvision",
}


def commands() -> list[list[str]]:
    """Return every command and group of commands as its words."""
    root = typer.main.get_command(app)
    found: list[list[str]] = [[]]
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        found.append([name])
        found += [[name, inner] for inner in getattr(command, "commands", ())]
    return found


def test_the_command_line_loads_nothing_heavy() -> None:
    code = f"import sys; import experiments.cli; print(*({HEAVY} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_says_what_it_is(words: list[str]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    assert " ".join(["Usage:", *words]).split()[-1] in result.output


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_lines_of_examples_are_as_written(words: list[str]) -> None:
    """A backslash before a line's end would join two lines, with the blanks between them."""
    lines = CliRunner().invoke(app, [*words, "--help"]).output.splitlines()
    assert not [line for line in lines if re.match(r" *[^│ ].*\S {5,}\S", line)]


def test_the_help_of_a_plan_names_every_campaign_that_comes_with_fedskin() -> None:
    said = CliRunner().invoke(app, ["campaign", "plan", "--help"]).output
    files = [path.name for path in Path(experiments.__file__).parent.glob("campaigns/*.toml")]
    assert files
    assert [name for name in files if name not in said] == []
