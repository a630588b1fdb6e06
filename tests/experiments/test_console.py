"""Text from outside is printed as it is, and has no effect on the terminal."""

import ast
import errno
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table

from data_partition.errors import DataError
from data_partition.synthetic_ham10000 import write_ham10000
from experiments import command_runner, coordinator, data_commands, prediction, site
from experiments.campaigns.campaign_display import CampaignDisplay
from experiments.campaigns.campaign_folder import CampaignFolder
from experiments.console import Console, echo, marked, shown
from experiments.display import RunDisplay
from experiments.results import results_table
from experiments.trained_model import TrainedModel
from fl_client.site.approved_bundles import Approvals
from fl_client.site.records import Records
from fl_server.coordinator.coordinator_folder import CoordinatorFolder, CoordinatorSettings
from fl_server.coordinator.orders import Orders
from operation.errors import OperationError
from tests.fl_client.site.sites import approve, make_bundle, make_site
from tests.support import make_config
from training.checkpoint import Progress as RunProgress
from training.metrics import METRIC_NAMES
from training.run_folder import RunFolder

# A terminal's escapes in one and in eight bits, a return to the line's beginning, writing from
# right to left, and rich's markup, opened and closed.
HOSTILE = "x[/y]\x1b[2J\x9b1A\r\u202e[red]:CD:"
VISIBLE = "x[/y][2J1A[red]:CD:"  # but for blanks


def printed(*things: Any, **how: Any) -> str:
    file = io.StringIO()
    Console(file=file, width=200).print(*things, **how)
    return file.getvalue()


def without_blanks(text: str) -> str:
    """What is left without blanks, line breaks and the lines of tables."""
    return "".join(character for character in text if not character.isspace() and character != "│")


