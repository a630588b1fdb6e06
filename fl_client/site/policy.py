"""What a site allows runs to ask for: policy.toml."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import Field

from fl_client.site.approved_bundles import Bundle
from fl_client.site.settings_file import TomlTable, read_settings
from operation.errors import OperationError
from operation.files import parse_toml, write_text
from operation.text import printable
from strategies.refusal import Refused
from training.config import DEFAULTS, PATH_KEYS, ExperimentConfig, parse
from training.errors import ConfigError
from training.extension_points import EXTENSION_POINTS, names_of_others

_MAX_SHOWN = 60

_RUN = re.compile(r"[0-9a-f]{32}")  # it names a folder here


class Policy(TomlTable):
    """A site's limits for all bundles."""

    # What may be trained.
    objectives: list[Literal["classifier", "clip"]] = Field(["classifier", "clip"])
    max_local_epochs: int = Field(5, ge=1)  # maximum epochs per round
    max_rounds_per_day: int = Field(1000, ge=0)  # maximum training messages within 24 hours
    min_examples: int = Field(10, ge=0)  # a reply about a split with fewer images is not sent
    max_image_size: int = Field(512, ge=16)  # maximum side of the images in pixels
    # Maximum size of decoded images and features; see `cache`.
    max_cache_bytes: int = Field(50_000_000_000, ge=0)
    histograms: bool = True  # whether replies may hold histograms of predicted probabilities
    # Whether an introduction may hold the number of training images of each class.
    class_counts: bool = True


def write_policy(path: Path, policy: Policy) -> None:
    """Write policy.toml."""
    write_text(path, tomli_w.dumps(policy.model_dump(by_alias=True)))


def read_policy(path: Path) -> Policy:
    """Read policy.toml.

    Raises:
        OperationError: it is missing or damaged; there are no defaults.
    """
    return read_settings(Policy, path)


def current_policy(path: Path) -> Policy:
    """Read policy.toml for a message, so that a change takes effect with the next message.

    Raises:
        Refused: it cannot be read; without it no message or reply passes.
    """
    try:
        return read_policy(path)
    except OperationError as error:
        raise Refused("its policy.toml is damaged", str(error)) from None


def check_override(policy: Policy, override: Mapping[str, Any], bundle: Bundle) -> None:
    """Check the run config that a run was started with against the policy.

    Args:
        override: the keys that the run sets. Flower's own process fails on those that the bundle
            does not have.
        bundle: the approved one that runs.

    Raises:
        Refused: naming the key and its bound.
    """
    if unknown := sorted(override.keys() - bundle.config.keys()):
        raise Refused(f"the run config sets {unknown[0]!r}, which the bundle does not know")
    _check(policy, _parsed("run config", override, bundle))


def check_message_settings(
    policy: Policy, settings: Mapping[str, Any], bundle: Bundle
) -> tuple[ExperimentConfig, dict[str, Any]]:
    """Check the settings of a message, its record ``config``, against the policy.

    Returns:
        The experiment in the settings, with defaults in the place of plug-ins; and its keys as they
        were sent, whose plug-ins the bundle holds.

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
    config = _parsed("experiment", values, bundle)
    _check(policy, config)
    return config, values


def _parsed(what: str, values: Mapping[str, Any], bundle: Bundle) -> ExperimentConfig:
    try:
        return parse(_without_plugins(what, values, bundle))
    except ConfigError as error:
        raise Refused(f"{what}: {str(error).splitlines()[0]}") from None


def _without_plugins(what: str, values: Mapping[str, Any], bundle: Bundle) -> dict[str, Any]:
    """Return the keys that fedskin itself can check; the site's own process loads no plug-in.

    The app checks the others, by the bundle's code.

    Raises:
        Refused: a plug-in that the bundle does not hold, or a key of one with another type.
    """
    held = {(plugin.group, plugin.name) for plugin in bundle.plugins}
    others = names_of_others(values)
    for key, name in others.items():
        if (EXTENSION_POINTS[key].group, name) not in held:
            raise Refused(
                f"{what}: {key} = {printable(name, _MAX_SHOWN)!r} is neither in the approved "
                "bundle nor fedskin's own"
            )
    further = {key: value for key, value in bundle.config.items() if key not in DEFAULTS}
    for key in values.keys() & further.keys():
        if type(values[key]) is not type(further[key]):
            raise Refused(f"{what}: {key} is not of type {type(further[key]).__name__}")
    return {k: value for k, value in values.items() if k not in others and k not in further}


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
