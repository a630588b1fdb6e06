"""Names the files in a data folder that a data set does not read, and other releases among them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from data_partition.errors import DataError
from data_partition.ham10000_tables import HAM10000_CLASSES, short_label
from data_partition.image_files import FoundFile
from data_partition.label_tables import is_table, read_header
from data_partition.nifti import NIFTI_SUFFIXES
from operation.text import counted

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
    return merge_set_aside(reasons)


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


# Share of rows without a file, or of files without a row, from which a notice is given.
_LOUD = 1 / 20


def missing_notices(
    directory: Path, used: int, without_file: int, without_row: int, hint: str = ""
) -> list[str]:
    """Return notices if many rows of a folder's table have no image, or many images no row.

    Args:
        used: number of images with both.
        hint: the remedy if many images are missing.
    """
    notices = []
    if without_file >= _LOUD * (used + without_file):
        notices.append(
            f"{without_file:,} of {used + without_file:,} images that the table names are missing "
            f"in {directory}{hint}"
        )
    if without_row >= _LOUD * (used + without_row):
        notices.append(
            f"{without_row:,} of {used + without_row:,} image files in {directory} have no row in "
            "the table; provide the whole table"
        )
    return notices


_NOT_READ = "which fedskin does not read"
# Tables by columns that no other of these tables has together; the first match counts.
_TABLES = (
    (
        {"image", "target", "center", "fold"},
        "the split of Fed-ISIC2019 (FLamby): name it as split-file",
    ),
    ({"image", "NV", "AK", "SCC"}, "the ground truth of ISIC 2019, dataset = isic2019"),
    (
        {"image", "age_approx", "anatom_site_general"},
        "the metadata of ISIC 2019, which needs ISIC_2019_Training_GroundTruth.csv beside it",
    ),
    (
        {"img_id", "diagnostic"},
        "the metadata of PAD-UFES-20, a test set only: name its folder as test-dir",
    ),
    ({"image_name", "benign_malignant", "target"}, f"the table of ISIC 2020, {_NOT_READ}"),
    ({"image_name", "patient_id"}, f"the table of ISIC 2020, {_NOT_READ}"),
    ({"isic_id", "tbp_tile_type"}, f"the metadata of ISIC 2024, {_NOT_READ}"),
    ({"isic_id", "malignant"}, f"the ground truth of ISIC 2024, {_NOT_READ}"),
    ({"isic_id", "target"}, f"the ground truth of ISIC 2024, {_NOT_READ}"),
    ({"isic_id", "attribution"}, f"an export of the ISIC archive, {_NOT_READ}"),
    (
        {"image_id", "melanoma", "seborrheic_keratosis"},
        f"the ground truth of ISIC 2017, {_NOT_READ}",
    ),
)


def say_what_else(files: Sequence[FoundFile]) -> str:
    """Return what is known about files that are not a supported data set; "" if nothing is.

    Returns:
        Clauses, each after "; ", for the end of an error message of one line.
    """
    return "".join(f"; {clause}" for clause in _what_else(files))


def _what_else(files: Sequence[FoundFile]) -> Iterator[str]:
    for file in files:
        try:
            header = read_header(file) if is_table(file) else frozenset[str]()
        except DataError:  # a file that cannot be opened cannot be named; another error reports it
            continue
        titles = (title for columns, title in _TABLES if header >= columns)
        if title := next(titles, None):
            yield f"{file.name} is {title}"
    pixels = [file.name for file in files if file.parts[-1].lower().startswith("hmnist_")]
    if pixels:
        yield (
            f"{pixels[0]} holds pixels of reduced images as numbers, {_NOT_READ}: bring the JPEG "
            "files, HAM10000_images_part_1 and HAM10000_images_part_2"
        )
    folders = dict.fromkeys(file.parts[:-1] for file in files if file.is_image)
    names = [parts[-1] for parts in folders if parts]
    labels = [name if name in HAM10000_CLASSES else short_label(name) for name in names]
    if None not in labels:  # else they are somebody's own classes
        for parts, label in zip(filter(None, folders), labels, strict=True):
            if parts[-1] != label:
                yield (
                    f"folder {'/'.join(parts)} has a full name: rename it to {label}, and the "
                    "others in the same way"
                )
                break
    unread = UNREAD_IMAGES | UNREAD_ARCHIVES
    counts = Counter(file.suffix for file in files if file.suffix in unread)
    for suffix, number in sorted(counts.items()):
        found = counted(number, "file ends", "files end")
        yield f"{found} in {suffix}, {_NOT_READ}: {remedy(suffix)}"
