"""Heat maps: on which parts of an image a network's answer rests, by captum.

Imported only when it is used: captum imports matplotlib.
"""

import numpy as np
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from numpy.typing import NDArray

from models.backbones import Backbone
from models.errors import BackboneError
from models.map_layer import find_map_layer
from training.config import ExperimentConfig
from training.errors import TrainingError
from training.network import preprocessing
from training.stored_batches import to_device


class HeatMaps:
    """Makes maps of a network's answers.

    Of feature maps it is Grad-CAM (Selvaraju et al., Grad-CAM: Visual Explanations from Deep
    Networks via Gradient-based Localization, 2017, equations 1 and 2): the sum of a layer's
    channels, each weighted with the mean of the gradient of the class's logit over the positions. A
    single position's gradient would show the strides of later layers, not the image.

    Of tokens, which no later layer skips, it is HiResCAM (Draelos and Carin, Use HiResCAM instead
    of Grad-CAM for faithful explanations, 2020, section 3): each activation times its own gradient,
    summed over the channels. Before a mean over the positions and a linear head the two are equal,
    up to a factor. Both keep only what speaks for the class.

    Args:
        network: on its device; left in evaluation mode.
        config: resolved, with this machine's device.

    Raises:
        TrainingError: the network has no layer with positions of the image.
    """

    def __init__(self, network: Backbone, config: ExperimentConfig) -> None:
        self._network, self._batch_size = network.eval(), config.batch_size
        self._inputs = preprocessing(config)
        try:
            self.layer = find_map_layer(network, config.image_size)
        except BackboneError as error:
            raise TrainingError(f"{config.backbone} has no heat maps: {error}") from None

    def __call__(
        self, pixels: NDArray[np.uint8], classes: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the maps (N, g, g) of images, values in [0, 1]; the largest is 1, or all are 0.

        Args:
            pixels: (N, S, S, 3), as stored.
            classes: (N,), for each image the class whose logit is explained.
        """
        starts = range(0, len(pixels), self._batch_size)
        parts = [slice(start, start + self._batch_size) for start in starts]
        maps = [self._of_batch(pixels[part], classes[part]) for part in parts]
        return np.concatenate(maps)

    def _of_batch(self, pixels: NDArray, classes: NDArray) -> NDArray[np.float32]:
        device = next(self._network.parameters()).device
        inputs = self._inputs.for_evaluation(to_device(pixels.copy(), device))
        targets = torch.from_numpy(classes).to(device)
        layer = self.layer
        if layer.form == "maps":
            grad_cam = LayerGradCam(self._network, layer.module)
            summed = grad_cam.attribute(inputs, targets)[:, 0]
        else:
            hires_cam = LayerGradientXActivation(self._network, layer.module)
            products = hires_cam.attribute(inputs, targets)
            summed = layer.by_position(products).sum(dim=1)
        maps = summed.detach().relu()
        largest = maps.amax(dim=(1, 2), keepdim=True)
        scaled: NDArray[np.float32] = torch.where(largest > 0, maps / largest, 0).cpu().numpy()
        return scaled
