"""Full names of the classes: for the prompts of text encoders, and as other tables write them."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from data_partition.errors import DataError

CLASS_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "akiec": "actinic keratosis",
        "bcc": "basal cell carcinoma",
        "bkl": "benign keratosis",
        "df": "dermatofibroma",
        "mel": "melanoma",
        "nv": "melanocytic nevus",
        "vasc": "vascular lesion",
        "HGG": "high grade glioblastoma",
        "LGG": "low grade glioma",
    }
)
"""Full names by label. HAM10000's are those of Tschandl et al. (2018). HGG is in the words of the
study; it has none for LGG, which is our choice: a glioblastoma is never of low grade."""

_SHORT_LABELS: Mapping[str, str] = MappingProxyType(
    {
        **{name: label for label, name in CLASS_NAMES.items() if label.islower()},
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


NAMED_FIRST = ("mel", "HGG")
"""Classes that every table names first, because missing one of them harms a patient most."""


def in_naming_order(classes: Iterable[str]) -> list[str]:
    """Return class names as tables show them: those of ``NAMED_FIRST``, then the others."""
    return sorted(classes, key=lambda label: label not in NAMED_FIRST)


def full_names(classes: Iterable[str]) -> tuple[str, ...]:
    """Return the full name of each class.

    Raises:
        DataError: a class has none.
    """
    names = []
    for label in classes:
        if label not in CLASS_NAMES:
            raise DataError(
                f"class {label!r} has no full name for its prompt; known are "
                f"{', '.join(CLASS_NAMES)}"
            )
        names.append(CLASS_NAMES[label])
    return tuple(names)
