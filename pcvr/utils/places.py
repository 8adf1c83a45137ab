"""Places to write to: tried before the work, held against other processes, replaced by another if writing fails."""

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
"""Bytes that are written to see whether a place takes any."""


def check_place(
    target: str | Path, kind: Kind = "folder", own: Callable[[Path], bool] | None = None, hint: str = ""
) -> None:
    """Raise before the work unless its result can be written to `target` afterwards.

    It is tried: in the nearest folder that exists, all that is missing is made under a hidden name and removed.

    Args:
        target: where the result will go.
        kind: what `target` is to be.
        own: says of an existing `target` whether this tool made it and may write to it; None: none may exist.
        hint: what to do about one that is not, half a sentence; by default choose another.

    Raises:
        PcvrError: `target` exists and is not the tool's own or of the other kind, or it cannot be made.
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
    except (OSError, ValueError) as problem:  # a ValueError is a name with a NUL byte
        raise cannot_write(target, problem) from problem
    finally:
        if probe is not None:
            shutil.rmtree(probe, ignore_errors=True)


def check_apart(**places: str | Path | None) -> None:
    """Raise where one of several folders to write to is another one, or lies inside it.

    Args:
        places: by the names that the reader knows them by; None for those not asked for.
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
                    f"{other} ({places[other]}) and {name} ({places[name]}) are one folder, or one lies inside the "
                    "other: choose places apart from each other."
                )


@contextmanager
def alone(target: str | Path, what: str = "") -> Iterator[None]:
    """Keep other processes of this package from writing `target` while the block runs.

    The lock is the operating system's, on a hidden file beside `target`: a process that is killed gives it up. Windows
    has no such lock, and there nothing is kept away.

    Args:
        target: a file or folder, which need not be there yet.
        what: the reader calls it; by default its path.

    Raises:
        PcvrError: another process holds it, or the folder above cannot be written.
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
            file.unlink()  # while it is locked, so that nobody else's is removed
        stream.close()


def _locked(descriptor: int, file: Path) -> bool:
    """Lock an open file; False where its last holder has removed it in the meantime.

    Raises:
        BlockingIOError: another process holds it.
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
    """Write finished work to `target`; where that fails, to a new folder here or among the temporary files.

    Raises:
        PcvrError: `target` could not be written; the message says where the work is, if it could be kept anywhere.
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
            raise PcvrError(f"{problem.what}: what was made is not lost, it is kept in {place}.") from problem
        raise
