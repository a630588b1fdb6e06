"""The methods: each file of this folder is one, under the name that key ``strategy`` has for it."""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from strategies.method import Key, Method

# The study's (docs/study.md).
DEFAULT = "fedavg"


def _found() -> Iterator[tuple[str, Method]]:
    names = sorted(module.name for module in iter_modules(__path__))
    for name in sorted(names, key=lambda name: name != DEFAULT):
        yield name, import_module(f"{__name__}.{name}").METHOD


METHODS: dict[str, Method] = dict(_found())

# Every key of any method, by name.
KEYS: dict[str, Key] = {
    key: said for method in METHODS.values() for key, said in method.keys.items()
}


def users_of(key: str) -> list[Method]:
    """Return the methods that read a key of the config; none if it is not a method's."""
    return [method for method in METHODS.values() if key in method.keys]
