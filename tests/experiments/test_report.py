"""``fedskin report``: whatever state a campaign is in."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments import cli
from experiments.command_runner import run_command_line
from experiments.reporting import figures, style
from tests.generated_campaign import write_campaign

Report = Callable[[Path], tuple[int, str, str]]


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    """``fedskin report`` in this process: exit status, output, errors."""

    def report(folder: Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            run_command_line(lambda: cli.app(["report", str(folder)]))
        output, errors = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, output, errors

    return report


@pytest.fixture(autouse=True)
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the convergence is drawn; figures have tests of their own."""

    def drawn(name: str, what: str, *more: Any, about: str) -> style.Drawing:
        if name.endswith("-convergence"):
            return style.drawn(name, what, *more, about=about)
        return style.Drawing(name, about, what, "<svg></svg>", b"")

    def draw_all(findings: Any) -> list[style.Drawing]:
        return [drawing for drawing in all_of(findings) if drawing.png]

    all_of = figures.draw_all
    monkeypatch.setattr(figures, "drawn", drawn)
    monkeypatch.setattr(figures, "draw_all", draw_all)


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """Two trials that are done."""
    folder = tmp_path / "campaign"
    write_campaign(folder, trials=2, rounds=2)
    return folder


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_a_report_is_written_and_said(campaign: Path, report: Report) -> None:
    before = files(campaign)
    status, output, errors = report(campaign)
    assert (status, errors) == (0, "")
    assert output.splitlines() == [
        "SYNTHETIC images: these figures say nothing about patients",
        "2 of 2 trials are done",
        f"Wrote {campaign}/report/index.html, 2 figures and 6 tables beside it",
    ]
    added = files(campaign) - before
    assert len(added) == 1 + 2 * 2 + 3 * 6
    assert all(name.startswith("report/") for name in added)
    assert "report/index.html" in added


def test_while_the_campaign_runs(campaign: Path, report: Report) -> None:
    """One trial is done, one has only begun."""
    first, second = sorted((campaign / "trials").iterdir())
    for name in ("metrics.json", "rounds.jsonl"):
        (second / name).unlink()
    manifest = json.loads((second / "manifest.json").read_text())
    (second / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    status, output, _ = report(campaign)
    assert status == 0
    assert "1 of 2 trials are done\n" in output
    page = (campaign / "report" / "index.html").read_text()
    assert first.name in page
    assert second.name not in page


def test_before_any_trial_is_done(campaign: Path, report: Report) -> None:
    shutil.rmtree(campaign / "trials")
    status, output, errors = report(campaign)
    assert (status, errors) == (0, "")
    assert "0 of 2 trials are done" in output
    assert "No trial has finished yet; the page says so" in output
    assert "No trial has finished yet" in (campaign / "report" / "index.html").read_text()


def test_trials_without_a_plan(campaign: Path, report: Report) -> None:
    (campaign / "plan.json").unlink()
    status, output, _ = report(campaign)
    assert status == 0
    assert "2 trials are done" in output
    assert "<title>SYNTHETIC: campaign</title>" in (campaign / "report/index.html").read_text()


def test_trials_that_the_plan_no_longer_names(campaign: Path, report: Report) -> None:
    plan = json.loads((campaign / "plan.json").read_text())
    (campaign / "plan.json").write_text(json.dumps({**plan, "trials": plan["trials"][:1]}))
    _, output, _ = report(campaign)
    assert "1 of 1 trial is done, and 1 more that the last plan does not name" in output


@pytest.mark.parametrize("name", ["metrics.json", "manifest.json", "rounds.jsonl", "config.toml"])
def test_a_damaged_trial_is_set_aside_and_named(name: str, campaign: Path, report: Report) -> None:
    damaged = sorted((campaign / "trials").iterdir())[0]
    (damaged / name).write_text("{")
    status, output, _ = report(campaign)
    assert status == 0
    assert f"{damaged.name}: set aside: " in output
    assert "1 of 2 trials are done" in output
    assert damaged.name in (campaign / "report" / "index.html").read_text()
    assert (damaged / name).read_text() == "{"


def test_a_trial_without_class_names_is_set_aside(campaign: Path, report: Report) -> None:
    """The confusion matrix and recall by class need them."""
    path = sorted((campaign / "trials").glob("*/manifest.json"))[0]
    manifest = json.loads(path.read_text())
    del manifest["data"]["classes"]
    path.write_text(json.dumps(manifest))
    status, output, _ = report(campaign)
    assert status == 0
    assert f"{path.parent.name}: set aside: " in output
    assert "manifest.json: data.classes: Field required" in output


def test_a_later_report_takes_the_place_of_the_earlier(campaign: Path, report: Report) -> None:
    report(campaign)
    before = files(campaign / "report")
    (campaign / "report" / "figures" / "of-another-time.svg").write_text("<svg/>")
    (campaign / "report" / "notes.txt").write_text("mine")
    trial = next((campaign / "trials").glob("*"))
    shutil.rmtree(trial)
    report(campaign)
    after = files(campaign / "report")
    assert "notes.txt" in after  # only figures and tables are the report's to remove
    assert after - {"notes.txt"} < before
    assert not any(name.endswith(".tmp") for name in after)


def test_two_reports_are_the_same_bytes(campaign: Path, report: Report) -> None:
    def content() -> dict[str, bytes]:
        folder = campaign / "report"
        return {name: (folder / name).read_bytes() for name in files(folder)}

    report(campaign)
    first = content()
    report(campaign)
    assert content() == first


@pytest.mark.parametrize("make", [True, False], ids=["empty folder", "no folder"])
def test_no_campaign_is_one_line_and_status_2(make: bool, tmp_path: Path, report: Report) -> None:
    folder = tmp_path / "nothing"
    if make:
        folder.mkdir()
    status, _, errors = report(folder)
    assert status == 2
    (line,) = errors.splitlines()
    assert line.startswith(f"fedskin: {folder}: holds neither a run nor a campaign")
    assert not (folder / "report").exists()


def test_a_plan_of_another_version_is_one_line_and_status_2(campaign: Path, report: Report) -> None:
    (campaign / "plan.json").write_text("[]")
    status, _, errors = report(campaign)
    assert status == 2
    (line,) = errors.splitlines()
    assert "is not a plan of this version" in line


def test_a_place_where_nothing_can_be_written_is_one_line_and_status_2(
    campaign: Path, report: Report
) -> None:
    (campaign / "report").write_text("a file, not a folder")
    status, _, errors = report(campaign)
    assert status == 2
    (line,) = errors.splitlines()
    assert os.fspath(campaign / "report") in line


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command_line(lambda: cli.app(["report", "--help"]))
    assert ended.value.code == 0
    assert "fedskin report runs/task2" in capsys.readouterr().out
