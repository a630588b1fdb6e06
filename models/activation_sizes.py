"""The memory of a network's activations while all of it is trained, as a table without torch.

`models.sizes` counts the same, and a test holds the two equal.
"""

from collections.abc import Mapping

from models.registry import BACKBONES

SIDE = 224

ACTIVATION_BYTES: Mapping[str, int] = {
    "convnext_t": 109_155_808,
    "convnext_s": 174_212_128,
    "convnext_b": 232_016_928,
    "convnext_l": 347_626_528,
    "maxvit_t": 307_329_480,
    "swin_t": 106_634_128,
    "swin_s": 170_006_416,
    "swin_b": 226_402_128,
    "swin_v2_t": 153_764_452,
    "swin_v2_s": 254_699_140,
    "swin_v2_b": 337_482_560,
    "vit_l_16": 410_489_768,
    "resnet18": 22_199_040,
    "clip-vit-b-32": 43_065_760,
    "clip-rn50": 100_522_496,
}
"""Bytes that autograd keeps in float32 of an image of ``SIDE`` pixels until the backward pass."""


def activation_bytes(name: str, image_size: int) -> int:
    """Return the bytes of one image's activations; they grow with the image's area.

    Only of a backbone that is not in the table are they counted, by its library and torch.

    Args:
        image_size: that the backbone takes.

    Raises:
        BackboneError: unknown name.
    """
    if name not in BACKBONES:
        from models.sizes import kept_for_backward

        return kept_for_backward(name, image_size)
    return round(ACTIVATION_BYTES[name] * (image_size / SIDE) ** 2)
