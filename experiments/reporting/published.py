"""The study's published figures, and ours beside them.

The study is *Deep Modeling and Optimization of Medical Image Classification*, arXiv 2505.23040; its
code is AIPMLab/SkinCancerSimulation. docs/study.md gives the source of each setting.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from experiments.reporting.comparisons import Comparison
from experiments.reporting.differences_from_study import differences_from_study

_CLIP, _FEDERATED, _HEADS = "Centralized CLIP", "Federated classifier", "Heads on deep features"
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
    # Whether it is the head's gain over the network, which the study gives only roughly.
    gain: bool = False


def _clip(dataset: str, encoder: str, backbone: str, percent: float) -> Published:
    settings = {"data set": dataset, "text encoder": encoder}
    return Published("multimodal scenario", _CLIP, settings, backbone, "avg", percent)


def _gain(backbone: str, model: str, points: float) -> Published:
    where = "deep features scenario"
    return Published(where, _HEADS, _HAM, backbone, "avg", points, model=model, gain=True)


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
    synthetic: bool  # whether ours is on synthetic images, so that a difference has no meaning
    # Differences of our trials from the study, as text for users; see `differences_from_study`.
    otherwise: list[str] = field(default_factory=list)

    @property
    def difference(self) -> float | None:
        """Ours minus the study's, in percentage points; None on synthetic images."""
        return None if self.synthetic else self.ours - self.published.percent


def beside_ours(comparisons: list[Comparison]) -> list[Beside]:
    """Return our figures beside the published ones, for the settings that were run.

    If the study does not give all settings of a figure, it is compared with each of ours that fits.
    """
    found = []
    for published in PUBLISHED:
        for comparison in comparisons:
            if comparison.kind != published.kind or not (
                published.settings.items() <= comparison.settings.items()
            ):
                continue
            rows = _rows(comparison, published)
            ours = _ours(rows, published)
            if ours.empty:
                continue
            found.append(
                Beside(
                    published=published,
                    setting=comparison.title,
                    ours=float(ours.mean()),
                    seeds=len(ours),
                    synthetic=comparison.synthetic,
                    otherwise=_otherwise(comparison, rows, published.model),
                )
            )
    return found


def _rows(comparison: Comparison, published: Published) -> pd.DataFrame:
    """Return the rows for our figure, the network's and the head's."""
    rows = comparison.judged
    return rows[
        (rows["unit"] == "image")
        & (rows["config.backbone"] == published.backbone)
        & rows["model"].isin(["network", published.model])
    ]


def _ours(rows: pd.DataFrame, published: Published) -> pd.Series:
    """Return our figure of each seed."""
    figures = rows.pivot_table(index="config.seed", columns="model", values=published.metric)
    if published.model not in figures:
        return pd.Series(dtype=float)
    ours = figures[published.model]
    if published.gain:
        ours = ours - figures["network"]
    return ours.dropna()


def _otherwise(comparison: Comparison, rows: pd.DataFrame, model: str) -> list[str]:
    towers = [comparison.settings["text tower"]] if "text tower" in comparison.settings else []
    return towers + differences_from_study(comparison.kind, rows, model)
