"""The size of each backbone and of its trained and sent parts, as a table that needs no torch.

`models.sizes` counts the same, and a test holds the two equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass

NUM_CLASSES = 7
"""Outputs of the networks in ``PART_SIZES``: as many as HAM10000 has classes."""


@dataclass(frozen=True)
class PartSize:
    """The size of a part of a network."""

    parameters: int  # number of trained parameters
    num_bytes: int  # bytes sent, in the stored data types


def _sizes(*numbers: int) -> Mapping[str, PartSize]:
    """Return part sizes by the value of ``trainable``, without ``lora`` if it is not possible.

    Args:
        numbers: parameters and bytes of ``all``, ``head``, ``adapter`` and ``lora``, in this order.
    """
    parts = map(PartSize, numbers[::2], numbers[1::2])
    return dict(zip(("all", "head", "adapter", "lora"), parts, strict=False))


PART_SIZES: Mapping[str, Mapping[str, PartSize]] = {
    "convnext_t": _sizes(
        27_825_511, 111_302_044, 5_383, 21_532, 79_927, 319_708, 535_303, 2_141_212
    ),
    "convnext_s": _sizes(
        49_460_071, 197_840_284, 5_383, 21_532, 79_927, 319_708, 1_088_263, 4_353_052
    ),
    "convnext_b": _sizes(
        87_573_639, 350_294_556, 7_175, 28_700, 139_335, 557_340, 1_451_015, 5_804_060
    ),
    "convnext_l": _sizes(
        196_241_095, 784_964_380, 10_759, 43_036, 307_303, 1_229_212, 2_176_519, 8_706_076
    ),
    "maxvit_t": _sizes(30_411_215, 122_258_172, 3_591, 14_364, 36_903, 147_612, 699_911, 2_799_644),
    "swin_t": _sizes(27_524_737, 110_329_444, 5_383, 21_532, 79_927, 319_708, 602_887, 2_411_548),
    "swin_s": _sizes(48_842_641, 195_831_556, 5_383, 21_532, 79_927, 319_708, 1_192_711, 4_770_844),
    "swin_b": _sizes(
        86_750_399, 347_462_588, 7_175, 28_700, 139_335, 557_340, 1_590_279, 6_361_116
    ),
    "swin_v2_t": _sizes(
        27_587_953, 110_766_628, 5_383, 21_532, 79_927, 319_708, 602_887, 2_411_548
    ),
    "swin_v2_s": _sizes(
        48_973_825, 196_724_932, 5_383, 21_532, 79_927, 319_708, 1_192_711, 4_770_844
    ),
    "swin_v2_b": _sizes(
        86_913_023, 348_481_724, 7_175, 28_700, 139_335, 557_340, 1_590_279, 6_361_116
    ),
    "vit_l_16": _sizes(
        303_308_807, 1_213_235_228, 7_175, 28_700, 139_335, 557_340, 3_152_903, 12_611_612
    ),
    "resnet18": _sizes(11_180_103, 44_758_972, 3_591, 14_364, 36_903, 147_612),
    "clip-vit-b-32": _sizes(
        87_852_807, 351_411_228, 3_591, 14_364, 36_903, 147_612, 1_183_239, 4_732_956
    ),
    "clip-rn50": _sizes(38_324_071, 153_509_716, 7_175, 28_700, 139_335, 557_340, 130_055, 520_220),
}
"""Part sizes by backbone, then by the value of ``trainable``."""
