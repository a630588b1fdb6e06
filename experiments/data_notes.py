"""Notes for the user about a run's images, from the manifest's entry ``data``."""

from collections.abc import Mapping
from typing import Any

from experiments.console import Console


def show_notes(console: Console, data: Mapping[str, Any]) -> None:
    """Print the notes, a line each."""
    for note in (overlap_note(data), copies_note(data)):
        if note is not None:
            console.say(note, style="yellow")


def overlap_note(data: Mapping[str, Any]) -> str | None:
    """Return a line about test images that are also in training; None if there are none."""
    overlap = data["overlap"]
    if overlap is None:
        if not data["test_images"]:
            return None
        return "Whether the sites train on images of the test set is unknown"
    if not overlap["in_training"]:
        return None
    reasons = ", ".join(f"{reason}: {count}" for reason, count in overlap["by_reason"].items())
    return (
        f"{overlap['in_training']} of the {overlap['test_images']} test images are also in "
        f"training ({reasons}), so these figures are too good"
    )


def copies_note(data: Mapping[str, Any]) -> str | None:
    """Return a line about training images with identical pixels; None if there are none."""
    copies = data["copies"]
    if not copies or not copies["groups"]:
        return None
    return (
        f"Images with identical pixels under several ids: {len(copies['groups'])} groups, "
        f"{copies['contradicting']} of them with contradicting labels, {copies['straddling']} in "
        "more than one split"
    )
