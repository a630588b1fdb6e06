"""The moving average of a run's models, by hand, and in a checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import assert_same_bits, make_config
from training.checkpoint import Checkpoint, Progress
from training.config import parse
from training.errors import ConfigError, RunFolderError
from training.moving_average import MovingAverage
from training.run_folder import RunFolder
from training.run_model import read_model
from training.weights import Weights


def model(value: float, seen: int = 0) -> Weights:
    return {
        "w": np.array([value, -value], np.float32),
        "running_var": np.array(abs(value), np.float32),
        "half": np.array([value], np.float16),
        "num_batches_tracked": np.array(seen),
    }


def after(decay: float, *models: Weights) -> Weights:
    average = MovingAverage(decay)
    for one in models:
        average.add(one)
    return average.weights


def test_three_rounds_by_hand() -> None:
    """With d = 1/2 the weights of rounds 1, 2 and 3 are 1/4, 1/2 and 1 over 7/4: 1/7, 2/7, 4/7.

    Of models 7, 14 and 28 the average is 1 + 4 + 16 = 21; the count is the newest model's.
    """
    found = after(0.5, model(7, 10), model(14, 20), model(28, 30))
    np.testing.assert_allclose(found["w"], [21, -21], rtol=1e-6)
    np.testing.assert_allclose(found["running_var"], 21, rtol=1e-6)
    np.testing.assert_allclose(found["half"], [21], rtol=1e-3)
    assert found["num_batches_tracked"] == 30
    assert {n: a.dtype for n, a in found.items()} == {n: a.dtype for n, a in model(1).items()}


def test_it_is_the_bias_corrected_sum() -> None:
    """The sum (1 − d) Σ dʳ⁻ⁱ w_i / (1 − dʳ) in float64, over forty rounds."""
    values, decay = np.random.default_rng(0).normal(size=40), 0.9
    weights = (1 - decay) * decay ** np.arange(39, -1, -1) / (1 - decay**40)
    assert weights.sum() == pytest.approx(1)
    found = after(decay, *map(model, values))
    np.testing.assert_allclose(found["w"][0], weights @ values, rtol=1e-5)


def test_limits() -> None:
    """Equal models are their own average; the first is its own; and it is no view of a model."""
    odd = model(1 / 3, 5)
    assert_same_bits(after(0.999, *[odd] * 50), odd)
    first = model(7)
    found = after(0.9, first)
    first["w"][:] = 0
    assert found["w"].tolist() == [7, -7]
    # The nearer d is to 0, the nearer the average is to the last model.
    assert after(1e-12, model(7), model(14))["w"].tolist() == [14, -14]


def test_it_goes_on_from_a_checkpoint_to_the_bit(tmp_path: Path) -> None:
    models = [
        model(value, number) for number, value in enumerate(np.random.default_rng(1).random(6))
    ]
    checkpoint = Checkpoint(tmp_path)
    half = after(0.9, *models[:3])
    checkpoint.save(Progress(round=3), models[2], average=half)
    going_on = MovingAverage(0.9, 3, checkpoint.average(3))
    for one in models[3:]:
        going_on.add(one)
    assert_same_bits(going_on.weights, after(0.9, *models))
    checkpoint.save(Progress(round=4), models[3], average=half)
    assert [path.name for path in sorted(tmp_path.glob("ema-*"))] == ["ema-00004.safetensors"]


def test_without_decay_there_is_none(tmp_path: Path) -> None:
    for decay, there in ((0.0, False), (0.9, True)):
        folder = RunFolder(tmp_path / str(decay))
        folder.create(make_config(ema_decay=decay))
        assert (folder.moving_average() is not None) == there


def test_a_models_file(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.checkpoint.save(Progress(round=1, best_round=1), model(1))
    folder.checkpoint.save(Progress(round=2, best_round=1), model(2), average=model(3))
    folder.write_metrics({"best_round": 1, "rounds": 2})
    assert (read_model(folder, "best")[0], read_model(folder, "last")[0]) == (1, 2)
    with pytest.raises(
        RunFolderError, match="has no moving average; it was run with ema-decay = 0"
    ):
        read_model(folder, "ema")
    folder.write_metrics({"best_round": 1, "rounds": 2, "ema": {}})
    number, found = read_model(folder, "ema")
    assert number == 2
    assert_same_bits(found, model(3))


@pytest.mark.parametrize("values", [{"ema-decay": 1.0}, {"ema-decay": -0.1}])
def test_decays_outside_the_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^ema-decay = "):
        parse(values)


def test_where_nothing_is_shared_it_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^ema-decay = 0.9: with strategy = 'local' nothing is"):
        parse({"ema-decay": 0.9, "strategy": "local", "trainable": "all"})
    for strategy in ("fedbn", "fedper", "ditto", "pooled"):
        parse({"ema-decay": 0.9, "strategy": strategy})
