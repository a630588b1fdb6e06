"""The campaign file: a base config, grids, seeds and exclusions, expanded to checked trials."""

import itertools
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from data_partition.datasets import DATASETS, dataset_choice
from experiments.campaigns.trial import Trial, is_like, text
from operation.files import read_toml
from operation.text import known_names
from training.config import DEFAULTS, PATH_KEYS, Scalar, defaults, parse
from training.config_file import parse_override
from training.declared_keys import POINTS
from training.errors import ConfigError

# Keys that a campaign sets by itself.
_RESERVED = {"seed": "list seeds under seeds", "run-dir": "every trial has its own"}

_FAULTS_SHOWN = 20

Keys = dict[str, Scalar]


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, alias_generator=lambda name: name.replace("_", "-")
    )


class _Part(_Strict):
    command: Literal["simulate", "clip", "heads"]
    seeds: Annotated[list[int], Field(min_length=1)] | None = None  # None: the file's
    base: Keys = {}
    grid: dict[str, Annotated[list[Scalar], Field(min_length=1)]] = {}
    exclude: list[Keys] = []
    variant: list[Annotated[Keys, Field(min_length=1)]] = []


def _check_gpus(gpus: float) -> float:
    """Refuse what Ray refuses: more than one GPU that is not a whole number."""
    if not (gpus == 0 or 0.01 <= gpus <= 1 or (gpus > 1 and gpus.is_integer())):
        raise PydanticCustomError("gpus", "0, 0.01 to 1, or a whole number")
    return gpus


def _check_dataset(name: str) -> str:
    if name not in DATASETS:
        raise PydanticCustomError("dataset", dataset_choice())
    return name


class _File(_Strict):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    seeds: list[int] = Field([0], min_length=1)
    hang_minutes: float = Field(120.0, gt=0)
    cpus_per_trial: int = Field(0, ge=0)
    gpus_per_trial: Annotated[float, AfterValidator(_check_gpus)] = 0.0
    data: dict[Annotated[str, AfterValidator(_check_dataset)], Keys] = {}
    base: Keys = {}
    part: list[_Part] = Field(min_length=1)


@dataclass(frozen=True)
class Campaign:
    """A campaign file, expanded and checked."""

    name: str  # of the campaign; a folder belongs to one name
    trials: tuple[Trial, ...]
    hang_minutes: float  # after so long without progress a trial has failed
    cpus_per_trial: int  # 0: chosen for the machine
    gpus_per_trial: float  # 0: chosen for the machine; otherwise 0.01 to 1, or a whole number
    # The trials of each part with other values of some keys, and those values; they run only if
    # selected, see `asked`.
    variants: tuple[tuple[Mapping[str, Scalar], Trial], ...] = ()

    def asked(self, patterns: Iterable[tuple[str, str]]) -> "Campaign":
        """Return the campaign with the variants that patterns select added to its trials.

        Args:
            patterns: of ``--only``, by key. A variant is selected if one of them names a key that
                defines the variant and matches its value.
        """
        known = list(patterns)
        found = [
            trial
            for keys, trial in self.variants
            if any(key in keys and is_like(keys, {key: wanted}) for key, wanted in known)
        ]
        return replace(self, trials=(*self.trials, *found))


def read_campaign(
    path: Path, overrides: Iterable[str] = (), data: Mapping[str, Path] | None = None
) -> Campaign:
    """Read a campaign file and check the config of every trial.

    Later keys override earlier ones: the file's ``base``, the part's ``base``, the file's ``data``
    for the data set, ``overrides``, the grid and the seed. A part's ``seeds`` replace the file's.

    Args:
        overrides: ``key=value`` for all trials, as after ``-c``.
        data: data folders by data set; they override the file's.

    Raises:
        ConfigError: all errors, one line each, equal ones once.
    """
    file = _read(path)
    given = dict(parse_override(override) for override in overrides)
    known = _known_keys(file, given)
    faults = list(_faulty_keys(file, given, known))
    if faults:
        raise ConfigError("\n".join(faults))
    trials: list[tuple[Keys, Trial]] = []
    found: dict[str, list[str]] = {}
    for number, part in enumerate(file.part, start=1):
        for variant, settings in _points(part, part.seeds or file.seeds):
            values = _values(file, part, given, settings, data or {})
            # Before the check, because an excluded config may be invalid.
            own = defaults(values)
            keys = {**known, **own, **values, "command": part.command}
            if any(is_like(keys, patterns) for patterns in part.exclude):
                continue
            # Like fedskin's own, a package's keys have no effect with another method or loss.
            values = {key: value for key, value in values.items() if key in own}
            where = ", ".join(f"{key} = {text(value)}" for key, value in settings.items())
            try:
                trial = Trial(part.command, parse(values), settings)
                check_command(trial)
            except ConfigError as error:
                for line in str(error).splitlines():
                    found.setdefault(line, []).append(f"part {number}, {where}")
            else:
                trials.append((variant, trial))
    if found:
        raise ConfigError("\n".join(_summary(path, found)))
    if not trials:
        raise ConfigError(f"{path}: every trial is excluded; there is nothing to run")
    return Campaign(
        file.name,
        tuple(trial for variant, trial in trials if not variant),
        file.hang_minutes,
        file.cpus_per_trial,
        file.gpus_per_trial,
        tuple((variant, trial) for variant, trial in trials if variant),
    )


