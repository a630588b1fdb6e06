"""``make soak``: all combinations of what is trained and how it travels, simulated and over sites.

Each run is done by ``fedskin simulate`` and by ``fedskin run`` over three hospitals, who must come
to the same weights. LoRA needs linear layers, so it updates a convnext_t, all else a resnet18.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, get_args

import tomli_w
from rich.console import Console

from benchmarks import machine
from benchmarks.disturbed_run import CONFIG
from benchmarks.hospitals import Hospitals
from benchmarks.soaking import soak_folders, write_soak
from training.config import ExperimentConfig
from training.run_folder import RunFolder

KEYS = ("objective", "trainable", "wire_format", "strategy")

console = Console()


def combinations() -> Iterator[dict[str, str]]:
    """Give all, as settings of a config."""
    fields = ExperimentConfig.model_fields
    allowed = [get_args(fields[key].annotation) for key in KEYS]
    for values in product(*allowed):
        yield {key.replace("_", "-"): value for key, value in zip(KEYS, values, strict=True)}


def run_both(
    hospitals: Hospitals, data: Path, folder: Path, settings: dict[str, str]
) -> dict[str, Any]:
    """Run a combination both ways.

    Args:
        hospitals: serving; of them are as many as the simulation has clients.
        data: the release that they hold shards of.
        folder: for the runs; is made.
        settings: of the combination.

    Returns:
        The settings, and what came of it.

    Raises:
        RuntimeError: a run does not end well.
    """
    folder.mkdir()
    clients = len(hospitals.names)
    values = {
        **CONFIG,
        "clients": clients,
        "min-replies": clients,
        "rounds": 2,
        "text-encoder": "ViT-B/32",  # the smallest; only objective clip looks at it
        **settings,
    }
    if settings["trainable"] == "lora":
        values["backbone"] = "convnext_t"
    deployed, simulated = folder / "run", folder / "simulated"
    file = folder / "run.toml"
    file.write_text(tomli_w.dumps(values), encoding="utf-8")
    hospitals.fedskin("run", str(file), "--on", str(hospitals.coordinator), "--out", str(deployed))
    file.write_text(tomli_w.dumps({**values, "data-dir": str(data)}), encoding="utf-8")
    hospitals.fedskin("simulate", str(file), "--out", str(simulated))
    found, expected = RunFolder(deployed).metrics(), RunFolder(simulated).metrics()
    sent = [
        client["bytes_received"]
        for record in RunFolder(deployed).rounds()
        for client in record["clients"].values()
    ]
    return {
        **settings,
        "bytes_of_an_update": max(sent),
        "same_weights": found["weights_sha256"] == expected["weights_sha256"],
    }


def main() -> None:
    """Run all combinations; other weights end it with an error.

    The file is written after each, so an interrupted call keeps what it has.
    """
    circumstances = machine.describe()
    with soak_folders() as (folder, data, serving), Hospitals(serving, data) as hospitals:
        runs = []
        for number, settings in enumerate(combinations(), start=1):
            runs.append(run_both(hospitals, data, folder / str(number), settings))
            console.print(f"{number}: {runs[-1]}", highlight=False)
            path = write_soak("soak-combinations", circumstances, runs=runs)
            if not runs[-1]["same_weights"]:
                raise RuntimeError(f"other weights with {settings}")
    console.print(f"Written to {path}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
