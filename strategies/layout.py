"""How a model is sent: its arrays concatenated into a few long arrays for each dtype.

Flower sends each array as at least two objects, and each object is a separate request at every hop.
A model has hundreds of arrays, most of them small: a round over real sites spent more time on
requests than on bytes. Concatenated they are a few arrays, which Flower sends in pieces of 5 MB. A
long array ends where one of the model's arrays takes it beyond 64 MiB: while a message is put
together, the current array is held twice.

The position of each array is the model's layout. It is sent as the record ``layout``, with the keys
``names``, ``dtypes`` and ``shapes`` (such as ``3x5``), in the order of the arrays.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from numpy.typing import NDArray

from strategies.arrays import Blank, dtype_of, views

LAYOUT = "layout"

_LONG = 1 << 26

# Dtype and shape of each array by name.
Signature = dict[str, tuple[str, tuple[int, ...]]]


# All messages of a run have one of few.
@lru_cache(maxsize=4)
def _signature(
    names: tuple[str, ...], dtypes: tuple[str, ...], shapes: tuple[str, ...]
) -> Signature:
    signature: Signature = {}
    for name, dtype, shape in zip(names, dtypes, shapes, strict=True):
        if name in signature:
            raise ValueError
        sides = tuple(int(side) for side in shape.split("x")) if shape else ()
        if any(side < 0 for side in sides):
            raise ValueError
        signature[name] = (str(dtype_of(dtype)), sides)
    return signature


class LayoutError(ValueError):
    """Arrays that do not match their layout; a one-line message names the mismatch."""


class Layout:
    """The names, dtypes and shapes of a model's arrays, in the order of concatenation.

    Args:
        signature: dtype and shape of each array by name.
    """

    def __init__(self, signature: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        self.signature: Signature = dict(signature)

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray]) -> "Layout":
        """Return the layout of arrays, in their order."""
        return cls({name: (str(array.dtype), array.shape) for name, array in arrays.items()})

    @classmethod
    def read(cls, record: object) -> "Layout":
        """Read a record written by `record`.

        Raises:
            LayoutError: the record is missing or damaged.
        """
        try:
            if not isinstance(record, Mapping):
                raise TypeError
            columns = [tuple(record[key]) for key in ("names", "dtypes", "shapes")]
            signature = _signature(*columns)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise LayoutError(f"the record {LAYOUT!r} is missing or damaged") from None
        return cls(signature)

    def record(self) -> ConfigRecord:
        """Return the layout as a record to send."""
        return ConfigRecord(
            {
                "names": list(self.signature),
                "dtypes": [dtype for dtype, _ in self.signature.values()],
                "shapes": ["x".join(map(str, shape)) for _, shape in self.signature.values()],
            }
        )

    def flat_signature(self) -> Signature:
        """Return the signature of the long arrays: ``float32``, ``float32-1``, and so on."""
        return {long: (dtype, (part.stop,)) for long, dtype, part in self._places()}

    def flatten(self, arrays: Mapping[str, NDArray]) -> ArrayRecord:
        """Concatenate arrays; makes exactly one copy of them.

        Raises:
            LayoutError: the arrays are not those of this layout.
        """
        found = Layout.of(arrays).signature
        if found != self.signature:
            name = min(name for name, _ in found.items() ^ self.signature.items())
            raise LayoutError(f"the array {name!r} is not as the layout says, or not in it")
        blank = FlatBlank(self)
        for name, values in blank.values.items():
            np.copyto(values, arrays[name])
        return blank.finish()

    def views(self, record: ArrayRecord) -> dict[str, NDArray]:
        """Return views of the model's arrays in a record of long arrays, by name; copies nothing.

        Raises:
            LayoutError: the record has other arrays, or more, or fewer.
        """
        try:
            flat = views(record)
        except ValueError as error:
            raise LayoutError(str(error)) from None
        if Layout.of(flat).signature != self.flat_signature():
            held = ", ".join(f"{array.size} of {name}" for name, array in flat.items())
            raise LayoutError(f"the arrays ({held}) are not as long as their layout says")
        return dict(self._pieces(flat))

    def spans(self, chosen: Callable[[str], bool]) -> dict[str, list[slice]]:
        """Return where the chosen arrays of the model lie, by long array, in order.

        Args:
            chosen: whether an array with this name is chosen.
        """
        found: dict[str, list[slice]] = {}
        for name, (long, _, part) in zip(self.signature, self._places(), strict=True):
            if chosen(name):
                found.setdefault(long, []).append(part)
        return found

    def _pieces(self, flat: Mapping[str, NDArray]) -> Iterator[tuple[str, NDArray]]:
        places = zip(self.signature.items(), self._places(), strict=True)
        for (name, (_, shape)), (long, _, part) in places:
            yield name, flat[long][part].reshape(shape)

    def _places(self) -> Iterator[tuple[str, str, slice]]:
        """Yield for each array the name and the dtype of its long array, and its place there."""
        number: Counter[str] = Counter()
        filled: Counter[str] = Counter()  # values in the last long array of a dtype
        for dtype, shape in self.signature.values():
            start, filled[dtype] = filled[dtype], filled[dtype] + math.prod(shape)
            long = f"{dtype}-{number[dtype]}" if number[dtype] else dtype
            yield long, dtype, slice(start, filled[dtype])
            if filled[dtype] * np.dtype(dtype).itemsize > _LONG:
                number[dtype] += 1
                filled[dtype] = 0


class FlatBlank:
    """Concatenated arrays under construction: write into ``values``, then `finish`.

    Attributes:
        values: the arrays by name; they share memory with the bytes that are sent.
    """

    def __init__(self, layout: Layout) -> None:
        self._blanks = {
            name: Blank(np.dtype(dtype), shape)
            for name, (dtype, shape) in layout.flat_signature().items()
        }
        flat = {name: blank.values for name, blank in self._blanks.items()}
        self.values = dict(layout._pieces(flat))

    def finish(self) -> ArrayRecord:
        """Return the arrays; ``values`` is empty afterwards, and no other reference to its arrays
        may remain.
        """
        self.values.clear()
        return ArrayRecord({name: blank.finish() for name, blank in self._blanks.items()})
