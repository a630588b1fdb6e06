"""Axial slices of a patient's brain, with three modalities as the three channels."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from data_partition.decode import LFS_REMEDY, ImageFiles, PointerError
from data_partition.errors import DataError
from data_partition.image_files import FoundFile
from data_partition.image_reader import Decoded, Unusable, map_in_threads
from data_partition.nifti import Volume, read_depth, read_volume

SliceChoice = Literal["tumour", "brain", "all"]

# Percentiles of a modality's brain voxels that become black and white: MRI intensities have no
# unit, and a few voxels of vessel or artefact are far brighter than all tissue.
DARKEST, BRIGHTEST = 0.5, 99.5

# Cases decoded at the same time: each holds the volumes of its modalities.
CASES_AT_ONCE = 16

_HEAD_BYTES = 1 << 14

# Reasons why a volume has no slice of some number, by slice choice.
_WITHOUT: dict[SliceChoice, str] = {
    "tumour": "slice repeated in a thin tumour",
    "brain": "slice beyond those that show brain",
    "all": "slice without brain",
}


class UnusableCase(Exception):
    """A case that is set aside; the message is the reason."""


@dataclass(frozen=True)
class AxialSlices:
    """Reads tables with a column ``slice`` (str, 1 … n): which slice of case ``lesion_id``.

    With ``tumour``, slice k of n is the axial slice at which the tumour's area, summed along the
    third axis, reaches (k − ½)/n of the whole. So the slices are spread through the tumour, and
    they are the same on every machine. If a tumour is thinner than n slices, repeated slices are
    set aside. This needs an expert's segmentation, which does not exist for a new patient. With
    ``brain``, the n slices with the most brain (voxels above 0 of all modalities together) are
    used, in order from the lowest. With ``all``, all slices are used; those without brain are set
    aside.

    Each modality is scaled separately: of its brain (the voxels above 0 in the whole volume), the
    0.5th percentile becomes 0 and the 99.5th becomes 255; the background stays 0. A slice is turned
    so that the first axis points right and the second down. For the axes of BraTS (to the patient's
    left, to the back) this is the radiologist's view.
    """

    modalities: tuple[str, str, str]
    # For each case the files of these modalities and, with ``tumour``, the segmentation as the last
    # one.
    cases: Mapping[str, tuple[FoundFile, ...]]
    slices_per_patient: int  # n; not used with ``all``
    choice: SliceChoice

    @property
    def settings(self) -> str:
        """The channels and the choice of slices, as text."""
        of = f"of {', '.join(self.modalities)}"
        if self.choice == "all":
            return f"all slices {of}"
        how = {"tumour": "spread through the segmented tumour", "brain": "that show most brain"}
        return f"{self.slices_per_patient} slices {of}, {how[self.choice]}"

    def num_slices(self, case: str) -> int:
        """Return how many slices a case should give; 1 for a volume with an unreadable header."""
        if self.choice != "all":
            return self.slices_per_patient
        file = self.cases[case][0]
        try:
            with ImageFiles() as source:
                return read_depth(source.read_head(file.path, file.member, _HEAD_BYTES))
        except DataError:
            return 1  # decoding will name the error
        except OSError as error:
            raise DataError(f"{file.name}: cannot be read ({error.strerror or error})") from error

    def files(self, rows: pd.DataFrame) -> list[tuple[str, ...]]:
        """Return for each row the files of its case, or the archives that hold them."""
        paths = {case: tuple(file.path for file in files) for case, files in self.cases.items()}
        return [paths[case] for case in rows["lesion_id"]]

    def decode(self, rows: pd.DataFrame, side: int) -> Iterator[Decoded | Unusable]:
        """Decode the rows' slices in order; every case is read once."""
        slices = zip(rows["lesion_id"], rows["image_id"], rows["slice"].astype(int), strict=True)
        cases = [
            (case, [(image_id, number) for _, image_id, number in group])
            for case, group in groupby(slices, key=lambda row: row[0])
        ]
        with ImageFiles() as source:
            decode_case = partial(self._decode_case, source, side)
            for answers in map_in_threads(decode_case, cases, at_once=CASES_AT_ONCE):
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
            if number not in positions:
                answers.append(Unusable(_WITHOUT[self.choice], image_id))
                continue
            image = Image.fromarray(pixels[positions[number]]).resize(
                (side, side), Image.Resampling.BILINEAR
            )
            answers.append(Decoded(image.tobytes(), sha256))
        return answers

    def _cut(
        self, source: ImageFiles, files: tuple[FoundFile, ...]
    ) -> tuple[dict[int, int], NDArray[np.uint8], str]:
        """Cut a case's slices.

        Returns:
            For each slice number that exists, its index in the pixels; the pixels (n, Y, X, 3); and
            a hash of the case's files.
        """
        hashes, tumour = [], None
        if self.choice == "tumour":
            tumour, sha256 = _read(source, files[-1], "segmentation")
            hashes.append(sha256)
        volumes: list[NDArray] = []
        for file, modality in zip(files, self.modalities, strict=False):
            voxels, sha256 = _read(source, file, modality)
            if tumour is not None and voxels.shape != tumour.shape:
                raise UnusableCase("another shape than its segmentation")
            if volumes and voxels.shape != volumes[0].shape:
                raise UnusableCase("modalities of different shapes")
            volumes.append(voxels)
            hashes.append(sha256)
        if tumour is not None:
            numbered = _without_repeats(slice_positions(tumour, self.slices_per_patient))
        elif self.choice == "brain":
            numbered = dict(enumerate(most_brain(volumes, self.slices_per_patient), start=1))
        else:
            numbered = {position + 1: position for position in most_brain(volumes, None)}
        positions = np.array(list(numbered.values()), dtype=np.int64)
        channels = [scaled_slices(voxels, positions) for voxels in volumes]
        sha256 = hashlib.sha256("".join(hashes).encode()).hexdigest()
        where = {number: index for index, number in enumerate(numbered)}
        return where, np.stack(channels, axis=-1), sha256