def _read(path: Path) -> _File:
    try:
        return _File.model_validate(read_toml(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not a TOML file: {error}") from None
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in _explain(error))) from None


def _explain(error: ValidationError) -> Iterator[str]:
    seen = set()
    for fault in error.errors():
        place = ".".join(str(step) for step in fault["loc"] if step not in _TYPE_NAMES)
        if place not in seen:
            seen.add(place)
            said = fault["msg"].removeprefix("Input should be ")
            if fault["type"] == "extra_forbidden":
                table = _Part if "part" in fault["loc"] else _File
                known = [name.replace("_", "-") for name in table.model_fields]
                meant = known_names(str(fault["loc"][-1]), known)
                yield f"{place}: no such key in a campaign file; {meant}"
            elif fault["type"] == "missing":
                yield f"{place}: is missing"
            elif fault["type"] == "too_short":
                yield f"{place}: is empty; list at least one"
            else:
                yield f"{place} = {fault['input']!r}: allowed is {said}"


# For an error in a union, pydantic also names the member that it tried.
_TYPE_NAMES = ("str", "bool", "int", "float")


def _known_keys(file: _File, given: Mapping[str, Any]) -> Keys:
    """Return every key with its default, also those of all methods and losses of a file."""
    tables = [given, file.base, *file.data.values()]
    for part in file.part:
        tables += [part.base, *part.variant]
        tables += [{key: value} for key in POINTS for value in part.grid.get(key, ())]
    known = dict(DEFAULTS)
    for key in POINTS:
        for name in dict.fromkeys(str(keys[key]) for keys in tables if key in keys):
            known = defaults({key: name}) | known
    return known


def _faulty_keys(
    file: _File, given: Mapping[str, Any], known: Mapping[str, Scalar]
) -> Iterator[str]:
    """Yield a line for each key that is not allowed in its place."""
    places: list[tuple[str, Mapping[str, Any]]] = [("base", file.base)]
    places += [(f"data.{name}", keys) for name, keys in file.data.items()]
    for number, part in enumerate(file.part, start=1):
        places += [(f"part {number}, base", part.base), (f"part {number}, grid", part.grid)]
        places += [(f"part {number}, variant", keys) for keys in part.variant]
        for key in sorted({key for keys in part.variant for key in keys} & part.grid.keys()):
            yield f"part {number}, variant: {key}: is in the grid of this part"
        for key in sorted(given.keys() & part.grid.keys()):
            yield f"-c {key}: is in the grid of part {number}; use --only, or change the file"
        for patterns in part.exclude:
            for key in patterns.keys() - known.keys() - {"command"}:
                meant = known_names(key, [*known, "command"])
                yield f"part {number}, exclude: {key}: no such key; {meant}"
    for place, keys in [*places, ("-c", given)]:
        for key in keys:
            if key in _RESERVED:
                yield f"{place}: {key}: is set by the campaign; {_RESERVED[key]}"
            elif key not in known:
                yield f"{place}: {key}: no such key; {known_names(key, known)}"


def _points(part: _Part, seeds: Iterable[int]) -> Iterator[tuple[Keys, Keys]]:
    """Return the keys that define a variant, if it is one, and all keys that identify a trial."""
    for variant in ({}, *part.variant):
        for values in itertools.product(*part.grid.values(), seeds):
            yield variant, variant | dict(zip([*part.grid, "seed"], values, strict=True))


def _values(
    file: _File, part: _Part, given: Mapping[str, Any], settings: Keys, data: Mapping[str, Path]
) -> dict[str, Any]:
    values: dict[str, Any] = {"objective": "clip"} if part.command == "clip" else {}
    values |= file.base | part.base | dict(given) | settings
    dataset = str(values.get("dataset", "auto"))
    if dataset in file.data:
        values |= file.data[dataset] | dict(given) | settings
    if dataset in data:
        values["data-dir"] = str(data[dataset])
    for key in PATH_KEYS:
        if values.get(key) and isinstance(values[key], str):
            values[key] = str(Path(values[key]).expanduser().absolute())
    return values


def check_command(trial: Trial) -> None:
    """Refuse an objective that a trial's command does not train.

    Raises:
        ConfigError: it does not.
    """
    objective = trial.config.objective
    wanted = {"clip": "clip", "heads": "classifier"}.get(trial.command, objective)
    if objective != wanted:
        raise ConfigError(f"objective = {objective!r}: {trial.command} trains objective {wanted}")


def _summary(path: Path, found: Mapping[str, list[str]]) -> Iterator[str]:
    for line, places in itertools.islice(found.items(), _FAULTS_SHOWN):
        more = len(places) - 1
        others = f" and {more} more trial{'s' * (more > 1)}" if more else ""
        yield f"{path}: {line} ({places[0]}{others})"
    if len(found) > _FAULTS_SHOWN:
        yield f"{path}: and {len(found) - _FAULTS_SHOWN} more errors"
