"""Axial slices through a patient's tumour, three modalities as the three channels."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from data_partition.decode import ImageFiles
from data_partition.errors import DataError
from data_partition.image_files import FoundFile
from data_partition.image_reader import Decoded, Unusable, in_threads
from data_partition.nifti import Volume, read_volume

# Percentiles of a modality's brain voxels that become black and white: MRI intensities have no
# unit, and a few voxels of vessel or artefact are far brighter than all tissue.
DARKEST, BRIGHTEST = 0.5, 99.5

# Cases decoded at the same time: each holds a volume or two.
CASES_AT_ONCE = 16


class UnusableCase(Exception):
    """A case that is set aside, by its reason."""


@dataclass(frozen=True)
class TumourSlices:
    """Reads tables with a column ``slice`` (str, 1 … n): which slice of case ``lesion_id``.

    Slice k of n is the axial one at which the tumour's area, summed along the third axis, reaches
    (k − ½)/n of the whole: spread through the tumour, and the same on every machine. Where a
    tumour is thinner than n slices, repeated ones are set aside.

    Each modality is scaled by itself: of its brain, the voxels above 0 of the whole volume, the
    0.5th percentile becomes 0 and the 99.5th 255; the background stays 0. A slice is turned so
    that the first axis runs to the right and the second downwards, which for the axes of BraTS
    (to the patient's left, to the back) is the radiologist's view.

    Attributes:
        modalities: of the three channels, in their order.
        cases: by case, the files of these modalities and, last, of the segmentation.
        slices_per_patient: n.
    """

    modalities: tuple[str, str, str]
    cases: Mapping[str, tuple[FoundFile, ...]]
    slices_per_patient: int

    @property
    def settings(self) -> str:
        """The channels and the number of slices."""
        return f"{self.slices_per_patient} slices of {', '.join(self.modalities)}"

    def files(self, rows: pd.DataFrame) -> list[tuple[str, ...]]:
        """For each row the files of its case, or the archives that hold them."""
        paths = {case: tuple(file.path for file in files) for case, files in self.cases.items()}
        return [paths[case] for case in rows["lesion_id"]]

    def decode(self, rows: pd.DataFrame, side: int) -> Iterator[Decoded | Unusable]:
        """Decode the rows' slices in their order; every case is read once.

        Raises:
            DataError: the system refuses to read a file.
        """
        slices = zip(rows["lesion_id"], rows["image_id"], rows["slice"].astype(int), strict=True)
        cases = [
            (case, [(image_id, number) for _, image_id, number in group])
            for case, group in groupby(slices, key=lambda row: row[0])
        ]
        with ImageFiles() as source:
            decode_case = partial(self._decode_case, source, side)
            for answers in in_threads(decode_case, cases, at_once=CASES_AT_ONCE):
                yield from answers

    def _decode_case(
        self, source: ImageFiles, side: int, work: tuple[str, list[tuple[str, int]]]
    ) -> list[Decoded | Unusable]:
        case, slices = work
        try:
            positions, pixels, sha256 = self._cut(source, self.cases[case])
        except UnusableCase as fault:
            return [Unusable(str(fault), case)] * len(slices)
        answers: list[Decoded | Unusable] = []
        for image_id, number in slices:
            if number > 1 and positions[number - 1] == positions[number - 2]:
                answers.append(Unusable("slice repeated in a thin tumour", image_id))
                continue
            image = Image.fromarray(pixels[number - 1]).resize(
                (side, side), Image.Resampling.BILINEAR
            )
            answers.append(Decoded(image.tobytes(), sha256))
        return answers

    def _cut(
        self, source: ImageFiles, files: tuple[FoundFile, ...]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8], str]:
        """Positions (n,) and pixels (n, Y, X, 3) of a case's slices, and a hash of its files."""
        tumour, *hashes = _read(source, files[-1], "segmentation")
        positions = slice_positions(tumour, self.slices_per_patient)
        channels = []
        for file, modality in zip(files[:-1], self.modalities, strict=True):
            volume = _read(source, file, modality)
            if volume.voxels.shape != tumour.shape:
                raise UnusableCase("another shape than its segmentation")
            channels.append(scaled_slices(volume.voxels, positions))
            hashes.append(volume.sha256)
        sha256 = hashlib.sha256("".join(hashes).encode()).hexdigest()
        return positions, np.stack(channels, axis=-1), sha256


def slice_positions(segmentation: NDArray, num_slices: int) -> NDArray[np.int64]:
    """Where along the third axis slice k = 1 … n lies: the first whose cumulated area suffices.

    Args:
        segmentation: (X, Y, Z), above 0 in the tumour.
        num_slices: n ≥ 1.

    Returns:
        (n,) positions in [0, Z), rising or equal.

    Raises:
        UnusableCase: there is no tumour.
    """
    areas = np.count_nonzero(segmentation > 0, axis=(0, 1))
    if not areas.any():
        raise UnusableCase("empty segmentation")
    cumulated = np.cumsum(areas)
    # In whole numbers: cumulated ≥ (k − ½)/n of the whole, times 2n.
    wanted = (2 * np.arange(1, num_slices + 1) - 1) * cumulated[-1]
    return np.searchsorted(2 * num_slices * cumulated, wanted)


def scaled_slices(volume: NDArray, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Slices of one modality in grey levels, as `TumourSlices` says.

    Args:
        volume: (X, Y, Z), above 0 in the brain.
        positions: (n,) along the third axis.

    Returns:
        (n, Y, X).

    Raises:
        UnusableCase: the brain is missing or of one grey level.
    """
    brain = volume[volume > 0]
    dark, bright = np.percentile(brain, (DARKEST, BRIGHTEST)) if brain.size else (0.0, 0.0)
    if dark == bright:
        raise UnusableCase("volume without contrast")
    chosen = volume[:, :, positions].transpose(2, 1, 0)
    levels = np.clip((chosen - dark) * (255 / (bright - dark)), 0, 255)
    return np.where(chosen > 0, np.rint(levels), 0).astype(np.uint8)


def _read(source: ImageFiles, file: FoundFile, what: str) -> Volume:
    try:
        return read_volume(source.read(file.path, file.member), file.name)
    except DataError:
        raise UnusableCase(f"unreadable {what}") from None
    except OSError as error:
        # Not the file's fault, and perhaps gone tomorrow: never to be remembered as damage.
        raise DataError(f"{file.name}: cannot be read ({error.strerror or error})") from error