def most_brain(volumes: Sequence[NDArray], num_slices: int | None) -> list[int]:
    """Return the positions along the third axis with the most brain, in rising order.

    Args:
        num_slices: the largest number of positions; None: all that show brain. Of two slices with
            equal brain, the lower one is preferred.

    Raises:
        UnusableCase: no slice shows brain.
    """
    areas = np.sum([np.count_nonzero(voxels > 0, axis=(0, 1)) for voxels in volumes], axis=0)
    order = np.argsort(-areas, kind="stable")
    chosen = [int(position) for position in order[:num_slices] if areas[position]]
    if not chosen:
        raise UnusableCase("volume without contrast")
    return sorted(chosen)


def _without_repeats(positions: NDArray[np.int64]) -> dict[int, int]:
    """Number positions 1 … n, and leave out each that equals the position before it."""
    return {
        number: int(position)
        for number, position in enumerate(positions, start=1)
        if number == 1 or position != positions[number - 2]
    }


def slice_positions(segmentation: NDArray, num_slices: int) -> NDArray[np.int64]:
    """Return the positions of slices k = 1 … n, as `AxialSlices` describes for ``tumour``.

    Args:
        num_slices: n ≥ 1.

    Returns:
        (n,) positions in [0, Z), rising or equal.

    Raises:
        UnusableCase: the segmentation is empty.
    """
    areas = np.count_nonzero(segmentation > 0, axis=(0, 1))
    if not areas.any():
        raise UnusableCase("empty segmentation")
    cumulated = np.cumsum(areas)
    # In whole numbers: cumulated ≥ (k − ½)/n of the whole, times 2n.
    wanted = (2 * np.arange(1, num_slices + 1) - 1) * cumulated[-1]
    return np.searchsorted(2 * num_slices * cumulated, wanted)


def scaled_slices(volume: NDArray, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return slices of one modality in grey levels, scaled as `AxialSlices` describes.

    Args:
        positions: (n,) along the third axis.

    Returns:
        (n, Y, X).

    Raises:
        UnusableCase: there is no brain, or all of it has one grey level.
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
    except PointerError:
        raise UnusableCase(LFS_REMEDY) from None
    except DataError:
        raise UnusableCase(f"unreadable {what}") from None
    except OSError as error:
        # Not an error of the file, and perhaps temporary: it must not be stored as damage.
        raise DataError(f"{file.name}: cannot be read ({error.strerror or error})") from error
