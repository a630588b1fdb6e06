"""All values of a key of a campaign's grid side by side, paired over all other keys."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from experiments.campaigns.finished_trial import TrialRecord
from experiments.campaigns.trial import text
from experiments.reporting.comparisons import KINDS, TRAFFIC, WHERE, WORDS, in_order, slug
from experiments.reporting.judged_models import left_out_note, shared_model_note
from experiments.reporting.statistics import holm
from training.config import DEFAULTS, Scalar
from training.head_settings import HEAD_KEYS, heads_with
from training.study import FOLLOWING

FEWEST_PAIRS = 6
"""With fewer pairs the smallest two-sided p of Wilcoxon's test, 2/2^n, is above 0.05."""

COMPARED = ("avg", "bacc", "auroc")
"""The scores whose differences are given; the test is on the first."""

# Trials of different machines and folders are alike. A split file is a choice, by which trials may
# be compared.
_NO_SETTINGS = {*WHERE, "heads"} - {"split-file"}
# Besides its settings, what two trials must have in common to be paired.
_CIRCUMSTANCES = ("fingerprint", "text_weights", "test_in_training")
# Trials of different tasks, or on other test images, are never compared.
_FAMILY = ("command", "config.objective", "config.dataset", "test_fingerprint", "synthetic")
# Keys whose values speak for themselves.
_PLAIN = ("backbone", "dataset", "optimizer", "strategy", "text-encoder")
# Three and more are compared by their ranks, see `statistics.rank_test`.
_MOST_BACKBONES = 2


@dataclass(frozen=True)
class PairTest:
    """Two values of a key, compared over the blocks that have both.

    Attributes:
        first, second: the values.
        differences: (n,) of AVG in percentage points, second minus first, of each pair.
        means: by score of ``COMPARED`` that all pairs have, the mean difference and its 95 %
            interval by Student's t; the ends are NaN with one pair.
        p_value: of Wilcoxon's signed-rank test on AVG, NaN with fewer than ``FEWEST_PAIRS`` pairs
            that differ.
        p_holm: corrected for the number of tests of the key.
    """

    first: str
    second: str
    differences: np.ndarray
    means: Mapping[str, tuple[float, float, float]]
    p_value: float
    p_holm: float


@dataclass(frozen=True)
class Contrast:
    """The trials of one kind of experiment that differ in one key.

    Attributes:
        title: unique in a campaign.
        key: of the config.
        values: as text, in their order.
        rows: of the ledger, with the column ``value`` and the column ``block``: rows of one block
            differ in the value only. Every block has two values or more.
        blocks: by number, what the rows of a block have in common and other blocks have not.
        notes: sentences on what of the values is not judged.
    """

    title: str
    key: str
    values: list[str]
    rows: pd.DataFrame
    blocks: Mapping[int, str]
    notes: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The title as a file's name without its suffix."""
        return slug(self.title)

    @property
    def synthetic(self) -> bool:
        """Whether the images are synthetic."""
        return bool(self.rows["synthetic"].any())

    def side_by_side(self, score: str) -> pd.DataFrame:
        """Return a score, a row for each block, a column for each value; NaN where it misses."""
        return self.rows.pivot(index="block", columns="value", values=score)[self.values]

    @property
    def whole(self) -> list[int]:
        """The blocks that have every value; over these means can be compared."""
        return self.side_by_side("avg").dropna().index.tolist()

    @property
    def shared(self) -> pd.DataFrame:
        """The rows of these blocks; all rows if there are none."""
        rows = self.rows[self.rows["block"].isin(self.whole)]
        return self.rows if rows.empty else rows

    def tests(self) -> list[PairTest]:
        """Compare every two values that share a block."""
        tables = {score: self.side_by_side(score) for score in COMPARED}
        found = []
        for first, second in itertools.combinations(self.values, 2):
            apart = {score: (t[second] - t[first]).dropna() for score, t in tables.items()}
            number = len(apart["avg"])
            if number:
                means = {s: _mean(d.to_numpy()) for s, d in apart.items() if len(d) == number}
                differences = apart["avg"].to_numpy()
                found.append((first, second, differences, means, _wilcoxon(differences)))
        known = [index for index, (*_, p) in enumerate(found) if not math.isnan(p)]
        corrected = dict(zip(known, holm([found[index][-1] for index in known]), strict=True))
        return [PairTest(*test, corrected.get(index, math.nan)) for index, test in enumerate(found)]


