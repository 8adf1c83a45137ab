"""Atomic writing of files and folders (a scratch file beside the target, then renamed), and JSON from outside."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError

from pcvr.errors import PcvrError, cut, first_line, shown

_KINDS: dict[type, str] = {dict: "an object", list: "a list"}

Kind = Literal["folder", "file"]

_LONG = 200
"""A name with more bytes is shortened before an ending is added: file systems allow 255."""


@contextmanager
def new_folder(target: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a scratch folder beside `target`; it becomes `target` when the block succeeds and is deleted otherwise.

    Args:
        target: the folder to make.
        replace: whether an existing folder `target` is replaced once the new one is complete; otherwise it is an error.

    Raises:
        PcvrError: `target` exists, or the disk is full or not writable.
    """
    target = as_path(target, "the folder")
    if not replace:
        refuse_existing(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=beside(target, "-").name, dir=target.parent))
    except (OSError, ValueError) as problem:
        raise cannot_write(target, problem) from problem
    try:
        yield scratch
        scratch.chmod(0o755)
        settle(scratch)
        if not replace:
            refuse_existing(target)  # another process may have made it meanwhile
        _take_place(scratch, target)
    except (OSError, SafetensorError) as problem:  # a full disk has its own type where safetensors writes
        raise cannot_write(target, problem) from problem
    except NotWritten as problem:  # it names the scratch folder, which means nothing to the reader
        raise problem if problem.__cause__ is None else cannot_write(target, problem.__cause__) from problem
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _take_place(scratch: Path, target: Path) -> None:
    """Rename `scratch` to `target`; an older `target` is deleted only after that."""
    if not target.exists():
        os.replace(scratch, target)
        return
    if not target.is_dir():
        raise NotADirectoryError(f"{target} is a file, not a folder")
    old = scratch.with_name(f"{scratch.name}-old")
    os.replace(target, old)
    try:
        os.replace(scratch, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_text(target: str | Path, text: str, *, new: bool = False) -> None:
    """Write `text` to `target` whole or not at all.

    Args:
        target: the file.
        text: its content.
        new: whether an existing file is an error; otherwise it is replaced.

    Raises:
        PcvrError: the disk is full or not writable, or the file exists and `new` is set.
    """
    write_bytes(target, text.encode("utf-8", "backslashreplace"), new=new)  # JSON reads these escapes back


def write_bytes(target: str | Path, content: bytes, *, new: bool = False) -> None:
    """Write `content` to `target` whole or not at all; arguments and errors as :func:`write_text`."""
    target = as_path(target, "the file")
    scratch = beside(target, f"-{os.getpid()}-{os.urandom(4).hex()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if new:
            refuse_existing(target, "file")
        os.replace(scratch, target)
    except OSError as problem:
        raise cannot_write(target, problem) from problem
    finally:
        with suppress(OSError):  # the error that is being raised says more
            scratch.unlink()


def write_json(target: str | Path, value: Mapping[str, Any], *, new: bool = False) -> None:
    """Write `value` as indented JSON, whole or not at all; arguments and errors as :func:`write_text`."""
    write_text(target, json.dumps(value, indent=1, ensure_ascii=False) + "\n", new=new)


def as_path(value: str | Path, what: str) -> Path:
    """Return `value` as a path.

    Raises:
        PcvrError: it is not a text or path, is empty, or cannot exist: a name of more than 255 bytes, a NUL byte.
    """
    good = isinstance(value, str | Path) and str(value) != ""
    try:
        parts = os.fsencode(value).split(os.fsencode(os.sep)) if good else []
    except UnicodeEncodeError:
        good = False
    if not good or max(map(len, parts)) > 255 or sum(map(len, parts)) > 4000 or b"\0" in b"".join(parts):
        raise PcvrError(f"{what} is {shown(value)}: give a path that can exist, its names up to 255 bytes each.")
    return Path(value)


def read_json(path: str | Path, what: str = "the file", kind: type = dict) -> Any:
    """Return the content of a JSON file from an untrusted source.

    Args:
        path: the file.
        what: its name in messages, such as ``"the record"``.
        kind: expected type of the value: ``dict``, ``list``, or ``object`` for any.

    Raises:
        PcvrError: the file is missing, not readable, not JSON, or JSON of another type.
    """
    place = f"{what} {cut(str(path), 200)}"
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as problem:  # ValueError: a NUL byte in the path, or bytes that are not UTF-8
        reason = getattr(problem, "strerror", None) or first_line(problem)
        raise PcvrError(f"{place} cannot be read ({reason}): give a JSON file that is there and complete.") from problem
    return parse_json(text, place, kind)


def parse_json(text: str, what: str, kind: type = dict) -> Any:
    """Return the value of a JSON text from an untrusted source; arguments and errors as :func:`read_json`."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise PcvrError(f"{what} is nested too deep to be read: give JSON with fewer levels.") from None
    except ValueError as problem:
        raise PcvrError(f"{what} is not valid JSON ({first_line(problem)}): make or fetch it again.") from problem
    if not isinstance(value, kind):
        raise PcvrError(f"{what} is a {type(value).__name__}: it has to be {_KINDS[kind]}; make or fetch it again.")
    return value


def beside(target: Path, ending: str) -> Path:
    """Return the hidden path beside `target` with `ending` in its name, short enough for a file system."""
    name = target.name
    if len(os.fsencode(name)) > _LONG:
        name = f"{name[:40]}-{zlib.crc32(os.fsencode(name)):08x}"
    return target.parent / f".{name}{ending}"


def settle(folder: Path) -> None:
    """Flush all files below `folder` to the disk, so that a power cut cannot truncate them."""
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir() and sys.platform == "win32":
            continue
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class NotWritten(PcvrError):
    """A file or folder could not be written.

    Attributes:
        what: the message without its advice.
    """

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}: {advice}.")
        self.what = what


def cannot_write(target: Path, problem: BaseException) -> NotWritten:
    """Return the error for a `target` that could not be written and was not left half written."""
    return NotWritten(
        f"{target} could not be written ({getattr(problem, 'strerror', None) or problem})",
        "free some disk space or choose another place; nothing was left behind",
    )


def refuse_existing(target: str | Path, kind: Kind = "folder") -> None:
    """Raise if `target` exists; call it before the work, not after.

    Raises:
        PcvrError: `target` exists, or is a broken link.
    """
    if os.path.lexists(as_path(target, f"the {kind}")):
        raise NotWritten(f"{target} exists already", f"choose another {kind} or remove it first")
