"""A generated campaign, small enough to draw in seconds."""

import shutil
import tomllib
from pathlib import Path

from tests.generated_campaign import write_campaign

BACKBONES = ("convnext_t", "swin_b", "maxvit_t")
DONE = 3 * len(BACKBONES)
PLANNED = 17 * len(BACKBONES)


def write_small_campaign(folder: Path) -> None:
    """Write a campaign of three backbones that has done three settings of seventeen.

    They are CLIP on BraTS2019 with ViT-L/14, FedProx with SGD, and the heads.
    """
    write_campaign(folder, rounds=3, backbones=BACKBONES)
    for path in (folder / "trials").iterdir():
        config = tomllib.loads((path / "config.toml").read_text())
        wanted = {
            "clip": (config["dataset"], config["text-encoder"]) == ("brats2019", "ViT-L/14"),
            "simulate": (config["strategy"], config["optimizer"]) == ("fedprox", "sgd"),
            "heads": True,
        }
        if not wanted[path.name.partition("-")[0]]:
            shutil.rmtree(path)
