"""Old names go on working: with a warning in code, silently from files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest

from pcvr import PcvrError
from pcvr.utils.renamed import accepts_old_names, current_names, current_path, first_names, old_arguments


@accepts_old_names
@dataclass(frozen=True)
class Config:
    """A class of which two fields had other names."""

    RENAMED: ClassVar[Mapping[str, str]] = {"steps": "max_steps", "rank": "lora_r"}
    max_steps: int = 400
    lora_r: int = 32
    seed: int = 0


@accepts_old_names
@dataclass(frozen=True)
class Plan:
    """A class with a config inside, and an option whose values had other names."""

    RENAMED: ClassVar[Mapping[str, str]] = {"told": "label_from"}
    RENAMED_VALUES: ClassVar[Mapping[str, Mapping[str, str]]] = {"label_from": {"words": "text"}}
    label_from: str = "picture"
    config: Config = field(default_factory=Config)
    others: Mapping[int, tuple[Config, ...]] = field(default_factory=dict)


@old_arguments(every="save_steps")
def act(data: str, save_steps: int = 50) -> tuple[str, int]:
    return data, save_steps


def old(options: Mapping[str, Any]) -> Config:
    return Config(**options)


def plan(options: Mapping[str, Any]) -> Plan:
    return Plan(**options)


def test_new_names_warn_of_nothing() -> None:
    assert Config(5, seed=2) == Config(max_steps=5, seed=2) == replace(Config(), max_steps=5, seed=2)
    assert act("x", save_steps=3) == ("x", 3)


def test_the_constructor_takes_old_names() -> None:
    with pytest.warns(DeprecationWarning, match=r"Config\(steps=...\) is now called max_steps") as seen:
        assert old({"steps": 5}) == Config(5)
    assert len(seen) == 1
    with pytest.warns(DeprecationWarning, match="lora_r"):
        assert replace(Config(5), **{"rank": 4}) == Config(5, 4)


def test_old_attributes_are_read() -> None:
    with pytest.warns(DeprecationWarning, match="Config.steps is now called max_steps") as seen:
        assert getattr(Config(7), "steps") == 7  # noqa: B009
    assert seen[0].filename == __file__
    with pytest.raises(AttributeError, match="'Config' object has no attribute 'stepz'"):
        getattr(Config(), "stepz")  # noqa: B009


def test_both_names_are_refused() -> None:
    with pytest.raises(PcvrError, match="steps and max_steps are the old and the new name"):
        old({"steps": 5, "max_steps": 6})
    with pytest.raises(PcvrError, match="give save_steps"):
        act("x", **{"every": 1, "save_steps": 2})
    with pytest.raises(PcvrError, match="give lora_r"):
        current_names(Config, {"rank": 1, "lora_r": 1})


def test_a_function_takes_old_names() -> None:
    with pytest.warns(DeprecationWarning, match=r"act\(every=...\) is now called save_steps") as seen:
        assert act("x", **{"every": 3}) == ("x", 3)
    assert seen[0].filename == __file__


def test_files_are_mapped_both_ways_without_a_word() -> None:
    stored = {"steps": 5, "rank": 4, "seed": 1}
    assert current_names(Config, stored) == {"max_steps": 5, "lora_r": 4, "seed": 1}
    assert first_names(Config, current_names(Config, stored)) == stored
    assert current_names(dict, stored) == first_names(dict, stored) == stored


def test_names_inside_a_field_and_of_values() -> None:
    inside = {"config": {"steps": 5, "seed": 1}, "other": {"steps": 1}, "others": {1: [{"rank": 4}, {"seed": 2}]}}
    stored = {"told": "words", **inside}
    inside = {"config": {"max_steps": 5, "seed": 1}, "other": {"steps": 1}, "others": {1: [{"lora_r": 4}, {"seed": 2}]}}
    now = {"label_from": "text", **inside}
    assert current_names(Plan, stored) == current_names(Plan, now) == now
    assert first_names(Plan, now) == first_names(Plan, stored) == stored
    with pytest.raises(PcvrError, match="of Config: give max_steps"):
        current_names(Plan, {"config": {"steps": 5, "max_steps": 6}})
    for path in ("told", "config.steps", "config.seed", "other.steps", "config", "steps"):
        assert current_path(Plan, path) == {"told": "label_from", "config.steps": "config.max_steps"}.get(path, path)


def test_the_constructor_takes_old_values() -> None:
    with pytest.warns(DeprecationWarning, match=r"Plan\(label_from='words'\) is now called 'text'") as seen:
        assert Plan("picture") == replace(Plan(label_from="words"), label_from="picture")
    assert len(seen) == 1 and seen[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="label_from"):
        assert plan({"told": "words"}) == Plan("text")
    others: tuple[Any, ...] = (float("nan"), None, [], "picture")
    for value in others:
        plan({"label_from": value})  # no old value: nothing is warned of
