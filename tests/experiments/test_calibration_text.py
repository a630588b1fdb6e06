"""What a run says of its calibration."""

from dataclasses import replace

import pytest

from experiments.calibration_text import calibration_lines
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