def contrasts(ledger: pd.DataFrame, records: Mapping[str, TrialRecord]) -> list[Contrast]:
    """Find the keys in which trials differ alone, with the trials that can be paired.

    The figures are those on the global test set, by image.

    Args:
        ledger: the table of a `Ledger`.
        records: of its trials.
    """
    judged = ledger[(ledger["test_set"] == "global_test") & (ledger["unit"] == "image")]
    judged = judged[judged["avg"].notna()]
    found: list[Contrast] = []
    for family, rows in judged.groupby(list(_FAMILY), sort=False):
        settings = settings_of({trial: records[trial].settings for trial in rows["trial"]})
        settings = _filled_in(settings, rows.drop_duplicates("trial").set_index("trial"))
        for key in map(str, settings):
            if settings[key].nunique() > 1 and key != "seed":
                contrast = _contrast(rows, settings, key)
                if contrast is not None and key == "strategy":
                    alike = ledger[(ledger[list(_FAMILY)] == list(family)).all(axis=1)]
                    contrast = replace(contrast, notes=_not_judged(contrast, alike, records))
                found += [] if contrast is None else [contrast]
    titles = [contrast.title for contrast in found]
    return [_told_apart(each) if titles.count(each.title) > 1 else each for each in found]


def _not_judged(
    contrast: Contrast, ledger: pd.DataFrame, records: Mapping[str, TrialRecord]
) -> list[str]:
    """Return what is said of models that are in a contrast of methods by another one or not at all.

    Args:
        ledger: its rows of trials like those of the contrast.
    """
    local = [records[str(trial)].local_arrays > 0 for trial in ledger["trial"]]
    kept = ledger[local]["config.strategy"]
    strategies = contrast.rows["config.strategy"]
    left_out = left_out_note(set(kept) - set(strategies))
    return [*shared_model_note(strategies), *left_out]


def _told_apart(contrast: Contrast) -> Contrast:
    """Return the same with the test images' fingerprint in its title."""
    about = contrast.rows.iloc[0]
    title = f"{contrast.title} · test images {about['test_fingerprint'][:12] or 'unknown'}"
    return replace(contrast, title=title + (" · synthetic" if about["synthetic"] else ""))


