"""Groups trials into comparisons: in one comparison only backbone and seed differ."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import cast

import pandas as pd

from data_partition.datasets import own_datasets
from experiments.campaigns.trial import PLACES
from models.registry import BACKBONES
from strategies import methods
from training.config import NOT_IDENTITY
from training.optimizers import OPTIMIZERS
from training.run_folder import CENTRALIZED

# Usual spelling of the configs' values.
WORDS = {
    **{dataset.name: dataset.title for dataset in own_datasets()},
    **{name: method.title for name, method in methods.OWN.items()},
    **{name: row.torch_name for name, row in OPTIMIZERS.items()},
    "network": "network",
    "knn": "KNN",
    "svm": "SVM",
    "rf": "Random Forest",
}
KINDS = {
    ("clip", "clip"): "Centralized CLIP",
    ("simulate", "classifier"): "Federated classifier",
    ("simulate", "clip"): "Federated CLIP",
    ("heads", "classifier"): "Heads on deep features",
}

# Keys that decide how much data is sent, with their values in the order of display.
TRAFFIC = {
    "trainable": ("all", "head", "adapter", "lora"),
    "wire-format": ("float32", "bfloat16", "int8"),
}

_MAIN = ("data set", "overlap", "text encoder", "text tower", "strategy", "optimizer")

WHERE = frozenset(("device", "threads-per-client", *NOT_IDENTITY, *PLACES))
"""Keys that make no other setting: a trial may have run on another machine and read its images from
another folder. Not those folders by which alone it is known what is there, see `trial.PLACES`."""

IMAGES = ("synthetic", "fingerprint", "test_fingerprint")
"""Columns that are not config keys but also make figures incomparable."""


@dataclass(frozen=True)
class Comparison:
    """The trials of one setting."""

    kind: str  # of experiment, as text for users: a value of ``KINDS``
    # By name, the settings that distinguish this comparison, as text for users.
    settings: dict[str, str]
    rows: pd.DataFrame  # the trials' rows of the ledger, of every test set

    @property
    def title(self) -> str:
        """The setting in one line."""
        items = self.settings.items()
        named = [value if name in _MAIN else f"{name} {value}" for name, value in items]
        return " · ".join((self.kind, *named))

    def without(self, names: Collection[str]) -> "Comparison":
        """Return the same without the settings with these names."""
        kept = {name: value for name, value in self.settings.items() if name not in names}
        return replace(self, settings=kept)

    @property
    def name(self) -> str:
        """The title as a file's name without its suffix."""
        return slug(self.title)

    @property
    def synthetic(self) -> bool:
        """Whether the images are synthetic."""
        return bool(self.rows["synthetic"].any())

    @property
    def federated(self) -> bool:
        """Whether data were sent."""
        return bool((self.rows["command"] == "simulate").all())

    @property
    def varied_traffic(self) -> list[str]:
        """Those of ``TRAFFIC`` that differ between the trials."""
        return [key for key in TRAFFIC if self.rows[f"config.{key}"].nunique() > 1]

    @property
    def backbones(self) -> list[str]:
        """The backbones in the order of the study (docs/study.md)."""
        return in_order(self.rows["config.backbone"])

    @property
    def judged(self) -> pd.DataFrame:
        """The rows of the global test set, on which trials are compared."""
        return self.rows[(self.rows["test_set"] == "global_test") & self.rows["avg"].notna()]

    @property
    def judged_on(self) -> str:
        """The number of these images as text; ISIC2018 releases have 1,511 or 1,512."""
        rows = self.judged
        counts = sorted({int(number) for number in rows.loc[rows["unit"] == "image", "n"]})
        return f"{' or '.join(f'{number:,}' for number in counts)} images of the global test set"

    @property
    def network(self) -> pd.DataFrame:
        """The rows of the networks on the global test set, by image."""
        rows = self.judged
        return rows[(rows["model"] == "network") & (rows["unit"] == "image")]


def compare(ledger: pd.DataFrame) -> list[Comparison]:
    """Group the trials of a ledger; only the seed may differ within one setting.

    Paths, device and threads do not distinguish settings. Other images, test images that are also
    in training, a random text tower and synthetic images do.

    Args:
        ledger: the table of a `Ledger`.
    """
    federated, clip = ledger["command"] == "simulate", ledger["config.objective"] == "clip"
    kinds = zip(ledger["command"], ledger["config.objective"], strict=True)
    main = pd.DataFrame(
        {
            "kind": [KINDS.get(pair, " ".join(pair)) for pair in kinds],
            "data set": ledger["config.dataset"],
            "overlap": [
                f"{number:.0f} TEST IMAGES ALSO IN TRAINING" if number > 0 else ""
                for number in ledger["test_in_training"]
            ],
            "text encoder": ledger["config.text-encoder"].where(clip, ""),
            "text tower": ("RANDOM text tower (" + ledger["text_weights"] + ")").where(
                ledger["text_weights"].str.startswith("random"), ""
            ),
            "strategy": ledger["config.strategy"].where(federated, ""),
            "optimizer": ledger["config.optimizer"].where(federated, ""),
        }
    )
    found = []
    for first, indices in main.groupby(list(main.columns)).groups.items():
        kind, *values = cast(tuple[str, ...], first)
        named = dict(zip(_MAIN, values, strict=True))
        for others, rows in _split_further(ledger.loc[indices]):
            settings = {k: WORDS.get(v, v) for k, v in {**named, **others}.items() if v}
            found.append(Comparison(kind, settings, rows))
    return found


def over_traffic(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Merge comparisons that differ only in how much data is sent.

    Returns:
        The federated comparisons, and of the others those that differ in ``TRAFFIC``; the titles do
        not name the values of ``TRAFFIC``.
    """
    alike: dict[tuple[object, ...], list[Comparison]] = {}
    for comparison in comparisons:
        merged = comparison.without(TRAFFIC)
        alike.setdefault((merged.kind, *merged.settings.items()), []).append(merged)
    return [
        replace(found[0], rows=pd.concat([each.rows for each in found]))
        for found in alike.values()
        if len(found) > 1 or found[0].federated
    ]


def unit_of(rows: pd.DataFrame) -> str:
    """Return what trials of one command, rows of a ledger, count: ``round``, or ``epoch``."""
    return "epoch" if rows["command"].iloc[0] in CENTRALIZED else "round"


def in_order(backbones: pd.Series) -> list[str]:
    """Return the names that occur, in the order of the study."""
    present = set(backbones)
    known = [name for name in BACKBONES if name in present]
    return known + sorted(present - set(known))


def slug(title: str) -> str:
    """Return a title as a file's name without its suffix."""
    return re.sub(r"[^a-z0-9.]+", "-", title.lower()).strip("-")


def _split_further(rows: pd.DataFrame) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """Split by every other setting that has several values."""
    columns = [
        column
        for column in rows.columns
        if (column.startswith("config.") or column in IMAGES)
        and column.removeprefix("config.") not in ("backbone", "seed", *WHERE)
    ]
    settings = rows[columns].astype(str)
    for column in ("fingerprint", "test_fingerprint"):
        settings[column] = settings[column].str[:12]
    different = [column for column in columns if settings[column].nunique() > 1]
    if not different:
        yield {}, rows
        return
    names = [column.removeprefix("config.") for column in different]
    for values, alike in settings.groupby(different):  # values in a tuple, also a single one
        yield dict(zip(names, map(str, values), strict=True)), rows.loc[alike.index]
