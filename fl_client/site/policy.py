"""What a site lets runs ask of it: policy.toml."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import Field

from fl_client.site.settings_file import Settings, read_settings
from operation.errors import OperationError
from operation.files import write_text
from operation.parsing import parse_toml
from strategies.refusal import Refused
from training.config import DEFAULTS, ExperimentConfig, parse
from training.errors import ConfigError

# A site reads and writes in folders of its own choice.
PATH_KEYS = [key for key in DEFAULTS if key.endswith("-dir")]

_RUN = re.compile(r"[0-9a-f]{32}")  # it names a folder here


class Policy(Settings):
    """The bounds that a site sets, whatever the bundle.

    Attributes:
        objectives: what may be trained.
        max_local_epochs: epochs per round.
        max_rounds_per_day: training messages that are taken within 24 hours.
        min_examples: images in a split below which nothing is said of it.
        max_image_size: side in pixels at which images are trained on.
        max_cache_bytes: decoded images and features that are kept; see `cache`.
    """

    objectives: list[Literal["classifier", "clip"]] = Field(["classifier", "clip"])
    max_local_epochs: int = Field(5, ge=1)
    max_rounds_per_day: int = Field(1000, ge=0)
    min_examples: int = Field(10, ge=0)
    max_image_size: int = Field(512, ge=16)
    max_cache_bytes: int = Field(50_000_000_000, ge=0)


def write_policy(path: Path, policy: Policy) -> None:
    """Write policy.toml."""
    write_text(path, tomli_w.dumps(policy.model_dump(by_alias=True)))


def read_policy(path: Path) -> Policy:
    """Read policy.toml.

    Raises:
        OperationError: it is missing or damaged; nothing is assumed in its place.
    """
    return read_settings(Policy, path)


def current_policy(path: Path) -> Policy:
    """Read policy.toml for a message, so that a change holds from the next message on.

    Raises:
        Refused: it cannot be read, and without it nothing is let in or out.
    """
    try:
        return read_policy(path)
    except OperationError as error:
        raise Refused("its policy.toml is damaged", str(error)) from None


def check_override(policy: Policy, override: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Hold the run config that a run was started with against the policy.

    Args:
        policy: the site's.
        override: the keys that the run sets.
        known: the keys that the bundle has. Flower's own process ends on others.

    Raises:
        Refused: naming the key and its bound.
    """
    if unknown := sorted(override.keys() - known.keys()):
        raise Refused(f"the run config sets {unknown[0]!r}, which the bundle does not know")
    _check(policy, _parsed("run config", override))


def check_settings(policy: Policy, settings: Mapping[str, Any]) -> ExperimentConfig:
    """Hold the settings of a message, its record ``config``, against the policy.

    Returns:
        The experiment that they bring.

    Raises:
        Refused: naming the key and its bound.
    """
    if not _RUN.fullmatch(str(settings.get("run", ""))):
        raise Refused("the message names no run of 32 hex digits")
    try:
        values = parse_toml(str(settings.get("experiment", "")))
    except (tomllib.TOMLDecodeError, RecursionError):
        raise Refused("the message's experiment is not TOML") from None
    if not values:
        raise Refused("the message contains no experiment")
    config = _parsed("experiment", values)
    _check(policy, config)
    return config


def _parsed(what: str, values: Mapping[str, Any]) -> ExperimentConfig:
    try:
        return parse(values)
    except ConfigError as error:
        raise Refused(f"{what}: {str(error).splitlines()[0]}") from None


def _check(policy: Policy, config: ExperimentConfig) -> None:
    flat = config.to_flat()
    for key in PATH_KEYS:
        if flat[key]:
            raise Refused(f"{key} is set, but the site takes every path from its own settings")
    if config.objective not in policy.objectives:
        allowed = ", ".join(policy.objectives) or "none"
        raise Refused(f"objective = {config.objective!r}: its policy allows {allowed}")
    if config.image_size > policy.max_image_size:
        raise Refused(
            f"image-size = {config.image_size}: its policy allows {policy.max_image_size}"
        )
    if config.local_epochs > policy.max_local_epochs:
        raise Refused(
            f"local-epochs = {config.local_epochs}: its policy allows {policy.max_local_epochs}"
        )
