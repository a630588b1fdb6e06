"""A run whose clients align their features with reference images."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from data_partition.errors import DataError
from fl_server.federated_run import RunFailed
from tests.data_partition.layouts import write_images
from tests.fl_server.clients_in_memory import run_in_memory
from tests.support import make_config
from training.errors import ConfigError
from training.preparation import outline_data, prepare_centralized
from training.reference import open_reference, reference_table
from training.run_folder import RunFolder


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    write_images(tmp_path / "reference" / "some", [str(number) for number in range(5)])
    return tmp_path / "reference"


@pytest.mark.usefixtures("flower_run")
def test_an_adapter_over_kept_features_is_aligned(
    synthetic_ham: Path, cache: Path, tmp_path: Path, reference: Path
) -> None:
    def run(name: str, **changes: Any) -> dict[str, Any]:
        settings = {"trainable": "adapter", "rounds": 2, **changes}
        return run_in_memory(synthetic_ham, cache, tmp_path / name, **settings)

    plain = run("plain")
    # MMD's kernel is as wide as the features are apart: it pulls at a network of any scale.
    aligned = {"alignment": "mmd", "reference_dir": str(reference)}
    none = run("none", **aligned, alignment_weight=0)
    assert none["weights_sha256"] == plain["weights_sha256"]
    some = run("some", **aligned)
    assert some["weights_sha256"] != plain["weights_sha256"]
    folder = RunFolder(tmp_path / "some")
    assert folder.manifest()["data"]["reference"]["images"] == 5
    # Other reference images would make it another run.
    shutil.rmtree(reference)
    write_images(reference, ["6", "7"])
    with pytest.raises(RunFailed, match="reference-dir holds other images than when this run"):
        run("some", **aligned, rounds=3)


def test_a_folder_that_is_no_reference(
    synthetic_ham: Path, tmp_path: Path, reference: Path
) -> None:
    config = make_config(
        data_dir=str(synthetic_ham),
        cache_dir=str(tmp_path / "cache"),
        alignment="mmd",
        reference_dir=str(reference),
    )
    table = reference_table(config)
    assert table is not None
    assert len(table.rows) == 5
    images = sorted(reference.rglob("*.jpg"))
    for path in images[1:]:
        path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="only 1 image can be read; alignment needs at least two"):
        open_reference(config)
    for path in images[1:]:
        path.unlink()
    with pytest.raises(DataError, match=r"at least two image files \(.*\), but there are 1$"):
        outline_data(config, federated=True)
    with pytest.raises(ConfigError, match="alignment = 'mmd': allowed in federations only"):
        prepare_centralized(config)
