"""Cached features: computed once, fixed, and equivalent to the images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import BACKBONE, make_config, random_split
from training import feature_splits
from training.config import ExperimentConfig
from training.epoch import train_epoch
from training.errors import TrainingError
from training.feature_splits import open_feature_splits
from training.inference import Preprocessing
from training.network import (
    FeatureViews,
    base_sha256,
    preprocessing,
    sent_part,
)
from training.split import Split
from training.task import Task, build_base

SPLITS = {"train": random_split(12), "validation": random_split(5), "test": random_split(0)}


@pytest.fixture
def config(tmp_path: Path) -> ExperimentConfig:
    return make_config(trainable="head", cache_dir=str(tmp_path))


@pytest.fixture(scope="module")
def base() -> str:
    return base_sha256(build_base(make_config(trainable="head")))


def opened(config: ExperimentConfig, base: str, index: int = 0) -> dict[str, Split]:
    return open_feature_splits(config, SPLITS, fingerprint="images", client_index=index, base=base)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every trunk that is built."""
    counted: list[int] = []
    build = feature_splits.build_base

    def count(*arguments, **options):  # type: ignore[no-untyped-def]
        counted.append(1)
        return build(*arguments, **options)

    monkeypatch.setattr(feature_splits, "build_base", count)
    return counted


