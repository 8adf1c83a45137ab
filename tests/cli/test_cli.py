"""The command line: it works, and what a user can put right is one sentence and exit code 2."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pcvr.cli import main
from tests.photographs import write_llava_photographs

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pcvr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs ``pcvr ...`` in an empty folder; gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pcvr", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, left_standing(err)

    return run


def left_standing(text: str) -> str:
    """What a terminal shows in the end: bars, which come up on a busy machine, are written over."""
    return re.sub(r"[^\n]*\r", "", text)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llava_photographs(tmp_path_factory.mktemp("data"), copies=2, side=64)


def refused(answer: tuple[int, str, str], *words: str) -> None:
    """Holds an answer to one sentence on the error stream, with `words` in it, and exit code 2."""
    code, out, err = answer
    assert code == 2, err
    assert out == ""
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert lines[0].startswith("pcvr: ")
    assert lines[0].endswith((".", "?"))
    assert "Traceback" not in err
    for word in words:
        assert word in lines[0]


class TestItWorks:
    def test_poison_train_evaluate(self, pcvr: Command, tiny_folder: Path, tmp_path: Path) -> None:
        code, out, err = pcvr("poison", "bad", "--n", 20, "--rate", 0.2)
        assert (code, err) == (0, "")
        assert out == "bad: 4 of 20 samples poisoned with badnets, see manifest.json\n"
        assert json.loads((tmp_path / "bad" / "manifest.json").read_text())["count"] == 4
        code, out, _ = pcvr(
            "train", "adapter", "--model", tiny_folder, "--n", 20, "--attack", "badnets", "--max-steps", 2
        )
        assert code == 0
        assert out.startswith("adapter: 2 steps with defence none in ")
        code, out, err = pcvr("evaluate", "adapter", "--model", tiny_folder, "--n", 6)
        assert (code, err) == (0, "")
        assert "says the target" in out
        assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter", "bad"]

    def test_photographs_by_path(self, pcvr: Command, tiny_folder: Path, photographs: Path) -> None:
        shared = ("--model", tiny_folder, "--data", photographs)
        code, _, err = pcvr("train", "adapter", *shared, "--max-steps", 1, "--defense", "augment")
        assert code == 0, err
        evaluate = ("evaluate", "adapter", *shared, "--split", "all", "--n", 4)
        refused(pcvr(*evaluate), "outside the part", "place='seen_bottom_right'", "--no-check-trigger")
        code, out, _ = pcvr(*evaluate, "--option", "place=seen_bottom_right")
        assert code == 0
        assert "BLEU-4" in out
        assert "attributes" not in out

    @pytest.mark.parametrize("command", ["", "pretrain", "poison", "train", "evaluate"])
    def test_help(self, pcvr: Command, command: str) -> None:
        code, out, _ = pcvr(*command.split(), "--help")
        assert code == 0
        assert "Usage" in out

    def test_as_a_module_in_a_fresh_process(self, root: Path) -> None:
        def run(*words: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-W", "error", "-m", "pcvr", *words]
            return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)

        helped = run("--help")
        assert helped.returncode == 0
        assert helped.stderr == ""
        assert "poison" in helped.stdout
        wrong = run("poison", "nowhere", "--attack", "badnet")
        refused((wrong.returncode, wrong.stdout, wrong.stderr), "did you mean 'badnets'")


class TestPoison:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ("--attack bandets", ("unknown attack 'bandets'", "did you mean 'badnets'")),
            ("--rate 0", ("rate is 0.0", "(0, 1]")),
            ("--rate 1.5", ("rate is 1.5", "(0, 1]")),
            ("--rate -0.1", ("rate is -0.1",)),
            ("--rate nan", ("rate is nan",)),
            ("--rate 0.001 --n 20", ("rate 0.001 of 20 samples poisons none",)),
            ("--data scene", ("did you mean 'scenes'",)),
            ("--data missing.json", ("missing.json",)),
            ("--n 0", ("0",)),
            ("--seed -1 --n 20", ("seed is -1",)),
            ("--n 20 --target ..", ("target",)),
        ],
    )
    def test_bad_input(self, pcvr: Command, tmp_path: Path, options: str, words: tuple[str, ...]) -> None:
        refused(pcvr("poison", "bad", *options.split()), *words)
        assert list(tmp_path.iterdir()) == []

    def test_an_existing_folder(self, pcvr: Command, tmp_path: Path) -> None:
        (tmp_path / "bad").mkdir()
        refused(pcvr("poison", "bad", "--n", 20), "bad exists already")
        assert list((tmp_path / "bad").iterdir()) == []

    @pytest.mark.parametrize("text", ["", "{", "[]", "[1]", '[{"image": "no.png"}]', "\x00\xff"])
    def test_data_that_cannot_be_read(self, pcvr: Command, tmp_path: Path, text: str) -> None:
        (tmp_path / "data.json").write_text(text, encoding="latin-1")
        code, out, err = pcvr("poison", "bad", "--data", "data.json")
        assert (code, out) == (2, "")
        # One line, or a heading and a line for each record that is wrong.
        assert err.startswith("pcvr: ")
        assert "data.json" in err.splitlines()[0]
        assert all(line.startswith("  - record ") for line in err.splitlines()[1:])
        assert [p.name for p in tmp_path.iterdir()] == ["data.json"]

    def test_a_picture_that_cannot_be_read(self, pcvr: Command, tmp_path: Path, photographs: Path) -> None:
        import shutil

        shutil.copytree(photographs.parent, tmp_path / "data")
        for picture in (tmp_path / "data" / "images").iterdir():
            picture.write_bytes(b"no picture")
        refused(pcvr("poison", "bad", "--data", tmp_path / "data" / photographs.name, "--rate", 0.5), ".png")
        assert [p.name for p in tmp_path.iterdir()] == ["data"]


class TestTrain:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ("--model tiny-lava", ("unknown model 'tiny-lava'", "did you mean 'tiny-llava'")),
            ("--defense pcrv", ("unknown defence 'pcrv'", "did you mean 'pcvr'")),
            ("--attack badnet", ("unknown attack 'badnet'", "did you mean 'badnets'")),
            ("--attack badnets --rate 0", ("rate is 0.0",)),
            ("--attack badnets --rate 1.5", ("rate is 1.5",)),
            ("--attack badnets --rate 0.01", ("poisons none",)),
            ("--max-steps 0", ("max_steps must be",)),
            ("--seed -1", ("seed",)),
            ("--data nothing.json", ("nothing.json",)),
        ],
    )
    def test_bad_input(
        self, pcvr: Command, tiny_folder: Path, tmp_path: Path, options: str, words: tuple[str, ...]
    ) -> None:
        given = options.split()
        model = () if "--model" in given else ("--model", tiny_folder)
        refused(pcvr("train", "adapter", "--n", 12, *model, *given), *words)
        assert list(tmp_path.iterdir()) == []

    def test_an_existing_folder_before_any_work(self, pcvr: Command, tmp_path: Path) -> None:
        (tmp_path / "adapter").mkdir()
        refused(pcvr("train", "adapter", "--model", "not/looked-at"), "adapter exists already")


class TestEvaluate:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("nowhere",), "no adapter in 'nowhere'"),
            (("--attack", "badnetz"), "did you mean 'badnets'"),
            (("--n", "1"), "at least 2"),
            (("--split", "tset"), "test"),
            (("--data", "nothing.json"), "nothing.json"),
        ],
    )
    def test_bad_input(self, pcvr: Command, tiny_folder: Path, words: tuple[str, ...], said: str) -> None:
        refused(pcvr("evaluate", "--model", tiny_folder, *words), said)

    def test_a_folder_that_is_no_model(self, pcvr: Command, tmp_path: Path) -> None:
        refused(pcvr("evaluate", "--model", tmp_path), "not a checkpoint")


def test_pretrain_refuses_an_unknown_name_before_any_work(pcvr: Command, tmp_path: Path) -> None:
    refused(pcvr("pretrain", "tiny-lava"), "did you mean 'tiny-llava'")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_command_is_a_usage_error(pcvr: Command) -> None:
    code, _, err = pcvr("poisson")
    assert code == 2
    assert "No such command" in err


class TestListing:
    def test_models(self, pcvr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "200")
        code, out, _ = pcvr("models")
        assert code == 0
        for word in ("tiny-llava", "tiny-blip2", "tiny-idefics3", "qwen2_5_vl", "llava-hf/llava-1.5-7b-hf"):
            assert word in out

    def test_one_embedded_model(self, pcvr: Command) -> None:
        code, out, _ = pcvr("models", "tiny-llava")
        assert code == 0 and "pcvr pretrain tiny-llava" in out and "caption-clean" in out

    def test_a_model_by_folder_says_what_memory_it_takes(self, pcvr: Command, tmp_path: Path) -> None:
        from tests.families import write

        code, out, _ = pcvr("models", write("blip-2", tmp_path / "model"), "--device", "cpu")
        assert code == 0 and "BLIP-2" in out and "to fine-tune an adapter" in out

    def test_a_model_that_is_not_there(self, pcvr: Command) -> None:
        refused(pcvr("models", "tiny-lava"), "unknown model 'tiny-lava': did you mean 'tiny-llava'")

    def test_data(self, pcvr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "200")
        code, out, _ = pcvr("data")
        assert code == 0
        for word in ("scenes", "COCO captions", "VQAv2", "Flickr30k", "caption", "vqa", "banana"):
            assert word in out

    def test_scenes(self, pcvr: Command) -> None:
        code, out, _ = pcvr("data", "scenes", "--task", "vqa")
        assert code == 0 and "vqa" in out and "2,000" in out and "96 x 96 px" in out

    def test_a_file(self, pcvr: Command, photographs: Path) -> None:
        code, out, _ = pcvr("data", photographs)
        assert code == 0 and "describe the image." in out and "references" in out

    def test_a_check_reports_everything_at_once(self, pcvr: Command, tmp_path: Path) -> None:
        path = write_llava_photographs(tmp_path / "data", side=64)
        pictures = sorted(p for p in path.parent.rglob("*") if p.suffix in (".jpg", ".png"))
        pictures[0].unlink()
        pictures[1].write_bytes(pictures[1].read_bytes()[:300])
        code, out, _ = pcvr("data", path, "--check", "--out", "problems.tsv")
        assert code == 1 and pictures[0].name in out and pictures[1].name in out
        assert len((tmp_path / "problems.tsv").read_text(encoding="utf-8").splitlines()) == 3
        refused(pcvr("data", path), pictures[0].name)
        code, out, _ = pcvr("data", path, "--skip-bad")
        assert code == 0 and "problem(s)" in out


def test_questions_from_poison_to_figures(pcvr: Command) -> None:
    """The other task goes through the same commands."""
    assert pcvr("poison", "bad", "--task", "vqa", "--n", "40")[0] == 0
    manifest = json.loads(Path("bad/manifest.json").read_text(encoding="utf-8"))
    assert manifest["target"] == "banana" and manifest["source"]["task"] == "vqa"
    code, out, err = pcvr("train", "adapter", "--data", "bad", "--task", "vqa", "--max-steps", "2", "--batch-size", "4")
    assert code == 0, err
    code, out, err = pcvr("evaluate", "adapter", "--task", "vqa", "--n", "4")
    assert code == 0, err
    assert "VQA accuracy" in out and "CIDEr" not in out
