"""Small pictures of the test images that a run judged wrongly, for a page on this machine."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from data_partition.datasets import named_first
from data_partition.decode import ImageFiles, rgb_image
from data_partition.errors import DataError
from experiments.reporting.run_results import RunResults, answers_of
from training.errors import ConfigError
from training.release import test_table

SHOWN = 24
_SIDE = 112  # pixels


@dataclass(frozen=True)
class Thumbnail:
    """A test image and what the best model said of it.

    Attributes:
        probability: of the predicted class, in percent.
        source: a data URI of a JPEG, or empty if the image cannot be read here.
    """

    image: str
    true: str
    predicted: str
    probability: float
    source: str


def misjudged(run: RunResults) -> tuple[int, list[Thumbnail]]:
    """Return how many images of the global test set were misjudged, and the worst of them.

    Those of the classes that tables name first come first, then those of which the model was most
    certain. Images of hospitals are never shown, nor slices of volumes.
    """
    if run.deployed or "global_test" not in run.metrics:
        return 0, []
    rows = run.folder.predictions("global_test")
    answers = answers_of(rows, run.classes)
    certain = answers.probabilities.max(axis=1)
    wrong = [int(index) for index in (answers.predicted != answers.labels).nonzero()[0]]
    wrong.sort(key=lambda index: (rows["label"][index] not in named_first(), -certain[index]))
    sources = _pictures(run, [rows["image_id"][index] for index in wrong[:SHOWN]])
    return len(wrong), [
        Thumbnail(
            image=rows["image_id"][index],
            true=rows["label"][index],
            predicted=run.classes[answers.predicted[index]],
            probability=100 * float(certain[index]),
            source=source,
        )
        for index, source in zip(wrong, sources, strict=False)
    ]


def _pictures(run: RunResults, images: Sequence[str]) -> list[str]:
    """Return a data URI for each image; empty where it is not on this machine or unreadable."""
    try:
        table = test_table(run.config)
    except (DataError, ConfigError, OSError):  # the data folder is elsewhere, or gone
        table = None
    if table is None or table.sliced:
        return [""] * len(images)
    files = table.rows.set_index("image_id")[["path", "member"]]
    with ImageFiles() as reader:
        return [
            _picture(reader, *files.loc[name]) if name in files.index else "" for name in images
        ]


def _picture(reader: ImageFiles, path: str, member: str) -> str:
    try:
        image = rgb_image(reader.read(path, member), path, reduce_to=_SIDE)
    except (DataError, OSError):
        return ""
    image.thumbnail((_SIDE, _SIDE))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
