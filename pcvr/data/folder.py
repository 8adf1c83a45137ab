"""A folder of pictures that no path leaves, listed once instead of asked about every file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from pcvr.data.report import MISSING, OUTSIDE, EntryError

Places = Callable[[str], Iterable[str]]
"""Where a picture of a given name may lie: paths relative to the folder, the likeliest first."""

_TRIED = 20


def as_named(name: str) -> Iterable[str]:
    """The :data:`Places` of data that lie as they say."""
    return (name,)


@dataclass(frozen=True, slots=True)
class _Listing:
    """The files right in one folder: plain ones, and links by name. `prefix` is the folder's own path in the root."""

    prefix: str
    files: frozenset[str]
    links: frozenset[str]


class PictureFolder:
    """Finds pictures by name. Nothing outside the folder is found, through links neither unless they may be followed.

    Each folder is listed when the first picture in it is looked for, and kept until :meth:`forget`.
    """

    def __init__(self, root: Path, places: Places = as_named, follow_links: bool = False) -> None:
        """
        Args:
            root: the folder; it may itself be a link.
            places: where else a picture may lie.
            follow_links: whether links in the folder may lead out of it.
        """
        self.root = root.resolve()
        self._places = places
        self._follow = follow_links
        self._listings: dict[str, _Listing] = {}

    def find(self, name: Any) -> str:
        """The path of a picture relative to the folder, with ``/`` between its parts; links inside it are followed.

        Raises:
            EntryError: `name` is no path, leaves the folder, or is no file there.
        """
        check_name(name)
        for place in self._places(name):
            folder, _, file = place.rpartition("/")
            listing = self._listings.get(folder)
            if listing is None:
                listing = self._listings[folder] = self._list(folder)
            if file in listing.files:
                return listing.prefix + file
            if file in listing.links:
                return self._relative(place)
        return self._search(name)

    def path(self, name: str) -> Path:
        """The file behind a `name` that :meth:`find` gave, looked at again: links may have changed since.

        Raises:
            EntryError: it is gone, or has become a link that leaves the folder.
        """
        return self._resolve(name)

    def forget(self) -> None:
        """Let go of the listings, which take a hundred bytes a file."""
        self._listings.clear()

    def _relative(self, place: str) -> str:
        target = self._resolve(place)
        return target.relative_to(self.root).as_posix() if target.is_relative_to(self.root) else place

    def _search(self, name: str) -> str:
        """What no listing has, asked of the file system: it may not tell capitals apart, and it knows why not."""
        outside: EntryError | None = None
        for place in self._places(name):
            if not os.path.exists(f"{self.root}/{place}"):  # saves most of the time where a whole folder is missing
                continue
            try:
                return self._relative(place)
            except EntryError as error:
                if error.kind == OUTSIDE:
                    outside = outside or error
        raise outside or self._missing(name)

    def _resolve(self, place: str) -> Path:
        try:
            target = (self.root / place).resolve()
            found = target.is_file()
        except (OSError, RuntimeError, ValueError):  # too long a name, links in a circle, no name of a file
            raise self._missing(place) from None
        if not found:
            raise self._missing(place)
        if not self._follow and not target.is_relative_to(self.root):
            raise EntryError(
                OUTSIDE,
                f"image {place!r} is a link that leaves the image folder, or lies in one: copy it there, or give "
                "follow_links=True (--follow-links) if you trust the links",
            )
        return target

    def _missing(self, name: str) -> EntryError:
        link = "is a link whose target " if os.path.islink(f"{self.root}/{name}") else ""
        return EntryError(MISSING, f"image {name!r} {link}is not a file in {self.root}")

    def _list(self, folder: str) -> _Listing:
        files, links = [], []
        prefix = ""
        try:
            resolved = (self.root / folder).resolve()
            inside = not self._follow or resolved.is_relative_to(self.root)
            relative = resolved.relative_to(self.root).as_posix() if inside else folder
            prefix = "" if relative == "." else f"{relative}/"
            with os.scandir(resolved) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        links.append(entry.name)
                    elif entry.is_file(follow_symlinks=False):
                        files.append(entry.name)
        except (OSError, RuntimeError, ValueError):  # no such folder, or outside: _search says which
            pass
        return _Listing(prefix, frozenset(files), frozenset(links))


def check_name(name: Any) -> None:
    """Refuse what is no relative path, on any system, before the disk is asked.

    Raises:
        EntryError: it is no text, or leaves the folder that it is relative to.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise EntryError(MISSING, f"image is {name!r}, not the path of one picture")
    if ".." not in name and ":" not in name and name[0] not in "/\\":
        return
    windows = PureWindowsPath(name)  # a file made on Windows may carry C:\ or ..\ where Linux sees a plain name
    if PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        raise EntryError(OUTSIDE, f"image {name!r} leaves the image folder: give a path relative to it, without '..'")


def likeliest_root(folders: Sequence[Path], names: Iterable[str], places: Places = as_named) -> Path:
    """The folder that has most of the first twenty pictures; the first of `folders` when none has any."""
    wanted = []
    for name in names:
        try:
            check_name(name)
        except EntryError:
            continue
        wanted.append(name)
        if len(wanted) == _TRIED:
            break
    return max(folders, key=lambda folder: sum(_has(folder, name, places) for name in wanted))


def _has(folder: Path, name: str, places: Places) -> bool:
    try:
        return any((folder / place).is_file() for place in places(name))
    except (OSError, ValueError):  # a name no file can have: the check of the records will say so
        return False
