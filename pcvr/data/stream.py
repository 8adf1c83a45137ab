"""Streaming JSON: a file of 90 MB is never in memory as a whole, neither as text nor as objects."""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pcvr.data.pictures import LFS_POINTER
from pcvr.errors import PcvrError

_CHUNK = 1 << 20
_SPACE = re.compile(r"[ \t\n\r]*")
_ALIKE = 6
"""Number of first characters that all items of a list are assumed to share."""


class JsonFile:
    """A JSON document that is a list, or an object with lists in it (as COCO's), item by item.

    Iterating yields ``(key, number, value)``: the items of a top-level list with key ``""``, the items of a list in a
    top-level object with that list's key, both numbered from 0; any other value with number -1. The bytes are hashed
    on the way. Use it in a ``with`` statement, and iterate once.

    Attributes:
        path: the file.
        top: its first character, ``"["``, ``"{"``, that of another value, or ``""`` for an empty file.
        digest: SHA-256 of the bytes read so far; of the whole file after the iteration.

    Raises:
        PcvrError: the file is missing, not UTF-8, or not valid JSON.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest = hashlib.sha256()
        self._decoder = json.JSONDecoder()
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._buffer, self._at, self._passed, self._ended = "", 0, 0, False
        try:
            self._stream = path.open("rb")
        except (OSError, ValueError) as error:
            raise cannot_read(path, error) from error
        try:
            self.top = self._peek()
            refuse_pointer(path, self._buffer[: len(LFS_POINTER)].encode("utf-8", "replace"))
        except PcvrError:
            self._stream.close()
            raise

    def __enter__(self) -> JsonFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __iter__(self) -> Iterator[tuple[str, int, Any]]:
        if self.top == "[":
            yield from self._items("")
        elif self.top == "{":
            yield from self._members()
        else:
            yield "", -1, self._value()
        if self._peek():
            raise self._broken("there is more after the end")

    def _members(self) -> Iterator[tuple[str, int, Any]]:
        self._take("{")
        if self._peek() == "}":
            self._take("}")
            return
        while True:
            if self._peek() != '"':
                raise self._broken("a key in double quotes is expected")
            key = self._value()
            self._take(":")
            if self._peek() == "[":
                yield from self._items(key)
            else:
                yield key, -1, self._value()
            if self._take(",}") == "}":
                return

    def _items(self, key: str) -> Iterator[tuple[str, int, Any]]:
        self._take("[")
        if self._peek() == "]":
            self._take("]")
            return
        number = 0
        while True:
            began = self._at
            yield key, number, self._value()
            number += 1
            end = self._at
            if self._take(",]") == "]":
                return
            self._peek()
            if end > began and self._at > end:  # no new chunk was read meanwhile
                # Nearly all items start with the same key, so the text between two items locates the last in the chunk.
                for value in self._many(self._buffer[end : self._at + _ALIKE]):
                    yield key, number, value
                    number += 1

    def _many(self, between: str) -> list[Any]:
        """Return the following items that end in the buffer, decoded at once: three times as fast as one by one.

        A cut at a position that only looks like the end of an item leaves a string or a bracket open; decoding then
        fails, and the list is empty.
        """
        cut = self._buffer.rfind(between, self._at)
        if cut < 0:
            return []
        try:
            values = self._decoder.decode(f"[{self._buffer[self._at : cut]}]")
        except (ValueError, RecursionError):  # decoding one by one locates the problem
            return []
        self._at = cut
        self._take(",")
        self._peek()
        return list(values)

    def _value(self) -> Any:
        """Return the value at the current position."""
        size = _CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except RecursionError as error:
                raise self._broken("it is nested too deeply") from error
            except ValueError as error:  # usually a value that the buffer holds only the start of
                if self._more(size):
                    size *= 2
                    continue
                what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                at = error.pos if isinstance(error, json.JSONDecodeError) else self._at
                raise self._broken(what, at) from error
            if end == len(self._buffer) and self._more(size):
                continue  # a number may continue
            self._at = end
            return value

    def _peek(self) -> str:
        """Return the next character that is not white space; ``""`` at the end."""
        while True:
            space = _SPACE.match(self._buffer, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def _take(self, expected: str) -> str:
        found = self._peek()
        if not found or found not in expected:
            raise self._broken(f"{' or '.join(repr(each) for each in expected)} is expected")
        self._at += 1
        return found

    def _more(self, size: int = _CHUNK) -> bool:
        """Read the next chunk; return False at the end of the file."""
        if self._ended:
            return False
        try:
            raw = self._stream.read(size)
            text = self._decode(raw, not raw)
        except OSError as error:
            raise cannot_read(self.path, error) from error
        except UnicodeDecodeError as error:
            raise PcvrError(f"{self.path} is not valid JSON (not UTF-8, {error.reason}): save it as UTF-8.") from error
        self.digest.update(raw)
        self._ended = not raw
        self._passed += self._at
        self._buffer, self._at = self._buffer[self._at :] + text, 0
        return True

    def _broken(self, what: str, at: int | None = None) -> PcvrError:
        place = self._passed + (self._at if at is None else at)
        return PcvrError(
            f"{self.path} is not valid JSON ({what[:1].lower()}{what[1:]}, at character {place}): "
            "repair the file or download it again."
        )


def json_lines(path: Path, digest: Any) -> Iterator[tuple[int, Any, str]]:
    """Yield the lines of a JSON-lines file as ``(line number from 1, value, problem or "")``, without empty lines.

    Args:
        path: the file.
        digest: a ``hashlib`` object, updated with the bytes.

    Raises:
        PcvrError: the file cannot be read.
    """
    for number, line in enumerate(byte_lines(path, digest), 1):
        if not line.strip():
            continue
        value, wrong = None, ""
        try:
            value = json.loads(line)
        except RecursionError:
            wrong = "it is nested too deeply"
        except ValueError as error:
            wrong = f"not valid JSON ({error})"
        yield number, value, wrong


def byte_lines(path: Path, digest: Any) -> Iterator[bytes]:
    """Yield the lines of a file, without a byte order mark, and update `digest` with their bytes.

    Raises:
        PcvrError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream):
                if number == 0:
                    refuse_pointer(path, line)
                digest.update(line)
                yield line.removeprefix(codecs.BOM_UTF8) if number == 0 else line
    except PcvrError:
        raise
    except (OSError, ValueError) as error:
        raise cannot_read(path, error) from error


def cannot_read(path: Path, error: Exception) -> PcvrError:
    """Return the error for a file that cannot be opened or read."""
    problem = getattr(error, "strerror", None) or error
    return PcvrError(f"cannot read the file {path}: {problem}; give the path of an existing file.")


def refuse_pointer(path: Path, content: bytes) -> None:
    """Raise if `content`, the start of a file, is a git-lfs pointer.

    Raises:
        PcvrError: naming the file and the remedy.
    """
    if content.startswith(LFS_POINTER):
        raise PcvrError(f"{path} is a git-lfs pointer and not the file itself: run `git lfs pull` in its repository.")
