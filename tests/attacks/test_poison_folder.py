"""A folder of poisoned data is vouched for to the last bit: interrupted, cut, written by two at once, meddled with."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PilImage

from pcvr.attacks import load_poisoned, poison, save_poisoned
from pcvr.attacks.checksums import Journal
from pcvr.errors import PcvrError
from tests.attacks.test_poison import BADNETS, Random


def test_killed_it_goes_on_and_what_was_cut_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = poison(Random(6), BADNETS, 0.5)
    whole = save_poisoned(data, tmp_path / "whole")
    write = Journal.write
    written: list[str] = []

    def killed(journal: Journal, name: str, content: bytes) -> None:
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(name)
        write(journal, name, content)

    monkeypatch.setattr(Journal, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        save_poisoned(data, tmp_path / "poisoned")
    images = tmp_path / ".poisoned.part" / "folder" / "images"
    pictures = sorted(images.glob("*.png"))
    assert len(pictures) == 4
    pictures[0].write_bytes(pictures[0].read_bytes()[:-20])
    pictures[1].write_bytes(b"")
    pictures[2].unlink()
    PilImage.new("RGB", (12, 10)).save(images / "000004_r4.png")  # a whole picture, but not the one to be made
    written.clear()

    def counted(journal: Journal, name: str, content: bytes) -> None:
        written.append(name)
        write(journal, name, content)

    monkeypatch.setattr(Journal, "write", counted)
    folder = save_poisoned(data, tmp_path / "poisoned")
    assert written == [f"images/00000{k}_r{k}.png" for k in (0, 1, 2, 4, 5)], "the fourth alone is kept"
    assert _sums(folder) == _sums(whole)
    assert len(load_poisoned(folder)) == 6
    assert sorted(p.name for p in tmp_path.iterdir()) == ["poisoned", "whole"]


def _sums(folder: Path) -> list[str]:
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    return [line for line in lines if not line.endswith("manifest.json")]  # it has a date


@pytest.mark.parametrize("content", ["notes.txt", "plan.json", None])
def test_a_scratch_folder_of_somebody_else_is_left_alone(tmp_path: Path, content: str | None) -> None:
    part = tmp_path / ".poisoned.part"
    if content is None:
        part.write_text("mine")
    else:
        part.mkdir()
        (part / content).write_text("{}")
    with pytest.raises(PcvrError, match=r"poisoned\.part is in the way and was not made by this tool: move it away"):
        save_poisoned(poison(Random(3), BADNETS, 1), tmp_path / "poisoned")
    assert [p.name for p in tmp_path.iterdir()] == [".poisoned.part"]
    assert content is None or (part / content).read_text() == "{}"


def test_one_of_another_call_of_ours_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as inside, pytest.raises(KeyboardInterrupt):
        inside.setattr(Journal, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        save_poisoned(poison(Random(3), BADNETS, 1), tmp_path / "poisoned")
    assert (tmp_path / ".poisoned.part").is_dir()
    data = poison(Random(4), BADNETS, 1)
    assert load_poisoned(save_poisoned(data, tmp_path / "poisoned")).manifest == data.manifest


def test_files_that_nobody_vouches_for(tmp_path: Path) -> None:
    folder = save_poisoned(poison(Random(3), BADNETS, 1), tmp_path / "poisoned")
    sums = (folder / "SHA256SUMS").read_text()
    (folder / "images" / "extra.png").write_bytes(b"?")
    with pytest.raises(PcvrError, match=r"1 file\(s\) .* not listed in its SHA256SUMS: images/extra.png"):
        load_poisoned(folder)
    (folder / "images" / "extra.png").unlink()
    first = sums.splitlines(keepends=True)[0]
    for strange in (sums.replace(first, ""), sums + first, sums + "rubbish\n", sums.upper(), "\xff"):
        (folder / "SHA256SUMS").write_text(strange, encoding="latin-1")
        with pytest.raises(PcvrError, match=r"SHA256SUMS|missing or changed"):
            load_poisoned(folder)
    (folder / "SHA256SUMS").write_text(sums)
    assert len(load_poisoned(folder)) == 3


SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
from pcvr.attacks import poison, save_poisoned
from pcvr.attacks.checksums import Journal
from pcvr.errors import PcvrError
from tests.attacks.test_poison import BADNETS, Random

write = Journal.write
def slow(self, name, content):
    write(self, name, content)
    time.sleep(float(sys.argv[1]))
Journal.write = slow
data = poison(Random(20), BADNETS, 0.5)
print("ready", flush=True)
for line in sys.stdin:
    try:
        print(save_poisoned(data, line.strip()), flush=True)
    except PcvrError as problem:
        print(problem, flush=True)
"""


class Poisoner:
    """A process that poisons slowly, into the folders that it is told; it rests `pause` seconds after each file."""

    def __init__(self, root: Path, pause: float = 0.01) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([sys.executable, "-c", SLOW, str(pause)], cwd=root, text=True, **pipes)

    def tell(self, target: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{target}\n")
        self.process.stdin.flush()

    def said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.communicate(timeout=60)


def test_two_processes_and_one_folder(root: Path, tmp_path: Path) -> None:
    both = [Poisoner(root), Poisoner(root)]
    assert [each.said() for each in both] == ["ready", "ready"]
    for trial in range(5):
        target = tmp_path / f"poisoned{trial}"
        for each in both:
            each.tell(target)
        said = [each.said() for each in both]
        assert said.count(str(target)) == 1, said
        (refusal,) = [text for text in said if text != str(target)]
        assert "another process is writing" in refusal or "exists already" in refusal
        assert len(load_poisoned(target)) == 20
        assert sorted(p.name for p in tmp_path.iterdir()) == [f"poisoned{k}" for k in range(trial + 1)]
    for each in both:
        each.end()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_leaves_what_can_be_gone_on_with(root: Path, tmp_path: Path, how: signal.Signals) -> None:
    poisoner = Poisoner(root, pause=0.3)  # so that a busy machine still hits it half-way
    assert poisoner.said() == "ready"
    poisoner.tell(tmp_path / "poisoned")
    journal = tmp_path / ".poisoned.part" / "written.txt"
    end = time.monotonic() + 30
    while time.monotonic() < end and (not journal.is_file() or journal.read_text().count("\n") < 5):
        time.sleep(0.01)
    poisoner.process.send_signal(how)
    poisoner.end()
    assert poisoner.process.returncode != 0 and not (tmp_path / "poisoned").exists()
    done = len(journal.read_text().splitlines())
    assert 5 <= done < 20
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / ".poisoned.part" / "folder" / "images").glob("*.png")}
    data = poison(Random(20), BADNETS, 0.5)
    folder = save_poisoned(data, tmp_path / "poisoned")
    kept = [p for p, when in before.items() if (folder / "images" / p.name).stat().st_mtime_ns == when]
    assert len(kept) >= done - 1
    assert load_poisoned(folder).manifest == data.manifest
    assert [p.name for p in tmp_path.iterdir()] == ["poisoned"]
