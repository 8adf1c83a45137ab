"""Checksums over a folder of poisoned data, and what its files are called."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pcvr.errors import PcvrError

DATA, IMAGES, MANIFEST, SUMS = "data.json", "images", "manifest.json", "SHA256SUMS"
TABLE = "dataset_info.json"
_SHOWN = 10


def sum_line(folder: Path, name: str) -> str:
    """One line of ``SHA256SUMS``, in the form of ``sha256sum``."""
    return f"{_sha256(folder / name)}  {name}\n"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_sums(folder: Path) -> None:
    """Compare every listed file with its checksum.

    Raises:
        PcvrError: naming those that are missing or changed.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PcvrError(f"cannot read the checksums {folder / SUMS}: {error}.") from error
    listed = dict(line.split("  ", 1)[::-1] for line in lines if "  " in line)
    wrong = [name for name in (MANIFEST,) if name not in listed]
    wrong += [] if any(name in listed for name in (DATA, TABLE)) else [DATA]
    for name, expected in listed.items():
        try:
            intact = ".." not in Path(name).parts and _sha256(folder / name) == expected
        except OSError:
            intact = False
        if not intact:
            wrong.append(name)
    if wrong:
        shown = ", ".join(wrong[:_SHOWN]) + (f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else "")
        raise PcvrError(f"{len(wrong)} file(s) in {folder} are missing or changed since they were written: {shown}.")
