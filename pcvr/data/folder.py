"""A folder of images: files are found by name without leaving the folder, from one listing of each subfolder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from pcvr.data.report import MISSING, OUTSIDE, EntryError

Places = Callable[[str], Iterable[str]]
"""Function from an image's name to the paths in the folder at which it may be, the likeliest first."""

_TRIED = 20


def as_named(name: str) -> Iterable[str]:
    """Return `name` alone: the :data:`Places` of images that are where their names say."""
    return (name,)


@dataclass(frozen=True, slots=True)
class _Listing:
    """The files directly in one folder, plain files and links; `prefix` is the folder's path in the root."""

    prefix: str
    files: frozenset[str]
    links: frozenset[str]


class PictureFolder:
    """Finds images by name, never outside the folder; through links only if they may be followed.

    Each subfolder is listed at the first search in it; :meth:`forget` drops the listings.
    """

    def __init__(self, root: Path, places: Places = as_named, follow_links: bool = False) -> None:
        """
        Args:
            root: the folder; it may be a link.
            places: the paths at which an image may be.
            follow_links: whether links in the folder may lead out of it.
        """
        self.root = root.resolve()
        self._places = places
        self._follow = follow_links
        self._listings: dict[str, _Listing] = {}

    def find(self, name: Any) -> str:
        """Return the path of an image relative to the folder, in POSIX form; links within the folder are followed.

        Raises:
            EntryError: `name` is not a path, leaves the folder, or is not a file there.
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
        """Return the file of a `name` from :meth:`find`; it is checked again, since links may have changed.

        Raises:
            EntryError: it is missing, or is now a link that leaves the folder.
        """
        return self._resolve(name)

    def forget(self) -> None:
        """Drop the listings, which take a hundred bytes a file."""
        self._listings.clear()

    def _relative(self, place: str) -> str:
        target = self._resolve(place)
        return target.relative_to(self.root).as_posix() if target.is_relative_to(self.root) else place

    def _search(self, name: str) -> str:
        """Search the file system for an image in no listing: it may ignore case, and gives the reason for a miss."""
        outside: EntryError | None = None
        for place in self._places(name):
            if not os.path.exists(f"{self.root}/{place}"):  # saves most of the time if a whole folder is missing
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
        except (OSError, RuntimeError, ValueError):  # a name that is too long or invalid, or a cycle of links
            raise self._missing(place) from None
        if not found:
            raise self._missing(place)
        if not self._follow and not target.is_relative_to(self.root):
            raise EntryError(
                OUTSIDE,
                f"image {place!r} is a link that leaves the image folder, or is in one: copy it there, or give "
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
        except (OSError, RuntimeError, ValueError):  # missing, or outside: _search says which
            pass
        return _Listing(prefix, frozenset(files), frozenset(links))


def check_name(name: Any) -> None:
    """Raise unless `name` is a relative path on every system; the disk is not read.

    Raises:
        EntryError: it is not a text, or leaves the folder that it is relative to.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise EntryError(MISSING, f"image is {name!r}, not the path of one image")
    if ".." not in name and ":" not in name and name[0] not in "/\\":
        return
    windows = PureWindowsPath(name)  # C:\ and ..\ are part of a plain name on Linux
    if PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        raise EntryError(OUTSIDE, f"image {name!r} leaves the image folder: give a path relative to it, without '..'")


def likeliest_root(folders: Sequence[Path], names: Iterable[str], places: Places = as_named) -> Path:
    """Return the folder with most of the first twenty images; the first of `folders` if none has any."""
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
    except (OSError, ValueError):  # an invalid file name, which is reported later
        return False
