"""The config's keys that rows of tables declare, as fields of the config's class.

A key of the config whose value names a row of one of these tables, such as ``strategy``, brings the
row's own keys with it, such as ``proximal-mu``.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, create_model

from operation.extension_point import ExtensionPoint
from operation.plugins import PlugInError
from strategies import methods
from strategies.method import Key
from training import losses, optimizers, schedules
from training.errors import ConfigError

Config = TypeVar("Config", bound=BaseModel)

# The project's own rows, by the key of the config that names one.
_TABLES: Mapping[str, Mapping[str, Any]] = {
    "optimizer": optimizers.OPTIMIZERS,
    "schedule": schedules.SCHEDULES,
    "loss": losses.OWN,
    "strategy": methods.OWN,
}
POINTS: Mapping[str, ExtensionPoint[Any]] = {"strategy": methods.METHODS, "loss": losses.LOSSES}
"""The tables to which packages add rows."""

# With the keys of packages' rows, by these keys of the config.
_made: dict[tuple[tuple[str, str], ...], type[Any]] = {}


def keys_of(table: str) -> dict[str, Key]:
    """Return the keys that the rows of a table declare, by name.

    Args:
        table: the key of the config that names a row.
    """
    return {key: said for row in _TABLES[table].values() for key, said in row.keys.items()}


KEYS: dict[str, Key] = {key: said for table in _TABLES for key, said in keys_of(table).items()}
"""Every key that the project's own rows declare, by name."""


def row_keys(table: str, name: str) -> Mapping[str, Key]:
    """Return the keys that a row declares, also a package's; none if there is no such row."""
    rows = POINTS.get(table, _TABLES[table])
    found: Mapping[str, Key] = rows[name].keys if name in rows else {}
    return found


def chosen_keys(values: Mapping[str, Any]) -> dict[str, Key]:
    """Return the declared keys that the rows read which a resolved config's flat keys name."""
    chosen = (row_keys(table, str(values[table])) for table in _TABLES)
    return {key: said for keys in chosen for key, said in keys.items()}


def users_of(key: str) -> list[str]:
    """Return whose a declared key is, as text for users: methods by their titles."""
    return [
        row.title if table == "strategy" else f"{table} {name}"
        for table, rows in _TABLES.items()
        for name, row in rows.items()
        if key in row.keys
    ]


def without_effect(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what to tell users of each declared key that is set and that no chosen row reads.

    Args:
        values: a config's flat keys, resolved.
    """
    # Those of another optimizer are refused.
    read = chosen_keys(values) | keys_of("optimizer")
    for key, said in KEYS.items():
        if key not in read and values[key] not in ("auto", said.default):
            yield f"{key} = {values[key]}: has no effect, it is of {' and '.join(users_of(key))}"


def fields_of(keys: Mapping[str, Key]) -> dict[str, Any]:
    """Return keys as the fields that ``pydantic.create_model`` takes."""
    return {name.replace("-", "_"): _field(key) for name, key in keys.items()}


def _field(key: Key) -> tuple[Any, Any]:
    kind, limits = type(key.default), Field(ge=key.ge, gt=key.gt, le=key.le, lt=key.lt)
    if key.auto:
        return Literal["auto"] | Annotated[kind, limits], "auto"
    return Annotated[kind, limits], key.default


def class_for(values: Mapping[str, Any], base: type[Config], own: Collection[str]) -> type[Config]:
    """Return the config's class, with further keys if packages bring the method or the loss.

    Args:
        values: flat keys of a config, of any type; the class itself refuses names that no row has.
        base: the class with the keys of the project's own rows.
        own: the keys that it has.

    Raises:
        ConfigError: a row cannot be loaded, or has a key that it cannot have.
    """
    named = tuple(_of_packages(values))
    if not named:
        return base
    if named not in _made:
        _made[named] = _make(named, base, own)
    return _made[named]


def _of_packages(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for table, point in POINTS.items():
        name = values.get(table)
        if isinstance(name, str) and name not in point.own and name in point:
            yield table, name


def _make(
    named: tuple[tuple[str, str], ...], base: type[Config], own: Collection[str]
) -> type[Config]:
    made = base
    taken: dict[str, str] = {}
    for table, name in named:
        try:
            made = _with_keys(table, name, made, own, taken)
            taken |= dict.fromkeys(row_keys(table, name), f"{table} {name!r}")
        except PlugInError as error:
            raise ConfigError(f"{table} = {name!r}: {error}") from None
    return made


def _with_keys(
    table: str, name: str, base: type[Config], own: Collection[str], taken: Mapping[str, str]
) -> type[Config]:
    keys, origin = row_keys(table, name), POINTS[table].origin(name)
    assert origin is not None
    fault = f"{origin.what} of {origin.owner} cannot be used: its key"
    for key, said in keys.items():
        if key in own and KEYS.get(key) != said:
            raise PlugInError(f"{fault} {key!r} is another key of fedskin; it needs another name")
        if key in taken and key not in own:
            raise PlugInError(f"{fault} {key!r} is another one of {taken[key]}")
    further = fields_of({key: said for key, said in keys.items() if key not in own})
    if table == "strategy":  # whose check knows the project's names only
        kind: Any = Literal[name]
        further[table] = (kind, name)
    made = create_model("ExperimentConfig", __base__=base, **further)
    try:
        made()
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        raise PlugInError(f"{fault} {key!r} has a default outside its range") from None
    return made
