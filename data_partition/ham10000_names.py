"""The classes of HAM10000, and how other tables write them."""

from collections.abc import Mapping
from types import MappingProxyType

HAM10000_CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")

FULL_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "akiec": "actinic keratosis",
        "bcc": "basal cell carcinoma",
        "bkl": "benign keratosis",
        "df": "dermatofibroma",
        "mel": "melanoma",
        "nv": "melanocytic nevus",
        "vasc": "vascular lesion",
    }
)
"""Full names by label, those of Tschandl et al. (2018)."""

_SHORT_LABELS: Mapping[str, str] = MappingProxyType(
    {
        **{name: label for label, name in FULL_NAMES.items()},
        "actinic keratoses": "akiec",
        "actinic keratoses and intraepithelial carcinoma": "akiec",
        "benign keratosis like lesion": "bkl",
        "benign keratosis like lesions": "bkl",
        "dermatofibromas": "df",
        "melanomas": "mel",
        "melanocytic nevi": "nv",
        "nevi": "nv",
        "nevus": "nv",
        "vascular": "vasc",
        "vascular lesions": "vasc",
    }
)


def short_label(words: str) -> str | None:
    """Return HAM10000's label for a class in words, in any case, or None."""
    return _SHORT_LABELS.get(" ".join(words.lower().replace("-", " ").replace("_", " ").split()))
