"""The display of a campaign."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.campaigns import campaign_display
from experiments.campaigns.campaign_display import (
    CampaignDisplay,
    best_so_far,
    finals,
    overview,
    seconds_left,
)
from experiments.campaigns.campaign_folder import CampaignFolder, Planned, State
from experiments.console import Console
from tests.support import make_config
from training.checkpoint import Progress
from training.run_state import RunState

CONFIG = make_config(rounds=7).to_flat()
NAMES = [f"simulate-resnet18-{number:012x}" for number in range(5)]
PLANNED = [Planned(name, "simulate", CONFIG) for name in NAMES]


def text(view: object) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(view)
    return console.export_text()


@pytest.fixture
def folder(tmp_path: Path) -> CampaignFolder:
    campaign = CampaignFolder(tmp_path)
    for name, avg in zip(NAMES[:2], (41.5, 63.25), strict=True):
        campaign.run_folder(name).create(make_config())
        campaign.run_folder(name).write_metrics({"validation": {"avg": avg}})
    campaign.run_folder(NAMES[2]).create(make_config())
    record = {"validation": {}}
    progress = Progress(round=3, best_round=2, best_figure=55.5, records=[record] * 3)
    campaign.run_folder(NAMES[2]).checkpoint.save(progress)
    return campaign


# Of five trials; two are completed.
ONE_OF_EACH = (
    *(RunState.COMPLETED, RunState.COMPLETED, RunState.RUNNING),
    *(RunState.FAILED, RunState.WAITING),
)


def states(*words: RunState) -> dict[str, State]:
    took = {RunState.COMPLETED: {"seconds": 100.0}}
    return {
        name: State(
            word, "out of memory [9]" if word == RunState.FAILED else "", took.get(word, {})
        )
        for name, word in zip(NAMES, words, strict=True)
    }


def test_the_overview_counts_names_the_best_and_explains_failures(folder: CampaignFolder) -> None:
    shown = text(overview("study", folder, PLANNED, states(*ONE_OF_EACH)))
    for words in (
        *("study", "2 of 5 done", "1 running", "1 failed", "1 waiting"),
        f"best validation AVG so far 63.25: {NAMES[1]}",
        *("3 of 7 rounds", "55.50"),
        f"failed {NAMES[3]}: out of memory [9]",
    ):
        assert words in shown


def test_the_time_left_comes_from_finished_trials() -> None:
    """One waits (100 s), one runs (half of it), two at a time: 75 s."""
    words = states(*ONE_OF_EACH)
    assert seconds_left(PLANNED, words, 2) == 75.0
    assert seconds_left(PLANNED, states(*[RunState.WAITING] * 5), 2) is None


def test_the_best_is_that_of_the_score_by_which_models_are_chosen() -> None:
    """Where trials differ in it, or chose by the loss, AVG's; of an error the lowest."""
    blocks = {"a": {"avg": 60.0, "bacc": 40.0, "ece": 3.0}, "b": {"avg": 50.0, "bacc": 45.0}}
    for chosen, best in (
        (("bacc", "bacc"), ("b", "bacc", 45.0)),
        (("bacc", "avg"), ("a", "avg", 60.0)),
        (("loss", "loss"), ("a", "avg", 60.0)),
        (("ece", "ece"), ("a", "ece", 3.0)),
    ):
        pairs = zip(blocks.items(), chosen, strict=True)
        final = {name: {"validation": block, "best_by": by} for (name, block), by in pairs}
        assert best_so_far(final) == best


def test_without_validation_there_is_no_best(tmp_path: Path) -> None:
    campaign = CampaignFolder(tmp_path)
    assert best_so_far(finals(campaign, states(*[RunState.WAITING] * 5))) is None
    campaign.run_folder(NAMES[0]).create(make_config())
    campaign.run_folder(NAMES[0]).write_metrics({"best_round": 1})
    words = {NAMES[0]: State(RunState.COMPLETED, "", {})}
    assert best_so_far(finals(campaign, words)) is None
    (campaign.run_folder(NAMES[0]).path / "metrics.json").write_text("{", encoding="utf-8")
    assert best_so_far(finals(campaign, words)) is None, "nor in a damaged folder"


def test_on_no_terminal_each_trial_that_ends_is_a_line(
    folder: CampaignFolder,
) -> None:
    said = io.StringIO()
    with CampaignDisplay(Console(file=said), "study", folder, PLANNED) as display:
        display.show({})
        display.show({NAMES[0]: "", NAMES[3]: "exit status 2: no [such] folder"})
    assert said.getvalue().splitlines() == [
        f"done   {NAMES[0]}",
        f"failed {NAMES[3]}: exit status 2: no [such] folder",
    ]


def lost_a_client() -> dict[str, object]:
    """Final figures of a run whose client-1 missed four of seven rounds."""
    return {
        "global_test": {"avg": 70.0},
        "participation": {"client-0": 7, "client-1": 3},
        "rounds": 7,
        "validation": {"missing": {}},
        "client_test": {"missing": {}},
    }


def test_a_trial_that_lost_a_client_is_not_counted_as_plainly_done(folder: CampaignFolder) -> None:
    folder.run_folder(NAMES[1]).write_metrics(lost_a_client())
    shown = text(overview("study", folder, PLANNED, states(*ONE_OF_EACH)))
    assert "2 of 5 done, 1 of them not complete" in " ".join(shown.split())
    assert f"not complete {NAMES[1]}: client-1: in 3 of 7 rounds" in shown
    said = io.StringIO()
    with CampaignDisplay(Console(file=said), "study", folder, PLANNED) as display:
        display.show({NAMES[1]: ""})
    (line,) = said.getvalue().splitlines()
    assert line == f"done, not complete {NAMES[1]}: client-1: in 3 of 7 rounds"


def test_a_view_that_takes_long_is_made_the_more_rarely(
    folder: CampaignFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trials need the time: in a minute by a clock that only the views turn, and the waits."""
    clock, views = [0.0], []

    def view(*_: object) -> str:
        views.append(clock[0])
        clock[0] += 1.0
        return ""

    monkeypatch.setattr(campaign_display, "overview", view)
    monkeypatch.setattr(campaign_display, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with CampaignDisplay(
        Console(file=io.StringIO(), force_terminal=True), "study", folder, PLANNED
    ) as display:
        while clock[0] < 60:
            display.show({NAMES[0]: ""})
            clock[0] += 0.5
    assert views == [0.0, 21.0, 42.0]
