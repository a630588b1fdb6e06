"""What a run says of its calibration."""

from dataclasses import replace

import pytest

from experiments.calibration_text import always_line, calibration_lines
from strategies.temperature_losses import TEMPERATURES
from training.calibration import Calibration

CLASSES = ["a", "b"]
FOUND = Calibration(0.5, (9, 9), 2.0, 0.2, (0.95, 0.3))


@pytest.mark.parametrize(
    ("temperature", "named"), [(TEMPERATURES[0], True), (2.0, False), (TEMPERATURES[-1], True)]
)
def test_a_temperature_at_the_end_of_those_looked_for_is_named(
    temperature: float, named: bool
) -> None:
    found = replace(FOUND, temperature=float(temperature))
    lines = calibration_lines({"calibration": found.to_block()}, CLASSES)
    assert f"temperature {temperature:.2f}" in lines[0]
    said = f"{temperature:g} may not be enough: do not rely on the calibrated probabilities."
    assert any(line.endswith(said) for line in lines) == named


def test_without_a_calibration_nothing_is_said() -> None:
    assert calibration_lines({}, CLASSES) == []


@pytest.mark.parametrize(
    ("threshold", "thresholds", "said"),
    [
        (0.2, (0.95, 0.3), None),
        (0.2, (0.0, 0.3), "In every set by class, whatever the image shows: a; "),
        (0.0, (0.0, 0.0), "Every set has all classes, whatever the image shows: "),
    ],
)
def test_classes_that_no_image_can_leave_out_are_named(
    threshold: float, thresholds: tuple[float, ...], said: str | None
) -> None:
    line = always_line(replace(FOUND, threshold=threshold, thresholds=thresholds), CLASSES)
    assert line is None if said is None else line is not None and line.startswith(said)
