"""Reports of bad input: all of it at once, readable, writable; and no garbage that ends in a bare traceback."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcvr.data import BadData, Dataset, Problem, Report, check_data, open_data
from pcvr.data.report import EMPTY, MISSING
from pcvr.errors import PcvrError
from tests import formats

RELAXED = settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)


def report(n: int) -> Report:
    found = Report("data.json", looked=Counter(records=100))
    for i in range(n):
        found.add(MISSING if i % 3 else EMPTY, f"record {i}", "is\tnot\nthere \ud800")
    return found


class TestReport:
    def test_ten_are_shown_and_all_counted(self) -> None:
        found = report(25)
        text = str(BadData(found))
        head = "data.json has 25 problem(s) in 100 records (missing image: 16, empty text: 9)"
        assert text.splitlines()[0] == f"{head}; correct them, or give skip_bad=True to leave them out:"
        assert text.count("\n  - ") == 10
        assert text.endswith("... and 15 more")
        assert found.counts() == {MISSING: 16, EMPTY: 9}
        assert "more" not in str(report(10))

    def test_one_is_one_sentence(self) -> None:
        found = Report("data.json", looked=Counter(records=3))
        found.add(MISSING, "record 1", "it is gone.")
        head = "data.json has 1 problem(s) in 3 records (missing image: 1): record 1: it is gone"
        assert str(found) == f"{head}."
        assert str(BadData(found)) == f"{head}; correct them, or give skip_bad=True to leave them out."

    def test_none(self) -> None:
        assert not report(0)
        assert str(report(0)) == "data.json: no problems in 100 records"
        assert str(Report("x")) == "x: no problems in no entries"

    def test_all_are_written(self, tmp_path: Path) -> None:
        lines = report(25).write(tmp_path / "new" / "problems.tsv").read_text().splitlines()
        assert lines[0].split("\t") == ["kind", "where", "what"]
        assert len(lines) == 26
        assert lines[2].split("\t") == [MISSING, "record 1", "is not there \\ud800"]
        (tmp_path / "file").touch()
        with pytest.raises(PcvrError, match="could not be written"):
            report(1).write(tmp_path / "file" / "problems.tsv")

    def test_the_error_has_them(self) -> None:
        error = BadData(report(2))
        assert isinstance(error, PcvrError)
        assert error.problems == error.report.problems
        assert error.problems[0] == Problem(EMPTY, "record 0", "is\tnot\nthere \ud800")


class TestCheck:
    def test_pictures_cut_short_are_found_only_by_decoding(self, tmp_path: Path) -> None:
        path = formats.write_coco(tmp_path)
        assert not check_data(path)
        for i in (3, 5):
            formats.cut_short(tmp_path / "val2014" / formats.coco_name(i))
        (tmp_path / "val2014" / formats.coco_name(7)).unlink()
        assert check_data(path).counts() == {"unreadable image": 2, "missing image": 1}
        assert check_data(path, check_pictures=False).counts() == {"missing image": 1}
        data = open_data(path, split="all", skip_bad=True, check_pictures=True)
        assert len(data) == 9
        assert all(data[i].image.size for i in range(9))

    def test_nothing_usable(self, tmp_path: Path) -> None:
        path = formats.write_json(tmp_path / "captions.json", formats.coco(3))
        assert check_data(path).counts() == {"missing image": 3}
        with pytest.raises(BadData, match="no usable entry is left"):
            open_data(path, skip_bad=True)

    def test_what_has_no_report_has_no_problems(self) -> None:
        assert str(check_data("scenes", split="test")) == "scenes: no problems in no entries"

    def test_a_long_check_shows_a_bar(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = formats.write_coco(tmp_path, 2)
        check_data(path)
        assert capsys.readouterr() == ("", ""), "not before two seconds have passed"
        monkeypatch.setattr("pcvr.data.reader.BAR_AFTER", 0)
        check_data(path)
        assert "checking images: 100%" in capsys.readouterr().err


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["a.png", "train", "9"])
)
KEYS = st.sampled_from(
    (
        "id image file_name conversations from value images annotations image_id caption question_id question "
        "questions answers answer sentences raw split filename filepath cocoid references facts "
        "multiple_choice_answer"
    ).split()
)
GARBAGE = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=30
)


def _coco(entries: list[Any], others: list[Any]) -> Any:
    return {"images": entries, "annotations": others}


def _karpathy(entries: list[Any], others: list[Any]) -> Any:
    return {"images": [*entries, *({"sentences": each, "filename": "a.png", "split": "test"} for each in others)]}


def _llava(entries: list[Any], others: list[Any]) -> Any:
    return [*entries, *({"id": "a", "image": "a.png", "conversations": each} for each in others)]


class TestGarbage:
    @pytest.mark.parametrize("shape", [_coco, _karpathy, _llava])
    @pytest.mark.parametrize("skip_bad", [False, True])
    @RELAXED
    @given(entries=st.lists(GARBAGE, max_size=4), others=st.lists(GARBAGE, max_size=4))
    def test_any_json_gives_data_or_an_error_of_ours(
        self, tmp_path: Path, shape: Callable[..., Any], skip_bad: bool, entries: list[Any], others: list[Any]
    ) -> None:
        formats.grey(tmp_path / "a.png")
        opened(formats.write_json(tmp_path / "data.json", shape(entries, others)), skip_bad)

    @RELAXED
    @given(asked=st.lists(GARBAGE, max_size=4), answered=st.lists(GARBAGE, max_size=4))
    def test_any_questions_and_answers(self, tmp_path: Path, asked: list[Any], answered: list[Any]) -> None:
        formats.grey(tmp_path / "000000000000.jpg")
        first = {"question_id": 1, "image_id": 0, "question": "what?"}
        answers = formats.write_json(tmp_path / "answers.json", {"annotations": [*answered, 1]})
        opened(formats.write_json(tmp_path / "data.json", {"questions": [first, *asked]}), True, annotations=answers)

    @RELAXED
    @given(
        content=st.binary(max_size=60),
        head=st.sampled_from([b"", b"image_name|", b"raw,split,filename\n", b"a#0\t", b"{", b"["]),
    )
    @pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.token"])
    def test_any_bytes(self, tmp_path: Path, name: str, content: bytes, head: bytes) -> None:
        path = tmp_path / name
        path.write_bytes(head + content)
        opened(path, False)

    @RELAXED
    @given(at=st.integers(0, 10_000), byte=st.binary(min_size=0, max_size=2))
    @pytest.mark.parametrize(
        "write", [formats.coco, formats.karpathy, lambda n: formats.vqav2(n)[0]], ids=["coco", "karpathy", "vqav2"]
    )
    def test_a_byte_that_went_wrong(self, tmp_path: Path, write: Callable[[int], Any], at: int, byte: bytes) -> None:
        content = json.dumps(write(2)).encode()
        place = at % len(content)
        path = tmp_path / "data.json"
        path.write_bytes(content[:place] + byte + content[place + 1 :])
        opened(path, True, annotations=None)


def opened(path: Path, skip_bad: bool, **options: Any) -> None:
    """Open `path`, which may be anything; whatever comes out is data or an error of ours that can be shown."""
    try:
        data = open_data(path, split="all", skip_bad=skip_bad, **options)
    except PcvrError as error:
        assert str(error)
        return
    assert isinstance(data, Dataset)
    ids = set()
    for index in range(len(data)):
        sample = data[index]
        assert sample.references and sample.answer
        ids.add(sample.id)
    assert len(ids) == len(data)
