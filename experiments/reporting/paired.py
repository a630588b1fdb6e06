"""The comparison of two or more sides, paired on the same test images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from experiments.campaigns.trial import PLACES
from experiments.reporting.compared_models import (
    Model,
    check_same_images,
    groups_of,
    with_classes,
)
from experiments.reporting.judged_models import own_models_note, shared_model_note
from experiments.reporting.paired_clients import OfClient, compare_by_client
from experiments.reporting.statistics import holm
from training.run_folder import CENTRALIZED
from training.score_counts import Answers
from training.score_differences import ScoreDifferences, score_differences
from training.uncertainty import RESAMPLES, mcnemar

WORSE, BETTER = "right → wrong", "wrong → right"


@dataclass(frozen=True)
class Side:
    """One of the things that are compared: a model, or the models of a setting.

    Attributes:
        letter: A for the first, then B, C, ….
        name: unique among the sides.
        models: one for each pair, in the order of the pairs.
    """

    letter: str
    name: str
    models: Sequence[Model]

    @property
    def title(self) -> str:
        """Letter and name."""
        return f"{self.letter}: {self.name}"


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of a pair.

    Attributes:
        side: the further side's letter.
        pair: what the pair has in common; empty if there is one only.
        only_first, only_second: images that only this one classified correctly.
        p_value: two-sided, exact.
        p_holm: corrected for the number of tests.
    """

    side: str
    pair: str
    only_first: int
    only_second: int
    p_value: float
    p_holm: float


@dataclass(frozen=True)
class PairedComparison:
    """How sides differ from the first on the same test images.

    Attributes:
        pairs: names of the pairs; one empty name if each side has one model.
        classes: of the images.
        unit: what the bootstrap draws: ``patient``, ``lesion`` or ``image``.
        num_units: how many there are.
        scores: of each side, and the differences.
        of_clients: BACC on each client's images, by client and further side; empty if the images
            are those of the global test set.
        tests: of every pair of each further side.
        changed: a row for each image and pair that is right for one and wrong for the other, with
            ``image_id``, ``label``, ``client`` if it is a client's, ``pair``, ``side``, ``first``
            and ``second`` (the predicted classes), ``first_of_true`` and ``second_of_true`` (the
            probability that each gives to the true class), and ``change``.
        notes: sentences on what is not compared: trials, and models beside those of the sides.
    """

    sides: Sequence[Side]
    pairs: Sequence[str]
    classes: tuple[str, ...]
    unit: str
    num_units: int
    scores: ScoreDifferences
    of_clients: Sequence[OfClient]
    tests: Sequence[McNemar]
    changed: pd.DataFrame
    notes: Sequence[str]

    @property
    def first(self) -> Side:
        """The side that the others are compared with."""
        return self.sides[0]

    @property
    def others(self) -> Sequence[Side]:
        """The other sides."""
        return self.sides[1:]

    @property
    def models(self) -> list[Model]:
        """Of all sides."""
        return [model for side in self.sides for model in side.models]

    @property
    def images(self) -> pd.DataFrame:
        """The test images (n): ``image_id``, ``label``, and of clients ``client``."""
        table = self.first.models[0].table
        return table[table.columns.intersection(["image_id", "label", "client"])]

    @property
    def synthetic_line(self) -> str | None:
        """What is said of synthetic images; None if there are none."""
        return next((said for model in self.models if (said := model.synthetic_line)), None)

    @property
    def synthetic(self) -> bool:
        """Whether any of the images are synthetic."""
        return self.synthetic_line is not None

    @property
    def about(self) -> str:
        """The images and the units in a sentence."""
        images = f"{len(self.images):,} test images, the same for all"
        if self.of_clients:
            clients = self.images["client"].nunique()
            images = (
                f"{len(self.images):,} test images of {clients} clients, the same for all; each is "
                "classified by its client's model"
            )
        if self.unit == "image":
            return (
                f"{images}. Which of them are of one lesion or patient is not known, so the "
                f"intervals are over images; they are too narrow if some are"
            )
        return f"{images}. Intervals are over their {self.num_units:,} {self.unit}s"

    def different_keys(self) -> dict[str, list[str]]:
        """Return the config's keys in which the sides differ, with each side's values.

        Without folders and files: the same images are elsewhere on another machine. Other reference
        images, and another run to begin with, make a difference.
        """
        configs = [[model.config.identity() for model in side.models] for side in self.sides]
        found = {}
        for key in dict.fromkeys(key for side in configs for one in side for key in one):
            if key in PLACES:
                continue
            values = [
                ", ".join(dict.fromkeys(str(one.get(key, "")) for one in side)) for side in configs
            ]
            if len(set(values)) > 1:
                found[key] = values
        return found

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON's types; the first side is not compared with itself."""
        return {
            "images": len(self.images),
            "unit": self.unit,
            "units": self.num_units,
            "resamples": RESAMPLES,
            "classes": list(self.classes),
            "pairs": list(self.pairs),
            "notes": list(self.notes),
            "synthetic": self.synthetic_line,
            "sides": [
                {
                    "side": side.letter,
                    "name": side.name,
                    "runs": [str(model.folder.path) for model in side.models],
                    "scores": self.scores.scores[index],
                    **(self._against_first(index) if index else {}),
                }
                for index, side in enumerate(self.sides)
            ],
        }

    def _against_first(self, index: int) -> dict[str, Any]:
        letter = self.sides[index].letter
        changed = self.changed[self.changed["side"] == letter].drop(columns="side")
        return {
            "differences": {
                score: None if found is None else asdict(found)
                for score, found in self.scores.differences[index - 1].items()
            },
            "clients": [asdict(one) for one in self.of_clients if one.side == letter],
            "mcnemar": [asdict(test) for test in self.tests if test.side == letter],
            "changed": changed.to_dict("records"),
        }


