"""What models answered on the test images of hospitals, read from the predictions of trials."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.campaigns.finished_trial import TrialRecord
from experiments.reporting.comparisons import slug
from experiments.reporting.hospital_statistics import HospitalImages
from experiments.reporting.hospital_trials import (
    POOLED,
    SHARED,
    Entry,
    entries_of,
    grouped_trials,
    has_both,
)
from experiments.reporting.judged_models import client_predictions, hospital_name
from experiments.reporting.run_results import answers_of
from experiments.reporting.sound_predictions import sound_predictions
from operation.text import counted
from strategies.methods import METHODS
from training.config_keys import LESION_CLEAN
from training.errors import RunFolderError
from training.predictions import UNITS

GLOBAL = "global test set"
"""Stands for a hospital where figures are of the global test set."""

# Probabilities that differ by less are those of one model, computed in another order.
_ALIKE = 1e-6


@dataclass(frozen=True)
class HospitalTrials:
    """Trials that are judged together.

    Attributes:
        name: as a file's name, unique in the campaign.
        title: what distinguishes them from other such trials of the campaign; may be empty.
        table: the ledger's first row of each trial, by trial.
        classes: K names.
        hospitals: their names, in the order of the clients.
        entries: by loss, alone first, pooled last; those of a loss that answered alike everywhere
            are one, with all their names.
        tests: the test images of each hospital, and of ``GLOBAL``, by seed.
        answers: (n, K) probabilities by entry, hospital or ``GLOBAL``, and seed.
        validated: BACC by trial, the mean over the hospitals' validation images in the trial's best
            round, in percent; trials without such a figure are left out.
        lacking: what is not in the figures, and why: one line each.
        leaks: what is known of images or lesions on both sides: one line each.
    """

    name: str
    title: str
    table: pd.DataFrame
    classes: list[str]
    hospitals: list[str]
    entries: list[Entry]
    tests: dict[str, dict[int, HospitalImages]]
    answers: dict[tuple[Entry, str, int], NDArray[np.float32]]
    validated: dict[str, float]
    lacking: list[str]
    leaks: list[str]

    @property
    def losses(self) -> list[str]:
        """The losses, in order."""
        return list(dict.fromkeys(entry.loss for entry in self.entries))

    @property
    def synthetic(self) -> bool:
        """Whether the images are synthetic."""
        return bool(self.table["synthetic"].any())

    def validated_bacc(self, entry: Entry) -> float:
        """Return an entry's mean BACC on validation images over its trials; NaN if one has none."""
        return float(np.mean([self.validated.get(t, np.nan) for t in entry.trials.values()]))

    @property
    def not_complete(self) -> list[str]:
        """One line for each trial in which a hospital missed a round or is missing in a figure."""
        rows = self.table[~self.table["complete"]]
        return [f"{trial}: {said}" for trial, said in rows["absences"].items()]


def read_hospital_trials(
    ledger: pd.DataFrame, records: Mapping[str, TrialRecord], folder: Path
) -> list[HospitalTrials]:
    """Read the predictions of the hospitals' test images.

    Args:
        ledger: the table of a `Ledger`.
        records: of the trials, by id.
        folder: the campaign's.
    """
    return [
        _read(title, rows, records, folder / "trials")
        for title, rows in grouped_trials(ledger).items()
    ]


def _read(
    title: str, rows: pd.DataFrame, records: Mapping[str, TrialRecord], folder: Path
) -> HospitalTrials:
    ids = list(map(str, rows.index))
    classes = records[ids[0]].classes
    clients = list(dict.fromkeys(client for trial in ids for client in records[trial].of_clients))
    entries = entries_of(rows, records)
    tests: dict[str, dict[int, HospitalImages]] = {}
    answers: dict[tuple[Entry, str, int], NDArray[np.float32]] = {}
    lacking: Counter[str] = Counter()  # reasons, with the number of trials
    for entry in entries:
        for seed, trial in entry.trials.items():
            method = METHODS[str(rows.loc[trial, "config.strategy"])]
            beside = entry.model == SHARED and has_both(method)
            files = _files(records[trial], folder / trial, clients, entry.model, beside=beside)
            for hospital, path, confusion in files:
                try:
                    images, found = _read_answers(path, classes, confusion)
                    known = tests.setdefault(hospital, {}).setdefault(seed, images)
                    if not images.same_as(known):
                        raise RunFolderError(
                            f"seed {seed} has other test images; make the run again"
                        )
                    answers[entry, hospital, seed] = found
                except RunFolderError as error:
                    # Without the folder, which is another for each trial of which it is said.
                    said = str(error).replace(str(path), path.name)
                    lacking[f"{entry.method}, {hospital}: {said}"] += 1
    answered = [entry for entry in entries if any(key[0] == entry for key in answers)]
    # Of a trial that sampled its clients, or lost one, the mean would be of other hospitals.
    everyone = {client for trial in ids for client in records[trial].validated}
    validated = {trial: records[trial].validated for trial in ids}
    return HospitalTrials(
        name=slug(f"hospitals {title}"),
        title=title,
        table=rows,
        classes=classes,
        hospitals=[hospital_name(client) for client in clients],
        entries=_merged(answered, answers),
        tests=tests,
        answers=answers,
        validated={
            trial: sum(found.values()) / len(found)
            for trial, found in validated.items()
            if found and found.keys() == everyone
        },
        lacking=[f"{said} ({n} trials)" if n > 1 else said for said, n in lacking.items()],
        leaks=[
            *_leaks(rows, tests),
            *dict.fromkeys(said for trial in ids for said in records[trial].notices),
        ],
    )


