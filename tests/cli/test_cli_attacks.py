"""The command line of the attack lab: options, second attackers, tables, checks, lists, trained triggers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pcvr.attacks import ATTACKS
from pcvr.cli.options import options_of
from pcvr.errors import PcvrError
from tests.cli.test_cli import Command, pcvr, refused

__all__ = ["pcvr"]


def manifest_of(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "manifest.json").read_text())
    return found


def test_options_of_the_attack(pcvr: Command, tmp_path: Path) -> None:
    given = ("--attack", "badnets", "--preset", "compat", "--option", "size=4", "--option", "place=centre")
    code, _, err = pcvr("poison", "bad", "--n", 20, "--rate", 0.2, "--answer", "insert", *given)
    assert (code, err) == (0, "")
    attack = manifest_of(tmp_path / "bad")["attack"]
    assert isinstance(attack, dict)
    assert (attack["preset"], attack["answer"]) == ("compat", "insert")
    assert attack["options"] == {"size": 4, "place": "centre"}
    refused(pcvr("poison", "worse", "--n", 20, "--option", "size"), "'size' is not of the form name=value")
    refused(pcvr("poison", "worse", "--n", 20, "--option", "siz=3"), "has no option siz")


def test_values_are_json_where_they_are() -> None:
    assert options_of(["a=1", "b=0.5", "c=null", "d=[[1, 2]]", "e=centre", "f="]) == {
        "a": 1,
        "b": 0.5,
        "c": None,
        "d": [[1, 2]],
        "e": "centre",
        "f": "",
    }
    with pytest.raises(PcvrError, match="name=value"):
        options_of(["=3"])


def test_a_second_attacker_and_the_check(pcvr: Command, tmp_path: Path) -> None:
    assert pcvr("poison", "one", "--n", 40, "--rate", 0.1)[0] == 0
    code, out, err = pcvr("poison", "two", "--data", "one", "--attack", "dual_key", "--rate", 0.1)
    assert (code, err) == (0, "")
    assert out == "two: 4 of 40 samples poisoned, 8 more as cover with dual_key, see manifest.json\n"
    code, out, _ = pcvr("poison", "two", "--verify")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "two: 40 samples, every file and every altered sample matches the manifest"
    assert lines[1].startswith("badnets (scaled): 4 of 40 samples poisoned, target 'a photo of the banana', seed 0")
    assert lines[2].startswith("dual_key (scaled): 4 of 40 samples poisoned, 8 more as cover")
    assert lines[3] == "poisoned for research and teaching on defences; targets are harmless"
    refused(pcvr("poison", "three", "--data", "one", "--n", 10), "is poisoned already")
    next((tmp_path / "two" / "images").iterdir()).write_bytes(b"!")
    refused(pcvr("poison", "two", "--verify"), "missing or changed")
    refused(pcvr("poison", "nowhere", "--verify"), "holds no manifest.json")


def test_a_table(pcvr: Command, tmp_path: Path) -> None:
    code, _, err = pcvr("poison", "table", "--n", 20, "--rate", 0.1, "--form", "datasets")
    assert (code, err) == (0, "")
    assert (tmp_path / "table" / "dataset_info.json").is_file()
    assert pcvr("poison", "table", "--verify")[0] == 0
    refused(pcvr("poison", "other", "--n", 20, "--form", "csv"), "form of poisoned data")


def test_the_list_has_every_attack(pcvr: Command) -> None:
    code, out, err = pcvr("attacks")
    assert (code, err) == (0, "")
    assert all(name in out for name in ATTACKS)


def test_trained_triggers(pcvr: Command, tmp_path: Path) -> None:
    code, out, _ = pcvr("craft", "vl-trojan", "--max-steps", 2, "--out", "patch.safetensors")
    assert code == 0 and "last_loss" in out
    code, _, err = pcvr("poison", "bad", "--n", 20, "--attack", "vl_trojan", "--option", "patch=patch.safetensors")
    assert (code, err) == (0, "")
    refused(pcvr("craft", "vl_trojan"), "vl-trojan")


def test_a_perturbation(pcvr: Command, tmp_path: Path) -> None:
    code, out, _ = pcvr("craft", "pgd", "--max-steps", 1, "--epsilon", 4, "--step-size", 4, "--out", "d.safetensors")
    assert code == 0 and "nll_trigger" in out and "epsilon 4" in out
    code, _, err = pcvr("poison", "bad", "--n", 20, "--attack", "pgd", "--option", "delta=d.safetensors")
    assert (code, err) == (0, "")
    refused(pcvr("craft", "pgd", "--goal", "likely"), "did you mean 'likelihood'")
    refused(pcvr("craft", "issba", "--goal", "divergence"), "--goal goes with pgd")


def test_an_attacker_who_knows_the_defence(pcvr: Command, tmp_path: Path) -> None:
    code, out, err = pcvr(
        "poison", "bad", "--n", 40, "--rate", 0.1, "--option", "adapt=covers", "--option", "adapt_share=1"
    )
    assert (code, err) == (0, "")
    assert out == "bad: 4 of 40 samples poisoned, 4 more as cover with badnets, see manifest.json\n"
    assert pcvr("poison", "bad", "--verify")[0] == 0
    refused(pcvr("poison", "worse", "--n", 20, "--option", "adapt=cover"), "did you mean 'covers'")
    refused(pcvr("poison", "worse", "--n", 20, "--attack", "sig", "--option", "adapt=copies"), "no patch to copy")
    listed = pcvr("attacks")[1]
    assert all(f"adapt={name}" in listed for name in ("views", "broken_invariance", "covers", "copies"))


def test_what_cannot_be_poisoned(pcvr: Command, tmp_path: Path) -> None:
    refused(pcvr("poison", "bad", "--n", 20, "--option", "size=97"), "does not fit")
    refused(pcvr("poison", "bad", "--n", 20, "--option", "strength=0"), "unchanged")
    refused(pcvr("poison", "bad", "--n", 20, "--attack", "dual_key", "--rate", 0.6), "cover samples")
    assert list(tmp_path.iterdir()) == []