def is_plain(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def test_no_command_prints_past_the_console() -> None:
    """Neither through rich's own console nor by print and echo."""
    for path in sorted(Path(str(resources.files("experiments"))).rglob("*.py")):
        if path.name == "console.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.ImportFrom(module="rich.console", names=names):
                    assert "Console" not in {name.name for name in names}, path
                case ast.Import(names=names):
                    assert not any(name.name.startswith("rich") for name in names), path
                case ast.Call(func=ast.Attribute(attr="echo" | "secho")):
                    raise AssertionError(f"{path}:{node.lineno}")
                case ast.Call(func=ast.Name(id="print"), args=[argument]):
                    ours = ast.unparse(argument)  # the version, and a table of our own
                    assert ours in ("metadata.version('fedskin')", "_markdown(rows)"), path


def test_no_benchmark_reads_text_as_markup() -> None:
    """A CUDA error may hold ``[/pytorch/aten/...]``, which would end the benchmark."""
    for path in sorted((Path(__file__).parents[2] / "benchmarks").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "rich.console":
                assert "Console" not in {name.name for name in node.names}, path


def test_text_is_shown_as_it_is() -> None:
    for said in (printed(HOSTILE), printed(marked(f"[bold]{shown(HOSTILE)}[/]"))):
        assert is_plain(said)
        assert without_blanks(said) == VISIBLE
    assert printed("one\n two", style="red") == "one\n two\n"


def test_what_ends_in_a_backslash_does_not_open_the_markup_behind_it() -> None:
    assert printed(marked(f"{shown('a' + chr(92))}[red]b[/]")) == "a\\b\n"


def test_tables_and_bars() -> None:
    table = Table(HOSTILE, title=HOSTILE, caption=HOSTILE)
    table.add_row(HOSTILE)
    said = printed(table)
    assert is_plain(said)
    assert without_blanks(said).count("[/y]") == 4
    file = io.StringIO()
    columns = TextColumn("{task.description}", markup=False)
    with Progress(columns, console=Console(file=file, width=200)) as progress:
        progress.add_task(HOSTILE, total=1)
    assert is_plain(file.getvalue())
    assert without_blanks(file.getvalue()).startswith("x[/y][2J1A[red]")


def test_a_style_is_still_one() -> None:
    file = io.StringIO()
    Console(file=file, force_terminal=True, color_system="standard").print("a", style="red")
    assert file.getvalue() == "\x1b[31ma\x1b[0m\n"


def test_echo(capsys: pytest.CaptureFixture[str]) -> None:
    echo(HOSTILE + "z" * 5000)
    assert without_blanks(capsys.readouterr().out) == VISIBLE + "z" * 5000


@pytest.fixture(autouse=True)
def same_mask() -> Iterator[None]:
    """A command makes what this process writes private; other tests need not see that."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def error() -> None:
    def command() -> None:
        raise OperationError(HOSTILE)

    with pytest.raises(SystemExit):
        command_runner.run_command_line(command)


def full_disk() -> None:
    def command() -> None:
        raise OSError(28, "No space left on device", HOSTILE)

    with pytest.raises(SystemExit):
        command_runner.run_command_line(command)


def data_check() -> None:
    write_ham10000(Path("data"), images=14, seed=0)
    image = next(Path("data").rglob("*.jpg"))
    named = image.with_name(HOSTILE.replace("/", "") + ".jpg")
    named.write_text("no")
    with pytest.raises(DataError, match="holds a control character") as refused:
        data_commands.check(Path("data"))
    assert is_plain(str(refused.value))
    named.rename(image.with_name(re.sub(r"[\x00-\x1f]", "", named.name)))
    data_commands.check(Path("data"))
    print(VISIBLE)  # of the name a slash is missing; what counts is that it is printed plain


def site_approve_and_approved() -> None:
    made = make_site(Path())
    path = Path("bundle.fab")
    make_bundle(path, version=HOSTILE)
    site.approve(made.path, path, yes=True)
    site.approved(made.path)


def site_approved_by_hand() -> None:
    made = make_site(Path())
    approve(made, make_bundle(Path("bundle.fab")))
    listed = Approvals(made.approved).listed()
    for facts in listed.values():
        facts["version"] = HOSTILE
    (made.approved / "approved.json").write_text(json.dumps(listed))
    site.approved(made.path)


def site_log() -> None:
    made = make_site(Path())
    records = [{"name": HOSTILE, "kind": "arrays", "bytes": 1, "sha256": "0"}]
    facts = {"run": HOSTILE, "round": 1, "type": HOSTILE}
    Records(made.records).append("refused", **facts, records=records, reason=HOSTILE)
    site.log(made.path)


def site_status() -> None:
    made = make_site(Path())
    made.state.write_text(HOSTILE)
    site.status(made.path)
    print(VISIBLE)  # nobody serves it, which is said in the state's place


def coordinator_list() -> None:
    folder = CoordinatorFolder(Path("coordinator"))
    folder.create(CoordinatorSettings(host="h", port=1, bind="127.0.0.1"))
    Orders(folder).add(Path("/" + HOSTILE), [HOSTILE], "0")
    coordinator.console = Console(width=200)
    coordinator.list_sites(folder.path)


def rounds() -> None:
    run = RunFolder(Path("run"))
    run.create(make_config())
    run.update_manifest(phase=HOSTILE)
    record = {
        "round": 1,
        "train_loss": 1.0,
        "validation": {"pooled": {"n": 0}},
        "seconds": {"round": 1.0},
        "failures": {HOSTILE: HOSTILE},
        "clients": {},
    }
    run.checkpoint.save(RunProgress(round=1, records=[record]))
    with RunDisplay(Console(width=400), 1) as display:
        display.show(run)


def results() -> None:
    block = {"n": 1, "confusion": [[1, 0], [0, 0]], **dict.fromkeys(METRIC_NAMES, 1.0)}
    metrics = {
        **{"best_round": 1, "best_by": "avg", "rounds": 1, "participation": {HOSTILE: 1}},
        **{"clients": {HOSTILE: block}, "client_test": {**block, "missing": []}},
        "validation": {"missing": []},
        "client_heads": {HOSTILE: {"failed": HOSTILE}},
    }
    data = {"synthetic": False, "overlap": None, "test_images": 0, "copies": None}
    Console(width=400).print(results_table(metrics, {"data": data}))


def predictions() -> None:
    answers = pd.DataFrame({"name": ["a" + HOSTILE], "predicted": [HOSTILE], HOSTILE: [0.5]})
    model = TrainedModel(
        make_config(), (HOSTILE,), HOSTILE, lambda: ({}, None), uncalibrated=HOSTILE
    )
    Console(width=400).print(prediction._table(answers, model))


def campaign() -> None:
    folder = CampaignFolder(Path("campaign"))
    CampaignDisplay(Console(width=400), HOSTILE, folder, []).show({HOSTILE: HOSTILE})


@pytest.mark.parametrize(
    "say", ["Console().print('table')", "Console().say('line')", "echo('line')"]
)
def test_a_reader_that_has_gone_does_not_end_the_work(say: str, tmp_path: Path) -> None:
    """As `fedskin compare A B --out DIR | head`: the folder is written all the same."""
    work = f"from experiments.console import Console, echo\n{say}\n{say}\nopen('file', 'x').close()"
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-c", work],
        stdout=writer,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        timeout=60,
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert (tmp_path / "file").is_file()


@pytest.mark.parametrize(
    "command",
    [
        error,
        full_disk,
        data_check,
        site_approve_and_approved,
        site_approved_by_hand,
        site_log,
        site_status,
        coordinator_list,
        rounds,
        results,
        predictions,
        campaign,
    ],
)
def test_hostile_text_through_each_command(
    command: Callable[[], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    command()
    said = "".join(capsys.readouterr())
    assert VISIBLE[:5] in without_blanks(said)
    assert "[red]" in without_blanks(said)
    assert is_plain(said), ascii(said)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "choose another place or free disk space"),
        (errno.EDQUOT, "choose another place or free disk space"),
        (errno.ENOTDIR, "choose another place"),
        (errno.EACCES, "allow it, or choose another place"),
        (errno.ENOENT, "restore it, or name another"),
    ],
)
def test_disk_space_is_advised_only_where_a_disk_is_full(
    number: int, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise OSError(number, os.strerror(number), "place")

    with pytest.raises(SystemExit) as ended:
        command_runner.run_command_line(command)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"fedskin: place: {os.strerror(number)}; {remedy}\n"