def _filled_in(settings: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Give a key that is left open its value, if it is the same in all trials that leave it open.

    Args:
        settings: of some trials.
        trials: their rows of the ledger, by trial.
    """
    for key in FOLLOWING:
        is_open = settings[key] == DEFAULTS[key]
        values = trials[f"config.{key}"].astype(object)[is_open.index[is_open]]
        if values.nunique() == 1:
            settings[key] = settings[key].mask(is_open, values.iloc[0])
    return settings


def settings_of(trials: Mapping[str, Mapping[str, Scalar]]) -> pd.DataFrame:
    """Return the settings that make trials differ: a row for each trial, a column for each key."""
    table = pd.DataFrame.from_dict(dict(trials), orient="index").astype(object)
    table = table.where(table.notna(), "")
    return table[[key for key in map(str, table) if key not in _NO_SETTINGS]]


def common_settings(settings: pd.DataFrame, apart_from: Iterable[str]) -> pd.DataFrame:
    """Return what trials must have in common that differ in some keys only; those that vary.

    Args:
        settings: of the trials.
        apart_from: the keys.
    """
    others = settings.drop(columns=[key for key in apart_from if key in settings])
    return others[[key for key in others if others[key].astype(str).nunique() > 1]].astype(str)


def names_of(blocks: pd.DataFrame) -> pd.Series:
    """Return the name of each trial's block, from the table of `common_settings`."""
    texts = pd.DataFrame(index=blocks.index)
    for key in map(str, blocks):
        texts[key] = blocks[key].map(_label) if key in _PLAIN else f"{key} " + blocks[key]
    return pd.Series([" · ".join(row) for row in texts.to_numpy()], blocks.index, dtype=str)


def _contrast(rows: pd.DataFrame, settings: pd.DataFrame, key: str) -> Contrast | None:
    """Return the contrast of a key; None if no two trials differ in it alone."""
    if key == "backbone" and settings[key].nunique() > _MOST_BACKBONES:
        return None
    if key in HEAD_KEYS:
        rows = rows[rows["model"].isin(heads_with(key))]
    common = common_settings(settings, [key])
    # Which split file there is says the fingerprint, too.
    around = [
        name for name in _CIRCUMSTANCES if not (key.endswith("-file") and name == "fingerprint")
    ]
    trials = rows["trial"]
    alike = [trials.map(common[name]) for name in common]
    alike += [rows[name].astype(str) for name in ("model", *around)]
    rows = rows.assign(
        value=trials.map(settings[key].map(_label)),
        about=trials.map(names_of(common)),
        block=rows.groupby(alike).ngroup(),
    )
    # On two machines a trial may stand twice.
    rows = rows.sort_values("trial").drop_duplicates(["block", "value"])
    sizes = rows.groupby("block")["value"].transform("size")
    rows = rows[sizes > 1]
    if rows.empty:
        return None
    present = set(rows["value"])
    values = [value for value in _in_order(key, settings[key]) if value in present]
    several = rows["model"].nunique() > 1
    blocks = {}
    for block, of_block in rows.drop_duplicates("block").set_index("block").iterrows():
        said = [str(of_block["about"]), *([WORDS[str(of_block["model"])]] if several else [])]
        blocks[int(str(block))] = " · ".join(filter(None, said))
    kind = (str(rows["command"].iloc[0]), str(rows["config.objective"].iloc[0]))
    dataset = str(rows["config.dataset"].iloc[0])
    title = f"By {key} · {KINDS.get(kind, ' '.join(kind))} · {WORDS.get(dataset, dataset)}"
    return Contrast(title, key, values, rows, blocks)


def _label(value: Scalar) -> str:
    found = text(value)
    return WORDS.get(found, found)


def _in_order(key: str, values: pd.Series) -> list[str]:
    """Return the labels of a key's values: numbers by size, of names the default first."""
    if key == "backbone":
        return in_order(values)
    default = DEFAULTS.get(key)
    known = [*TRAFFIC.get(key, ()), *([default] if isinstance(default, str) else [])]
    different = sorted(dict.fromkeys(values), key=_rank)
    # What is usual comes first, so that the others are compared with it.
    different.sort(key=lambda value: known.index(value) if value in known else len(known))
    return [_label(value) for value in different]


def _rank(value: Scalar) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 0, float(value), ""
    return 1, 0.0, value


def _mean(differences: np.ndarray) -> tuple[float, float, float]:
    from scipy.stats import t

    mean, number = float(differences.mean()), len(differences)
    if number < 2:
        return mean, math.nan, math.nan
    half = float(t.ppf(0.975, number - 1) * differences.std(ddof=1) / math.sqrt(number))
    return mean, mean - half, mean + half


def _wilcoxon(differences: np.ndarray) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test; pairs without a difference are left
    out (F. Wilcoxon: Individual comparisons by ranking methods, Biometrics Bulletin 1, 1945).
    """
    from scipy.stats import wilcoxon

    apart = differences[differences != 0]
    return float(wilcoxon(apart).pvalue) if len(apart) >= FEWEST_PAIRS else math.nan
