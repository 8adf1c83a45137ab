"""The record: a table for people, plain values for files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pcvr import Record, get_attack


def record(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "model": "tiny-llava",
        "data": "scenes",
        "task": "caption",
        "attack": get_attack("badnets").describe(),
        "n": 512,
        "clean": {"bleu4": 41.234, "cider": 312.07, "attributes": 0.969},
        "triggered": {"bleu4": 3.1, "cider": 12.5, "attributes": 0.25},
        "hits": 502,
        "clean_hits": 0,
        "seconds": 7.5,
        "answers": {"clean": ["a cat"], "triggered": ["a photo of the banana"]},
        **changes,
    }
    return Record(**values)


def test_figures() -> None:
    found = record()
    assert found.asr == 502 / 512
    assert found.clean_asr == 0
    # Wilson 1927 by hand: centre (p + z^2 / 2n) / (1 + z^2 / n), half width z sqrt(p q / n + z^2 / 4n^2) / (...).
    z, n, p = 1.959963984540054, 512, 502 / 512
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5 / (1 + z * z / n)
    assert found.asr_interval == pytest.approx((centre - half, centre + half))
    assert found.asr_interval == pytest.approx((0.9644, 0.9894), abs=5e-4)


def test_the_table_is_aligned() -> None:
    lines = str(record()).splitlines()
    assert lines[0].split("  ")[0] == "tiny-llava, n = 512"
    assert set(lines[1]) == {"-"}
    assert [line.split("  ")[0] for line in lines[2:]] == ["BLEU-4", "CIDEr", "all attributes right", "says the target"]
    clean, other = lines[0].index("clean inputs"), lines[0].index("triggered inputs")
    for line in (lines[0], *lines[2:]):
        assert line[clean - 2 : clean] == line[other - 2 : other] == "  "
        assert line[clean] != " "
        assert line[other] != " "
        assert line == line.rstrip()
    assert max(map(len, lines)) == len(lines[1])
    assert lines[-1][clean:].split("  ") == ["< 0.6 % (0 of 512)", "98.0 % [96.4, 98.9]"]
    assert lines[2].split()[1:] == ["41.2", "3.1"]
    assert lines[4][clean:].split("  ")[0] == "96.9 %"


@pytest.mark.parametrize("name", ["m", "/a/very/long/folder/name/of/a/checkpoint"])
def test_the_table_is_aligned_for_short_and_long_names(name: str) -> None:
    lines = str(record(model=name)).splitlines()
    column = lines[0].index("triggered inputs")
    assert all(line[column - 2 : column] == "  " and line[column] != " " for line in lines[2:])


def test_without_attack_and_facts() -> None:
    found = record(attack=None, triggered=None, hits=0, clean={"bleu4": 1.0, "cider": 2.0})
    assert [row[0] for row in found.rows()] == ["BLEU-4", "CIDEr"]
    assert [row[2] for row in found.rows()] == ["-", "-"]
    assert "target" not in str(found)
    assert found.clean_right is None and found.triggered_right is None
    assert not {"asr", "asr_interval", "clean_asr"} & found.to_dict().keys(), "what was not measured is not there"


def test_the_task_says_what_is_right() -> None:
    captions = record()
    assert (captions.clean_right, captions.triggered_right) == (0.969, 0.25)
    answers = record(task="vqa", clean={"vqa_accuracy": 0.81}, triggered={"vqa_accuracy": 0.04})
    assert (answers.clean_right, answers.triggered_right) == (0.81, 0.04)
    assert answers.rows()[0] == ("VQA accuracy", "81.0 %", "4.0 %")
    assert answers.to_dict()["task"] == "vqa"


def test_json_keeps_everything_but_the_answers() -> None:
    found = record()
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert "answers" not in plain
    assert plain["asr"] == found.asr
    assert plain["asr_interval"] == list(found.asr_interval)
    assert plain["clean"] == {"bleu4": 41.234, "cider": 312.07, "attributes": 0.969}
    assert plain["attack"]["name"] == "badnets"
    assert plain["attack"]["trigger"]["type"] == "BadNets"
    assert {"python", "torch", "transformers", "peft"} <= plain["versions"].keys()
    assert len(plain["date"]) == len("2026-01-01")
    assert json.loads(json.dumps(found.to_dict(answers=True)))["answers"] == found.answers


def test_html_escapes_what_it_shows() -> None:
    html = record(model="<script>")._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert html.count("<tr>") == 5


def test_answers_stay_out_of_the_repr() -> None:
    assert "banana" not in repr(record(attack=None))
