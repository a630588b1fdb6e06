"""Missing weights and text features are reported before images are decoded, by every command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_partition.image_reader import Photographs
from experiments.campaigns.preflight import Preflight
from experiments.campaigns.trial import Trial
from experiments.centralized_clip import clip_command
from experiments.federated import simulate_command
from experiments.ml_heads import heads_command
from experiments.prediction import predict_command
from fl_client.client_setup import check_site
from fl_server.federated_run import _run_simulated
from models.backbones import build_backbone
from models.errors import WeightsError
from tests.runs import tiny_config, tiny_options
from tests.support import make_config, state_of
from training.config import ExperimentConfig
from training.errors import ConfigError
from training.model_file import ModelFile
from training.run_folder import RunFolder


@pytest.fixture(autouse=True)
def nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(Photographs, "decode", refuse)


def by_options(command: Callable[..., None]) -> Callable[..., None]:
    def run(data: Path, folder: Path, **changes: Any) -> None:
        options = tiny_options(data, folder / "cache", **changes)[1::2]
        command(None, options, folder / "run")

    return run


def by_config(use: Callable[[ExperimentConfig, Path], object]) -> Callable[..., None]:
    def run(data: Path, folder: Path, **changes: Any) -> None:
        use(tiny_config(data, folder / "cache", **changes), folder)

    return run


def the_server(config: ExperimentConfig, folder: Path) -> None:
    _run_simulated(None, config.replace(dataset="ham10000"), RunFolder(folder / "run"))  # type: ignore[arg-type] - no node is asked


def a_campaign(config: ExperimentConfig, _: Path) -> None:
    Preflight().look([Trial("simulate", config, {})])


RUNS = {
    "simulate": by_options(simulate_command),
    "heads": by_options(heads_command),
    "clip": by_options(clip_command),
    "ServerApp": by_config(the_server),
    "campaign": by_config(a_campaign),
}


@pytest.mark.parametrize(
    "run, objective, said",
    [
        *((run, "classifier", r"resnet18-.* is not in") for run in RUNS if run != "clip"),
        *((run, "clip", "") for run in RUNS if run != "heads"),
    ],
)
def test_what_a_run_begins_with(
    run: str, objective: str, said: str, synthetic_ham: Path, tmp_path: Path
) -> None:
    """The weights of a classifier, and the text features that images are compared with."""
    weights = tmp_path / "weights"
    weights.mkdir()
    with pytest.raises((WeightsError, ConfigError), match=f"weights-dir: {said}"):
        RUNS[run](
            synthetic_ham, tmp_path, objective=objective, pretrained=True, weights_dir=weights
        )
    assert not (tmp_path / "run").exists()


def test_the_base_at_a_site(synthetic_ham: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    node = {
        "data-dir": str(synthetic_ham),
        "cache-dir": str(tmp_path),
        "weights-dir": str(tmp_path / "weights"),
    }
    config = make_config(backbone="resnet18", pretrained=True, trainable="head")
    with pytest.raises(WeightsError, match="weights-dir: resnet18-"):
        check_site({"experiment": config.to_toml()}, node)
    # Where all is trained the first weights come from the server.
    check_site({"experiment": config.replace(trainable="all").to_toml()}, node)


def test_the_base_of_a_model_that_predicts(synthetic_ham: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    config = make_config(
        backbone="resnet18",
        pretrained=True,
        trainable="head",
        weights_dir=str(tmp_path / "weights"),
    )
    network = build_backbone(
        "resnet18", 7, pretrained=False, image_size=32, seed=0, trainable="head"
    )
    head = {name: value for name, value in state_of(network).items() if name.startswith("head.")}
    file = tmp_path / "model.safetensors"
    classes = tuple("abcdefg")
    ModelFile(config, classes, head, None, "0" * 32, 1, False).save(file)
    image = next(synthetic_ham.rglob("*.jpg"))
    with pytest.raises(WeightsError, match="weights-dir: resnet18-"):
        predict_command(file, [image])
