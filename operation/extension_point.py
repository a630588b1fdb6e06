"""An extension point: a table of the project's own entries and those of installed packages."""

from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from operation.plugins import APP, GROUPS, PlugIn, PlugInError, all_plugins, bundled
from operation.text import printable

Entry = TypeVar("Entry")


class ExtensionPoint(Mapping[str, Entry]):
    """The project's own entries, then those of packages. Looking at the names loads nothing.

    A package is imported when one of its names is asked for, so a broken one disturbs nobody who
    does not use it.

    Args:
        group: a key of ``GROUPS``.
        own: the names of the project's own entries.
        load: returns one of them.
        fault: returns what is wrong with a package's entry of a name, as the end of a sentence;
            empty if nothing.
    """

    def __init__(
        self,
        group: str,
        own: Collection[str],
        load: Callable[[str], Entry],
        fault: Callable[[str, Any], str],
    ) -> None:
        self.own = own
        self.group = group
        self._load_own = load
        self._fault = fault
        self._loaded: dict[str, Entry] = {}

    def plugins(self) -> list[PlugIn]:
        """Return the packages' entries, sorted by name."""
        found = [plugin for plugin in all_plugins() if plugin.group == self.group]
        return sorted(found, key=lambda plugin: plugin.name)

    def origin(self, name: str) -> PlugIn | None:
        """Return the plug-in that a known name belongs to; None if it is the project's own.

        Raises:
            PlugInError: the name belongs to several.
        """
        found = [plugin for plugin in self.plugins() if plugin.name == name]
        owners = [plugin.owner for plugin in found]
        if name in self.own:
            owners.insert(0, "fedskin itself")
        if len(owners) > 1:
            raise PlugInError(
                f"{GROUPS[self.group]} {name!r} is in {' and in '.join(owners)}; uninstall one"
            )
        return found[0] if found else None

    def __getitem__(self, name: str) -> Entry:
        """Return an entry, which is loaded the first time.

        Raises:
            KeyError: there is none of this name.
            PlugInError: it is a package's and cannot be loaded, or belongs to several packages.
        """
        if name in self.own:
            return self._load_own(name)
        if name not in self._loaded:
            plugin = self.origin(name)
            if plugin is None:
                raise KeyError(name)
            self._loaded[name] = self._load(plugin)
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self.own or any(plugin.name == name for plugin in self.plugins())

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.own, *(plugin.name for plugin in self.plugins())]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _load(self, plugin: PlugIn) -> Entry:
        _check_bundled(plugin)
        module, _, attribute = plugin.place.partition(":")
        try:
            entry: Any = import_module(module)
            if attribute:
                entry = getattr(entry, attribute)
        # Whatever a package raises when it is imported; some even end the process.
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {printable(str(error))}"
            raise PlugInError(
                f"{plugin.what} of {plugin.owner} cannot be loaded ({reason}); repair the package"
            ) from error
        if fault := self._fault(plugin.name, entry):
            raise PlugInError(
                f"{plugin.what} of {plugin.owner} cannot be used: {plugin.place} {fault}"
            )
        loaded: Entry = entry
        return loaded


def _check_bundled(plugin: PlugIn) -> None:
    """Refuse a bundle's plug-in whose code would come from elsewhere on this machine.

    Raises:
        PlugInError: naming the place.
    """
    if bundled() is None:
        return
    spec = find_spec(plugin.place.partition(":")[0].partition(".")[0])
    origin = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
    if origin is None or not origin.is_relative_to(APP):
        raise PlugInError(
            f"{plugin.what} of {plugin.owner} is not in the bundle, but {origin or 'nowhere'}"
        )
