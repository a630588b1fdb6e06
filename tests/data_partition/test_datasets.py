"""What holds for every data set behind the door, and that nothing else names one."""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import data_partition
from data_partition.check import check_folder
from data_partition.dataset import DataSet, Reading
from data_partition.datasets import DATASETS, find_dataset, own_datasets
from data_partition.errors import DataError
from data_partition.partition import plan_partition
from data_partition.recognition import recognise
from data_partition.splits import SPLITS, split_patients
from data_partition.synthetic_folder import is_synthetic
from tests.data_partition.own_data import own_folders, own_table

# Data sets without a synthetic maker; a new one of these is added here.
MAKERS = {"table": own_table, "folders": own_folders}
COUNT = {"images": 120, "patients": 20}


@pytest.fixture(scope="module", params=own_datasets(), ids=lambda dataset: dataset.name)
def dataset(request: pytest.FixtureRequest) -> DataSet:
    return request.param


@pytest.fixture(scope="module")
def folder(dataset: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(dataset.name) / "data"
    if dataset.synthetic is None:
        MAKERS[dataset.name](path)
    else:
        dataset.synthetic.write(path, COUNT[dataset.synthetic.unit], 0)
    return path


def test_its_name_is_its_file(dataset: DataSet) -> None:
    assert find_dataset(dataset.name) is dataset
    assert dataset.name in DATASETS.own


def test_it_is_recognised(dataset: DataSet, folder: Path) -> None:
    assert recognise(folder) is dataset


def test_an_unknown_folder_is_told_all_layouts(dataset: DataSet, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(dataset.layouts)):
        recognise(tmp_path)


def test_its_training_table(dataset: DataSet, folder: Path) -> None:
    table = dataset.load_training(folder, Reading())
    rows = table.rows
    assert {"image_id", "label", "lesion_id", "source"} <= set(rows)
    assert rows["image_id"].is_unique
    assert rows["image_id"].is_monotonic_increasing
    assert rows.index.tolist() == list(range(len(rows)))
    assert set(rows["label"]) == set(table.classes)
    assert table.classes == (dataset.classes or tuple(sorted(table.classes)))
    assert table.sliced is dataset.sliced
    for column in ("lesion_id", "source"):
        assert all(value is None or isinstance(value, str) for value in rows[column])


def test_groups_straddle_no_clients_and_no_splits(dataset: DataSet, folder: Path) -> None:
    table = dataset.load_training(folder, Reading())
    grouped = table.rows["lesion_id"].notna().any()
    assert grouped or dataset.name == "folders"  # which name no lesions
    plan = plan_partition(
        table.rows,
        partition="iid",
        clients=2,
        dirichlet_alpha=1,
        split_by="lesion" if grouped else "image",
        seed=0,
        grouped_by=table.grouped_by,
        sliced=table.sliced,
    )
    assert set(plan["split"]) == set(SPLITS)
    if grouped:
        held = plan[plan["lesion_id"].notna()].groupby("lesion_id")[["client", "split"]].nunique()
        assert len(held) > 10
        assert (held == 1).all(axis=None)


def test_its_test_set_is_separate(dataset: DataSet, folder: Path) -> None:
    training = dataset.load_training(folder, Reading())
    if dataset.load_test is None:
        is_test = split_patients(training.rows, seed=0) == "test"
        train, test = training.rows[~is_test], training.rows[is_test]
        with pytest.raises(DataError, match=f"{dataset.title} has its test patients"):
            check_folder(folder, folder)
    else:
        found = dataset.load_test(folder, None)
        assert found is not None
        train, test = training.rows, found.with_classes(training.classes).rows
    assert len(test) > 10
    assert not set(train["image_id"]) & set(test["image_id"])
    known = set(train["lesion_id"].dropna()) & set(test["lesion_id"].dropna())
    assert not known


def test_a_site_uses_no_test_image(dataset: DataSet, folder: Path) -> None:
    """Another folder's images are the test set: those in the folder are set aside by name."""
    if dataset.load_test is None:
        pytest.skip("its test patients are its own")
    test = dataset.load_test(folder, None)
    assert test is not None
    table = dataset.load_training(folder, Reading(tests_in=[]))
    assert len(table.rows) == len(dataset.load_training(folder, Reading()).rows)
    [reason] = [reason for reason in table.set_aside if "other images are the test set" in reason]
    assert len(table.set_aside[reason]) == len(test.rows)


def test_the_check_reads_all_of_it(dataset: DataSet, folder: Path) -> None:
    report = check_folder(folder)
    # Slices of a small tumour may be equal; the second is set aside.
    num_rows = len(dataset.load_training(folder, Reading()).rows)
    assert report.training.images == num_rows or (
        dataset.sliced and report.training.table.set_aside
    )
    assert report.training.images > 0.9 * num_rows
    if not dataset.sliced:  # which patients are for testing depends on a seed
        assert report.overlap is not None
        assert not report.overlap.matches
    named = check_folder(folder, dataset=dataset)
    assert replace(named.training, table=report.training.table) == report.training
    assert named.images.equals(report.images)


def test_its_settings(dataset: DataSet) -> None:
    assert set(dataset.study.batch_size) == {"classifier", "clip"}
    assert np.isclose(sum(dataset.study.central_shares), 1)
    assert set(dataset.full_names) == set(dataset.classes or ())
    assert set(dataset.named_first) <= set(dataset.classes or ())


def test_synthetic_images_say_so(dataset: DataSet, folder: Path) -> None:
    assert is_synthetic(folder) is (dataset.synthetic is not None)


def test_an_unknown_name() -> None:
    with pytest.raises(DataError, match=r"no such data set; did you mean table\? Known are brats"):
        find_dataset("tables")


# The files that are about one data set, and why others may name one.
PUBLISHED = [dataset.name for dataset in own_datasets() if dataset.classes is not None]
OF_ONE = re.compile(
    rf"data_partition/(dataset_\w+|({'|'.join(PUBLISHED)})\w*|pad_ufes20|truth_file|synthetic\w*)\.py"
)
ALLOWED = {
    "data_partition/image_files.py": "how the files of published releases are called",
    "data_partition/unread_files.py": "tells what a folder of another release lacks",
    "experiments/reporting/study_figures.py": "the study's published figures",
}
# As written in names and texts: HAM10000, isic_2019.
NAMES = re.compile(
    "|".join(re.sub(r"(\D)(\d)", r"\1_?\2", name, count=1) for name in (*PUBLISHED, "isic2018")),
    re.IGNORECASE,
)


def _names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the names and the texts in a module, but for docstrings."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docstrings:
                yield node.lineno, node.value
        elif isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, str(node.module)
        elif isinstance(node, (ast.alias, ast.FunctionDef, ast.ClassDef)):
            yield node.lineno, node.name


def test_only_its_own_files_name_a_data_set() -> None:
    """A published data set by its name, and an open one as a value of ``dataset``."""
    root = Path(data_partition.__file__).parents[1]
    own = {dataset.name for dataset in own_datasets() if dataset.classes is None}
    found = []
    packages = ("data_partition", "models", "strategies", "training", "operation")
    for package in (*packages, "fl_server", "fl_client", "experiments"):
        for path in sorted((root / package).rglob("*.py")):
            where = path.relative_to(root).as_posix()
            if OF_ONE.fullmatch(where) or where in ALLOWED:
                continue
            text = path.read_text(encoding="utf-8")
            for line, name in _names(ast.parse(text)):
                if NAMES.search(name):
                    found.append(f"{where}:{line}: {name[:60]}")
            for name in own:
                if re.search(rf"""dataset\s*(==|!=|in)\s*\(?["']{name}["']""", text):
                    found.append(f"{where}: dataset {name}")
    assert not found, "\n".join(found)


def test_the_linter_protects_every_data_set() -> None:
    root = Path(data_partition.__file__).parents[1]
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    protected = [
        name
        for contract in settings["tool"]["importlinter"]["contracts"]
        for name in contract.get("protected_modules", ())
    ]
    for name in DATASETS.own:
        assert f"data_partition.dataset_{name}" in protected
