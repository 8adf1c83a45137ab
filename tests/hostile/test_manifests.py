"""Manifests and checksums of poisoned data that somebody has meddled with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pcvr.attacks import get_attack, load_poisoned, poison, save_poisoned
from tests.hostile.catalogue import Case, Works, every
from tests.tiny import Numbers

DEEP = 200_000


def saved(work: Path) -> Path:
    return save_poisoned(poison(Numbers(8), get_attack("badnets", size=4), 0.5), work / "bad")


def vouched(folder: Path, content: bytes) -> None:
    """Another manifest, whose checksum is the right one."""
    (folder / "manifest.json").write_bytes(content)
    sums = [line for line in (folder / "SHA256SUMS").read_text().splitlines() if "manifest.json" not in line]
    sums.append(f"{hashlib.sha256(content).hexdigest()}  manifest.json")
    (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")


def holding(name: str, content: bytes, *words: str) -> Case:
    def act(work: Path) -> None:
        folder = saved(work)
        vouched(folder, content)
        load_poisoned(folder)

    return Case(name, act, *words)


def changed(name: str, change: Callable[[dict[str, Any]], object], *words: str) -> Case:
    def act(work: Path) -> None:
        folder = saved(work)
        values = json.loads((folder / "manifest.json").read_text())
        change(values)
        vouched(folder, json.dumps(values).encode())
        load_poisoned(folder)

    return Case(name, act, *words)


def touched(name: str, touch: Callable[[Path], object], *words: str) -> Case:
    def act(work: Path) -> None:
        folder = saved(work)
        touch(folder)
        load_poisoned(folder)

    return Case(name, act, *words)


def picture(folder: Path) -> Path:
    return sorted((folder / "images").iterdir())[0]


@every(
    holding("empty", b"", "manifest"),
    holding("binary", b"\xff\xfe\x00", "manifest"),
    holding("an empty object", b"{}", "missing"),
    holding("a list", b"[]", "manifest"),
    holding("a number", b"1e999", "manifest"),
    holding("nested deep", b"[" * DEEP + b"]" * DEEP, "manifest"),
    holding("objects nested deep", b'{"a":' * DEEP + b"1" + b"}" * DEEP, "manifest"),
    changed("rate not a number", lambda v: v.update(rate=float("nan")), "rate", "nan"),
    changed("rate infinite", lambda v: v.update(rate=float("inf")), "rate", "inf"),
    changed("rate zero", lambda v: v.update(rate=0), "rate"),
    changed("rate above one", lambda v: v.update(rate=2), "rate", "2"),
    changed("rate true", lambda v: v.update(rate=True), "rate", "True"),
    changed("rate of another count", lambda v: v.update(rate=0.9), "0.9"),
    changed("count", lambda v: v.update(count=3), "count"),
    changed("count a text", lambda v: v.update(count="4"), "count"),
    changed("indices negative", lambda v: v.update(indices=[-1, *v["indices"][1:]]), "indices"),
    changed("indices past the end", lambda v: v.update(indices=[*v["indices"][:-1], 10**30]), "indices"),
    changed("indices of booleans", lambda v: v.update(indices=[True] * 4), "indices"),
    changed("other indices", lambda v: v.update(indices=[i for i in range(8) if i not in v["indices"]]), "hash"),
    changed("more samples", lambda v: v["source"].update(samples=9), "9", "8"),
    changed("samples below zero", lambda v: v["source"].update(samples=-8), "samples", "-8"),
    changed("samples a text", lambda v: v["source"].update(samples="8"), "samples", "8"),
    changed("seed below zero", lambda v: v.update(seed=-1), "seed", "-1"),
    changed("seed a fraction", lambda v: v.update(seed=0.5), "seed", "0.5"),
    changed("target empty", lambda v: v.update(target=" "), "target"),
    changed("target a list", lambda v: v.update(target=["a"]), "target"),
    changed("another target", lambda v: v.update(target="a dog"), "two targets"),
    changed("date a number", lambda v: v.update(date=3), "date", "3"),
    changed("sha256 short", lambda v: v.update(sha256="abc"), "sha256"),
    changed("sha256 null", lambda v: v.update(sha256=None), "sha256"),
    changed("attack a name", lambda v: v.update(attack="badnets"), "attack"),
    changed("attack without a name", lambda v: v["attack"].pop("name"), "name"),
    changed("options a list", lambda v: v["attack"].update(options=[]), "options"),
    changed("source empty", lambda v: v.update(source={}), "source"),
    changed("task unknown", lambda v: v["source"].update(task="chat"), "chat"),
    changed("covers a list", lambda v: v.update(covers=[]), "covers"),
    changed("a cover that is poisoned", lambda v: v.update(covers={"a": v["indices"][:1]}), "two roles"),
    changed("before an object", lambda v: v.update(before={}), "before"),
    changed("before itself", lambda v: v.update(before=[dict(v)]), "two roles"),
    changed("before with a before", lambda v: v.update(before=[{**v, "before": [dict(v)]}]), "before"),
    touched("picture cut", lambda f: picture(f).write_bytes(picture(f).read_bytes()[:-9]), "changed", "png"),
    touched("picture empty", lambda f: picture(f).write_bytes(b""), "changed", "png"),
    touched("picture gone", lambda f: picture(f).unlink(), "missing", "png"),
    touched("picture elsewhere", lambda f: picture(f).rename(f / "x").with_name("y").mkdir(), "missing"),
    touched("another file", lambda f: (f / "notes.txt").write_text("mine"), "notes.txt", "not listed"),
    touched("sums empty", lambda f: (f / "SHA256SUMS").write_text(""), "manifest.json"),
    touched("sums binary", lambda f: (f / "SHA256SUMS").write_bytes(b"\xff\xfe"), "SHA256SUMS"),
    touched("sums outside", lambda f: (f / "SHA256SUMS").write_text("0" * 64 + "  ../../etc/passwd\n"), "passwd"),
    touched("sums twice", lambda f: (f / "SHA256SUMS").write_text((f / "SHA256SUMS").read_text() * 2), "SHA256SUMS"),
    Case("no folder", lambda work: load_poisoned(work / "x"), "manifest.json"),
    Case("a long name", lambda work: load_poisoned(work / ("x" * 300)), "manifest.json"),
    Works("as it was", lambda work: load_poisoned(saved(work)), lambda data: len(data) == 8),
)
def test_manifests(case: Case | Works, tmp_path: Path) -> None:
    case.hold(tmp_path)