def test_features_are_the_trunks_of_each_image(config: ExperimentConfig, base: str) -> None:
    """In the split's order, labels and patients beside them; an empty split has none."""
    shuffled = replace(SPLITS["train"], indices=np.array([3, 1, 2]), patients=np.arange(12) // 2)
    found = open_feature_splits(
        config, {"train": shuffled}, fingerprint="images", client_index=0, base=base
    )["train"]
    assert found.holds_features
    assert (found.images.shape, found.images.dtype) == ((3, 1, 256), np.float32)
    assert found.labels.tolist() == SPLITS["train"].labels[[3, 1, 2]].tolist()
    assert found.indices.tolist() == [0, 1, 2]
    assert found.patients is not None
    assert found.patients.tolist() == [1, 0, 1]
    inputs = preprocessing(config).for_evaluation(torch.from_numpy(shuffled.images[[3, 1, 2]]))
    with torch.inference_mode():
        expected = build_base(config).eval().features(inputs).numpy()
    np.testing.assert_allclose(found.images[:, 0], expected, rtol=1e-5, atol=1e-6)
    assert opened(config, base)["test"].images.shape == (0, 1, 256)


def test_features_are_computed_once(config: ExperimentConfig, base: str, built: list[int]) -> None:
    """Head and adapter share them; another base, batch size or image set does not."""
    first, again = opened(config, base), opened(config, base)
    assert len(built) == 1
    for name, split in first.items():
        assert again[name].images.tobytes() == split.images.tobytes()
    opened(config.replace(trainable="adapter"), base)
    assert len(built) == 1
    opened(config.replace(batch_size=4), base)
    open_feature_splits(config, SPLITS, fingerprint="others", client_index=0, base=base)
    assert len(built) == 3


@pytest.mark.parametrize("damage", ["cut off", "empty", "another file", "another key"])
def test_a_damaged_or_foreign_file_is_made_anew(
    config: ExperimentConfig, base: str, built: list[int], damage: str
) -> None:
    first = opened(config, base)
    (path,) = (Path(config.cache_dir) / "features").glob("*.safetensors")
    content = path.read_bytes()
    foreign = content.replace(path.stem.encode(), b"0" * 64)
    path.write_bytes(
        {"cut off": content[:-8], "empty": b"", "another file": b"{}", "another key": foreign}[
            damage
        ]
    )
    again = opened(config, base)
    assert len(built) == 2
    assert path.read_bytes() == content
    assert again["train"].images.tobytes() == first["train"].images.tobytes()


def test_another_base_is_refused_and_nothing_kept(config: ExperimentConfig) -> None:
    with pytest.raises(TrainingError, match=f"^the base of {BACKBONE} on this machine is not the"):
        opened(config, "0" * 64)
    assert not list(Path(config.cache_dir).rglob("*.safetensors"))


def test_augmented_views_are_fixed_by_seed_client_and_view(
    config: ExperimentConfig, base: str
) -> None:
    """The centre view is the same in all; view v is the same however many views there are."""
    one, two = (opened(config.replace(augmented_views=k), base) for k in (1, 2))
    assert one["train"].images.shape == (12, 2, 256)
    assert two["train"].images.shape == (12, 3, 256)
    assert two["validation"].images.shape == (5, 1, 256)
    assert two["train"].images[:, :2].tobytes() == one["train"].images.tobytes()
    other_client = opened(config.replace(augmented_views=1), base, index=1)
    other_seed = opened(config.replace(augmented_views=1, seed=1), base_of(config, seed=1))
    centre, augmented = one["train"].images[:, 0], one["train"].images[:, 1]
    assert (opened(config, base)["train"].images[:, 0] == centre).all()
    assert (other_client["train"].images[:, 0] == centre).all()
    for other in (centre, two["train"].images[:, 2], other_client["train"].images[:, 1]):
        assert (other != augmented).any()
    assert (other_seed["train"].images[:, 1] != augmented).any()


def base_of(config: ExperimentConfig, **changes: int) -> str:
    return base_sha256(build_base(config.replace(**changes)))


def test_training_meets_each_view_and_judging_only_the_first() -> None:
    """1000 images of three views whose only feature is the view's number: a third each."""
    stored = torch.arange(3.0).repeat(1000, 1)[..., None]
    met = FeatureViews().for_training(stored, torch.Generator().manual_seed(0))
    assert met.shape == (1000, 1)
    counts = torch.bincount(met[:, 0].long(), minlength=3)
    # Binomial(1000, 1/3): mean 333, standard deviation 15.
    assert ((counts - 333).abs() < 75).all()
    assert (FeatureViews().for_evaluation(stored) == 0).all()


def test_of_one_view_nothing_is_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    FeatureViews().for_training(torch.zeros(4, 1, 8), generator)
    assert torch.equal(generator.get_state(), before)


class _Centre(Preprocessing):
    """Training that sees what the test sees."""

    def for_training(self, stored: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return self.for_evaluation(stored)


@pytest.mark.parametrize("trainable", ["head", "adapter"])
def test_training_on_features_is_training_on_centre_views(
    config: ExperimentConfig, base: str, trainable: str
) -> None:
    """The trunk is fixed and in evaluation mode either way, and the first epoch's order the same.

    So both do the same steps, up to rounding: the trunk sees the images in other batches.
    """
    config = config.replace(trainable=trainable)
    weights = sent_part(Task(config, 3).build())
    kept = opened(config, base)
    whole = Task(config, 3, None, base).restore(weights)
    small = Task(config, 3).restore_over_features(weights)
    plain = preprocessing(config)
    assert isinstance(plain, Preprocessing)
    losses, figures = [], []
    for network, split, inputs in (
        (whole, SPLITS["train"], _Centre(plain.image_size, plain.mean, plain.std)),
        (small, kept["train"], preprocessing(config, kept["train"])),
    ):
        loss = train_epoch(
            network,
            split,
            torch.optim.SGD(network.trained().values(), lr=1.0),
            batch_size=4,
            preprocessing=inputs,
            generator=torch.Generator().manual_seed(0),
        )
        losses.append(loss)
        validation = (SPLITS if network is whole else kept)["validation"]
        figures.append(Task(config, 3).evaluate(network, validation).images.probabilities)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    np.testing.assert_allclose(figures[1], figures[0], atol=1e-5)
    for name, array in sent_part(small).items():
        assert (array != weights[name]).any(), name
        np.testing.assert_allclose(array, sent_part(whole)[name], atol=1e-5)
