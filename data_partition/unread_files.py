"""Files that may contain images but are not read: they are named, so that users notice them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from data_partition.image_files import FoundFile
from data_partition.nifti import NIFTI_SUFFIXES

SetAside = dict[str, tuple[str, ...]]

_PHOTOGRAPHS = ".avif .bmp .dcm .dicom .gif .heic .heif .jfif .jp2 .jpe .jxl .tif .tiff .webp"
_MANY_IN_ONE = ".hdf5 .tfrec .tfrecord"
_VOLUMES = ".mgz .mha .mhd .nrrd"

UNREAD_IMAGES = frozenset(f"{_PHOTOGRAPHS} {_MANY_IN_ONE} {_VOLUMES}".split())
UNREAD_ARCHIVES = frozenset((".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip", ".zst"))


def unread_files(files: Iterable[FoundFile]) -> SetAside:
    """Return the names of files that cannot be read, by reason.

    Args:
        files: of any kind; those that a data set reads are skipped.

    Returns:
        Links to missing files, images in other formats, and archives; zip archives only if they are
        inside another archive.
    """
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        suffix = file.suffix
        if file.dangling:
            reasons["link to a file that is not there"].append(file.name)
        elif file.parts[-1].lower().endswith(NIFTI_SUFFIXES):
            continue
        elif suffix in UNREAD_IMAGES:
            reason = f"image in a format that is not read, {suffix}; {remedy(suffix)}"
            reasons[reason].append(file.name)
        elif suffix in UNREAD_ARCHIVES:
            reasons[f"archive that is not read, {suffix}; {remedy(suffix)}"].append(file.name)
    return {reason: tuple(names) for reason, names in reasons.items()}


def remedy(suffix: str) -> str:
    """Return the remedy for a file that is not read, by its suffix."""
    if suffix in UNREAD_ARCHIVES:
        return "unpack it"
    return f"save it as {'NIfTI' if suffix in _VOLUMES.split() else 'JPEG or PNG'}"


def merge_set_aside(*parts: Mapping[str, Iterable[str]]) -> SetAside:
    """Merge dictionaries of names by reason; reasons without names are dropped."""
    together: defaultdict[str, list[str]] = defaultdict(list)
    for part in parts:
        for reason, names in part.items():
            together[reason].extend(names)
    return {reason: tuple(names) for reason, names in together.items() if names}
