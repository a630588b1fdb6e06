"""Fitted heads in files: scikit-learn's models without pickle, through skops."""

import os
import tokenize
import warnings
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sklearn.exceptions import InconsistentVersionWarning

from models.errors import HeadError, first_line

_LAYOUT = "fedskin head 1"

# What heads consist of beyond what skops vouches for: arrays, and scikit-learn's public models.
TRUSTED = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.tree._tree.Tree",
)

# What becomes of damage on the way through zipfile, json, skops and NumPy; tried on thousands of
# damaged files. TypeError is also skops' word for types that are not trusted.
_UNSOUND = (
    zipfile.BadZipFile,
    tokenize.TokenError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def write(path: Path, parts: dict[str, Any]) -> None:
    """Write a head's parts by name, whole or not at all.

    Raises:
        HeadError: the file cannot be written.
    """
    import skops.io  # here, since it brings torch, and a head is fitted long before it is stored

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                skops.io.dump({"layout": _LAYOUT, **parts}, file)
                file.flush()
                os.fsync(file.fileno())  # else a power cut may keep the name and lose the bytes
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise HeadError(f"{path} cannot be written ({error.strerror})") from error


def read(path: Path, names: Collection[str]) -> dict[str, Any]:
    """Read what `write` wrote, which must be parts of these names.

    Nothing in the file is executed, and no object is made of a type that is neither in
    ``TRUSTED`` nor vouched for by skops. Whether the numbers in a model make sense is not
    checked: judge only with heads from those you trust.

    Raises:
        HeadError: the file cannot be read, is no head, or was written by another scikit-learn.
    """
    import skops.io

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            parts = skops.io.load(path, trusted=list(TRUSTED))
        if not isinstance(parts, dict) or parts.pop("layout", None) != _LAYOUT:
            raise ValueError("it does not say that it is one")
        if parts.keys() != set(names):
            raise ValueError(f"it has the parts {', '.join(parts)}")
    except OSError as error:
        raise HeadError(f"{path} cannot be read ({error.strerror})") from error
    except InconsistentVersionWarning as warning:
        raise HeadError(
            f"{path} was written by scikit-learn {warning.original_sklearn_version}, and this is "
            f"{warning.current_sklearn_version}; fit the head anew"
        ) from warning
    except _UNSOUND as error:
        raise HeadError(
            f"{path} is not a sound file of a head ({first_line(error)}); remove it and fit the "
            "head anew"
        ) from error
    return parts
