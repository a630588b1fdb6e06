"""``fedskin heads --from RUN --out DIR``: heads in a run folder of their own, and resume."""

import shutil
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from data_partition.ham10000_tables import HAM10000_CLASSES
from data_partition.synthetic_ham10000 import write_ham10000
from experiments.ml_heads import heads_command
from experiments.prediction import predict_command
from experiments.trained_model import find_model
from models.errors import HeadError
from tests.kills import Killed, contents, killed_after
from tests.runs import read_json, tiny_options
from training import head_figures
from training import network as network_module
from training.config_file import read_config
from training.errors import ConfigError, RunFolderError
from training.metrics import METRIC_NAMES, confusion_matrix, metrics
from training.run_folder import RunFolder

# The quickest head; what is tested here is not how heads classify.
KNN = ["heads=knn", "knn-neighbors=3"]
TWO = ["heads=svm,knn", "knn-neighbors=3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch with all heads; nobody writes to it."""
    folder = tmp_path_factory.mktemp("from")
    write_ham10000(folder / "skin", images=120, seed=0)
    words = tiny_options(folder / "skin", folder / "cache", epochs=1)
    heads_command(override=words[1::2], out=folder / "run")
    return folder / "run"


@pytest.fixture
def source(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, with the features that it has computed."""
    return Path(shutil.copytree(trained, tmp_path / "source"))


def figures(folder: Path) -> dict[str, Any]:
    return read_json(folder / "metrics.json")


def files(folder: Path) -> dict[str, int]:
    """Every file but the lock, with the time of its last change."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def beside(trained: Path) -> Path:
    """Heads on the network of ``trained``; nobody writes to them."""
    out = trained.with_name("beside")
    heads_command(override=TWO, out=out, from_run=trained)
    return out


def test_heads_stand_in_their_own_folder_and_the_run_is_left_as_it_was(
    source: Path, tmp_path: Path
) -> None:
    before = files(source)
    heads_command(override=KNN, out=tmp_path / "own", from_run=source)
    assert files(source) == before
    assert sorted(files(tmp_path / "own")) == [
        "config.toml",
        "heads/knn.skops",
        "manifest.json",
        "metrics.json",
        "predictions-global_test.csv",
        "predictions-heads-knn.csv",
        "predictions-last_global_test.csv",
        "rounds.jsonl",
    ]


def test_the_folder_says_of_the_network_what_the_run_says(trained: Path, beside: Path) -> None:
    run, own = figures(trained), figures(beside)
    assert {k: v for k, v in own.items() if not k.startswith("head")} == {
        k: v for k, v in run.items() if not k.startswith("head")
    }
    for name in ("rounds.jsonl", "predictions-global_test.csv"):
        assert (beside / name).read_bytes() == (trained / name).read_bytes()
    assert list(own["heads"]) == ["network", "knn", "svm"]
    assert own["heads"]["network"] == run["heads"]["network"]
    assert own["heads"]["svm"] == run["heads"]["svm"]
    assert own["heads"]["knn"]["settings"] == {"n_neighbors": 3}


def test_a_figure_can_be_recomputed_from_the_folder(beside: Path) -> None:
    table = pd.read_csv(beside / "predictions-heads-knn.csv")
    labels, predicted = (
        table[column].map(HAM10000_CLASSES.index).to_numpy() for column in ("label", "predicted")
    )
    block = figures(beside)["heads"]["knn"]
    expected = metrics(confusion_matrix(labels, predicted, 7))
    assert {name: block[name] for name in METRIC_NAMES} == expected


def test_config_and_manifest_of_the_folder(trained: Path, beside: Path) -> None:
    ours, theirs = RunFolder(beside).config().to_flat(), RunFolder(trained).config().to_flat()
    assert {key: ours[key] for key in ours if ours[key] != theirs[key]} == {
        "heads": "svm,knn",
        "knn-neighbors": 3,
        "run-dir": str(beside),
    }
    manifest = read_json(beside / "manifest.json")
    assert (manifest["command"], manifest["status"], manifest["cause"]) == (
        "heads",
        "completed",
        None,
    )
    assert manifest["data"] == read_json(trained / "manifest.json")["data"]
    assert manifest["started"] <= manifest["finished"]
    assert manifest["from"]["run"] == "../run"
    # One epoch: the best network is the last one, whose hash is in the metrics.
    assert manifest["from"]["weights_sha256"] == figures(trained)["weights_sha256"]


def test_killed_at_any_moment_it_ends_with_the_same_files(source: Path, tmp_path: Path) -> None:
    whole, out, again = tmp_path / "whole", tmp_path / "own", tmp_path / "again"
    heads_command(override=KNN, out=whole, from_run=source)
    with killed_after() as undisturbed:
        heads_command(override=KNN, out=again, from_run=source)
    before, begun = files(source), []
    for moment in range(undisturbed.done):
        with killed_after(moment), pytest.raises(Killed):
            heads_command(override=KNN, out=out, from_run=source)
        begun.append(out.exists())
        if begun[-1]:  # else the next turn of the loop calls it the same way again
            assert RunFolder(out).manifest().get("status") != "completed"
            heads_command(out=out, resume=True)
            assert contents(out) == contents(whole)
            shutil.rmtree(out)
        assert files(source) == before
    # Config, manifest, metrics, rounds and two predictions are there at once, as the folder is.
    assert begun == sorted(begun)
    assert begun.count(False) >= 7
    assert begun.count(True) >= 6  # manifest, metrics, the head, its answers, metrics, manifest


def test_a_network_whose_heads_were_not_fitted_gets_them(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is killed after training; resumed, it trains nothing and ends as if never killed."""
    words = tiny_options(trained.parent / "skin", trained.parent / "cache", epochs=1)

    def kill(*_arguments: object, **_options: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(head_figures, "fit_head", kill)
        with pytest.raises(Killed):
            heads_command(override=words[1::2], out=tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert folder.manifest()["status"] == "completed"
    assert "heads" not in folder.metrics()
    rounds = (folder.path / "rounds.jsonl").read_bytes()
    optimizer = folder.path / "optimizer"  # removed last, so a kill may have left it
    optimizer.mkdir(exist_ok=True)
    (optimizer / "round-00001.safetensors").touch()
    heads_command(out=folder.path, resume=True)
    assert not optimizer.exists()
    assert folder.metrics() == figures(trained)
    assert (folder.path / "rounds.jsonl").read_bytes() == rounds


@pytest.mark.parametrize("which", ["trained", "beside"])
def test_what_is_fitted_is_not_fitted_again(
    which: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder: Path = request.getfixturevalue(which)
    monkeypatch.setattr(head_figures, "fit_head", None)
    before = files(folder)
    heads_command(out=folder, resume=True)
    shown = capsys.readouterr().out
    assert "nothing to do" in shown
    assert all(word in shown for word in ("SYNTHETIC", "network", "+KNN", "+SVM"))
    assert files(folder) == before


def test_heads_of_other_settings_are_not_taken_for_the_configs(source: Path) -> None:
    """In the run's own folder others may have been fitted since; resumed, it has its own again."""
    expected = figures(source)
    heads_command(override=KNN, from_run=source)
    assert list(figures(source)["heads"]) == ["network", "knn"]
    assert figures(source)["head_settings"]["knn-neighbors"] == 3
    assert [path.name for path in (source / "heads").iterdir()] == ["knn.skops"]
    assert not (source / "predictions-heads-svm.csv").exists()
    heads_command(out=source, resume=True)
    assert figures(source) == expected


def test_two_folders_share_the_features_of_one_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both begin without features. One computes them; while it does, it alone has the run."""
    shutil.rmtree(source / "features")
    extract, fit = network_module.extract_features, head_figures.fit_head
    extracted: list[int] = []
    locked: dict[str, list[bool]] = {"extracting": [], "fitting": []}
    both_fit = threading.Barrier(2)

    probing = threading.Lock()

    def is_locked() -> bool:
        with probing:  # or one thread's look would be the lock that the other one sees
            return RunFolder(source).is_held()

    def watched_extract(*arguments: Any, **options: Any) -> Any:
        extracted.append(1)
        locked["extracting"].append(is_locked())
        return extract(*arguments, **options)

    def watched_fit(*arguments: Any, **options: Any) -> Any:
        both_fit.wait(timeout=60)  # passed only side by side
        locked["fitting"].append(is_locked())
        return fit(*arguments, **options)

    monkeypatch.setattr(network_module, "extract_features", watched_extract)
    monkeypatch.setattr(head_figures, "fit_head", watched_fit)
    threads = [
        threading.Thread(
            target=heads_command,
            kwargs={"override": KNN, "out": tmp_path / name, "from_run": source},
        )
        for name in ("one", "two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(extracted) == 2  # of the training and of the test images
    assert locked == {"extracting": [True, True], "fitting": [False, False]}
    assert figures(tmp_path / "one") == figures(tmp_path / "two")


def test_predict_follows_to_the_network(trained: Path, beside: Path, tmp_path: Path) -> None:
    images = sorted((trained.parent / "skin" / "ISIC2018_Task3_Test_Input").glob("*.jpg"))[:5]
    for head, name in ((None, "global_test"), ("knn", "heads-knn")):
        predict_command(beside, images, out=tmp_path / "answers.csv", head=head)
        found = pd.read_csv(tmp_path / "answers.csv").set_index("image")
        known = pd.read_csv(beside / f"predictions-{name}.csv").set_index("image_id")
        classes = list(HAM10000_CLASSES)
        expected = known.loc[[path.stem for path in images], classes]
        assert abs(found[classes].to_numpy() - expected.to_numpy()).max() < 1e-4


def test_a_head_that_is_missing_is_told_how_to_be_made(
    trained: Path, beside: Path, source: Path
) -> None:
    """In the run's folder, or if that is of heads only in a third one: it takes no others later."""
    make = f"make it in another folder with  fedskin heads --from {trained} -c heads=rf --out DIR"
    with pytest.raises(RunFolderError, match=f"rf.skops: is missing; {make}  and name DIR$"):
        find_model(beside, "rf")
    (source / "heads" / "svm.skops").unlink()
    make = f"svm.skops: is missing; make it with  fedskin heads --from {source}$"
    with pytest.raises(RunFolderError, match=make):
        find_model(source, "svm")
    text = (source / "config.toml").read_text("utf-8")
    (source / "config.toml").write_text(text.replace('"knn,svm,rf"', '"knn,rf"'), "utf-8")
    with pytest.raises(RunFolderError, match=f"--from {source} -c heads=knn,rf,svm$"):
        find_model(source, "svm")


def test_the_network_is_found_where_both_folders_were_moved(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads_command(override=KNN, out=tmp_path / "own", from_run=source)
    (tmp_path / "moved").mkdir()
    for folder in (source, tmp_path / "own"):
        folder.rename(tmp_path / "moved" / folder.name)
    capsys.readouterr()
    heads_command(out=tmp_path / "moved" / "own", resume=True)
    assert "nothing to do" in capsys.readouterr().out


def test_a_network_that_is_gone_or_another_is_told_in_a_line(source: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    heads_command(override=KNN, out=own, from_run=source)
    image = next((Path(read_config(own / "config.toml").data_dir)).rglob("*.jpg"))
    (weights,) = (source / "checkpoint").glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(
        RunFolderError, match=r"source: its weights are not those .*own were fitted on"
    ):
        predict_command(own, [image])
    source.rename(tmp_path / "elsewhere")
    with pytest.raises(
        RunFolderError, match=r"^.*source: is missing, but has the network of .*own"
    ):
        predict_command(own, [image])


def test_a_failure_stands_in_the_manifest(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The 120 images leave 96 for training, too few for 97 neighbours."""
    out = tmp_path / "own"
    with pytest.raises(HeadError, match="there are only 96"):
        heads_command(override=["heads=knn", "knn-neighbors=97"], out=out, from_run=trained)
    manifest = read_json(out / "manifest.json")
    assert manifest["status"] == "failed"
    assert manifest["cause"].startswith("knn-neighbors = 97")

    def interrupt(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(head_figures, "fit_head", interrupt)
    with pytest.raises(KeyboardInterrupt):
        heads_command(override=KNN, out=tmp_path / "interrupted", from_run=trained)
    manifest = read_json(tmp_path / "interrupted" / "manifest.json")
    assert (manifest["status"], manifest["cause"]) == ("failed", "interrupted")


def test_who_waits_for_a_lock_leaves_the_manifest_alone(
    source: Path, beside: Path, tmp_path: Path
) -> None:
    """Another process is at these heads: what it has written of itself stays."""
    out = RunFolder(Path(shutil.copytree(beside, tmp_path / "own")))
    out.update_manifest(
        status="running", **{"from": {**out.manifest()["from"], "run": str(source)}}
    )
    with out.lock(), pytest.raises(RunFolderError, match="another process"):
        heads_command(out=out.path, resume=True)
    assert out.manifest()["status"] == "running"


def test_bad_input_is_one_line(trained: Path, beside: Path, source: Path, tmp_path: Path) -> None:
    RunFolder(source).update_manifest(status="failed")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    new, other = tmp_path / "new", tmp_path / "other"
    for error, words, arguments in (
        (ConfigError, "goes with no CONFIG.toml", {"config": other / "thesis.txt", "out": new}),
        (ConfigError, "--resume: with --from", {"resume": True}),
        (ConfigError, "epochs: with --from only", {"override": ["epochs=3"], "out": new}),
        (ConfigError, "heads = 'knn,knn'", {"override": ["heads=knn,knn"], "out": new}),
        (RunFolderError, f"has no network; .* --from {trained}", {"from_run": beside}),
        (RunFolderError, "is not a run folder", {"from_run": other, "out": new}),
        (RunFolderError, "is not a run folder", {"out": new, "resume": True}),
        (RunFolderError, "not completed", {"from_run": source, "out": new}),
        (RunFolderError, "other: holds other files", {"out": other}),
        (RunFolderError, "beside: already holds a run", {"out": beside}),
        (RunFolderError, "not started with --from", {"out": trained, "resume": True}),
        (
            RunFolderError,
            "heads = 'svm,knn', not 'knn'",
            {"out": beside, "resume": True, "override": KNN},
        ),
    ):
        with pytest.raises(error, match=words) as caught:
            heads_command(**{"from_run": trained, **arguments})
        assert "\n" not in str(caught.value)
    assert not new.exists()
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]
