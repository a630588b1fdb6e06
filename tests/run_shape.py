"""The shape of a run folder: which keys its files have, whatever the values."""

import tomllib
from pathlib import Path
from typing import Any

from tests.generated_campaign import write_campaign
from tests.runs import read_json
from training.run_folder import RunFolder


def assert_like_a_generated_one(run: Path, folder: Path) -> None:
    """Hold a real run folder, of HAM10000, against a generated one of the same command.

    Args:
        run: the real one.
        folder: where to generate others.
    """
    command = read_json(run / "manifest.json")["command"]
    rounds = len(RunFolder(run).rounds())
    ids = write_campaign(folder, rounds=rounds, backbones=["swin_t"])
    generated = folder / "trials" / next(name for name in ids if name.startswith(command))
    found, expected = _shape_of(run), _shape_of(generated)
    del expected["manifest"]["trial"]  # which the campaign adds
    for part, shape in expected.items():
        assert found[part] == shape, part


def _shape_of(run: Path) -> dict[str, Any]:
    return {
        "config": _shape(tomllib.loads((run / "config.toml").read_text("utf-8"))),
        "manifest": _shape(read_json(run / "manifest.json")),
        "metrics": _shape(read_json(run / "metrics.json")),
        "rounds": [_shape(record) for record in RunFolder(run).rounds()],
    }


# Generated runs have no calibration, as runs have none whose hospitals all forbid histograms.
_NOT_GENERATED = ("calibration", "calibrated", "sets")


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shape(part) for key, part in value.items() if key not in _NOT_GENERATED}
    return [] if isinstance(value, list) else None
