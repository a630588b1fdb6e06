"""A site runs a plug-in only from the approved bundle, and its own process loads none."""

from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from fl_client.site.approved_bundles import open_bundle
from fl_client.site.records import last_records
from operation.errors import OperationError
from operation.plugins import PlugIn
from tests.fl_client.site.fake_coordinator import (
    COUNTER,
    OPEN,
    WEIGHT,
    FakeCoordinator,
    Node,
    arrays_of,
    question,
    reason,
    train_message,
    train_reply,
)
from tests.fl_client.site.sites import approve, make_bundle, make_site
from tests.packages import Packages
from tests.support import end_to_end

FILE = "example_step_size.py"
STEP = PlugIn("strategies", "step-size", "fedskin-example", "1.0", "example_step_size:METHOD")
TINY = PlugIn("backbones", "tiny", "fedskin-example", "1.0", "example_step_size")
CONFIG: dict[str, object] = {"rounds": 50, "strategy": "fedavg", "step-size": 1.0}
ASKING = 'strategy = "step-size"\nstep-size = 0.5'
SAYS = {"step-size": {"title": "StepSize", "carried": ["c"], "scalars": {"steps": "count"}}}
REFUSED = "strategy = 'step-size' is neither in the approved bundle nor fedskin's own"


def reply(asked: Message, *, steps: object) -> Message:
    """An honest answer with what the method adds, if it is asked for."""
    answer = train_reply(asked)
    if "step-size" in str(asked.content.config_records["config"]["experiment"]):
        answer.content.metric_records["metrics"]["steps"] = steps  # type: ignore[assignment]
    if "c/weight" in str(asked.content.config_records["layout"]["names"]):
        carried = {"weight": WEIGHT + 1, "counter": COUNTER, "c/weight": WEIGHT}
        answer.content["arrays"] = end_to_end(carried)["arrays"]
    return answer


@pytest.fixture
def broken(packages: Packages) -> Packages:
    """The package is installed at the site, too; importing it would fail."""
    packages.add_method("raise AssertionError('the site loads no plug-in')")
    return packages


def answer_to(
    folder: Path,
    experiment: str,
    plugins: tuple[PlugIn, ...],
    override: dict[str, object] | None = None,
    *,
    message: Message | None = None,
    steps: object = 3,
) -> Message:
    """The site's answer, whose app does what was asked if it is asked."""
    site = make_site(folder)
    sources = {FILE: "raise AssertionError"} if plugins else {}
    methods = SAYS if plugins else {}
    path = make_bundle(folder / "a.fab", sources, config=CONFIG, plugins=plugins, methods=methods)
    coordinator = FakeCoordinator(approve(site, path), override)
    coordinator.ask(message or train_message(experiment=experiment))
    (answer,) = Node(site, coordinator).work(lambda asked: reply(asked, steps=steps))
    last = last_records(site.records)[-1]["event"]
    assert last == ("out" if answer.has_content() else "refused")
    return answer


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(
    "experiment",
    [ASKING, 'strategy = "step-size"', 'backbone = "tiny:8"', 'loss = "auto"', "rounds = 3"],
)
def test_what_the_bundle_holds_may_run(tmp_path: Path, experiment: str) -> None:
    assert answer_to(tmp_path, experiment, (STEP, TINY)).has_content()


@pytest.mark.usefixtures("broken")
def test_what_is_installed_but_not_in_the_bundle_is_refused_by_name(tmp_path: Path) -> None:
    answer = answer_to(tmp_path, ASKING, ())
    assert reason(answer) == f"refused by hospital-a: experiment: {REFUSED}"


@pytest.mark.parametrize(
    "experiment, said",
    [
        ('loss = "step-size"', "loss = 'step-size' is neither"),
        ('dataset = "new"', "dataset = 'new' is neither"),
        ('backbone = "new:x"', "backbone = 'new' is neither"),
        (f'loss = "{"x" * 5000}"', "xxx…' is neither"),
        ('strategy = "step-size"\nstep-size = "half"', "step-size is not of type float"),
        ('strategy = "step-size"\nstep = 0.5', "step = 0.5: no such key"),
        ('strategy = "step-size"\nlocal-epochs = 100', "its policy allows"),
        ('strategy = "step-size"\ndata-dir = "/etc"', "data-dir is set"),
    ],
)
def test_all_else_is_checked_as_ever(tmp_path: Path, experiment: str, said: str) -> None:
    assert said in reason(answer_to(tmp_path, experiment, (STEP,)))


def test_the_run_config_is_checked_likewise(tmp_path: Path) -> None:
    override: dict[str, object] = {"strategy": "step-size", "step-size": 0.5}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert answer_to(tmp_path / "a", "rounds = 3", (STEP,), override).has_content()
    answer = answer_to(tmp_path / "b", "rounds = 3", (), override)
    assert reason(answer) == f"refused by hospital-a: run config: {REFUSED}"


def test_a_bundle_that_lists_a_plugin_without_its_file_is_none(tmp_path: Path) -> None:
    """It would mean whatever is installed at the site."""
    path = make_bundle(tmp_path / "a.fab", plugins=(STEP,))
    with pytest.raises(OperationError, match="is not a whole Flower App bundle"):
        open_bundle(path)
    path = make_bundle(tmp_path / "b.fab", {FILE: ""}, plugins=(STEP,), methods=SAYS)
    bundle = open_bundle(path)
    assert bundle.plugins == (STEP,)
    assert bundle.methods["step-size"].carried == ("c",)


@pytest.mark.parametrize(
    "methods",
    [
        {},
        {"step-size": 3},
        {"step-size": {"title": "x", "carried": []}},
        {"step-size": {**SAYS["step-size"], "carried": ["c/weight"]}},
        {"step-size": {**SAYS["step-size"], "scalars": {"steps": "text"}}},
        {"step-size": {**SAYS["step-size"], "title": "x" * 61}},
        {**SAYS, "another": SAYS["step-size"]},
    ],
    ids=str,
)
def test_a_bundle_must_say_what_its_methods_send(
    tmp_path: Path, methods: dict[str, object]
) -> None:
    path = make_bundle(tmp_path / "a.fab", {FILE: ""}, plugins=(STEP,), methods=methods)
    with pytest.raises(OperationError, match="is not a whole Flower App bundle"):
        open_bundle(path)


def carrying(name: str) -> Message:
    """A message with an array more."""
    arrays = end_to_end({"weight": WEIGHT, "counter": COUNTER, name: WEIGHT})
    config = ConfigRecord({**OPEN, "experiment": ASKING})
    return question("train", RecordDict({"config": config, **arrays}))


def test_what_its_method_declares_comes_and_goes_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    answer = answer_to(tmp_path / "a", ASKING, (STEP,), message=carrying("c/weight"))
    assert sum(len(array.numpy()) for array in arrays_of(answer).values()) == 2 * 6 + 1
    assert answer.content.metric_records["metrics"]["steps"] == 3
    answer = answer_to(tmp_path / "b", ASKING, (STEP,), message=carrying("images/weight"))
    assert "it sends what StepSize does not carry" in reason(answer)
    answer = answer_to(tmp_path / "c", ASKING, (STEP,), steps=0.5)
    assert "its steps is not a whole number" in reason(answer)
