"""Finished runs to export: a network without training, and figures that it need not have."""

from pathlib import Path
from typing import Any

from data_partition.ham10000_tables import HAM10000_CLASSES
from models.backbones import build_backbone
from tests.support import make_config, state_of
from training.calibration import Calibration
from training.run_folder import RunFolder

CLASSES = list(HAM10000_CLASSES)
CALIBRATION = Calibration(0.8, (30,) * 7, 2.0, 0.125, (0.0, 1.0, *[0.125] * 5))


def finished_run(path: Path, *, calibrated: bool = True, **changes: Any) -> RunFolder:
    """A finished run of ``resnet18`` at 32 pixels; ``changes`` are of its config."""
    config = make_config(**changes)
    network = build_backbone(
        config.backbone, 7, pretrained=False, image_size=32, seed=0, trainable=config.trainable
    )
    folder = RunFolder(path)
    folder.create(config)
    data = {"classes": CLASSES, "synthetic": True}
    folder.update_manifest(status="completed", command="simulate", data=data)
    folder.checkpoint.save(folder.checkpoint.progress().__class__(1, 1, 50.0), state_of(network))
    block = {"calibration": CALIBRATION.to_block()} if calibrated else {}
    folder.write_metrics({"best_round": 1, "weights_sha256": "", **block})
    return folder
