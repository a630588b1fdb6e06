"""Heat maps of a tiny network, and that they are on what its answers rest on."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from data_partition.synthetic_lesion import draw_lesion
from models.backbones import Backbone
from tests.support import BACKBONE, make_config
from training.errors import TrainingError
from training.heat_maps import HeatMaps
from training.network import preprocessing

CLASSES = ("mel", "bcc", "vasc")
IMAGE, LESION = 56, 28  # sides in pixels: a lesion takes a quarter of its image
CONFIG = make_config(image_size=IMAGE)


def lesions(number: int, seed: int) -> tuple[NDArray, NDArray, NDArray]:
    """Return images of synthetic lesions anywhere on plain skin, their classes and their masks."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, len(CLASSES), number)
    images = np.empty((number, IMAGE, IMAGE, 3), np.uint8)
    masks = np.zeros(images.shape[:3], bool)
    for image, mask, label in zip(images, masks, classes, strict=True):
        drawn = draw_lesion(CLASSES[label], lesion=rng, view=rng, width=LESION, height=LESION)
        skin = np.median(drawn[[0, -1]].reshape(-1, 3), axis=0)
        image[:] = np.clip(skin + rng.normal(0, 3, (IMAGE, IMAGE, 1)), 0, 255)
        top, left = rng.integers(0, IMAGE - LESION + 1, 2)
        place = slice(top, top + LESION), slice(left, left + LESION)
        image[place], mask[place] = drawn, True
    return images, classes, masks


@pytest.fixture(scope="module")
def network() -> Backbone:
    """Three convolutions, a mean over 7 x 7 positions and a head, trained on 64 images."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        layer = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        return [layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

    images, classes, _ = lesions(64, seed=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trunk = nn.Sequential(*block(3, 8), *block(8, 16), *block(16, 16))
        trunk.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten()])
        network = Backbone(trunk, nn.Linear(16, len(CLASSES)))
    inputs = preprocessing(CONFIG).for_evaluation(torch.from_numpy(images))
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(30):
        optimizer.zero_grad()
        functional.cross_entropy(network(inputs), torch.from_numpy(classes)).backward()
        optimizer.step()
    return network.eval()


def test_the_map_lies_on_the_lesion(network: Backbone) -> None:
    """A lesion takes a quarter of its image, and so would an even map: twice that is asked for."""
    images, classes, masks = lesions(24, seed=1)
    maps = HeatMaps(network, CONFIG)(images, classes)
    assert maps.shape == (24, 7, 7)
    large = maps.repeat(IMAGE // 7, axis=1).repeat(IMAGE // 7, axis=2)
    shares = (large * masks).sum(axis=(1, 2)) / large.sum(axis=(1, 2))
    assert masks.mean() == 0.25
    assert shares.mean() > 2 * 0.25
    # Not only where lesions are more often: other images' masks are another place.
    elsewhere = (large * np.roll(masks, 1, axis=0)).sum(axis=(1, 2)) / large.sum(axis=(1, 2))
    assert shares.mean() > elsewhere.mean()


def test_before_a_mean_and_a_linear_head_it_is_grad_cam(network: Backbone) -> None:
    """The logit of class k is Σ_c W_kc mean_ij A_cij, its gradient W_kc / 49 at every position.

    So Grad-CAM, ReLU(Σ_c mean(gradient)_c A_c), is ReLU(Σ_c W_kc A_c) / 49.
    """
    images, classes, _ = lesions(4, seed=2)
    inputs = preprocessing(CONFIG).for_evaluation(torch.from_numpy(images))
    with torch.no_grad():
        activations = network.trunk[:-2](inputs)
        weights = network.head.weight[classes]
        expected = torch.einsum("bc,bcij->bij", weights, activations).relu().numpy()
    expected /= expected.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(HeatMaps(network, CONFIG)(images, classes), expected, atol=1e-5)


def test_the_number_of_images_at_once_does_not_matter(network: Backbone) -> None:
    images, classes, _ = lesions(5, seed=3)
    all_at_once = HeatMaps(network, CONFIG.replace(batch_size=8))(images, classes)
    two_at_once = HeatMaps(network, CONFIG.replace(batch_size=2))(images, classes)
    np.testing.assert_allclose(all_at_once, two_at_once, atol=1e-5)


def test_nothing_for_a_class_is_an_empty_map() -> None:
    """Activations are 0 or more, and every weight of the class is negative."""
    trunk = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    network = Backbone(trunk.append(nn.Flatten()), nn.Linear(4, 3))
    nn.init.constant_(network.head.weight, -1.0)
    images, classes, _ = lesions(2, seed=0)
    assert not HeatMaps(network, CONFIG)(images, classes).any()


def test_a_network_without_positions_is_named() -> None:
    network = Backbone(nn.Sequential(nn.Flatten(), nn.Linear(3 * IMAGE**2, 4)), nn.Linear(4, 3))
    with pytest.raises(TrainingError, match=f"{BACKBONE} has no heat maps: none of its layers"):
        HeatMaps(network, CONFIG)
