"""The mean of models that arrive one after the other."""

from fractions import Fraction

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from strategies.aggregation import NotFinite, in_threads, is_finite
from strategies.arrays import view, writable


class RunningMean:
    """(Σ n_i w_i) / Σ n_i; the same bits as `mean_into` computes from all models at once.

    Memory: one model, the sum. If the first model's bytes are writable, no one else uses them, and
        they become the sum.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}
        self._sums: dict[str, NDArray] = {}
        self._first: float | Fraction = 1.0
        self._total = 0.0

    def add(self, record: ArrayRecord, weight: float | Fraction) -> None:
        """Add a model with the names, shapes and dtypes of the earlier ones, with a weight > 0."""
        factor = 1.0
        if not self._arrays:
            self._first = weight
            self._begin(record)
        else:
            factor = float(weight / self._first)
            self._add(record, factor)
        self._total += factor

    def finish(self) -> ArrayRecord:
        """Return the mean; nothing can be added afterwards.

        Raises:
            NotFinite: it is NaN or infinite somewhere.
        """

        def divide(name: str, part: slice) -> None:
            sums = self._sums[name][part]
            if np.issubdtype(sums.dtype, np.floating):
                sums /= sums.dtype.type(self._total)
            values = view(self._arrays[name]).reshape(-1)[part]
            with np.errstate(over="ignore"):
                np.copyto(values, sums, casting="same_kind")
            if not is_finite(values):
                raise NotFinite

        in_threads({name: sums.size for name, sums in self._sums.items()}, divide)
        self._sums = {}
        record = ArrayRecord()
        for name, array in self._arrays.items():
            record[name] = array
        return record

    def _begin(self, record: ArrayRecord) -> None:
        for name, array in record.items():
            self._arrays[name] = writable(array)
            values = view(self._arrays[name]).reshape(-1)
            if np.issubdtype(values.dtype, np.floating):
                wide = np.result_type(values.dtype, np.float32)
                values = values.astype(wide, copy=False)  # otherwise the sum is computed in place
            self._sums[name] = values

    def _add(self, record: ArrayRecord, factor: float) -> None:
        arrays = {name: view(array).reshape(-1) for name, array in record.items()}

        def fold(name: str, part: slice) -> None:
            sums, values = self._sums[name][part], arrays[name][part]
            if not np.issubdtype(sums.dtype, np.floating):
                np.maximum(sums, values, out=sums)
                return
            with np.errstate(over="ignore", invalid="ignore"):
                sums += values if factor == 1 else values * sums.dtype.type(factor)

        in_threads({name: array.size for name, array in arrays.items()}, fold)