def compare_sides(
    named: Mapping[str, Sequence[Model]],
    pairs: Sequence[str] = ("",),
    notes: Sequence[str] = (),
) -> PairedComparison:
    """Compare every further side with the first.

    Args:
        named: the models of each of at least two sides, by its name; one for each pair.
        pairs: their names.
        notes: sentences on what is not compared.

    Raises:
        RunFolderError: the models were judged on different test images.
    """
    sides = [Side(_letter(i), *side) for i, side in enumerate(named.items())]
    models = [model for side in sides for model in side.models]
    check_same_images(models)
    classes, labels = models[0].classes, models[0].answers.labels
    answers = [[with_classes(model, classes) for model in side.models] for side in sides]
    unit, groups = groups_of(models)
    by = {model.config.best_by for model in models}
    best_by = by.pop() if len(by) == 1 else "loss"
    scores = score_differences(answers, classes, groups=groups, best_by=best_by)
    pairs_of = [
        (side.letter, pair, first, second)
        for side, theirs in zip(sides[1:], answers[1:], strict=True)
        for pair, first, second in zip(pairs, answers[0], theirs, strict=True)
    ]
    found = [
        (letter, pair, *mcnemar(labels, first.predicted, second.predicted))
        for letter, pair, first, second in pairs_of
    ]
    corrected = holm([test[-1] for test in found])
    changed = [
        _changed(models[0].table, classes, first, second).assign(pair=pair, side=letter)
        for letter, pair, first, second in pairs_of
    ]
    return PairedComparison(
        sides=sides,
        pairs=pairs,
        classes=classes,
        unit=unit,
        num_units=len(labels) if groups is None else int(groups.max()) + 1,
        scores=scores,
        of_clients=compare_by_client(
            [side.letter for side in sides], answers, models[0].table, groups
        ),
        tests=[McNemar(*test, p) for test, p in zip(found, corrected, strict=True)],
        changed=pd.concat(changed, ignore_index=True),
        notes=[*notes, *(f"{side.letter}, {note}" for side in sides for note in _beside(side))],
    )


def _beside(side: Side) -> Iterator[str]:
    """Yield a sentence if the clients of a side's runs have models of their own, too."""
    runs = [model for model in side.models if model.manifest["command"] not in CENTRALIZED]
    note = own_models_note if "client" in side.models[0].table else shared_model_note
    yield from note(model.config.strategy for model in runs)


def _letter(index: int) -> str:
    """Return A to Z, then A2, B2, …."""
    again, index = divmod(index, 26)
    return chr(ord("A") + index) + (str(again + 1) if again else "")


def _changed(
    table: pd.DataFrame, classes: Sequence[str], first: Answers, second: Answers
) -> pd.DataFrame:
    """Return the images that one of two models classifies correctly."""
    was, now = first.predicted == first.labels, second.predicted == first.labels
    rows = (was != now).nonzero()[0]
    truth = first.labels[rows]
    return pd.DataFrame(
        {
            "image_id": table["image_id"].to_numpy()[rows],
            "label": table["label"].to_numpy()[rows],
            **({"client": table["client"].to_numpy()[rows]} if "client" in table else {}),
            "first": [classes[index] for index in first.predicted[rows]],
            "second": [classes[index] for index in second.predicted[rows]],
            "first_of_true": first.probabilities[rows, truth].astype(float),
            "second_of_true": second.probabilities[rows, truth].astype(float),
            "change": [BETTER if better else WORSE for better in now[rows]],
        }
    )
