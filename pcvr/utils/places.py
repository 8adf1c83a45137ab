"""Output paths: checked before the work, locked against other processes, replaced by a fallback if writing fails."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pcvr.errors import PcvrError
from pcvr.utils.files import Kind, NotWritten, beside, cannot_write, refuse_existing

if sys.platform != "win32":
    import fcntl

_BLOCK = 4096
"""Bytes of the probe file that is written to test a path."""


def check_place(
    target: str | Path, kind: Kind = "folder", own: Callable[[Path], bool] | None = None, hint: str = ""
) -> None:
    """Raise unless `target` can be written; call it before the work.

    The check makes the missing folders and a probe file under a hidden name in the nearest existing folder, and
    removes them.

    Args:
        target: path of the future result.
        kind: whether `target` is to be a file or a folder.
        own: returns whether an existing `target` was made by this tool and may be written to; None: it must not exist.
        hint: advice for an existing `target` that is not the tool's own; by default to choose another path.

    Raises:
        PcvrError: `target` exists and may not be written to, or cannot be made.
    """
    target = Path(target)
    if os.path.lexists(target):
        usable = own is not None and (os.path.isdir if kind == "folder" else os.path.isfile)(target) and own(target)
        if not usable and hint:
            raise NotWritten(f"{target} exists already", hint)
        if not usable:
            refuse_existing(target, kind)
    base = target if kind == "folder" and os.path.isdir(target) else target.parent
    while not os.path.lexists(base) and base != base.parent:
        base = base.parent
    probe: Path | None = None
    try:
        if not os.path.isdir(base):
            raise NotADirectoryError(errno.ENOTDIR, f"{base} is not a folder")
        probe = Path(tempfile.mkdtemp(prefix=".pcvr-", dir=base))
        file = probe / target.relative_to(base) / ("probe" if kind == "folder" else "")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(_BLOCK))
    except (OSError, ValueError) as problem:  # ValueError: a name with a NUL byte
        raise cannot_write(target, problem) from problem
    finally:
        if probe is not None:
            shutil.rmtree(probe, ignore_errors=True)


def check_apart(**places: str | Path | None) -> None:
    """Raise if two output folders are the same, or one is inside the other.

    Args:
        places: folders by their names in messages; None for those that are not used.
    """
    found: list[tuple[str, Path]] = []
    for name, place in places.items():
        if place is not None:
            try:
                found.append((name, Path(os.path.realpath(place))))
            except ValueError as problem:  # a NUL byte
                raise cannot_write(Path(place), problem) from problem
    for number, (name, place) in enumerate(found):
        for other, there in found[:number]:
            if place == there or place in there.parents or there in place.parents:
                raise PcvrError(
                    f"{other} ({places[other]}) and {name} ({places[name]}) are one folder, or one is inside the "
                    "other: choose two separate folders."
                )


@contextmanager
def alone(target: str | Path, what: str = "") -> Iterator[None]:
    """Lock `target` against other processes of this package while the block runs.

    The lock is the operating system's, on a hidden file beside `target`, so it ends with the process. On Windows there
    is no lock.

    Args:
        target: a file or folder; it need not exist yet.
        what: its name in messages; by default its path.

    Raises:
        PcvrError: another process holds the lock, or the parent folder cannot be written.
    """
    target = Path(target)
    file = beside(target, ".lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        stream = file.open("a")
        while not _locked(stream.fileno(), file):
            stream.close()
            stream = file.open("a")
    except BlockingIOError:
        stream.close()
        raise NotWritten(
            f"another process is writing {what or target}", "wait until it is done, or choose another place"
        ) from None
    except (OSError, ValueError) as problem:
        raise cannot_write(target, problem) from problem
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink()  # while it is still locked, so that no other process's lock is removed
        stream.close()


def _locked(descriptor: int, file: Path) -> bool:
    """Lock an open file; return False if its last holder has removed it meanwhile.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return True  # a file system without locks
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def rescued(target: Path, write: Callable[[Path], object]) -> None:
    """Write a result to `target`; if that fails, to a new folder in the current or the temporary directory.

    Raises:
        PcvrError: `target` could not be written; the message says where the result was saved instead, if anywhere.
    """
    try:
        write(target)
    except NotWritten as problem:
        for base in (os.curdir, tempfile.gettempdir()):
            try:
                folder = Path(tempfile.mkdtemp(prefix="pcvr-rescued-", dir=base)).resolve()
            except OSError:
                continue
            place = folder / beside(target, "").name[1:]
            try:
                write(place)
            except NotWritten:
                folder.rmdir()
                continue
            raise PcvrError(f"{problem.what}: the result is not lost, it is kept in {place}.") from problem
        raise
