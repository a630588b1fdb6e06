"""Heat maps: on which parts of an image a network's answer rests, by captum.

Imported only when it is used: captum imports matplotlib.
"""

import numpy as np
import torch
from captum.attr import LayerGradientXActivation
from numpy.typing import NDArray

from models.backbones import Backbone
from models.errors import BackboneError
from models.map_layer import find_map_layer
from training.config import ExperimentConfig
from training.errors import TrainingError
from training.inference import to_device
from training.network import preprocessing


class HeatMaps:
    """Makes maps of a network's answers: for each position of a layer, activation times gradient.

    HiResCAM (Draelos and Carin, Use HiResCAM instead of Grad-CAM for faithful explanations, 2020,
    section 3): the sum over a layer's channels of activation times gradient of the class's logit,
    of which only what speaks for the class is kept. Where the layer's output goes to the head
    through a mean over its positions, this is Grad-CAM (Selvaraju et al., 2017), up to a factor. It
    is also defined for tokens, and for layers before the last.

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
        products = LayerGradientXActivation(self._network, layer.module).attribute(inputs, targets)
        summed = layer.by_position(products).sum(dim=1)
        maps = summed.detach().relu()
        largest = maps.amax(dim=(1, 2), keepdim=True)
        scaled: NDArray[np.float32] = torch.where(largest > 0, maps / largest, 0).cpu().numpy()
        return scaled
