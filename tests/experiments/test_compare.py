"""``fedskin compare``: runs on the same test images."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.reporting.run_results import answers_of
from tests.experiments.compared_runs import NUM_IMAGES, compare, compared, refusal, write_runs
from training import score_differences
from training.run_folder import RunFolder
from training.run_state import RunState
from training.scores import SCORES, score_block


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign's folder; nobody writes to it."""
    folder = tmp_path_factory.mktemp("compare") / "campaign"
    write_runs(folder)
    return folder


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(score_differences.score_differences.__kwdefaults__, "resamples", 60)


def run_of(campaign: Path, command: str = "simulate", **keys: object) -> Path:
    """The trial of a command whose config has these values; of seed 0 unless said."""
    wanted = {"seed": 0, "optimizer": "sgd", "text-encoder": "ViT-L/14", "dataset": "ham10000"}
    wanted |= {"strategy": "fedavg", **keys}
    for path in sorted((campaign / "trials").glob(f"{command}-*")):
        flat = RunFolder(path).config().to_flat()
        asked = (
            wanted if command == "simulate" else {"seed", "dataset", "text-encoder"} & wanted.keys()
        )
        if all(flat[key] == wanted[key] for key in asked):
            return path
    raise AssertionError(f"there is no such trial: {keys}")


