"""The manifest's entries about a run's images."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data_partition.copies import find_copies, num_straddling
from data_partition.synthetic_folder import is_synthetic
from operation.text import printable
from training.config import ExperimentConfig
from training.split import CentralData, FederatedData, GlobalTestSet

_SOURCE_LENGTH = 20  # of the name of a source in tables


def describe_data(
    config: ExperimentConfig,
    data: FederatedData | CentralData,
    test_data: GlobalTestSet | None,
    left_out: GlobalTestSet | None = None,
) -> dict[str, Any]:
    """Return the manifest's entry ``data``; test images do not count as training images."""
    store = data.store
    in_training = np.ones(len(store.labels), dtype=bool)
    if test_data is not None and store.sliced:  # both are in one store
        in_training[test_data.split.indices] = False
    in_training &= [place is not None for place in data.places()]  # at no client
    rows = store.rows[in_training]
    copies = find_copies(rows)
    places = [place for place, held in zip(data.places(), in_training, strict=True) if held]
    return {
        "synthetic": is_synthetic(config.data_dir, config.test_dir),
        "classes": store.classes,
        "fingerprint": store.fingerprint,
        "images": len(rows),
        "set_aside": store.set_aside,
        "copies": {
            "groups": [group.ids for group in copies],
            "contradicting": sum(group.contradicting for group in copies),
            "straddling": num_straddling(rows, places),
        },
        **describe_test_data(test_data),
        **_describe_left_out(config, left_out),
        "notices": [
            *store.notices,
            *_notices("test set", test_data),
            *_notices(f"source {printable(config.leave_out, _SOURCE_LENGTH)}", left_out),
        ],
    }


def describe_test_data(test_data: GlobalTestSet | None) -> dict[str, Any]:
    """Return the manifest's entries about the global test set."""
    overlap = test_data.overlap if test_data else None
    return {
        "test_fingerprint": test_data.fingerprint if test_data else None,
        "test_images": len(test_data.rows) if test_data else 0,
        "test_set_aside": test_data.set_aside if test_data else {},
        "notices": _notices("test set", test_data),
        "overlap": overlap.describe() if overlap is not None else None,
    }


def _notices(name: str, images: GlobalTestSet | None) -> list[str]:
    """Return what tables say of a test set: its own notices, and which classes never occur."""
    if images is None:
        return []
    there = set(images.rows["label"])
    absent = [label for label in images.classes if label not in there]
    if not absent:
        return list(images.notices)
    return [
        *images.notices,
        f"the {name} has no images of {', '.join(absent)}: BACC is the mean recall of the other "
        f"{len(images.classes) - len(absent)} classes",
    ]


def _describe_left_out(
    config: ExperimentConfig, left_out: GlobalTestSet | None
) -> dict[str, dict[str, Any]]:
    if left_out is None:
        return {}
    assert left_out.overlap is not None  # its images are here, as are the clients'
    return {
        "left_out": {
            "source": config.leave_out,
            "images": len(left_out.rows),
            "overlap": left_out.overlap.describe(),
        }
    }


def left_out_name(block: Mapping[str, Any]) -> str:
    """Return what tables call the images of the source that ``leave-out`` named.

    Args:
        block: of ``metrics.json``, with ``source``.
    """
    return f"left out: {printable(block['source'], _SOURCE_LENGTH)}"


SYNTHETIC = "SYNTHETIC images: these figures say nothing about patients"


def synthetic_note(manifest: Mapping[str, Any]) -> str | None:
    """Return the line; None if neither the run nor one of its clients has synthetic images.

    A run is marked as a whole only if that is known, or if all of its sites say so. What some sites
    say of their own images is told as theirs.
    """
    return SYNTHETIC if manifest["data"]["synthetic"] else synthetic_claims(manifest)


def synthetic_claims(manifest: Mapping[str, Any]) -> str | None:
    """Return a line that names the sites that say so of their own images; None if there are none.

    Args:
        manifest: ``clients`` have ``synthetic`` over sites only.
    """
    clients = manifest.get("clients", {})
    saying = [name for name, about in clients.items() if about.get("synthetic", False)]
    if not saying:
        return None
    verb, whose = ("says", "its") if len(saying) == 1 else ("say", "their")
    return f"{', '.join(saying)} {verb} that {whose} images are synthetic"
