import os
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from data_partition.dataset_ham10000 import load_test, load_training
from data_partition.errors import DataError
from data_partition.isic2019_tables import CENTRES
from data_partition.partition import plan_partition
from data_partition.synthetic_ham10000 import write_ham10000
from data_partition.synthetic_isic2019 import write_isic2019
from experiments.data_commands import app
from operation.errors import OperationError
from tests.data_partition import layouts


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return result.stdout


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """The eight images of ``layouts`` and the three of its test set."""
    return layouts.challenge_test(layouts.dataverse(tmp_path / "ham"))


def test_check_prints_what_there_is(data_dir: Path) -> None:
    (data_dir / "HAM10000_images_part_1" / "ISIC_0000003.jpg").write_bytes(b"")
    output = run("check", data_dir)
    assert "Training set: HAM10000, Dataverse release (folders)" in output
    assert "7 images: akiec 1, bcc 1, bkl 1, df 1, mel 0, nv 2, vasc 1" in output
    assert "6 lesions, 1 of them with several images" in output
    assert "4 sources: rosendahl 2, vidir_modern 2, vidir_molemax 2, vienna_dias 1" in output
    assert "set aside, unreadable image: 1\n    ISIC_0000003\n" in output
    assert "Test set: ISIC2018 Task 3 test set, ISIC challenge release" in output


def test_check_says_what_stands_twice(data_dir: Path) -> None:
    """Two pairs of equal images, one with two labels, and a turned one in the test set."""
    part, test = data_dir / "HAM10000_images_part_1", data_dir / "ISIC2018_Task3_Test_Input"
    smooth = Image.effect_noise((12, 12), 90).resize((96, 96)).convert("RGB")
    for folder, name, image in (
        (part, "ISIC_0000003", smooth),
        (part, "ISIC_0000004", smooth),
        (part, "ISIC_0000001", smooth.rotate(90)),
        (test, "ISIC_0034530", smooth.rotate(180)),
    ):
        image.save(folder / f"{name}.jpg", quality=95)
    (part / "ISIC_0000002.jpg").write_bytes((part / "ISIC_0000001.jpg").read_bytes())
    (test / "ISIC_0034529.jpg").write_bytes((part / "ISIC_0000001.jpg").read_bytes())
    lines = run("check", data_dir, "--near").splitlines()
    assert [line for line in lines if "identical pixels" in line] == [
        "  identical pixels under several ids, with CONTRADICTING labels: 1",
        "  identical pixels under several ids: 1",
    ]
    assert "    ISIC_0000003 (mel, HAM_2) = ISIC_0000004 (bkl, HAM_3)" in lines
    assert "    ISIC_0000001 (nv, HAM_1) = ISIC_0000002 (nv, HAM_1)" in lines
    at = lines.index(
        "1 of 3 test images are also in training; by lesion this is unknown, as ids are missing:"
    )
    assert lines[at + 1] == "  ISIC_0034529: same file as ISIC_0000001"
    # All six are one picture; 15 pairs, of which four are identical and said already.
    assert "  one in the test set, one in training: 6" in lines
    at = lines.index("  of different or unknown lesions, with contradicting labels: 5")
    listed = "\n".join(lines[at + 1 : at + 6])
    assert "ISIC_0000001 (nv, HAM_1) ~ ISIC_0000003 (mel, HAM_2), " in listed
    assert lines[-1] == "  of one lesion: 0"
    assert not any("Near" in line for line in run("check", data_dir).splitlines())


@pytest.mark.skipif(
    "FEDSKIN_REAL_DATA" not in os.environ, reason="FEDSKIN_REAL_DATA names no folder of HAM10000"
)
def test_check_of_the_real_images() -> None:
    """Of all 10,015 two pairs have identical pixels, each within one lesion; no test image does."""
    lines = run("check", os.environ["FEDSKIN_REAL_DATA"]).splitlines()
    at = lines.index("  identical pixels under several ids: 2")
    assert lines[at + 1 : at + 3] == [
        "    ISIC_0024366 (nv, HAM_0002300) = ISIC_0029861 (nv, HAM_0002300)",
        "    ISIC_0024777 (nv, HAM_0001895) = ISIC_0029938 (nv, HAM_0001895)",
    ]
    assert "None of the 1512 test images is in training" in lines
    assert not any("CONTRADICTING" in line or "several diagnoses" in line for line in lines)


def test_check_of_a_split_file_counts_the_lesions_that_it_divides(tmp_path: Path) -> None:
    """By hand: test images of the file whose lesion has a training image of the file."""
    write_isic2019(tmp_path / "isic", 60)
    split_file = tmp_path / "isic" / "train_test_split.csv"
    lesions = pd.read_csv(tmp_path / "isic" / "ISIC_2019_Training_Metadata.csv", index_col="image")
    rows = pd.read_csv(split_file).set_index("image").join(lesions["lesion_id"])
    tested = rows[rows["fold"] == "test"]["lesion_id"]
    trained = rows[rows["fold"] == "train"]["lesion_id"].dropna()
    divided = int(tested.isin(trained).sum())
    assert divided > 0
    output = run("check", tmp_path / "isic", "--split-file", split_file)
    after = output.partition("Of the split file, among the images here:\n")[2]
    assert f"{divided} of {len(tested)} test images" in after
    assert "Of the split file" not in run("check", tmp_path / "isic")


