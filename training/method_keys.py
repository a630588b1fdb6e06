"""The config's keys that methods declare, as fields of the config's class."""

from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, create_model

from operation.plugins import PlugInError
from strategies import methods
from strategies.method import Key
from training.errors import ConfigError

Config = TypeVar("Config", bound=BaseModel)

# With the keys of packages' methods, by name.
_made: dict[str, type[Any]] = {}


def fields_of(keys: Mapping[str, Key]) -> dict[str, Any]:
    """Return keys as the fields that ``pydantic.create_model`` takes."""
    return {
        name.replace("-", "_"): (
            type(key.default),
            Field(key.default, ge=key.ge, gt=key.gt, le=key.le, lt=key.lt),
        )
        for name, key in keys.items()
    }


def class_for(strategy: object, base: type[Config], own: Collection[str]) -> type[Config]:
    """Return the config's class, with further keys if a package brings the method.

    Args:
        strategy: the value of this key; the class itself refuses what is no method.
        base: the class with the keys of the project's own methods.
        own: the keys that it has.

    Raises:
        ConfigError: the method cannot be loaded, or has a key that it cannot have.
    """
    if not isinstance(strategy, str) or strategy in methods.OWN or strategy not in methods.METHODS:
        return base
    try:
        if strategy not in _made:
            _made[strategy] = _make(strategy, base, own)
    except PlugInError as error:
        raise ConfigError(f"strategy = {strategy!r}: {error}") from None
    return _made[strategy]


def _make(strategy: str, base: type[Config], own: Collection[str]) -> type[Config]:
    keys, origin = methods.METHODS[strategy].keys, methods.METHODS.origin(strategy)
    assert origin is not None
    fault = f"{origin.what} of {origin.owner} cannot be used: its key"
    for key, said in keys.items():
        if key in own and methods.KEYS.get(key) != said:
            raise PlugInError(f"{fault} {key!r} is another key of fedskin; it needs another name")
    further = fields_of({key: said for key, said in keys.items() if key not in own})
    name: Any = Literal[strategy]
    made = create_model("ExperimentConfig", __base__=base, strategy=(name, strategy), **further)
    try:
        made()
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        raise PlugInError(f"{fault} {key!r} has a default outside its range") from None
    return made