def _merged(
    entries: Sequence[Entry], answers: dict[tuple[Entry, str, int], NDArray[np.float32]]
) -> list[Entry]:
    """Make one entry of those that answered alike, as Krum's kin do if they hold nobody off.

    Otherwise one model would be tested several times, and p-values be corrected for it.
    """
    merged: dict[Entry, dict[tuple[str, int], NDArray[np.float32]]] = {}
    given: dict[Entry, dict[tuple[str, int], NDArray[np.float32]]] = {}
    for (entry, hospital, seed), found in answers.items():
        given.setdefault(entry, {})[hospital, seed] = found
    for entry in entries:
        mine = given[entry]
        for other, theirs in merged.items():
            if (other.loss, other.model) != (entry.loss, entry.model):
                continue
            if mine.keys() == theirs.keys() and all(
                np.allclose(found, theirs[key], rtol=0, atol=_ALIKE) for key, found in mine.items()
            ):
                both = replace(other, method=f"{other.method} = {entry.method}")
                merged = {both if one == other else one: of for one, of in merged.items()}
                break
        else:
            merged[entry] = mine
    answers.clear()
    answers |= {(entry, *key): found for entry, of in merged.items() for key, found in of.items()}
    return list(merged)


def _files(
    record: TrialRecord, folder: Path, clients: Sequence[str], model: str, *, beside: bool
) -> Iterator[tuple[str, Path, list[list[int]] | None]]:
    """Yield each hospital with the file of a model's answers, and the counts that must be in it.

    Args:
        folder: of the trial.
        beside: whether it is the shared model beside models of the clients' own, whose counts are
            those that are known.
    """
    for client in clients:
        confusion = None if beside else record.of_clients.get(client)
        yield hospital_name(client), client_predictions(folder, client, shared=beside), confusion
    if model in (SHARED, POOLED) and "network" in record.confusions:
        yield GLOBAL, folder / "predictions-global_test.csv", record.confusions["network"]


def _leaks(rows: pd.DataFrame, tests: Mapping[str, Mapping[int, HospitalImages]]) -> Iterator[str]:
    found = rows["test_in_training"].dropna()
    if (found > 0).any():
        yield (
            counted(
                int(found.max()),
                "image of the global test set is",
                "images of the global test set are",
            )
            + " also in training"
        )
    if found.empty and (rows["test_fingerprint"] != "").any():
        yield "Whether images of the global test set are also in training was not checked"
    of_place = {at: {images.unit for images in of.values()} for at, of in tests.items()}
    of_all = of_place.pop(GLOBAL, set())
    at_hospitals = set().union(*of_place.values())
    together = (rows["config.split-by"] == "lesion") | (rows["config.split"] == LESION_CLEAN)
    if not together.all() and "lesion" in at_hospitals:
        yield (
            "A hospital's images of one lesion may be in its training and in its test images "
            "(split-by = image), so the figures by hospital may be too good"
        )
    for whose, units in (("the hospitals", at_hospitals), ("the global test set", of_all)):
        if "image" in units:
            yield (
                f"Which images of {whose} are of one lesion is not known, so intervals may be too "
                "narrow"
            )


def _read_answers(
    path: Path, classes: Sequence[str], confusion: Sequence[Sequence[int]] | None
) -> tuple[HospitalImages, NDArray[np.float32]]:
    """Read a file of predictions.

    Args:
        classes: K names, in the order of the network's outputs.
        confusion: (K, K) counts that the predictions must give; None: unknown.

    Returns:
        The test images, and the probabilities (n, K).

    Raises:
        RunFolderError: see `sound_predictions`; or it is of another model.
    """
    table = sound_predictions(path, classes)
    answers = answers_of(table, classes)
    if confusion is not None and answers.confusion.tolist() != confusion:
        raise RunFolderError(
            f"{path}: is not of the model that metrics.json describes; make the run again"
        )
    column = next((name for name in UNITS if name in table), "image_id")
    # An image whose lesion is not known is drawn alone.
    units = table[column].where(table[column] != "", "image " + table["image_id"]).to_numpy(str)
    unit = UNITS.get(column, "image")
    images = HospitalImages(tuple(table["image_id"]), answers.labels, units, unit)
    return images, answers.probabilities
