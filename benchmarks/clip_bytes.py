"""Bytes sent in a federated CLIP run: image encoders and text features.

A real simulation, as ``fedskin simulate -c objective=clip`` runs it: three clients, two rounds, few
images. The bytes come from ``rounds.jsonl``, so they are those of Flower's records, and are
compared with the bytes of the image encoder's numbers alone.
"""

import tempfile
from pathlib import Path

from benchmarks.result import Result
from data_partition.synthetic_ham10000 import write_ham10000
from fl_server.federated_config import prepare_simulated
from fl_server.simulation import simulate
from fl_server.simulation_superlink import SuperLink
from training.config import ExperimentConfig
from training.run_folder import RunFolder


def measure(
    repeats: int = 2,
    *,
    backbone: str = "convnext_t",
    text_encoder: str = "ViT-L/14",
    image_size: int = 64,
) -> list[Result]:
    """Run one simulation.

    Args:
        repeats: rounds.
        backbone, text_encoder, image_size: as in a config.
    """
    with tempfile.TemporaryDirectory(prefix="fedskin-bench-") as name:
        here = Path(name)
        write_ham10000(here / "data", 30)
        folder = RunFolder(here / "run")
        wanted = ExperimentConfig().replace(
            objective="clip",
            data_dir=str(here / "data"),
            cache_dir=str(here / "cache"),
            run_dir=str(folder.path),
            backbone=backbone,
            text_encoder=text_encoder,
            pretrained=False,
            image_size=image_size,
            rounds=repeats,
            device="cpu",
        )
        config, resources = prepare_simulated(wanted)
        folder.create(config)
        with SuperLink(folder.log_path) as superlink:
            simulate(config, folder, superlink, resources)
        records = folder.rounds()
        encoder = sum(array.nbytes for array in folder.checkpoint.weights(repeats).values())
    sent = [record["bytes_sent"] / config.clients for record in records]
    received = [
        client["bytes_received"] for record in records for client in record["clients"].values()
    ]
    return [
        Result(
            name="clip-bytes",
            compares="Bytes that a client is sent in a round of federated CLIP, beyond those of "
            "the image encoder's numbers: array headers and the text features.",
            value=(max(sent) - encoder) / 1024,
            unit="KB",
            samples={"sent to a client": sent, "received from a client": received},
            samples_unit="bytes",
            at_most=64.0,
            details={
                "image encoder's numbers, bytes": encoder,
                "received beyond them, KB": (max(received) - encoder) / 1024,
                "backbone": backbone,
                "text encoder": text_encoder,
            },
        )
    ]
