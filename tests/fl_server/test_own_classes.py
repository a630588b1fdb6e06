"""Sites with images of their own, of classes that no published data set has."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from data_partition.datasets import find_dataset
from data_partition.errors import DataError
from fl_server.deployment import agreed_classes
from fl_server.federated_run import RunFailed, run_federation
from fl_server.nodes import Introduction
from tests.data_partition.own_data import CLASSES, own_table
from tests.fl_server.hospitals import NODES, Hospitals, act
from tests.runs import tiny_config
from tests.support import BACKBONE, MemoryGrid
from training.run_folder import RunFolder

THREE = ("image", "label", "lesion")

pytestmark = pytest.mark.usefixtures("flower_task")


def own_tables(hospitals: Hospitals, rows: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Give every site a table of its own, with the images that it names."""
    for name, theirs in rows.items():
        folder = own_table(hospitals.folder / "own" / name, theirs, THREE)
        hospitals.node_configs[name]["data-dir"] = str(folder)


def named(site: str, classes: Sequence[str] = CLASSES) -> list[tuple[str, str, str]]:
    """The rows of a site: of each class ten images, whose names no other site has."""
    return [
        (f"{site}-{label[:3]}-{number}.jpg", label, f"{site}-{label}-{number // 2}")
        for label in classes
        for number in range(10)
    ]


def test_sites_with_classes_of_their_own_give_the_simulations_weights(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simulation has all images in one folder, and deals them by their source.

    A picture depends on its folder's name and its own, so all folders are called alike.
    """
    rows = {name: named(name) for name in NODES}
    for name in NODES:
        folder = own_table(hospitals.folder / name / "data", rows[name], THREE)
        hospitals.node_configs[name]["data-dir"] = str(folder)
    whole = own_table(
        hospitals.folder / "data",
        [(*row, name) for name, theirs in rows.items() for row in theirs],
        ("image", "label", "lesion", "source"),
    )
    out = hospitals.folder / "simulated"
    changes: dict[str, Any] = {"dataset": "table", "rounds": 1, "min_replies": 3}
    config = tiny_config(
        whole, hospitals.folder / "cache", backbone=BACKBONE, partition="source", **changes
    )
    nodes = {index: {"partition-id": index} for index in range(3)}
    grid = MemoryGrid({n: partial(act, node=n, node_config=c) for n, c in nodes.items()})
    run_federation(grid, config.replace(run_dir=str(out)).to_flat(), run_id=1)
    unseen = own_table(hospitals.folder / "unseen", named("unseen"), THREE)
    found = hospitals.run(monkeypatch, test_dir=unseen, partition="source", **changes)
    assert found["weights_sha256"] == RunFolder(out).metrics()["weights_sha256"]
    assert found["global_test"]["n"] == 30
    assert hospitals.run_folder.manifest()["data"]["classes"] == list(CLASSES)


def introduced(**classes: tuple[str, ...]) -> dict[str, Introduction]:
    about = {"dataset": "table", "fingerprint": "", "synthetic": False, "device": "", "threads": 1}
    return {
        name: Introduction(name, sizes={}, classes=theirs, **about)  # type: ignore[arg-type]
        for name, theirs in classes.items()
    }


def test_whose_classes_count() -> None:
    """Those of most sites; of two lists the first site's; and once a run began, its own."""
    one, other = ("a", "b"), ("a", "c")
    most = agreed_classes(find_dataset("table"), {}, introduced(x=one, y=other, z=other))
    assert (most.names, most.whose) == (other, "y, z have")
    first = agreed_classes(find_dataset("table"), {}, introduced(x=one, y=other))
    assert (first.names, first.whose) == (one, "x has")
    began = {"data": {"classes": list(one)}}
    assert agreed_classes(find_dataset("table"), began, introduced(x=other, y=other)).names == one
    published = agreed_classes(find_dataset("ham10000"), {}, introduced(x=one, y=one))
    assert published.names == find_dataset("ham10000").classes


def test_a_class_that_is_no_name_is_refused() -> None:
    with pytest.raises(DataError, match=r'^x has the label "\[red\]"; use letters'):
        agreed_classes(find_dataset("table"), {}, introduced(x=("[red]", "b")))


def test_a_site_with_other_classes_of_its_own_is_told_with_both_lists(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it is the first: most sites count."""
    rows = {name: named(name) for name in NODES}
    own_tables(hospitals, {**rows, "hospital-a": named("hospital-a", ("angioma", "mole"))})
    with pytest.raises(RunFailed) as caught:
        hospitals.run(monkeypatch, dataset="table", rounds=1)
    assert str(caught.value) == (
        'hospital-a has the classes "angioma", "mole", but hospital-b, hospital-c have '
        '"angioma", "basalioma", "seborrheic keratosis": it must correct its data folder'
    )
