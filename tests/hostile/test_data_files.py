"""Files and folders that are strange: git-lfs pointers, links, missing splits, trusted samples that are trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from pcvr.cli.app import app
from pcvr.data import check_data, open_data
from tests import formats
from tests.hostile.catalogue import Case, Works, every
from tests.photographs import write_llava_photographs

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
TURNS = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]


def file(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def data(folder: Path, *pictures: str, **changes: Any) -> Path:
    records = [{"id": name, "image": name, "conversations": TURNS, **changes} for name in pictures]
    return file(folder / "data.json", json.dumps(records))


def linked(work: Path, what: str) -> Path:
    """Data whose picture, or whose folder of pictures, is a link out of their folder."""
    formats.grey(work / "store" / "a.png")
    (work / "data").mkdir()
    if what == "folder":
        (work / "data" / "pictures").symlink_to(work / "store")
        return data(work / "data", "pictures/a.png")
    (work / "data" / "a.png").symlink_to(work / "store" / "a.png")
    if what == "twice":
        (work / "data" / "b.png").symlink_to("a.png")
        return data(work / "data", "a.png", "b.png")
    return data(work / "data", "a.png")


def dangling(work: Path) -> Path:
    (work / "a.png").symlink_to("gone.png")
    return data(work, "a.png")


def pcvr(*words: object) -> str:
    """What a command says; what it raises goes on."""
    done = CliRunner().invoke(app, list(map(str, words)))
    if isinstance(done.exception, Exception):
        raise done.exception
    return done.output


def own(work: Path, copies: int = 2) -> Path:
    return write_llava_photographs(work / "own", copies=copies, side=16)


def trusting(work: Path, *words: object) -> str:
    return pcvr("train", work / "out", "--data", own(work), "--max-steps", 1, "--defense", "clean_tune", *words)


def pictures(path: Path, **options: Any) -> int:
    """How many pictures can be read."""
    found = open_data(path, **options)
    return len([found[i].image for i in range(len(found))])


@every(
    Case("a pointer for JSON", lambda work: open_data(file(work / "a.json", POINTER)), "git-lfs", "git lfs pull"),
    Case("a pointer for JSON lines", lambda work: open_data(file(work / "a.jsonl", POINTER)), "git lfs pull"),
    Case("a pointer for CSV", lambda work: open_data(file(work / "a.csv", POINTER)), "git lfs pull"),
    Case("a pointer in a folder", lambda work: open_data(file(work / "in" / "a.json", POINTER).parent), "git lfs pull"),
    Case(
        "a pointer for answers",
        lambda work: open_data(formats.write_vqav2(work, 1)[0], annotations=file(work / "b.json", POINTER)),
        "b.json",
        "git lfs pull",
    ),
    Case(
        "a pointer for a picture",
        lambda work: pictures(data(file(work / "a.png", POINTER).parent, "a.png")),
        "a.png",
        "git lfs pull",
    ),
    Works(
        "a pointer for a picture, checked",
        lambda work: check_data(data(file(work / "a.png", POINTER).parent, "a.png")),
        lambda report: "git lfs pull" in str(report) and report.counts() == {"unreadable image": 1},
    ),
    Case(
        "a linked picture",
        lambda work: open_data(linked(work, "picture")),
        "link",
        "follow_links=True",
        "--follow-links",
    ),
    Case("a linked folder", lambda work: open_data(linked(work, "folder")), "link", "follow_links=True"),
    Case("a link to nowhere", lambda work: open_data(dangling(work)), "a link whose target is not a file"),
    Case(
        "a link to nowhere, followed", lambda work: open_data(dangling(work), follow_links=True), "a link whose target"
    ),
    Case(
        "out of the folder, links followed", lambda work: open_data(data(work, "../a.png"), follow_links=True), "leaves"
    ),
    Works("a linked picture, followed", lambda work: pictures(linked(work, "picture"), follow_links=True)),
    Works("a linked folder, followed", lambda work: pictures(linked(work, "folder"), follow_links=True)),
    Works(
        "a link to a link, followed", lambda work: pictures(linked(work, "twice"), follow_links=True), lambda n: n == 2
    ),
    Works(
        "links on the command line",
        lambda work: pcvr("data", linked(work, "picture"), "--check", "--follow-links"),
        lambda said: "no problems in 1 records" in said,
    ),
    Works(
        "links and poison",
        lambda work: pcvr("poison", work / "out", "--data", linked(work, "twice"), "--rate", 0.5, "--follow-links"),
        lambda said: "1 of 2 samples poisoned" in said,
    ),
    Case("a split that is no name", lambda work: open_data(own(work), split=3), "split", "3"),  # type: ignore[arg-type]
    Case(
        "a split of nobody",
        lambda work: pcvr("poison", work / "out", "--data", own(work), "--split", "x"),
        "split",
        "'x'",
    ),
    Case("all of the scenes", lambda work: open_data("scenes", "all"), "split", "'all'"),
    Case(
        "trusted and trained on: all",
        lambda work: trusting(work, "--clean", 1, "--split", "all"),
        "--clean 1",
        "validation split",
        "--split train",
    ),
    Case("trusted and trained on: val", lambda work: trusting(work, "--clean", 1, "--split", "val"), "--split val"),
    Case(
        "trusted and trained on: the same file",
        lambda work: trusting(work, "--clean", own(work)),
        "--clean",
        "names training samples",
    ),
    Case("more trusted than there are", lambda work: trusting(work, "--clean", 900), "n=900", "10 % by hash"),
)
def test_files(case: Case | Works, tmp_path: Path) -> None:
    case.hold(tmp_path)
