"""The lines that ``fedskin data check`` prints about a data set."""

from collections.abc import Iterator, Mapping

import pandas as pd

from data_partition.check import CheckReport, SetReport
from data_partition.copies import Copies, Overlap
from data_partition.image_table import ImageTable
from operation.text import counted

_NAMES_SHOWN = 20


def words(data: ImageTable) -> tuple[str, str, str]:
    """Return the words for images, groups (lesions or patients) and sources of a data set."""
    if data.sliced:
        return "slices", "patients", "sites"
    return "images", f"{data.grouped_by}s", "sources"


def report_lines(report: CheckReport) -> Iterator[str]:
    """Return lines about the contents of a data folder."""
    if report.training.table.sliced:
        yield from _set_lines("Data set", report.training)
    else:
        yield from _set_lines("Training set", report.training)
        if report.test is None:
            yield "Test set: none found; experiments run without global_test"
        else:
            yield from _set_lines("Test set", report.test)
    if report.overlap is not None:
        yield from _overlap_lines(report.overlap)
    if report.divided is not None:
        yield "Of the split file, among the images here:"
        yield from _overlap_lines(report.divided)


def set_aside_lines(set_aside: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Return lines about files that are not used, and the reasons."""
    for reason, names in set_aside.items():
        yield f"  set aside, {reason}: {len(names)}"
        yield from (f"    {name}" for name in names[:_NAMES_SHOWN])
        if len(names) > _NAMES_SHOWN:
            yield f"    … and {len(names) - _NAMES_SHOWN} more"


def near_lines(images: pd.DataFrame, pairs: pd.DataFrame) -> Iterator[str]:
    """Return lines about images that look alike, the most harmful first.

    Args:
        images: of a `CheckReport`.
        pairs: from `NearDuplicates.pairs`.
    """
    # Imported here, since SciPy takes long and only this needs it.
    from data_partition.near_duplicates import BITS, MAX_BITS

    first, second = (
        images.iloc[pairs[column]].reset_index(drop=True) for column in ("first", "second")
    )
    identical = first["pixels_sha256"].notna() & (first["pixels_sha256"] == second["pixels_sha256"])
    same = first["lesion_id"].notna() & (first["lesion_id"] == second["lesion_id"])
    across = first["is_test"] != second["is_test"]
    wrong = first["label"] != second["label"]
    yield (
        f"Near-duplicates: pairs of images whose perceptual hashes differ in at most {MAX_BITS} of "
        f"{BITS} bits, also if rotated, mirrored or cropped around the centre"
    )
    kinds = {
        "one in the test set, one in training": across & ~same,
        "of different or unknown lesions, with contradicting labels": ~across & ~same & wrong,
        "of different or unknown lesions": ~across & ~same & ~wrong,
    }
    for kind, chosen in kinds.items():
        found = chosen & ~identical
        yield f"  {kind}: {found.sum()}"
        for place in found.index[found]:
            one, other = _named(first.loc[place]), _named(second.loc[place])
            yield f"    {one} ~ {other}, {pairs['bits'][place]} bits"
    yield f"  of one lesion: {(same & ~identical).sum()}"


def _named(image: pd.Series) -> str:
    facts = (fact for fact in (image["label"], image["lesion_id"]) if isinstance(fact, str))
    return f"{image['image_id']} ({', '.join(facts)})"


def _set_lines(title: str, report: SetReport) -> Iterator[str]:
    images, lesions, sources = words(report.table)
    yield f"{title}: {report.table.layout}"
    yield from (f"  NOTE: {notice}" for notice in report.table.notices)
    yield f"  {counted(report.images, images.removesuffix('s'))}: {_listed(report.classes)}"
    if report.lesions:
        several = report.lesions_with_several_images
        number = counted(report.lesions, lesions.removesuffix("s"))
        yield f"  {number}, {several} of them with several {images}"
    else:
        yield f"  {lesions} unknown"
    if report.sources:
        number = counted(len(report.sources), sources.removesuffix("s"))
        yield f"  {number}: {_listed(report.sources)}"
    if report.splits:
        yield f"  already split: {_listed(report.splits)}"
    yield from _differing_lines(f"{lesions} with several diagnoses", report.diagnoses)
    yield from _differing_lines(f"{lesions} with several {sources}", report.origins)
    yield from _copies_lines(report.copies)
    yield from set_aside_lines(report.table.set_aside)


def _differing_lines(what: str, found: Mapping[str, Mapping[str, list[str]]]) -> Iterator[str]:
    if found:
        yield f"  {what}: {len(found)}"
    for lesion, ids_by_value in found.items():
        told = "; ".join(f"{value}: {', '.join(ids)}" for value, ids in ids_by_value.items())
        yield f"    {lesion}: {told}"


def _copies_lines(copies: list[Copies]) -> Iterator[str]:
    contradicting = [group for group in copies if group.contradicting]
    agreeing = [group for group in copies if not group.contradicting]
    for groups, what in (
        (contradicting, "identical pixels under several ids, with CONTRADICTING labels"),
        (agreeing, "identical pixels under several ids"),
    ):
        if groups:
            yield f"  {what}: {len(groups)}"
            yield from (f"    {group}" for group in groups)


def _overlap_lines(overlap: Overlap) -> Iterator[str]:
    unknown = "" if overlap.lesions_known else "; by lesion this is unknown, as ids are missing"
    if not overlap:
        yield f"None of the {overlap.num_test} test images is in training{unknown}"
        return
    yield f"{len(overlap)} of {overlap.num_test} test images are also in training{unknown}:"
    yield from (f"  {image_id}: {match}" for image_id, match in overlap.matches.items())


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())
