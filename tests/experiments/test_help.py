"""``--help`` answers at once: it does not load the code that does a command's work."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from click import NoSuchOption
from typer.testing import CliRunner

import experiments
from experiments.cli import app
from training.config import DEFAULTS

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


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_an_example_fits_into_a_terminal_of_80_columns(words: list[str]) -> None:
    """A line that the terminal broke would be two commands for who copies it."""
    command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]  # type: ignore[attr-defined]
    lines = [line.strip() for line in (command.help or "").splitlines()]
    assert not [line for line in lines if line.startswith("fedskin ") and len(line) > 76]


def test_the_help_of_a_plan_names_every_campaign_that_comes_with_fedskin() -> None:
    said = CliRunner().invoke(app, ["campaign", "plan", "--help"]).output
    files = [path.name for path in Path(experiments.__file__).parent.glob("campaigns/*.toml")]
    assert files
    assert [name for name in files if name not in said] == []


def with_config() -> list[list[str]]:
    """Return the commands that take ``-c``."""
    root = typer.main.get_command(app)
    found = []
    for words in commands():
        command = root
        for word in words:
            command = command.commands[word]  # type: ignore[attr-defined]
        if any("-c" in parameter.opts for parameter in command.params):
            found.append(words)
    return found


def said(*words: str) -> str:
    """Return the error of a call in one line, without the frame that is drawn around it."""
    result = CliRunner().invoke(app, words, env={"COLUMNS": "300"})
    assert result.exit_code == 2
    return " ".join(re.sub("[│╭╮╰╯─]", " ", result.output).split())


def test_the_commands_with_a_config_are_found() -> None:
    assert ["simulate"] in with_config()
    assert ["campaign", "run"] in with_config()


@pytest.mark.parametrize("words", with_config(), ids=" ".join)
def test_a_key_given_as_an_option_is_told_how_to_be_set(words: list[str]) -> None:
    assert "--rounds is a key of the config: write -c rounds=3" in said(*words, "--rounds", "3")


def test_every_key_is_told_with_hyphens_or_underscores() -> None:
    command = typer.main.get_command(app).commands["clip"]  # type: ignore[attr-defined]
    for key in DEFAULTS:
        for words, value in (
            ([f"--{key}", "1"], "1"),
            ([f"--{key.replace('-', '_')}=a b"], "a b"),
            ([f"--{key}"], "VALUE"),
            ([f"--{key}", "--plan"], "VALUE"),
        ):
            with pytest.raises(NoSuchOption) as caught:
                command.make_context("clip", words)
            assert caught.value.format_message().endswith(f"write  -c {key}={value}")


def test_other_options_are_refused_as_elsewhere() -> None:
    assert said("simulate", "--pln").endswith("No such option '--pln'. Did you mean '--plan'?")
    assert said("runs", "--rounds", "3").endswith("No such option '--rounds'.")


@pytest.mark.parametrize("words", [["simulatee"], ["data", "chek"]])
def test_a_similar_command_is_named_once(words: list[str]) -> None:
    assert said(*words).count("id you mean") == 1
