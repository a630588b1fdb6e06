"""``fedskin predict`` with a site's final model file, on images and folders of them."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import typer

from data_partition.errors import DataError
from data_partition.ham10000_tables import HAM10000_CLASSES
from experiments import prediction, prediction_images
from experiments.prediction import predict_command
from models.backbones import build_backbone
from operation.errors import OperationError
from tests.data_partition.volumes import KINDS, write_case
from tests.support import BACKBONE, make_config, state_of
from training.config import ExperimentConfig
from training.errors import RunFolderError
from training.head_run import network_weights
from training.model_file import ModelFile
from training.run_folder import RunFolder

CLASSES = HAM10000_CLASSES
LONG = "a-folder-whose-name-takes-more-than-half-of-a-line-of-eighty-columns-by-itself"


@pytest.fixture
def image(synthetic_ham: Path) -> Path:
    return next(synthetic_ham.glob("ISIC2018_Task3_Test_Input/*.jpg"))


@pytest.fixture
def weights() -> dict:
    return state_of(build_backbone(BACKBONE, len(CLASSES), pretrained=False, image_size=32, seed=0))


def completed_run(path: Path, config: ExperimentConfig, weights: dict) -> RunFolder:
    run = RunFolder(path)
    run.create(config)
    data = {"classes": CLASSES, "synthetic": False}
    run.update_manifest(status="completed", command="simulate", data=data)
    run.checkpoint.save(run.checkpoint.progress().__class__(1, 1, 50.0), weights)
    run.write_metrics({"best_round": 1, "weights_sha256": ""})
    return run


def test_a_file_answers_as_its_run_folder_does(image: Path, weights: dict, tmp_path: Path) -> None:
    config = make_config(image_size=32)
    file = tmp_path / "final.safetensors"
    ModelFile(config, CLASSES, weights, None, "0" * 32, 1, False).save(file)
    run = completed_run(tmp_path / "run", config, weights)
    answers = {}
    for source in (file, run.path):
        out = tmp_path / f"{source.stem}.csv"
        predict_command(source, [image], out=out)
        answers[source] = pd.read_csv(out)
    assert list(answers[file].columns) == ["image", "predicted", *CLASSES]
    pd.testing.assert_frame_equal(answers[file], answers[run.path], check_exact=True)


@pytest.mark.parametrize("strategy", ["fedbn", "fedper", "local"])
def test_what_no_client_sent_is_not_used_but_a_sites_file_has_it(
    image: Path, weights: dict, tmp_path: Path, strategy: str
) -> None:
    """The coordinator's folder has those arrays as they began; the site's are trained."""
    config = make_config(image_size=32, strategy=strategy)
    run = completed_run(tmp_path / "run", config, weights)
    said = rf"{strategy} \d+ of the network's \d+ arrays stay at each client.*"
    with pytest.raises(RunFolderError, match=f"{said}run a method with a shared model, such as"):
        predict_command(run.path, [image])  # a simulation has no site that could have a file
    run.update_manifest(command="run")
    with pytest.raises(RunFolderError, match=f"{said}fedskin site model"):
        predict_command(run.path, [image])
    file = tmp_path / "final.safetensors"
    ModelFile(config, CLASSES, weights, None, "0" * 32, 1, False).save(file)
    predict_command(file, [image], out=tmp_path / "answers.csv")
    assert len(pd.read_csv(tmp_path / "answers.csv")) == 1
    if strategy == "fedper":  # its trunk is shared, so heads on its features are of use
        assert network_weights(run, run, features=True).keys() == weights.keys()
    else:
        with pytest.raises(RunFolderError, match="stay at each client"):
            network_weights(run, run, features=True)


# Each takes from a third of a second to several to import.
NEEDLESS = {
    *("flwr", "matplotlib", "nibabel", "open_clip", "peft", "ray", "scipy", "sklearn", "sympy"),
    *("torch._dynamo", "torch._inductor", "transformers"),
}


def test_an_image_is_classified_without_what_that_does_not_need(
    image: Path, tmp_path: Path
) -> None:
    """In one process: first with torchvision's network, then with timm's."""
    code = (
        "import sys; from experiments.prediction import predict_command; from pathlib import Path"
    )
    for backbone, further in (
        ("resnet18", {"timm", "huggingface_hub"}),
        (BACKBONE, set()),
    ):
        state = state_of(
            build_backbone(backbone, len(CLASSES), pretrained=False, image_size=32, seed=0)
        )
        file = tmp_path / f"{len(further)}.safetensors"
        config = make_config(backbone=backbone, image_size=32)
        ModelFile(config, CLASSES, state, None, "0" * 32, 1, False).save(file)
        code += f"\npredict_command(Path({str(file)!r}), [Path({str(image)!r})])"
        code += f"\nprint('imported', *({NEEDLESS | further!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if "imported" in line] == ["imported"] * 2


def test_a_model_of_made_up_images_says_so(
    image: Path, weights: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "final.safetensors"
    ModelFile(make_config(), CLASSES, weights, None, "0" * 32, 1, True).save(file)
    predict_command(file, [image])
    assert "SYNTHETIC" in capsys.readouterr().out


@pytest.mark.parametrize("choice, count", [("brain", 2), ("all", 16)])
def test_a_case_without_segmentation(tmp_path: Path, choice: str, count: int) -> None:
    """A volume of 16 slices, all of which show brain."""
    case = "BraTS19_TMC_1_1"
    write_case(tmp_path / "cases", case, KINDS[:-1])
    config = make_config(image_size=32, slices_per_patient=2, slice_choice=choice)
    state = state_of(build_backbone(BACKBONE, 2, pretrained=False, image_size=32, seed=0))
    file = tmp_path / "final.safetensors"
    config = config.replace(dataset="brats2019")
    ModelFile(config, ("HGG", "LGG"), state, None, "0" * 32, 1, False).save(file)
    predict_command(file, [tmp_path / "cases"], out=tmp_path / "answers.csv")
    answers = pd.read_csv(tmp_path / "answers.csv")
    assert len(answers) == count + 1
    assert answers["image"].iloc[-1] == f"{case} (mean of its slices)"
    by_tumour = tmp_path / "tumour.safetensors"
    wanted = config.replace(slice_choice="tumour")
    ModelFile(wanted, ("HGG", "LGG"), state, None, "0" * 32, 1, False).save(by_tumour)
    with pytest.raises(DataError, match="no segmentation, which slice-choice = brain and all do"):
        predict_command(by_tumour, [tmp_path / "cases"])


def test_what_is_no_model_is_told_in_a_line(image: Path, weights: dict, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"\.jpg: this model cannot be read"):
        predict_command(image, [image])
    file = tmp_path / "final.safetensors"
    ModelFile(make_config(), CLASSES, weights, None, "0" * 32, 1, True).save(file)
    with pytest.raises(RunFolderError, match=r"--head knn: .*holds no heads; give a run folder"):
        predict_command(file, [image], head="knn")


@pytest.fixture
def model(weights: dict, tmp_path: Path) -> Path:
    file = tmp_path / "final.safetensors"
    ModelFile(make_config(image_size=32), CLASSES, weights, None, "0" * 32, 1, False).save(file)
    return file


@pytest.fixture
def folder(synthetic_ham: Path, tmp_path: Path) -> Path:
    """Three images of a clinic: beside one that is damaged, below another folder, in an archive."""
    one, two, three = sorted(synthetic_ham.glob("ISIC2018_Task3_Test_Input/*.jpg"))[:3]
    folder = tmp_path / "clinic"
    (folder / LONG).mkdir(parents=True)
    shutil.copy(one, folder / "one.jpg")
    shutil.copy(two, folder / LONG / "two.JPG")
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.write(three, "three.jpg")
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image either")
    (folder / "scan.TIF").write_bytes(b"II*")
    return folder


def test_a_folder_is_its_images_and_what_is_damaged_is_named(
    folder: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "answers.csv"
    predict_command(model, [folder], out=out)
    answers = pd.read_csv(out)
    found = [folder / LONG / "two.JPG", folder / "more.zip" / "three.jpg", folder / "one.jpg"]
    assert answers["image"].tolist() == [str(path) for path in found]
    said = capsys.readouterr().err
    assert "left out, unreadable image: " in said
    assert "left out, image in a format that is not read, .tif; save it as JPEG or PNG: sc" in said
    one = tmp_path / "one.csv"
    predict_command(model, [folder / "one.jpg"], out=one)
    pd.testing.assert_series_equal(
        answers[list(CLASSES)].iloc[2],
        pd.read_csv(one)[list(CLASSES)].iloc[0],
        check_names=False,
        rtol=1e-5,  # another batch
    )


def test_more_images_than_are_held_at_once_answer_alike(
    synthetic_ham: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = synthetic_ham / "ISIC2018_Task3_Test_Input"
    answers = {}
    for at_once in (512, 1):
        monkeypatch.setattr(prediction_images, "_AT_ONCE", at_once)
        out = tmp_path / f"{at_once}.csv"
        predict_command(model, [images], out=out)
        answers[at_once] = out.read_bytes()
    assert answers[512].count(b"\n") == 1 + len(list(images.glob("*.jpg")))
    assert answers[1] == answers[512]


def test_names_are_whole_at_eighty_columns(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "console", prediction.Console(width=80))
    predict_command(model, [folder])
    shown = capsys.readouterr().out
    (line,) = (line for line in shown.splitlines() if f"{LONG}/two.JPG" in line)
    assert len(line.split()) == len(("image", "predicted", *CLASSES)) + line.count("│")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "and no other file; name another folder"),
        (["notes.txt", "README"], "but 1 without a suffix, 1 .txt; name another folder"),
        (
            ["a.tif", "b.TIF", "c.heic"],
            "but 2 .tif, 1 .heic; .heic: save it as JPEG or PNG, .tif: save it as JPEG or PNG",
        ),
        (["a.jpg", "b.png"], "none of its images can be read; unreadable image: "),
    ],
)
def test_a_folder_without_images_that_are_read_is_refused(
    content: list[str], said: str, model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "clinic"
    folder.mkdir()
    for name in content:
        (folder / name).touch()
    with pytest.raises(DataError, match=re.escape(said)):
        predict_command(model, [folder])


def test_a_file_that_cannot_be_written_is_told_before_the_model_is_read(
    image: Path, tmp_path: Path
) -> None:
    with pytest.raises(OperationError, match=r"cannot be written to; name another file"):
        predict_command(tmp_path / "no run", [image], out=image / "answers.csv")


@pytest.mark.parametrize("name", ["answers.xlsx", "answers", "answers.tsv"])
def test_answers_are_never_csv_under_another_name(
    name: str, image: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(typer.BadParameter, match=r"must end in \.csv or \.json"):
        predict_command(model, [image], out=tmp_path / name)
    assert not (tmp_path / name).exists()
