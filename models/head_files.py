"""Fitted heads in files: scikit-learn's models without pickle, through skops."""

import tokenize
import warnings
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sklearn.exceptions import InconsistentVersionWarning

from models.errors import HeadError, first_line
from operation.files import replacing

_LAYOUT = "fedskin head 1"

# Types in heads beyond those that skops trusts: arrays, and scikit-learn's public models.
TRUSTED = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.tree._tree.Tree",
)

# Errors that zipfile, json, skops and NumPy raise for damaged files; tested with thousands of them.
# skops also raises TypeError for types that are not trusted.
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


def write_head_file(path: Path, parts: dict[str, Any]) -> None:
    """Write a head's parts by name, atomically.

    Raises:
        HeadError: the file cannot be written.
    """
    import skops.io  # here, because it imports torch

    try:
        with replacing(path) as temporary:
            skops.io.dump({"layout": _LAYOUT, **parts}, temporary)
    except OSError as error:
        raise HeadError(f"{path} cannot be written ({error.strerror})") from error


def read_head_file(path: Path, names: Collection[str]) -> dict[str, Any]:
    """Read a file of `write_head_file`, which must have parts of these names.

    Nothing in the file is executed, and only objects of types that are in ``TRUSTED`` or trusted
    by skops are created. Whether the numbers in a model make sense is not checked: use only heads
    from sources you trust.

    Raises:
        HeadError: the file is unreadable, not a head, or from another scikit-learn version.
    """
    import skops.io

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            parts = skops.io.load(path, trusted=list(TRUSTED))
        if not isinstance(parts, dict) or parts.pop("layout", None) != _LAYOUT:
            raise ValueError("it is not marked as a head")
        if parts.keys() != set(names):
            raise ValueError(f"it has the parts {', '.join(parts)}")
    except OSError as error:
        raise HeadError(f"{path} cannot be read ({error.strerror})") from error
    except InconsistentVersionWarning as warning:
        raise HeadError(
            f"{path} was written by scikit-learn {warning.original_sklearn_version}, and this is "
            f"{warning.current_sklearn_version}; fit the head again"
        ) from warning
    except _UNSOUND as error:
        raise HeadError(
            f"{path} is not a valid file of a head ({first_line(error)}); delete it and fit the "
            "head again"
        ) from error
    return parts
