"""The classes in words, as a text encoder is asked about them."""

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
        "HGG": "high-grade glioma",
        "LGG": "low-grade glioma",
    }
)
"""Full names by the labels of HAM10000 (Tschandl et al., 2018) and of BraTS2019."""

NAMED_FIRST = ("mel", "HGG")
"""Classes that every table names before the others: to miss one of these costs a patient most."""


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