def test_check_of_fed_isic2019s_split_in_ham10000s_folder(tmp_path: Path) -> None:
    """Its sources are four of the centres; every second image is for testing here."""
    data_dir = tmp_path / "ham"
    write_ham10000(data_dir, images=60, seed=0)
    rows = pd.read_csv(data_dir / "HAM10000_metadata.csv").sort_values("image_id")
    rows["center"] = rows["dataset"].map(CENTRES.index)
    rows["fold"] = ["train", "test"] * (len(rows) // 2)
    split_file = tmp_path / "train_test_split.csv"
    rows.rename(columns={"image_id": "image"}).to_csv(split_file, index=False)
    tested = rows["lesion_id"][rows["fold"] == "test"]
    divided = int(tested.isin(rows["lesion_id"][rows["fold"] == "train"]).sum())
    assert divided > 0
    assert f"{divided} of {len(tested)} test images" in run(
        "check", data_dir, "--split-file", split_file
    )


def test_check_of_another_test_folder(data_dir: Path, tmp_path: Path) -> None:
    layouts.class_tree(tmp_path / "other" / "test", {"x": "df"})
    assert "1 image: akiec 0, bcc 0, bkl 0, df 1" in run(
        "check", data_dir, "--test-dir", tmp_path / "other"
    )


def test_check_without_a_test_set_shortens_long_lists(tmp_path: Path) -> None:
    layouts.dataverse(tmp_path)
    layouts.write_images(tmp_path / "more", [f"extra_{i:02d}" for i in range(23)])
    output = run("check", tmp_path)
    assert "set aside, image without a row: 23" in output
    assert "more/extra_19.jpg" in output
    assert "extra_20" not in output
    assert "… and 3 more" in output
    assert "Test set: none found" in output


def test_partition_writes_plan_and_plot(data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "plan.csv"
    output = run(
        "partition", data_dir, "--out", out, "--clients", "2", "--split-by", "image", "--seed", "1"
    )
    expected = plan_partition(
        load_training(data_dir).rows,
        partition="iid",
        clients=2,
        dirichlet_alpha=0.5,
        split_by="image",
        seed=1,
    )
    written = pd.read_csv(out)
    assert list(written.columns) == ["image_id", "label", "lesion_id", "client", "split"]
    pd.testing.assert_frame_equal(written, expected.drop(columns="source"))
    with Image.open(tmp_path / "new" / "plan.png") as plot:
        assert plot.format == "PNG"
    assert sorted(path.name for path in out.parent.iterdir()) == ["plan.csv", "plan.png"]
    assert "client-0" in output
    assert "of 7 lesions are in both training and test" in output


def test_partition_options_reach_the_plan(data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "plan.csv"
    # One client is one client by any partition; its lesions stay whole.
    output = run(
        "partition", data_dir, "--out", out, "--partition", "dirichlet", "--dirichlet-alpha", "9",
        "--clients", "1", "--split-by", "lesion",
    )  # fmt: skip
    assert "0 of 7 lesions are in both" in output
    with pytest.raises(DataError, match=r"4 sources .* but clients = 3"):
        run("partition", data_dir, "--out", out, "--partition", "source")


def test_a_plan_without_lesions_says_so(tmp_path: Path) -> None:
    layouts.challenge(tmp_path / "isic")
    output = run("partition", tmp_path / "isic", "--out", tmp_path / "plan.csv", "--clients", "1")
    assert "unknown: they have no ids" in output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--out", "plan.png"],  # where the plot goes
        ["--out", "plan.csv", "--clients", "0"],
        ["--out", "plan.csv", "--partition", "random"],
        ["--out", "plan.csv", "--split-by", "patient"],
        [],
    ],
)
def test_impossible_options(data_dir: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["partition", str(data_dir), *arguments])
    assert result.exit_code == 2


def test_a_failed_partition_writes_nothing(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="9 clients are more than the 8 images"):
        run("partition", data_dir, "--out", tmp_path / "out" / "plan.csv", "--clients", "9")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("check", ["--test-dir", "nowhere"], "nowhere"),
        ("check", ["--test-dir", "empty"], "empty"),
        ("check", ["--split-file", "nowhere.csv"], "nowhere.csv'?: no such file"),
        ("check", ["--split-file", "other.csv"], "other.csv"),
        ("partition", ["--out", "p.csv", "--partition", "source"], "but clients = 3"),
        ("partition", ["--out", "p.csv", "--clients", "9"], "9 clients are more than"),
        ("partition", ["--out", "empty.csv/p.csv"], "cannot be written to; name another file"),
        ("partition", ["--out", "folder.csv"], "is a folder; name a file"),
    ],
)
def test_what_cannot_be_is_told_before_any_image_is_decoded(
    command: str,
    options: list[str],
    said: str,
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for folder in ("empty", "folder.csv"):
        (tmp_path / folder).mkdir()
    (tmp_path / "empty.csv").touch()
    (tmp_path / "other.csv").write_text("image,center,fold\nISIC_9,0,train\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "data_partition.check.decode_usable", lambda *_: pytest.fail("images are decoded")
    )
    with pytest.raises((DataError, OperationError), match=said):
        run(command, data_dir, *options)


def test_synth_writes_what_the_loaders_read(tmp_path: Path) -> None:
    output = run("synth", tmp_path / "made up", "--images", "40", "--seed", "3")
    assert "40 training images" in output
    assert len(load_training(tmp_path / "made up").rows) == 40
    test = load_test(tmp_path / "made up", None)
    assert test is not None
    assert set(test.rows["label"]) == set(test.classes)


@pytest.mark.parametrize("data_dir", ["synthetic_ham", "synthetic_brats"])
def test_made_up_images_are_called_synthetic(
    data_dir: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = request.getfixturevalue(data_dir)
    titles: list[str] = []
    monkeypatch.setattr(
        "data_partition.plot.plot_counts", lambda counts, path, *, title: titles.append(title)
    )
    assert run("check", folder).startswith("SYNTHETIC images")
    assert "SYNTHETIC images" in run(
        "partition", folder, "--out", tmp_path / "plan.csv", "--clients", "2"
    )
    assert [title[:16] for title in titles] == ["SYNTHETIC images"]


def test_a_source_stands_beside_the_client_that_holds_it(
    synthetic_ham: Path, tmp_path: Path
) -> None:
    sources = sorted(load_training(synthetic_ham).rows["source"].unique())
    output = run(
        "partition", synthetic_ham, "--out", tmp_path / "plan.csv", "--partition", "source",
        "--clients", str(len(sources)),
    )  # fmt: skip
    assert len(sources) > 1
    for index, source in enumerate(sources):
        assert f"client-{index} ({source})" in output
    assert set(pd.read_csv(tmp_path / "plan.csv")["client"]) == {
        f"client-{index}" for index in range(len(sources))
    }


def test_real_images_are_not_called_synthetic(data_dir: Path, tmp_path: Path) -> None:
    assert "SYNTHETIC" not in run("check", data_dir)
    out = tmp_path / "plan.csv"
    assert "SYNTHETIC" not in run("partition", data_dir, "--out", out, "--clients", "2")


@pytest.fixture(scope="module")
def brats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten patients, five of each grade; of each grade 5 - 3 - 0 = 2 are for the global test."""
    folder = tmp_path_factory.mktemp("brats") / "data"
    output = run("synth", folder, "--dataset", "brats2019", "--patients", "10")
    assert "volumes of 10 patients" in output
    return folder


def test_check_of_brats(brats: Path) -> None:
    output = run("check", brats)
    assert "Data set: BraTS2019, NIfTI volumes (folders), 8 slices of t1ce, t2, flair" in output
    assert "slices: HGG " in output
    assert "10 patients" in output
    assert "4 sites: 2013 " in output
    assert "Test set" not in output


def test_check_of_cut_slices(tmp_path: Path) -> None:
    layouts.class_tree(tmp_path / "train", {"1": "HGG", "2": "LGG"})
    layouts.class_tree(tmp_path / "test", {"3": "HGG"})
    output = run("check", tmp_path)
    assert "3 slices: HGG 2, LGG 1" in output
    assert "patients unknown" in output
    assert "already split: test 1, train 2" in output


def test_partition_of_brats_is_by_patient(brats: Path, tmp_path: Path) -> None:
    out = tmp_path / "plan.csv"
    output = run("partition", brats, "--out", out, "--clients", "2", "--split-by", "image")
    assert "Slices per client and class" in output
    assert "0 of 6 patients are in both training and test" in output
    assert "slices of global test patients are given to no client" in output
    plan = pd.read_csv(out)
    assert plan["lesion_id"].nunique() == 6
    assert (plan.groupby("lesion_id")[["client", "split"]].nunique() == 1).all(axis=None)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--dataset", "brats2019", "--images", "60"],
        ["--patients", "40"],
        ["--dataset", "auto"],
        ["--patients", "0"],
    ],
)
def test_impossible_made_up_data(tmp_path: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["synth", str(tmp_path / "new"), *arguments])
    assert result.exit_code == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", ["check", "partition", "synth"])
def test_help_has_examples(command: str) -> None:
    assert f"fedskin data {command}" in run(command, "--help")
