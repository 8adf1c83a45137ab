"""JSON read piece by piece: a file of 90 MB never stands in memory as a whole, neither as text nor as objects."""

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
"""How many characters at the beginning of an item are taken to be the same for all."""


class JsonFile:
    """A JSON document that is a list, or an object with lists in it (as COCO's), item by item.

    Iterating gives ``(key, number, value)``: each item of a list at the top with the key ``""``, each item of a list
    right inside the object at the top with that list's key, both counted from 0; any other value with the number -1.
    The bytes are hashed as they pass. Use it in a ``with`` statement, and iterate once.

    Attributes:
        path: the file.
        top: its first character, ``"["``, ``"{"``, that of another value, or ``""`` in an empty file.
        digest: SHA-256 of the bytes read so far: of the file, once the iteration has come to its end.

    Raises:
        PcvrError: no such file, not UTF-8, or not valid JSON.
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
            if end > began and self._at > end:  # no new piece was read meanwhile
                # Nearly all items begin with the same key: what stands between two of them finds the last in the piece.
                for value in self._many(self._buffer[end : self._at + _ALIKE]):
                    yield key, number, value
                    number += 1

    def _many(self, between: str) -> list[Any]:
        """All items from here on that end in the buffer, in one go, which is three times as fast as one by one.

        Cutting at a place that only looks like the end of an item leaves a string or a bracket open, so what comes out
        is right or nothing.
        """
        cut = self._buffer.rfind(between, self._at)
        if cut < 0:
            return []
        try:
            values = self._decoder.decode(f"[{self._buffer[self._at : cut]}]")
        except (ValueError, RecursionError):  # the slow way finds out what is wrong, and where
            return []
        self._at = cut
        self._take(",")
        self._peek()
        return list(values)

    def _value(self) -> Any:
        """The value that begins right here."""
        size = _CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except RecursionError as error:
                raise self._broken("it is nested too deeply") from error
            except ValueError as error:  # nearly always a value that the buffer holds the beginning of
                if self._more(size):
                    size *= 2
                    continue
                said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                at = error.pos if isinstance(error, json.JSONDecodeError) else self._at
                raise self._broken(said, at) from error
            if end == len(self._buffer) and self._more(size):
                continue  # a number may go on
            self._at = end
            return value

    def _peek(self) -> str:
        """The next character that is not white space, or ``""`` at the end."""
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
        """Read on; False where the file has ended."""
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
            "mend the file or download it again."
        )


def json_lines(path: Path, digest: Any) -> Iterator[tuple[int, Any, str]]:
    """The lines of a JSON-lines file as ``(line number from 1, value, what is wrong or "")``; empty lines are skipped.

    Args:
        path: the file.
        digest: a ``hashlib`` object; the bytes go through it.

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
    """The lines of a file, without a byte order mark; their bytes go through `digest`.

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
    """The error for a file that cannot be opened or read."""
    said = getattr(error, "strerror", None) or error
    return PcvrError(f"cannot read the file {path}: {said}; give the path of a file that is there.")


def refuse_pointer(path: Path, content: bytes) -> None:
    """Name a file that is only git-lfs's pointer to it.

    Raises:
        PcvrError: `content`, the file's beginning, says so.
    """
    if content.startswith(LFS_POINTER):
        raise PcvrError(f"{path} is a git-lfs pointer and not the file itself: run `git lfs pull` in its repository.")
