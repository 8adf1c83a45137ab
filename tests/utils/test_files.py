"""Writing: whole or not at all, whatever fails on the way."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pcvr import PcvrError, TrainConfig, VisionLanguageModel, finetune, get_attack, open_data, poison
from pcvr.attacks import save_poisoned
from pcvr.utils.files import new_folder, refuse_existing, write_json, write_text
from tests.tiny import Numbers, build, write

resource = pytest.importorskip("resource", reason="no limit on file sizes on this system")


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: the operating system itself refuses, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def everything(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


class TestNewFolder:
    def test_it_appears_when_the_block_ends_well(self, tmp_path: Path) -> None:
        target = tmp_path / "deep" / "out"
        with new_folder(target) as scratch:
            (scratch / "a").write_text("1")
            assert not target.exists()
        assert everything(tmp_path) == ["deep", "deep/out", "deep/out/a"]
        assert target.stat().st_mode & 0o777 == 0o755

    def test_an_error_inside_leaves_nothing_and_passes_through(self, tmp_path: Path) -> None:
        with pytest.raises(KeyError), new_folder(tmp_path / "out") as scratch:
            (scratch / "a").write_text("1")
            raise KeyError("mine")
        assert everything(tmp_path) == []

    def test_no_space_is_one_clear_sentence(self, tmp_path: Path) -> None:
        expected = r"out could not be written \(No space left.*nothing was left behind"
        with pytest.raises(PcvrError, match=expected), new_folder(tmp_path / "out") as scratch:
            (scratch / "a").write_text("1")
            no_space()
        assert everything(tmp_path) == []

    def test_an_existing_folder_is_refused_before_any_work(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        expected = "out exists already: choose another folder or remove it first"
        with pytest.raises(PcvrError, match=expected), new_folder(tmp_path / "out"):
            pytest.fail("the block ran")
        assert everything(tmp_path) == ["out"]

    def test_one_that_comes_up_meanwhile_is_left_alone(self, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="exists already"), new_folder(tmp_path / "out"):
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "theirs").write_text("kept")
        assert everything(tmp_path) == ["out", "out/theirs"]

    def test_replace_takes_the_place_of_the_old_one(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "old").write_text("1")
        with new_folder(tmp_path / "out", replace=True) as scratch:
            (scratch / "new").write_text("2")
            assert (tmp_path / "out" / "old").exists()
        assert everything(tmp_path) == ["out", "out/new"]

    def test_replace_keeps_the_old_one_when_the_block_fails(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "old").write_text("1")
        with pytest.raises(PcvrError), new_folder(tmp_path / "out", replace=True):
            no_space()
        assert everything(tmp_path) == ["out", "out/old"]

    def test_replace_keeps_the_old_one_when_the_last_rename_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "old").write_text("1")
        rename = os.replace

        def fails_for_the_new(source: Path, target: Path) -> None:
            if (Path(source) / "new").exists():
                no_space()
            rename(source, target)

        monkeypatch.setattr(os, "replace", fails_for_the_new)
        with pytest.raises(PcvrError), new_folder(tmp_path / "out", replace=True) as scratch:
            (scratch / "new").write_text("2")
        assert everything(tmp_path) == ["out", "out/old"]

    def test_a_file_is_not_replaced_by_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("mine")
        with pytest.raises(PcvrError, match="a file, not a folder"), new_folder(tmp_path / "out", replace=True):
            pass
        assert (tmp_path / "out").read_text() == "mine"

    def test_below_a_file_there_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(PcvrError, match="could not be written"), new_folder(tmp_path / "file" / "out"):
            pytest.fail("the block ran")


class TestWriteText:
    def test_it_replaces_what_was_there(self, tmp_path: Path) -> None:
        write_text(tmp_path / "new" / "a.txt", "one")
        write_text(tmp_path / "new" / "a.txt", "zwölf")
        assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "zwölf"
        assert everything(tmp_path) == ["new", "new/a.txt"]

    def test_a_full_disk_keeps_the_old_text(self, tmp_path: Path) -> None:
        target = tmp_path / "a.txt"
        write_text(target, "old")
        with small_disk(1000), pytest.raises(PcvrError, match="could not be written"):
            write_text(target, "x" * 5000)
        assert target.read_text() == "old"
        assert everything(tmp_path) == ["a.txt"]

    def test_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(PcvrError, match="could not be written"):
            write_text(tmp_path / "file" / "a.txt", "x")

    def test_what_is_no_json_writes_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError):
            write_json(tmp_path / "a.json", {"a": object()})
        assert everything(tmp_path) == []


def test_refuse_existing(tmp_path: Path) -> None:
    refuse_existing(tmp_path / "no")
    with pytest.raises(PcvrError, match="exists already"):
        refuse_existing(str(tmp_path))


class TestFullDisk:
    """Everything that is saved, on a disk that is full."""

    def test_adapter(self, tiny: VisionLanguageModel, tmp_path: Path) -> None:
        result = finetune(tiny, Numbers(4), config=TrainConfig(max_steps=1, batch_size=2), progress=False)
        # Weights and config each fail in their own library, with its own type of error.
        for size in (2000, 100):
            with small_disk(size), pytest.raises(PcvrError, match="adapter could not be written"):
                result.save(tmp_path / "adapter")
            assert everything(tmp_path) == []
        result.save(tmp_path / "adapter")
        with pytest.raises(PcvrError, match="exists already"):
            result.save(tmp_path / "adapter")

    def test_adapter_with_space_for_the_weights_only(
        self, tiny: VisionLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from peft import LoraConfig

        result = finetune(tiny, Numbers(4), config=TrainConfig(max_steps=1, batch_size=2), progress=False)
        monkeypatch.setattr(LoraConfig, "save_pretrained", no_space)
        with pytest.raises(PcvrError, match="No space left"):
            result.save(tmp_path / "adapter")
        assert everything(tmp_path) == []

    def test_checkpoint_keeps_the_old_one(self, tmp_path: Path) -> None:
        from pcvr.pretraining.checkpoint import save_checkpoint
        from pcvr.pretraining.config import PretrainConfig

        folder = write(tmp_path / "model")
        before = {p.name: p.read_bytes() for p in folder.iterdir()}
        model, processor = build(seed=1)
        with small_disk(20_000), pytest.raises(PcvrError, match="model could not be written"):
            save_checkpoint(model, processor, folder, name="x", config=PretrainConfig(), seconds=0, losses=[])
        assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
        assert [p.name for p in tmp_path.iterdir()] == ["model"]

    def test_poisoned_data(self, tmp_path: Path) -> None:
        data = poison(open_data("scenes", n=20), get_attack("badnets"), 0.1)
        with small_disk(1000), pytest.raises(PcvrError, match="data could not be written"):
            save_poisoned(data, tmp_path / "data")
        assert everything(tmp_path) == []
