"""What is said of the sides of a paired comparison."""

from dataclasses import replace
from pathlib import Path

from experiments.reporting.compared_models import read_model
from experiments.reporting.paired import compare_sides
from tests.experiments.compared_runs import write_runs


def test_other_reference_images_are_a_difference_and_another_place_is_none(tmp_path: Path) -> None:
    """Of the reference images only the folder is known, and they change the training."""
    trial = next(name for name in write_runs(tmp_path) if name.startswith("simulate"))
    model = read_model("run", tmp_path / "trials" / trial, clients=False)

    def in_folder(reference: str) -> list:  # type: ignore[type-arg]
        config = model.config.replace(
            alignment="mmd", reference_dir=reference, data_dir=f"{reference}/data"
        )
        return [replace(model, config=config)]

    comparison = compare_sides({"first": in_folder("/a"), "second": in_folder("/b")})
    assert comparison.different_keys() == {"reference-dir": ["/a", "/b"]}
