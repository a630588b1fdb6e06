"""The study's published figures, and ours beside them.

The study is *Deep Modeling and Optimization of Medical Image Classification*, arXiv 2505.23040; its
code is AIPMLab/SkinCancerSimulation. docs/study.md gives the source of each setting.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from experiments.reporting.comparisons import KINDS, Comparison
from experiments.reporting.differences_from_study import differences_from_study

_CLIP = KINDS["clip", "clip"]
_FEDERATED, _HEADS = KINDS["simulate", "classifier"], KINDS["heads", "classifier"]
_HAM = {"data set": "HAM10000"}
_SWIN = ("swin_t", "swin_s", "swin_b", "swin_v2_t", "swin_v2_s", "swin_v2_b")


@dataclass(frozen=True)
class Published:
    """A figure of the study."""

    where: str  # part of the study that has it
    kind: str
    settings: Mapping[str, str]  # those that the study names, by the names of `Comparison.settings`
    backbone: str  # by the study's name, which is ours
    metric: str  # by our name, for instance ``avg``
    percent: float  # the figure; of a gain, percentage points
    model: str = "network"  # ``network``, or a head

    @property
    def gain(self) -> bool:
        """Whether it is a head's gain over the network, which the study gives only roughly."""
        return self.model != "network"


def _clip(dataset: str, encoder: str, backbone: str, percent: float) -> Published:
    settings = {"data set": dataset, "text encoder": encoder}
    return Published("multimodal scenario", _CLIP, settings, backbone, "avg", percent)


def _gain(backbone: str, model: str, points: float) -> Published:
    return Published("deep features scenario", _HEADS, _HAM, backbone, "avg", points, model)


PUBLISHED = (
    _clip("HAM10000", "ViT-L/14", "maxvit_t", 87.03),
    _clip("HAM10000", "RN50x16", "maxvit_t", 87.58),
    _clip("HAM10000", "RN50x64", "convnext_l", 87.36),
    _clip("BraTS2019", "ViT-L/14", "maxvit_t", 79.6),
    _clip("BraTS2019", "RN50x64", "maxvit_t", 69.41),
    *(
        Published(
            "federated scenario",
            _FEDERATED,
            {**_HAM, "strategy": strategy, "optimizer": "SGD"},
            "convnext_l",
            "avg",
            percent,
        )
        for strategy, percent in (("FedAvg", 81.66), ("FedProx", 82.72))
    ),
    # The abstract says neither the strategy nor the optimizer; the study's best were with SGD.
    Published("abstract", _FEDERATED, {**_HAM, "optimizer": "SGD"}, "convnext_l", "f1", 83.98),
    Published("abstract", _FEDERATED, {**_HAM, "optimizer": "SGD"}, "swin_b", "f1", 81.33),
    _gain("maxvit_t", "knn", 15),
    _gain("maxvit_t", "svm", 15),
    *(_gain(backbone, "svm", 2) for backbone in _SWIN),
)


@dataclass(frozen=True)
class Beside:
    """A published figure and ours."""

    published: Published
    setting: str  # title of the comparison with our figure
    ours: float  # mean over the seeds, in the same unit
    seeds: int
    difference: float  # ours minus the study's, in percentage points; NaN on synthetic images
    # Differences of our trials from the study, as text for users; see `differences_from_study`.
    otherwise: list[str]


def beside_ours(comparisons: list[Comparison]) -> list[Beside]:
    """Return our figures beside the published ones, for the settings that were run.

    If the study does not give all settings of a figure, it is compared with each of ours that fits
    and that it has a trial of: not with methods that it did not try.
    """
    return [
        found
        for published in PUBLISHED
        for comparison in comparisons
        if comparison.kind == published.kind
        and published.settings.items() <= comparison.settings.items()
        and (found := _beside(published, comparison)) is not None
    ]


def _beside(published: Published, comparison: Comparison) -> Beside | None:
    """Return our figure of a comparison beside a published one; None if there is none."""
    rows = comparison.judged
    rows = rows[(rows["unit"] == "image") & (rows["config.backbone"] == published.backbone)]
    rows = rows[rows["model"].isin(["network", published.model])]
    by_seed = rows.pivot_table(index="config.seed", columns="model", values=published.metric)
    if published.model not in by_seed:
        return None
    ours = by_seed[published.model]
    ours = (ours - by_seed["network"] if published.gain else ours).dropna()
    otherwise = differences_from_study(comparison.kind, rows, published.model)
    if ours.empty or otherwise is None:
        return None
    mean = float(ours.mean())
    tower = comparison.settings.get("text tower")
    return Beside(
        published=published,
        setting=comparison.title,
        ours=mean,
        seeds=len(ours),
        difference=math.nan if comparison.synthetic else mean - published.percent,
        otherwise=[*([tower] if tower else []), *otherwise],
    )
