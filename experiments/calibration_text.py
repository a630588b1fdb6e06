"""What a run says of its calibration: in the terminal, and below the tables of its report."""

from collections.abc import Mapping, Sequence
from typing import Any

from strategies.temperature_losses import TEMPERATURES
from training.calibration import Calibration

GUARANTEE = (
    "The guarantee is for images that are drawn as the pooled validation images are; it does not "
    "hold for another clinic."
)


def calibration_lines(metrics: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    """Return the lines about a run's calibration; none if there is none.

    Args:
        metrics: as in ``metrics.json``.

    Raises:
        RunFolderError: its calibration is damaged.
    """
    if "calibration" not in metrics:
        return []
    found = Calibration.of_block(metrics["calibration"], len(classes))
    of = "of the clients' own models" if found.own else "of the best model"
    lines = [
        f"Calibration {of} on {sum(found.images)} validation images: temperature "
        f"{found.temperature:.2f}; prediction sets for coverage {found.coverage:g}."
    ]
    ends = TEMPERATURES[0], TEMPERATURES[-1]
    if found.temperature in ends:
        lines.append(
            f"No temperature beyond {ends[0]:g} to {ends[1]:g} is looked for, and "
            f"{found.temperature:g} may not be enough: do not rely on the calibrated probabilities."
        )
    where, sets = _tested(metrics)
    if sets and sets["coverage"] is not None:
        lines[0] += (
            f" On the {where} they hold the true class of {sets['coverage']:.1f} % of the "
            f"images, and {sets['size']:.2f} classes on average."
        )
    said = found.too_few(classes)
    lines += [f"Too few validation images: {said}."] if said else []
    lines += [
        f"{name} {why}: its images are not in the calibration."
        for name, why in found.missing.items()
    ]
    return lines


def always_line(calibration: Calibration, classes: Sequence[str]) -> str | None:
    """Return in a sentence which classes are in every set whatever the image, None if none is."""
    inside = calibration.always_inside(classes)
    if inside["marginal"]:
        return (
            "Every set has all classes, whatever the image shows: the validation images say too "
            "little to leave one out"
        )
    if not inside["by_class"]:
        return None
    return (
        f"In every set by class, whatever the image shows: {', '.join(inside['by_class'])}; the "
        "validation images say too little of these classes to leave them out"
    )


def _tested(metrics: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return on which images the calibrated model was tested first of all, and its sets' figures.

    Of the shared model and the clients' own only those are calibrated that clients validate.
    """
    on_clients = "clients' test splits"
    for where, block in (
        ("global test set", metrics.get("global_test", {})),
        (on_clients, metrics.get("client_test", {})),
        (on_clients, metrics.get("shared", {}).get("client_test", {})),
    ):
        if "sets" in block:
            return where, block["sets"]["marginal"]
    return "", {}
