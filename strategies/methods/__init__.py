"""The methods, under the names that key ``strategy`` has for them.

Each file of this folder is one, with hyphens for underscores; further ones come from installed
packages, which are imported when they are asked for.
"""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from operation.extension_point import ExtensionPoint
from strategies.method import Key, Method, Settings
from strategies.package_methods import fault

# The study's (docs/study.md).
DEFAULT = "fedavg"


def _found() -> Iterator[tuple[str, Method]]:
    names = sorted(module.name for module in iter_modules(__path__))
    for name in sorted(names, key=lambda name: name != DEFAULT):
        yield name.replace("_", "-"), import_module(f"{__name__}.{name}").METHOD


OWN: dict[str, Method] = dict(_found())
METHODS: ExtensionPoint[Method] = ExtensionPoint("strategies", OWN, OWN.__getitem__, fault)

# Every key of the project's own methods, by name.
KEYS: dict[str, Key] = {key: said for method in OWN.values() for key, said in method.keys.items()}


def replies_needed(strategy: str, settings: Settings) -> int:
    """Return how many replies a round needs by a method's formula."""
    least = METHODS[strategy].least_replies
    return 1 if least is None else least(settings)
