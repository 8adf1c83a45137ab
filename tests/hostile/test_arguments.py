"""Hostile arguments: names where objects are wanted, objects that are none, options of every kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import pcvr
from pcvr.attacks import ATTACKS
from pcvr.cli.defending import defense_of
from pcvr.cli.options import options_of
from pcvr.defenses import DEFENSES, build_defense
from pcvr.errors import PcvrError
from tests.hostile.catalogue import LONGEST, Case, Works, every
from tests.tiny import Numbers

DATA = Numbers(12)
SAMPLES = [DATA[i] for i in range(4)]
PICTURE = SAMPLES[0].image

BIG = "x" * 300


def anyhow(name: str) -> Any:
    """A public call as somebody makes it who has no type checker."""
    return getattr(pcvr, name)


poison, triggered, open_data, generate, evaluate, finetune, load, get_attack, get_defense = map(
    anyhow, "poison triggered open_data generate evaluate finetune load get_attack get_defense".split()
)


def opened(work: Path, **options: Any) -> Any:
    """An embedded model, opened with options."""
    return load("tiny-llava", **options)


def called(call: Callable[[str], Any], name: str, work: Path) -> Any:
    """A call with a name."""
    return call(name)


def with_option(name: str, work: Path) -> Any:
    """The option `name` on the command line."""
    return options_of([f"{name}=x"])


Sample, TrainConfig = anyhow("Sample"), anyhow("TrainConfig")


@every(
    Works("data and attack by name", lambda _: len(poison("scenes", "badnets", 0.001).poisoned), (2).__eq__),
    Works("attack by name", lambda _: poison(DATA, "trojvlm", 0.5), lambda made: made.attack.answer == "insert"),
    Works("a list of samples", lambda _: poison(SAMPLES, "sig", 0.5), lambda made: len(made) == 4),
    Works("trigger by name", lambda _: triggered(DATA, "badnets")[0].id, lambda name: name == DATA[0].id),
    Works("a Pillow picture in a sample", lambda _: Sample("a", Image.fromarray(PICTURE), "p", "b").image.shape),
    Works("a Pillow picture", lambda _: generate("tiny-llava", [Image.fromarray(PICTURE)], ["list."])),
    Works("a defence that is built", lambda _: get_defense(pcvr.PCVR(cap=0.3)), lambda rule: rule.cap == 0.3),
    Works("an attack that is built", lambda _: get_attack(get_attack("sig")), lambda attack: attack.name == "sig"),
    Works("seed of 64 bits", lambda _: open_data("scenes", n=2, seed=2**64 - 1)[0]),
    Case("no attack", lambda _: poison(DATA, None, 0.5), "attack", "None", "badnets"),
    Case("a class of attacks", lambda _: poison(DATA, pcvr.Attack, 0.5), "attack", "get_attack"),
    Case("numbers for samples", lambda _: open_data([1, 2]), "data", "1", "Sample"),
    Case("an empty list", lambda _: open_data([]), "data", "empty"),
    Case("a class of data", lambda _: open_data(pcvr.Scenes), "data", "scenes"),
    Case("a class of defences", lambda _: finetune("tiny-llava", DATA, pcvr.PCVR), "defense", "PCVR()"),
    Case("data for a model", lambda _: finetune(DATA, DATA, config=TrainConfig(max_steps=1)), "model"),
    Case("steps for a config", lambda _: finetune("tiny-llava", DATA, "none", 5), "config", "5", "TrainConfig"),
    Case("a class of models", lambda _: evaluate(pcvr.VisionLanguageModel, DATA), "model"),
    Case("options of a built attack", lambda _: get_attack(get_attack("sig"), "a cat"), "sig", "built"),
    Case("options of a built defence", lambda _: get_defense(pcvr.PCVR(), cap=0.3), "pcvr", "built", "cap"),
    Case("one text for prompts", lambda _: generate("tiny-llava", [PICTURE], "list."), "prompts", "list"),
    Case("levels from 0 to 1", lambda _: generate("tiny-llava", [PICTURE / 255], ["list."]), "image", "float64"),
    Case("no prompt", lambda _: generate("tiny-llava", [PICTURE], [None]), "prompt", "None"),
    Case("no picture", lambda _: Sample("a", None, "p", "b"), "image", "None"),
    Case("no answer", lambda _: Sample("a", PICTURE, "p", None), "answer", "None"),
    Case("unhashable name of a task", lambda _: open_data("scenes", task={}), "task", "{}", "caption"),
    Case("unhashable split", lambda _: open_data("scenes", split={}), "split", "train"),
    Case("20 digits of samples", lambda _: open_data("scenes", n=10**20), "n", "1"),
    Case("no samples", lambda _: open_data(DATA, n=0), "n=0", "12"),
    Case("seed of 70 bits", lambda _: open_data("scenes", seed=2**70), "seed", "0"),
    Case("seed that is a bool", lambda _: poison(DATA, "badnets", 0.5, seed=True), "seed", "True"),
    Case("seed that is a text", lambda _: open_data(DATA, n=3, seed="x"), "seed", "'x'"),
    Case("seed below zero of a noise", lambda _: get_attack("blended", seed=-1), "seed", "-1"),
    Case("no steps of a recipe", lambda _: pcvr_recipe(0), "steps", "0"),
    Case("steps without end", lambda _: TrainConfig(max_steps=10**20), "max_steps", "100000000000000000000"),
    Case("a rate with 400 digits", lambda _: TrainConfig(learning_rate=10**400), "learning_rate"),
)
def test_calls(case: Case | Works, tmp_path: Path) -> None:
    case.hold(tmp_path)


def pcvr_recipe(steps: int) -> Any:
    """A recipe of so many steps."""
    from pcvr.pretraining.config import recipe_of

    return recipe_of("tiny-llava").shortened(steps)


@every(
    *(
        Case(f"{what} of {kind}", partial(called, do, name), word)
        for what, do, word in (
            ("model", load, "model"),
            ("data", open_data, "data"),
            ("adapter", partial(load, "tiny-llava"), "adapter"),
            ("attack", get_attack, "attack"),
            ("defence", get_defense, "defence"),
        )
        for kind, name in (
            ("300 characters", BIG),
            ("a NUL byte", "a\0b"),
            ("nothing", ""),
            ("two lines", "a\nb"),
            ("half a surrogate pair", "\ud800"),
            ("another's markup", "[/stop]"),
        )
    )
)
def test_names(case: Case | Works, tmp_path: Path) -> None:
    case.hold(tmp_path)


@every(
    *(Case(f"device {name!r}", partial(opened, device=name), "device") for name in
      ("meta", "cuda:99", "cuda:-1", "cpu:7", "xla", "", "cpu:x", None, 3)),
    *(Case(f"dtype {name!r}", partial(opened, dtype=name), "dtype") for name in
      ("int8", "bool", "complex64", "float8_e4m3fn", "x", "dtype", None, 3)),
)  # fmt: skip
def test_devices(case: Case | Works, tmp_path: Path) -> None:
    case.hold(tmp_path)


@every(
    *(Case(f"--option {name}", partial(with_option, name), name, f"--{option}") for name, option in
      (("target", "target"), ("name", "attack"), ("preset", "preset"), ("answer", "answer"), ("task", "task"))),
    Case("--option without a value", lambda _: options_of(["[/x]"]), "[/x]", "name=value"),
    Case("--option of 5000 characters", lambda _: options_of(["x" * 5000]), "name=value"),
    Works("200,000 brackets are a text", lambda _: options_of(["text=" + "[" * 200_000])),
    Case("defence's name as its option", lambda _: defense_of("pcvr", ["name=x"]), "name", "cap"),
    Case("null for a list", lambda _: defense_of("pcvr", ["scan_at=null"]), "scan_at"),
    Case("a part that is none", lambda _: defense_of("pcvr", ["view.bins=3"]), "bins", "fraction"),
)  # fmt: skip
def test_options_as_words(case: Case | Works, tmp_path: Path) -> None:
    case.hold(tmp_path)


VALUES: tuple[Any, ...] = (
    None, True, "x", "", [], {}, [[1]], [None], float("inf"), -1, float("nan"), 10**400, 2**70, "x" * 5000,
)  # fmt: skip


def options() -> list[Any]:
    """Every option of every attack and defence, with what builds it."""
    found = []
    for name, kind in DEFENSES.items():
        for option in (field.name for field in fields(kind)):
            found.append(pytest.param(lambda o, n=name: build_defense(n, o), option, id=f"{name}-{option}"))
    for name in ATTACKS:
        with pytest.raises(PcvrError) as caught:
            get_attack(name, no_such_option=1)
        for option in str(caught.value).partition("it takes ")[2].rstrip(".").split(", "):
            found.append(pytest.param(lambda o, n=name: get_attack(n, **o), option, id=f"{name}-{option}"))
    return found


@pytest.mark.parametrize(("build", "option"), options())
def test_an_option_takes_a_value_or_names_itself(build: Callable[[dict[str, Any]], Any], option: str) -> None:
    for value in VALUES:
        try:
            build({option: value})
        except PcvrError as refusal:
            said = str(refusal)
            assert option in said and len(said) <= LONGEST and said.endswith((".", "?")), said
        else:
            assert value == value, f"{option} takes NaN"
