"""Which features of images a run on features keeps, and which of them other runs keep, too."""

from collections.abc import Hashable, Iterator
from typing import NamedTuple

from data_partition.datasets import find_dataset
from experiments.planning.images import ImageCounts
from models.registry import find_backbone
from strategies.methods import METHODS
from training.config import ExperimentConfig
from training.division import DIVISION_KEYS, IMAGE_KEYS

_NETWORK_KEYS = ("backbone", "pretrained", "weights-dir", "precision", "batch-size", "device")
_VIEW_KEYS = ("augmented-views", "augmentation")


class FeatureFile(NamedTuple):
    """A file of features: whose images they are of, what they depend on, and how many views."""

    client: int | None  # the client's place; None: the server's test images
    identity: Hashable  # equal for files that are one
    views: float


def feature_files(
    command: str, config: ExperimentConfig, images: ImageCounts
) -> Iterator[FeatureFile]:
    """Yield the files that a run on features reads, each of which the first such run makes.

    `training.feature_splits` says what a file depends on; a run on images has none.

    Args:
        config: resolved.
    """
    if not config.on_features:
        return
    flat = config.to_flat()
    network = [flat[key] for key in (*IMAGE_KEYS, *_NETWORK_KEYS, "threads-per-client")]
    if not config.pretrained:
        network.append(config.seed)  # which its weights are drawn from
    pooled = METHODS[config.strategy].pooled and command == "simulate"
    division = [command == "simulate", *(flat[key] for key in DIVISION_KEYS)]
    for place, client in enumerate(images.clients):
        train, everything = client.train, pooled and place == 0
        if everything:
            train = sum(each.train for each in images.clients)
        identity = (*network, *division, *(flat[key] for key in _VIEW_KEYS), place, everything)
        views = train * (1 + config.augmented_views) + client.validation + client.test
        yield FeatureFile(place, identity, views)
    # The seed decides which patients of a data set of slices are for testing.
    seed = (config.seed,) if find_dataset(config.dataset).sliced else ()
    identity = ("test", *network, *seed, config.leave_out)
    yield FeatureFile(None, identity, images.test + images.left_out)


def feature_bytes(config: ExperimentConfig, views: float) -> int:
    """Return the bytes of the features of so many views."""
    return round(views) * find_backbone(config.backbone).width * 4
