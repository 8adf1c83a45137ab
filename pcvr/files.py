"""Writing that never leaves half a file: beside first, then renamed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pcvr.errors import PcvrError


@contextmanager
def new_folder(target: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """A scratch folder beside `target` that becomes `target` when the block ends well, and vanishes when it does not.

    Args:
        target: the folder to make.
        replace: whether an existing `target` is replaced; otherwise it is refused.

    Raises:
        PcvrError: `target` exists, or the disk is full or not writable.
    """
    target = Path(target)
    if target.exists() and not replace:
        raise PcvrError(f"{target} exists already: choose another folder or remove it first.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as problem:
        raise _cannot_write(target, problem) from problem
    try:
        yield scratch
        scratch.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        os.replace(scratch, target)
    except OSError as problem:
        raise _cannot_write(target, problem) from problem
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(target: str | Path, text: str) -> None:
    """Write `text` to `target` whole or not at all.

    Raises:
        PcvrError: the disk is full or not writable.
    """
    target = Path(target)
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, target)
    except OSError as problem:
        raise _cannot_write(target, problem) from problem
    finally:
        scratch.unlink(missing_ok=True)


def write_json(target: str | Path, value: Mapping[str, Any]) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(target, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _cannot_write(target: Path, problem: OSError) -> PcvrError:
    return PcvrError(
        f"{target} could not be written ({problem.strerror or problem}): free some disk space or choose another place; "
        "nothing was left behind."
    )