@pytest.fixture
def runs(campaign: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of a run with FedAvg and one with FedProx."""
    for strategy in ("fedavg", "fedprox"):
        shutil.copytree(run_of(campaign, strategy=strategy), tmp_path / strategy)
    return tmp_path / "fedavg", tmp_path / "fedprox"


def test_every_score_is_that_of_the_predictions_and_changes_are_counted(
    runs: tuple[Path, Path],
) -> None:
    found = compared(*runs)
    blocks, right = [], []
    for run, side in zip(runs, found["sides"], strict=True):
        table = RunFolder(run).predictions("global_test")
        answers = answers_of(table, found["classes"])
        right.append(answers.predicted == answers.labels)
        blocks.append(score_block(answers.counts()))
        assert {name: side["scores"][name] for name in SCORES} == pytest.approx(
            {name: blocks[-1][name] for name in SCORES}
        )
    other = found["sides"][1]
    difference = other["differences"]["auroc"]
    assert difference["value"] == pytest.approx(blocks[1]["auroc"] - blocks[0]["auroc"])
    assert difference["low"] < difference["high"]
    (test,) = other["mcnemar"]
    assert (test["only_first"], test["only_second"]) == (
        (right[0] & ~right[1]).sum(),
        (right[1] & ~right[0]).sum(),
    )
    assert len(other["changed"]) == (right[0] != right[1]).sum()
    better = {one["image_id"] for one in other["changed"] if one["change"] == "wrong → right"}
    names = RunFolder(runs[0]).predictions("global_test")["image_id"]
    assert better == set(names[right[1] & ~right[0]])


def test_the_order_of_the_predictions_does_not_matter(runs: tuple[Path, Path]) -> None:
    before = compared(*runs)
    path = runs[1] / "predictions-global_test.csv"
    pd.read_csv(path).sample(frac=1, random_state=0).to_csv(path, index=False)
    assert compared(*runs) == before


def test_lesions_are_drawn_whole_and_without_them_it_is_said(runs: tuple[Path, Path]) -> None:
    """110 images are of 55 lesions, ten of none that is known. One run that knows them suffices."""
    found = compared(*runs)
    assert (found["unit"], found["units"]) == ("lesion", 55 + 10)
    for number, run in enumerate(runs):
        path = run / "predictions-global_test.csv"
        pd.read_csv(path).drop(columns="lesion_id").to_csv(path, index=False)
        assert (number == 0) == (compared(*runs)["unit"] == "lesion")
    assert "is not known, so the intervals are" in " ".join(compare(*runs).output.split())


def test_patients_come_first(runs: tuple[Path, Path]) -> None:
    path = runs[0] / "predictions-global_test.csv"
    table = pd.read_csv(path)
    table.insert(2, "patient_id", np.arange(NUM_IMAGES) // 10)
    table.to_csv(path, index=False)
    found = compared(*runs)
    assert (found["unit"], found["units"]) == ("patient", 12)


def test_more_than_two_are_each_compared_with_the_first_and_corrected(
    campaign: Path, runs: tuple[Path, Path]
) -> None:
    """Holm, of two p-values: the smaller one doubled, the larger one at least that."""
    heads = f"{run_of(campaign, 'heads')}:knn"
    found = compared(runs[0], runs[1], heads)
    first, *others = found["sides"]
    assert "differences" not in first
    tests = [test for side in others for test in side["mcnemar"]]
    smaller, larger = sorted(tests, key=lambda test: test["p_value"])
    assert smaller["p_holm"] == pytest.approx(min(1, 2 * smaller["p_value"]))
    assert larger["p_holm"] == max(larger["p_value"], smaller["p_holm"])
    assert others[1]["name"] == heads


def test_the_page_loads_nothing_and_names_the_images(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "tables").mkdir(parents=True)
    for earlier in (out / "comparison.json", out / "tables" / "changed-2.csv"):
        earlier.touch()
    assert compare(*runs, "--out", out).exit_code == 0
    assert not (out / "tables" / "changed-2.csv").exists()
    page = (out / "index.html").read_text(encoding="utf-8")
    linked = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert all((out / link).is_file() for link in linked if not link.startswith(("data:", "#")))
    for name in ("differences", "differences-by-class", "curves"):
        assert (out / "figures" / f"{name}.png").is_file()
    assert "SYNTHETIC" in page
    changed = pd.read_csv(out / "tables" / "changed-1.csv")
    found = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert set(changed["image_id"]) == {one["image_id"] for one in found["sides"][1]["changed"]}
    assert all(name in page for name in changed["image_id"])
    read = RunFolder(runs[1]).predictions("global_test").set_index("image_id")
    for row in changed.itertuples():
        answers = read.loc[row.image_id]
        assert row.second_of_true == pytest.approx(answers[row.label], abs=1e-6)
    assert "<td>strategy</td><td>fedavg</td><td>fedprox</td>" in page


def test_models_that_answer_alike_have_an_empty_table_and_no_difference(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(runs[0], tmp_path / "copy")
    result = compare(runs[0], tmp_path / "copy", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.exception
    changed = pd.read_csv(tmp_path / "out" / "tables" / "changed-1.csv")
    assert changed.empty
    assert "image_id" in changed
    assert '<p class="empty">None.</p>' in (tmp_path / "out" / "index.html").read_text("utf-8")
    differences = pd.read_csv(tmp_path / "out" / "tables" / "differences-1.csv")
    assert (differences["difference"] == 0).all()


def test_a_folder_of_other_files_is_left_alone(runs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    assert "holds other files" in refusal(*runs, "--out", tmp_path / "out")


def test_other_test_images_are_refused_by_name(campaign: Path, runs: tuple[Path, Path]) -> None:
    brain = run_of(campaign, "clip", dataset="brats2019")
    assert f"{brain}: its classes are" in refusal(runs[0], brain)
    data = RunFolder(runs[1]).manifest()["data"]
    RunFolder(runs[1]).update_manifest(data={**data, "test_fingerprint": "0" * 64})
    said = refusal(*runs)
    assert f"{runs[1]}: was judged on another test set" in said
    assert "fingerprint 000000000000" in said
    RunFolder(runs[1]).update_manifest(data=data)
    path = runs[1] / "predictions-global_test.csv"
    pd.read_csv(path).iloc[1:].to_csv(path, index=False)
    assert "119 images of ham10000" in refusal(*runs)


def test_what_cannot_be_compared_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = runs
    for named in ([first], [first, first]):
        assert "name two or more different runs" in refusal(*named)
    assert "is not a run folder" in refusal(first, tmp_path / "nothing")
    assert "has no predictions of svm" in refusal(first, f"{second}:svm")
    path = second / "predictions-global_test.csv"
    table = pd.read_csv(path)
    for damaged in (
        table.assign(label="nobody"),
        table.assign(mel="?"),
        table.assign(mel=np.nan),
        table.drop(columns="mel"),
        table.assign(image_id="twice"),
        table.iloc[:0],
    ):
        damaged.to_csv(path, index=False)
        assert "is damaged, or of another version" in refusal(*runs)
    table.to_csv(path, index=False)
    metrics = (second / "metrics.json").read_text(encoding="utf-8")
    (second / "metrics.json").write_text(metrics[:99], encoding="utf-8")
    assert "metrics.json: is damaged" in refusal(*runs)
    (second / "metrics.json").write_text(metrics, encoding="utf-8")
    path.unlink()
    assert "has no predictions of a global test set; compare on the clients'" in refusal(*runs)
    RunFolder(second).write_metrics({**RunFolder(second).metrics(), "local_arrays": 122})
    said = refusal(*runs)
    assert "with strategy = fedprox 122 arrays stay at the clients" in said
    assert said.endswith("compare on the clients' own test images, with --clients")
    RunFolder(second).update_manifest(command="run")
    assert refusal(*runs).endswith("no one model was trained whole")
    RunFolder(second).update_manifest(status=RunState.RUNNING)
    assert "is not completed" in refusal(*runs)


def change_config(run: Path, **keys: object) -> None:
    folder = RunFolder(run)
    (run / "config.toml").write_text(folder.config().replace(**keys).to_toml(), encoding="utf-8")


def test_a_side_whose_clients_have_models_of_their_own_says_which_one_is_compared(
    runs: tuple[Path, Path],
) -> None:
    """FineTune's shared model is FedAvg's to the bit: a difference of 0 is not that of the method.

    Heads are on the shared model's features, and nobody has others.
    """
    assert compared(*runs)["notes"] == []
    change_config(runs[1], strategy="finetune")
    (note,) = compared(*runs)["notes"]
    assert note.startswith("B, FineTune: the figures are of the shared model, which alone is")
    assert note in compare(*runs).output.splitlines()
    RunFolder(runs[1]).update_manifest(command="heads")
    assert compared(*runs)["notes"] == []


def test_other_places_of_the_images_are_no_difference_but_another_beginning_is(
    runs: tuple[Path, Path],
) -> None:
    places = {"data_dir": "/elsewhere", "cache_dir": "/fast", "weights_dir": "/weights"}
    change_config(runs[1], strategy="fedavg", init_from="runs/before", **places)
    said = [line for line in compare(*runs).output.splitlines() if "configs differ" in line]
    assert said == ["Their configs differ in init-from: A –, B runs/before"]


def test_long_names_of_runs_are_printed_whole(runs: tuple[Path, Path]) -> None:
    lines = compare(*runs).output.splitlines()
    assert {f"A: {runs[0]}.", f"B: {runs[1]}."} <= set(lines)


def test_two_settings_of_a_campaign_are_paired_over_all_other_keys(campaign: Path) -> None:
    """Two seeds of each: the scores are means, and every pair has a test of its own."""
    settings = [f"strategy={name},optimizer=sgd" for name in ("fedavg", "fedprox")]
    found = compared(campaign, *settings)
    assert sorted(found["pairs"]) == ["seed 0", "seed 1"]
    for setting, side in zip(settings, found["sides"], strict=True):
        strategy = re.split("[=,]", setting)[1]
        runs = [run_of(campaign, strategy=strategy, seed=seed) for seed in (0, 1)]
        assert {Path(run) for run in side["runs"]} == set(runs)
        scores = [
            score_block(
                answers_of(RunFolder(run).predictions("global_test"), found["classes"]).counts()
            )
            for run in runs
        ]
        assert side["scores"]["acc"] == pytest.approx(sum(one["acc"] for one in scores) / 2)
    tests = found["sides"][1]["mcnemar"]
    assert [test["pair"] for test in tests] == found["pairs"]
    assert found["notes"] == []


def test_a_head_of_a_campaign_is_a_setting(campaign: Path) -> None:
    found = compared(campaign, "command=heads", "command=heads,model=knn")
    first, other = found["sides"]
    assert len(found["pairs"]) == 2
    assert first["runs"] == other["runs"]
    assert first["scores"]["acc"] != other["scores"]["acc"]


def test_trials_without_a_counterpart_are_left_out_and_counted(
    campaign: Path, tmp_path: Path
) -> None:
    for seed, strategy in ((0, "fedavg"), (1, "fedavg"), (0, "fedprox")):
        run = run_of(campaign, strategy=strategy, seed=seed)
        shutil.copytree(run, tmp_path / "trials" / run.name)
    found = compared(tmp_path, "strategy=fedavg", "strategy=fedprox")
    assert [len(side["runs"]) for side in found["sides"]] == [1, 1]
    assert found["notes"] == ["strategy=fedavg: 1 of 2 trials have no counterpart"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["strategy=fedavg"], "name two or more different settings"),
        (["strategy=fedavg", "strategie=fedprox"], "there is no key strategie; did you mean"),
        (["strategy=fedavg", "strategy=nobody"], "no finished trial in"),
        (["strategy=fedavg", "fedprox"], "is no setting; write it as KEY=VALUE"),
        (["strategy=*", "optimizer=sgd"], "both fit, and agree in every key"),
        (
            ["text-encoder=RN50x16,seed=0", "strategy=fedavg,optimizer=sgd,seed=0"],
            "no trials agree",
        ),
        (["model=tree", "model=knn"], "allowed as model are network, knn, svm, rf"),
    ],
)
def test_settings_that_cannot_be_paired_are_refused(
    campaign: Path, settings: list[str], said: str
) -> None:
    assert said in refusal(campaign, *settings)
