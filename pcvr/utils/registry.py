"""The registry of attacks, defences, tasks, model families and embedded models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules
from threading import RLock
from typing import Generic, TypeVar

from pcvr.errors import PcvrError, UnknownName, reason, shown, unknown_name

T = TypeVar("T")


@dataclass(frozen=True)
class _Entry(Generic[T]):
    """The registered value, its order in listings, and the function or class that it comes from (or "")."""

    value: T
    order: int
    place: str


class Registry(Mapping[str, T]):
    """Name to entry: a read-only mapping. Modules register their entries when they are imported.

    The first lookup imports the modules of the registry's own folders, then the plugins of other packages. So a new
    entry only needs a new file in such a folder. Listings are sorted by order, then by name.
    """

    def __init__(self, kind: str, folders: tuple[str, ...] = (), group: str = "") -> None:
        """
        Args:
            kind: the word for an entry in messages, such as ``"attack"``.
            folders: packages whose modules register entries when they are imported.
            group: entry point group of other packages' modules that register entries; ``""`` for none.
        """
        self.kind, self.folders = kind, folders
        self._entries: dict[str, _Entry[T]] = {}
        self._broken: dict[str, str] = {}
        self._unread, self._group = folders, group
        self._lock, self._reading = RLock(), False

    def register(self, name: str, entry: T, *, order: int = 0, source: object = None) -> None:
        """Add an entry. The same top-level function or class may be added again, when a cell or module runs again.

        Args:
            name: the entry's name.
            entry: the value of a lookup.
            order: position in listings; lower numbers come first, equal ones by name.
            source: function or class that identifies the entry's origin; by default the entry itself.

        Raises:
            PcvrError: the name is empty, has spaces, or belongs to another entry.
        """
        if not isinstance(name, str) or not name or name.split() != [name]:
            raise PcvrError(f"the name of the {self.kind} is {shown(name)}: give a text without spaces.")
        place = _place(entry if source is None else source)
        if not place.startswith(tuple(f"{folder}." for folder in self.folders)):
            self._read(plugins=False)  # so that the package's own entries keep their names
        held = self._entries.get(name)
        again = held is not None and held.place == place != "" and "<" not in place  # not "<locals>" nor "<lambda>"
        if held is not None and held.value != entry and not again:
            by = f" by {held.place}" if held.place else ""
            raise PcvrError(
                f"the {self.kind} {name!r} is registered already{by}: give another name, or call unregister({name!r}) "
                "on the registry first."
            )
        self._entries[name] = _Entry(entry, order, place)

    def unregister(self, name: str) -> None:
        """Remove an entry.

        Raises:
            PcvrError: unknown name.
        """
        self[name]
        del self._entries[name]

    def broken(self) -> dict[str, str]:
        """Return the plugins that could not be loaded: name of the entry point to the reason and the remedy."""
        self._read()
        return {name: why for name, why in sorted(self._broken.items()) if name not in self._entries}

    def __getitem__(self, name: str) -> T:
        self._read()
        if name in self:
            return self._entries[name].value
        broken = self.broken()
        if isinstance(name, str) and name in broken:
            raise UnknownName(broken[name])
        note = f" (plugins that could not be loaded: {', '.join(broken)})" if broken else ""
        raise unknown_name(self.kind, name, self._entries, note)

    def __contains__(self, name: object) -> bool:
        self._read()
        return isinstance(name, str) and name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._read()
        return iter(sorted(self._entries, key=lambda name: (self._entries[name].order, name)))

    def __len__(self) -> int:
        self._read()
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<{self.kind} registry: {', '.join(self)}>"

    def _read(self, plugins: bool = True) -> None:
        """Import the modules that are not imported yet; if a module of a folder fails, the next lookup tries again."""
        if not self._unread and not (plugins and self._group):
            return
        with self._lock:
            nested, self._reading = self._reading, True  # a module may look up names while it is imported
            try:
                for folder in self._unread:
                    for module in iter_modules(import_module(folder).__path__, f"{folder}."):
                        import_module(module.name)
                if nested:
                    return
                self._unread = ()
                if plugins and self._group:
                    for point in sorted(entry_points(group=self._group), key=lambda point: (point.name, point.value)):
                        self._load(point)
                    self._group = ""
            finally:
                self._reading = nested

    def _load(self, point: EntryPoint) -> None:
        """Import a plugin; a failure is stored, and raised only on a lookup of its name."""
        package = f" of the package {point.dist.name!r}" if point.dist is not None else ""
        plugin = (
            f"the {self.kind} {point.name!r} comes from the entry point {f'{point.name} = {point.value}'!r}{package}"
        )
        try:
            point.load()
        except (Exception, SystemExit) as problem:  # other packages' code can raise anything
            self._broken[point.name] = (
                f"{plugin}, which cannot be imported ({reason(problem)}): repair, update or uninstall that package."
            )
            return
        home = point.module.partition(".")[0]
        if point.name not in self._entries and not any(
            entry.place.startswith(f"{home}.") for entry in self._entries.values()
        ):
            self._broken[point.name] = (
                f"{plugin}, which registers no {self.kind}: register it where the module is imported, or uninstall "
                "that package."
            )


def _place(thing: object) -> str:
    """Module and name of a function or class; ``""`` for anything else."""
    name = getattr(thing, "__qualname__", None)
    return f"{thing.__module__}.{name}" if name else ""
