"""Checksums over a folder of poisoned data, and the names of its files."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pcvr.data.forms import DATA
from pcvr.errors import PcvrError

MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
TABLE = "state.json"
_MOST_NAMED = 10
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def holds_manifest(folder: str | Path) -> bool:
    """Return whether a folder has a manifest of poisoned data."""
    return os.path.isfile(Path(folder) / MANIFEST)


class Journal:
    """The checksums of a folder's files, recorded as the files are written, so that a later call can trust them.

    Args:
        folder: where the files go.
        file: the journal itself, outside of `folder`.
    """

    def __init__(self, folder: Path, file: Path) -> None:
        self.folder, self.file = folder, file
        lines = self.file.read_text(encoding="utf-8", errors="replace").split("\n") if self.file.is_file() else []
        # The last line may be cut.
        self.sums = {match[2]: match[1] for line in lines[:-1] if (match := _LINE.fullmatch(line))}

    def has(self, name: str) -> bool:
        """Return whether the file exists exactly as it was written."""
        try:
            return name in self.sums and _sha256(self.folder / name) == self.sums[name]
        except OSError:
            return False

    def put(self, name: str, make: Callable[[], bytes]) -> None:
        """Write a file with the bytes that `make` returns, unless it exists exactly as it was written."""
        if not self.has(name):
            self.write(name, make())

    def write(self, name: str, content: bytes) -> None:
        """Write a file and record its checksum."""
        place = self.folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = place.with_suffix(".new")
        scratch.write_bytes(content)
        os.replace(scratch, place)
        self.sums[name] = hashlib.sha256(content).hexdigest()
        with self.file.open("a", encoding="utf-8", newline="\n") as stream:
            stream.write(f"{self.sums[name]}  {name}\n")

    def text(self) -> str:
        """Return the lines of ``SHA256SUMS`` for all files in the folder; files without a record are read."""
        names = sorted(f.relative_to(self.folder).as_posix() for f in self.folder.rglob("*") if f.is_file())
        return "".join(f"{self.sums.get(name) or _sha256(self.folder / name)}  {name}\n" for name in names)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_sums(folder: Path) -> None:
    """Compare every file with its checksum; the folder may hold nothing else.

    Raises:
        PcvrError: naming those that are missing, changed or not listed.
    """
    listed = read_sums(folder / SUMS)
    there = {f.relative_to(folder).as_posix() for f in folder.rglob("*") if not f.is_dir()} - {SUMS}
    wrong = [name for name in (MANIFEST,) if name not in listed]
    wrong += [] if any(name in listed for name in (DATA, TABLE)) else [DATA]
    for name, expected in listed.items():
        try:
            intact = name in there and _sha256(folder / name) == expected
        except OSError:
            intact = False
        if not intact:
            wrong.append(name)
    if wrong:
        raise PcvrError(
            f"{len(wrong)} file(s) in {folder} are missing or changed since they were written: {first_few(wrong)}."
        )
    if strange := sorted(there - set(listed)):
        raise PcvrError(
            f"{len(strange)} file(s) in {folder} are not listed in its {SUMS}: {first_few(strange)}; move them out, or "
            "make the data again."
        )


def read_sums(file: Path) -> dict[str, str]:
    """Read a file such as ``SHA256SUMS`` into a mapping from name to checksum.

    Raises:
        PcvrError: the file cannot be read, has a malformed line, or lists a name twice.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise PcvrError(f"cannot read the checksums {file}: {error}.") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if line and (match is None or match[2] in found):
            raise PcvrError(f"line {number} of {file} is not a checksum with a new name: make the data again.")
        if match is not None:
            found[match[2]] = match[1]
    return found


def first_few(names: Sequence[object]) -> str:
    """Return the first ten of `names` as words, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return ", ".join(map(str, names[:_MOST_NAMED])) + (f" and {more} more" if more > 0 else "")
