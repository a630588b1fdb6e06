"""What a run's manifest says of synthetic images, as a line for its tables."""

from collections.abc import Mapping
from typing import Any

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
