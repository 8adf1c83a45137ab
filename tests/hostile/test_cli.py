"""Command lines with options that nothing would come of, and places that cannot be written: refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pcvr.attacks import get_attack, poison, save_poisoned
from pcvr.cli.app import app
from tests.hostile.catalogue import Case, Works, every
from tests.tiny import Numbers

LONG = "x" * 300


def run(work: Path, line: str) -> Any:
    """A command in `work`: words that begin with @ are paths there."""
    words = [str(work / word[1:]) if word.startswith("@") else word for word in line.split()]
    return app(words, standalone_mode=False)


def refused(name: str, line: str, *words: str) -> Case:
    return Case(name, lambda work: run(work, line), *words)


def beside(name: str, line: str, *words: str) -> Case:
    """With a file `mine` and a folder of poisoned data `bad` in the way."""

    def act(work: Path) -> None:
        (work / "mine").write_text("mine")
        save_poisoned(poison(Numbers(4), get_attack("badnets", size=4), 0.5), work / "bad")
        (work / "nowhere").symlink_to(work / "gone")
        try:
            run(work, line)
        finally:
            assert (work / "mine").read_text() == "mine"

    return Case(name, act, *words)


@every(
    refused("rate alone", "train @a --rate 0.1", "--rate", "--attack"),
    refused("the default rate alone", "train @a --rate 0.05", "--rate", "--attack"),
    refused("target alone", "train @a --target banana", "--target", "--attack"),
    refused("option alone", "train @a --option size=4", "--option", "--attack"),
    refused("preset alone", "train @a --preset compat", "--preset", "--attack"),
    refused("answer alone", "train @a --answer insert", "--answer", "--attack"),
    refused("save-steps alone", "train @a --save-steps 5", "--save-steps", "--checkpoints"),
    refused("steps and epochs", "train @a --max-steps 5 --num-train-epochs 1", "--max-steps", "--num-train-epochs"),
    refused("epochs below zero", "train @a --num-train-epochs -1", "num_train_epochs", "-1"),
    refused("epochs not a number", "train @a --num-train-epochs nan", "num_train_epochs", "nan"),
    refused("learning rate zero", "train @a --learning-rate 0", "learning_rate", "0"),
    refused("rank zero", "train @a --lora-r 0", "lora_r", "0"),
    refused("checkpoints in OUT", "train @a --checkpoints @a/kept", "OUT", "--checkpoints", "two separate folders"),
    refused("OUT in checkpoints", "train @a/b --checkpoints @a", "OUT", "--checkpoints", "two separate folders"),
    refused("OUT is the checkpoints", "train @a --checkpoints @b/../a", "OUT", "--checkpoints", "two separate folders"),
    refused("logs in OUT", "train @a --logs @a/logs", "OUT", "--logs", "two separate folders"),
    refused(
        "logs in checkpoints",
        "train @a --checkpoints @k --logs @k/l",
        "--checkpoints",
        "--logs",
        "two separate folders",
    ),
    refused("train to /proc", "train /proc/o", "/proc/o", "could not be written"),
    refused("checkpoints to /proc", "train @a --checkpoints /proc/o", "/proc/o", "could not be written"),
    refused("logs to /proc", "train @a --logs /proc/o", "/proc/o", "could not be written"),
    refused("train to a long name", f"train @{LONG}", "File name too long"),
    refused("poison to /proc", "poison /proc/o", "/proc/o", "could not be written"),
    refused("poison to a long name", f"poison @{LONG}/a", "File name too long"),
    refused("evaluate to /proc", "evaluate --out /proc/o.json", "/proc/o.json", "could not be written"),
    refused("craft to /proc", "craft issba --out /proc/o", "/proc/o", "could not be written"),
    refused("pretrain to /proc", "pretrain tiny-llava --max-steps 1 --out /proc", "/proc/tiny-llava", "written"),
    refused("attack options without attack", "evaluate --attack none --preset compat", "--preset", "--attack none"),
    refused("a check of no attack", "evaluate --attack none --no-check-trigger", "--check-trigger", "--attack none"),
    refused("a check for no model", "poison @a --no-check-trigger", "--check-trigger", "--model"),
    refused("verify and rate", "poison @a --verify --rate 0.1", "--rate", "--verify"),
    refused("verify and data", "poison @a --verify --data scenes", "--data", "--verify"),
    refused("an encoder of a model", "craft issba --model tiny-blip2", "--model", "vl-trojan"),
    refused("report without check", "data @d.json --out @r.tsv", "--out", "--check"),
    refused("check of scenes", "data scenes --check", "--check", "scenes"),
    refused("check and skip", "data @d.json --check --skip-bad", "--skip-bad", "--check"),
    refused("options of no data", "data --task vqa", "--task", "SPEC"),
    refused("device of no model", "models --device cpu", "--device", "NAME"),
    refused("device of an embedded model", "models tiny-llava --device cpu", "--device", "NAME"),
    beside("train to a file", "train @mine", "mine", "exists already"),
    beside("train below a file", "train @mine/a", "mine", "could not be written"),
    beside("train to a link to nowhere", "train @nowhere", "nowhere", "exists already"),
    beside("train below a link to nowhere", "train @nowhere/a", "nowhere", "could not be written"),
    beside("checkpoints in a file", "train @a --checkpoints @mine", "mine", "exists already"),
    beside("evaluate over a file", "evaluate --out @mine", "mine", "exists already"),
    beside("evaluate over a folder", "evaluate --out @bad", "bad", "exists already"),
    beside("craft over a file", "craft issba --max-steps 1 --out @mine", "mine", "exists already"),
    beside("pretrain over a folder", "pretrain tiny-llava --out @.", "exists already"),
    beside("report over a file", "data @bad/data.json --check --out @mine", "mine", "exists already"),
    beside("n of poisoned data", "poison @a --data @bad --n 2", "--n", "is poisoned already"),
    beside("pictures of poisoned data", "poison @a --data @bad --images @bad", "--images", "is poisoned already"),
)
def test_command_lines(case: Case | Works, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    if case.name == "pretrain over a folder":
        (tmp_path / "work" / "tiny-llava").mkdir()
        (tmp_path / "work" / "tiny-llava" / "thesis.tex").write_text("mine")
    case.hold(tmp_path / "work")
