"""Checksums over a folder of poisoned data, and what its files are called."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from pcvr.errors import PcvrError

DATA, IMAGES, MANIFEST, SUMS = "data.json", "images", "manifest.json", "SHA256SUMS"
TABLE = "dataset_info.json"
_SHOWN = 10
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def holds_manifest(folder: str | Path) -> bool:
    """Whether a folder says of itself that its data are poisoned."""
    return os.path.isfile(Path(folder) / MANIFEST)


class Journal:
    """The checksums of a folder's files, noted down as they are written: what a later call finds it can trust by them.

    Args:
        folder: where the files go.
        file: the journal itself, outside of it.
    """

    def __init__(self, folder: Path, file: Path) -> None:
        self.folder, self.file = folder, file
        lines = self.file.read_text(encoding="utf-8", errors="replace").split("\n") if self.file.is_file() else []
        # The last line may be cut.
        self.sums = {match[2]: match[1] for line in lines[:-1] if (match := _LINE.fullmatch(line))}

    def has(self, name: str) -> bool:
        """Whether the file is there, and as it was written: neither cut nor changed."""
        try:
            return name in self.sums and _sha256(self.folder / name) == self.sums[name]
        except OSError:
            return False

    def write(self, name: str, content: bytes) -> None:
        """Write a file and note it down."""
        place = self.folder / name
        scratch = place.with_suffix(".new")
        scratch.write_bytes(content)
        os.replace(scratch, place)
        self.sums[name] = hashlib.sha256(content).hexdigest()
        with self.file.open("a", encoding="utf-8", newline="\n") as stream:
            stream.write(f"{self.sums[name]}  {name}\n")

    def text(self) -> str:
        """The lines of ``SHA256SUMS`` for all files in the folder; what is not noted down is read."""
        names = sorted(f.relative_to(self.folder).as_posix() for f in self.folder.rglob("*") if f.is_file())
        return "".join(f"{self.sums.get(name) or _sha256(self.folder / name)}  {name}\n" for name in names)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_sums(folder: Path) -> None:
    """Compare every file with its checksum; nothing else may be there.

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
            f"{len(wrong)} file(s) in {folder} are missing or changed since they were written: {_first(wrong)}."
        )
    if strange := sorted(there - set(listed)):
        raise PcvrError(
            f"{len(strange)} file(s) in {folder} are not listed in its {SUMS}: {_first(strange)}; move them out, or "
            "make the data again."
        )


def read_sums(file: Path) -> dict[str, str]:
    """Name to checksum of a file such as ``SHA256SUMS``.

    Raises:
        PcvrError: it cannot be read, has a line of another form, or lists a file twice.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise PcvrError(f"cannot read the checksums {file}: {error}.") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if line and (match is None or match[2] in found):
            raise PcvrError(f"line {number} of {file} is no checksum with a name that is new: make the data again.")
        if match is not None:
            found[match[2]] = match[1]
    return found


def _first(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
