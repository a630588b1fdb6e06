"""Names the files in a data folder that a data set does not read, and other releases among them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from data_partition.errors import DataError
from data_partition.ham10000_tables import short_label
from data_partition.image_files import FoundFile
from data_partition.label_tables import is_table, read_header
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


_NOT_READ = "which fedskin does not read"
# Tables by columns that no other of these tables has together; the first match counts.
_TABLES: tuple[tuple[frozenset[str], str], ...] = (
    (
        frozenset({"image", "target", "center", "fold"}),
        "the split of Fed-ISIC2019 (FLamby): name it as split-file",
    ),
    (frozenset({"image", "NV", "AK", "SCC"}), "the ground truth of ISIC 2019, dataset = isic2019"),
    (
        frozenset({"image", "age_approx", "anatom_site_general"}),
        "the metadata of ISIC 2019, which needs ISIC_2019_Training_GroundTruth.csv beside it",
    ),
    (
        frozenset({"img_id", "diagnostic"}),
        "the metadata of PAD-UFES-20, a test set only: name its folder as test-dir",
    ),
    *(
        (frozenset(columns), f"{title}, {_NOT_READ}")
        for columns, title in (
            (("image_name", "benign_malignant", "target"), "the table of ISIC 2020"),
            (("image_name", "patient_id"), "the table of ISIC 2020"),
            (("isic_id", "tbp_tile_type"), "the metadata of ISIC 2024"),
            (("isic_id", "malignant"), "the ground truth of ISIC 2024"),
            (("isic_id", "target"), "the ground truth of ISIC 2024"),
            (("isic_id", "attribution"), "an export of the ISIC archive"),
            (("image_id", "melanoma", "seborrheic_keratosis"), "the ground truth of ISIC 2017"),
        )
    ),
)


def say_what_else(files: Sequence[FoundFile]) -> str:
    """Return what is known about files that are not a supported data set; "" if nothing is.

    Returns:
        Clauses, each after "; ", for the end of an error message of one line.
    """
    clauses = [
        *_other_tables(files),
        *_pixel_tables(files),
        *_folders_in_words(files),
        *_unread(files),
    ]
    return "".join(f"; {clause}" for clause in clauses)


def _other_tables(files: Iterable[FoundFile]) -> Iterable[str]:
    for file in files:
        if not is_table(file):
            continue
        try:
            header = read_header(file)
        except DataError:  # a file that cannot be opened cannot be named; another error reports it
            continue
        for columns, title in _TABLES:
            if header >= columns:
                yield f"{file.name} is {title}"
                break


def _pixel_tables(files: Iterable[FoundFile]) -> Iterable[str]:
    tables = [file.name for file in files if file.parts[-1].lower().startswith("hmnist_")]
    if tables:
        yield (
            f"{tables[0]} holds pixels of reduced images as numbers, {_NOT_READ}: bring the JPEG "
            "files, HAM10000_images_part_1 and HAM10000_images_part_2"
        )


def _folders_in_words(files: Iterable[FoundFile]) -> Iterable[str]:
    folders = {
        "/".join(file.parts[:-1]): label
        for file in files
        if file.is_image and len(file.parts) > 1 and (label := short_label(file.parts[-2]))
    }
    for name, label in list(folders.items())[:1]:
        yield f"folder {name} has a full name: rename it to {label}, and the others in the same way"


def _unread(files: Iterable[FoundFile]) -> Iterable[str]:
    counts = Counter(
        file.suffix for file in files if file.suffix in UNREAD_IMAGES | UNREAD_ARCHIVES
    )
    for suffix, number in sorted(counts.items()):
        found = "1 file ends" if number == 1 else f"{number} files end"
        yield f"{found} in {suffix}, {_NOT_READ}: {remedy(suffix)}"
