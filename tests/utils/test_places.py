"""Places to write to: tried before the work, held against other processes, and another one where writing fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pcvr.errors import PcvrError
from pcvr.utils.files import Kind, NotWritten, write_text
from pcvr.utils.places import alone, check_apart, check_place, rescued


def everything(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


class TestCheckPlace:
    @pytest.mark.parametrize("kind", ["folder", "file"])
    @pytest.mark.parametrize("name", ["out", "new/deep/out", "x" * 250, "ü" * 120, "a b/ c", "new/../out"])
    def test_good_ones_leave_no_trace(self, tmp_path: Path, kind: Kind, name: str) -> None:
        check_place(tmp_path / name, kind)
        assert everything(tmp_path) == []

    @pytest.mark.parametrize("kind", ["folder", "file"])
    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("file/out", "not a folder|Not a directory"),
            ("link/out", "not a folder|Not a directory"),
            ("loop/out", "not a folder|Not a directory"),
            ("x" * 300, "File name too long"),
            (f"new/{'x' * 300}/out", "File name too long"),
            ("nul\0/out", "null"),
            ("file", "exists already"),
            ("there", "exists already"),
            ("link", "exists already"),
        ],
    )
    def test_bad_ones_are_named_and_nothing_changes(self, tmp_path: Path, kind: Kind, name: str, said: str) -> None:
        (tmp_path / "file").write_text("mine")
        (tmp_path / "there").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        before = everything(tmp_path)
        with pytest.raises(NotWritten, match=said):
            check_place(tmp_path / name, kind)
        assert everything(tmp_path) == before

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
    def test_a_file_system_that_takes_no_files(self) -> None:
        for place in ("/proc/o", "/proc/self/a/b"):
            with pytest.raises(NotWritten, match=place):
                check_place(place)

    def test_a_folder_without_the_right(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def denied(*_: object, **__: object) -> str:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("tempfile.mkdtemp", denied)  # for root no folder is closed
        with pytest.raises(NotWritten, match="Permission denied"):
            check_place(tmp_path / "out")

    def test_ones_own_may_be_there(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").write_text("ours")
        check_place(tmp_path / "folder", own=lambda p: True)
        check_place(tmp_path / "file", "file", own=lambda p: p.read_text() == "ours")
        crossed: tuple[tuple[str, Kind], ...] = (("folder", "file"), ("file", "folder"))
        for name, kind in crossed:
            with pytest.raises(NotWritten, match="exists already"):
                check_place(tmp_path / name, kind, own=lambda p: True)
        with pytest.raises(NotWritten, match="exists already: give --force"):
            check_place(tmp_path / "file", "file", own=lambda p: False, hint="give --force to replace it")
        assert everything(tmp_path) == ["file", "folder"]


@pytest.mark.parametrize(
    ("one", "other"), [("a", "a"), ("a", "a/b/c"), ("a/b", "a"), ("a", "a/../a/b"), ("a", "link/x"), (".", "a")]
)
def test_places_inside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: str, other: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(PcvrError, match=r"OUT .* and logs .* choose two separate folders"):
        check_apart(OUT=one, checkpoints=None, logs=other)
    check_apart(OUT="a", checkpoints="ab", logs="b/a")


HOLD = (
    "import sys; from pcvr.utils.places import alone\n"
    "with alone(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
)


class TestAlone:
    def test_a_second_process_is_refused_until_the_first_is_gone(self, root: Path, tmp_path: Path) -> None:
        target = tmp_path / "out"
        for end in ("close", "kill"):
            other = subprocess.Popen(
                [sys.executable, "-c", HOLD, target], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            with other:
                assert other.stdout is not None and other.stdout.readline() == "held\n"
                with (
                    pytest.raises(PcvrError, match=r"another process is writing .*out: wait until it is done"),
                    alone(target),
                ):
                    pytest.fail("the block ran")
                if end == "kill":
                    other.kill()
            with alone(target), alone(tmp_path / "another"):
                assert os.path.exists(tmp_path / ".out.lock")
            assert everything(tmp_path) == []

    def test_a_lock_that_its_last_holder_has_just_removed_is_taken_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import fcntl

        flock, calls = fcntl.flock, []

        def slowly(descriptor: int, how: int) -> None:
            calls.append(how)
            if len(calls) == 1:
                (tmp_path / ".out.lock").unlink()
            flock(descriptor, how)

        monkeypatch.setattr(fcntl, "flock", slowly)
        with alone(tmp_path / "out"):
            assert len(calls) == 2
            with pytest.raises(PcvrError, match="another process"), alone(tmp_path / "out"):
                pytest.fail("the block ran")
        assert everything(tmp_path) == []

    def test_a_name_of_250_letters(self, tmp_path: Path) -> None:
        with alone(tmp_path / ("x" * 250)):
            pass
        assert everything(tmp_path) == []


class TestRescued:
    def test_where_it_is_wanted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        rescued(tmp_path / "out.txt", lambda place: write_text(place, "1"))
        assert everything(tmp_path) == ["out.txt"]

    @pytest.mark.parametrize("here", [True, False])
    def test_another_place_is_found_and_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: bool
    ) -> None:
        work, temporary = tmp_path / "work", tmp_path / "temporary"
        work.mkdir()
        temporary.mkdir()
        monkeypatch.chdir(work)
        monkeypatch.setattr("tempfile.gettempdir", lambda: str(temporary))

        def write(place: Path) -> None:
            if place.name != place.as_posix() and (here or temporary in place.parents):
                write_text(place, "kept")
                return
            raise NotWritten(f"{place} could not be written (No space left on device)", "free some")

        with pytest.raises(PcvrError, match=r"^out could not be written .* not lost, it is kept in ") as caught:
            rescued(Path("out"), write)
        place = Path(str(caught.value).split("kept in ")[1].removesuffix("."))
        assert place.read_text() == "kept" and place.name == "out"
        assert (work if here else temporary) in place.parents
        assert len(everything(tmp_path)) == 4

    def test_nowhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))

        def write(place: Path) -> None:
            raise NotWritten(f"{place} could not be written", "free some disk space")

        with pytest.raises(NotWritten, match=r"^out could not be written: free some disk space"):
            rescued(Path("out"), write)
        assert everything(tmp_path) == []
