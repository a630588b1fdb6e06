"""Features instead of images: the input of a network without its trunk."""

import torch
from torch import Tensor

from training.inference import Inputs


class FeatureViews(Inputs):
    """Inputs from stored features (B, V, width): the centre view first, then the augmented ones."""

    def for_training(self, stored: Tensor, generator: torch.Generator) -> Tensor:
        """Take one view of each image at random, (B, width); with one view nothing is drawn."""
        num_images, num_views, _ = stored.shape
        if num_views == 1:
            return stored[:, 0]
        chosen = torch.randint(num_views, (num_images,), generator=generator)
        return stored[torch.arange(num_images), chosen]

    def for_evaluation(self, stored: Tensor) -> Tensor:
        """Take the centre view of each image, (B, width)."""
        return stored[:, 0]
