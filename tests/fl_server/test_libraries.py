"""What the processes of a simulation find imported."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fl_server.federated_config import Resources
from fl_server.simulation import SimulationFailed, simulate
from tests.support import make_config
from training.run_folder import RunFolder


@pytest.mark.parametrize(
    "backbone, libraries",
    [("resnet18", ()), ("timm:test_efficientnet", ("timm",)), ("clip-rn50", ("open_clip",))],
)
def test_the_networks_library_is_imported_once(
    backbone: str, libraries: tuple[str, ...], tmp_path: Path
) -> None:
    """By the process that the others are forks of: each would take most of a second."""
    asked: dict[str, Any] = {}

    def run(*_: object, **options: Any) -> None:
        asked.update(options)
        raise SimulationFailed("enough")

    superlink: Any = SimpleNamespace(home=tmp_path, token="", run=run, end_run=lambda: None)
    config = make_config(backbone=backbone, image_size=224)
    folder = RunFolder(tmp_path / "run")
    folder.create(config)
    with pytest.raises(SimulationFailed, match="enough"):
        simulate(config, folder, superlink, Resources(1, 1, 0.0))
    assert asked["libraries"] == libraries
