"""The paired comparison client by client, on each client's own test images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.reporting.hospital_resampling import Gain, Resampling
from experiments.reporting.hospital_statistics import HospitalImages, Judged
from experiments.reporting.statistics import holm
from operation.text import natural_sort_key
from training.score_counts import Answers


@dataclass(frozen=True)
class OfClient:
    """BACC of a side and of the first one on a client's test images, in percent.

    Attributes:
        side: the further side's letter.
        first, second: of the first side and of this one, over all pairs.
        difference, low, high: in percentage points, with the 95 % interval, and
        p_value: see `hospital_resampling.Resampling.gains`.
        p_holm: corrected for the number of clients and sides.
    """

    side: str
    client: str
    images: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float


def compare_by_client(
    letters: Sequence[str],
    answers: Sequence[Sequence[Answers]],
    table: pd.DataFrame,
    groups: NDArray[np.int64] | None,
) -> list[OfClient]:
    """Compare every further side with the first on each client's images.

    Args:
        letters: of the sides.
        answers: of each side, one for each pair, to the same n images.
        table: n rows with ``image_id`` and ``client``; without ``client`` there is no comparison.
        groups: (n,) the number of each image's lesion or patient; None: images are exchanged.
    """
    if "client" not in table:
        return []
    ids, clients = table["image_id"].to_numpy(str), table["client"].to_numpy(str)
    units = ids if groups is None else groups.astype(str)
    found: list[tuple[str, str, int, Judged, Gain]] = []
    for client in sorted(set(clients), key=natural_sort_key):
        ours = clients == client
        images = HospitalImages(tuple(ids[ours]), answers[0][0].labels[ours], units[ours], "")
        num_classes = answers[0][0].probabilities.shape[1]
        tests = dict.fromkeys(range(len(answers[0])), images)
        # Without draws: a gain needs exchanges only.
        resampling = Resampling(tests, num_classes, positive=None, resamples=0)
        first, *others = (
            resampling.judge({pair: one.probabilities[ours] for pair, one in enumerate(side)})
            for side in answers
        )
        gains = resampling.gains([(other, first) for other in others])
        found += [
            (letter, client, int(ours.sum()), other, gain)
            for letter, other, gain in zip(letters[1:], others, gains, strict=True)
            if gain is not None
        ]
    corrected = holm([gain.p_value for *_, gain in found])
    return [
        OfClient(
            side=letter,
            client=client,
            images=images,
            first=gain.before,
            second=float(judged.figures("bacc", judged.seeds)[0]),
            difference=gain.value,
            low=gain.low,
            high=gain.high,
            p_value=gain.p_value,
            p_holm=p_holm,
        )
        for (letter, client, images, judged, gain), p_holm in zip(found, corrected, strict=True)
    ]
