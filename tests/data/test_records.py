"""What readers are made of: compact texts, JSON in pieces, and a folder that no path leaves."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcvr.data.folder import PictureFolder, likeliest_root
from pcvr.data.records import Records
from pcvr.data.report import EntryError, Report
from pcvr.data.slots import UNKNOWN, Slots
from pcvr.data.stream import JsonFile
from pcvr.data.texts import Groups, Texts
from pcvr.errors import PcvrError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)
RELAXED = settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)


class TestTexts:
    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
    def test_they_come_back(self, texts: list[str]) -> None:
        kept = Texts()
        for text in texts:
            kept.append(text)
        assert [kept[i] for i in range(len(kept))] == texts

    def test_half_a_surrogate_pair_is_refused(self) -> None:
        kept = Texts()
        with pytest.raises(EntryError, match="half a surrogate pair"):
            kept.append("a\ud800")
        assert len(kept) == 0

    @given(st.lists(st.tuples(st.integers(0, 5), st.text("ab", max_size=3))), st.booleans())
    def test_groups_are_what_a_dictionary_of_lists_is(self, pairs: list[tuple[int, str]], rename: bool) -> None:
        groups = Groups()
        rows = np.array([3, -1, 0, 2, 1, -2]) if rename else np.arange(6)
        expected: dict[int, list[str]] = {}
        for owner, text in pairs:
            groups.append(owner, text)
            expected.setdefault(int(rows[owner]), []).append(text)
        groups.sort(6, renamed=rows if rename else None)
        assert [groups[row] for row in range(6)] == [tuple(expected.get(row, ())) for row in range(6)]
        assert groups.counts().tolist() == [len(expected.get(row, ())) for row in range(6)]


class TestRecords:
    def test_nothing_is_added_where_a_text_is_bad(self) -> None:
        records = Records(Report("test"), "record")
        with pytest.raises(EntryError):
            records.add(0, "a", "a.png", prompt="\ud800")
        with pytest.raises(EntryError):
            records.add(0, "a", "a.png", references=["fine", "\udfff"])
        records.add(1, "b", "b.png", answer="yes", facts={"half": "\ud800"})
        records.references.sort(len(records))
        assert len(records) == 1
        assert records.texts(0) == ("b", "", "yes", ())
        assert records.facts(0) == {"half": "\ud800"}

    def test_labels_stay_short(self) -> None:
        records = Records(Report("test"), "record")
        assert records.label(3) == records.label(3, "") == "record 3"
        assert records.label(3, "a") == "record 3 ('a')"
        assert len(records.label(3, "a" * 9999)) < 100

    def test_slots(self) -> None:
        slots = Slots()
        assert [slots.of(each) for each in (9, "9", "09", "a", -3, "-3")] == [
            (0, True),
            (0, False),
            (1, True),
            (2, True),
            (3, True),
            (3, False),
        ]
        assert slots.names() == [9, "09", "a", -3]
        assert set(slots.rows) == {UNKNOWN}
        wrong: tuple[Any, ...] = (None, True, 1.5, "", [], {})
        for bad in wrong:
            with pytest.raises(EntryError, match="not a text or a whole number"):
                slots.of(bad)


class TestJson:
    @pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
    @RELAXED
    @given(value=VALUES, indent=st.none() | st.just(1))
    def test_pieces_are_what_the_whole_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, value: Any, indent: int | None
    ) -> None:
        monkeypatch.setattr("pcvr.data.stream._CHUNK", chunk)
        path = tmp_path / "a.json"
        path.write_text(json.dumps(value, indent=indent), encoding="utf-8")
        with JsonFile(path) as file:
            pieces = list(file)
        assert file.digest.hexdigest() == hashlib.sha256(path.read_bytes()).hexdigest()
        if isinstance(value, list):
            assert pieces == [("", number, item) for number, item in enumerate(value)]
        elif isinstance(value, dict):
            expected = []
            for key, item in value.items():
                expected += (
                    [(key, i, each) for i, each in enumerate(item)] if isinstance(item, list) else [(key, -1, item)]
                )
            assert pieces == expected
        else:
            assert pieces == [("", -1, value)]

    @pytest.mark.parametrize("chunk", [5, 64, 1 << 20])
    def test_many_items_alike(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
        monkeypatch.setattr("pcvr.data.stream._CHUNK", chunk)
        # Texts that look like the end of an item must not be taken for one.
        items = [{"id": i, "text": f'}}, {{"id": {i}, "t', "more": [{"id": 1}, {"id": 2}]} for i in range(300)]
        path = tmp_path / "a.json"
        path.write_text(json.dumps({"items": items, "last": 1}))
        with JsonFile(path) as file:
            assert list(file) == [*(("items", i, item) for i, item in enumerate(items)), ("last", -1, 1)]

    @RELAXED
    @given(value=VALUES, at=st.integers(0, 200), with_=st.text(max_size=2))
    def test_what_is_no_json_is_said_so(self, tmp_path: Path, value: Any, at: int, with_: str) -> None:
        whole = json.dumps(value)
        text = whole[: at % (len(whole) + 1)] + with_ + whole[at % (len(whole) + 1) + 1 :]
        path = tmp_path / "a.json"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            json.loads(path.read_bytes().decode("utf-8-sig"))
            valid = True
        except ValueError:
            valid = False
        try:
            with JsonFile(path) as file:
                list(file)
            assert valid
        except PcvrError as error:
            assert not valid
            assert str(path) in str(error)

    @pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 100_000, "[1, " + "9" * 5000 + "]"])
    def test_too_deep_and_too_long(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "a.json"
        path.write_text(text)
        with pytest.raises(PcvrError, match="is not valid JSON"), JsonFile(path) as file:
            list(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with pictures, links inside it, and links out of it."""
    root = tmp_path / "root"
    for name in ("a.png", "sub/b.png", "sub/deep/c.png", "..d.png", "e:f.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (tmp_path / "secret.png").touch()
    (tmp_path / "rooted").mkdir()  # its name begins like the root's
    (tmp_path / "rooted" / "s.png").touch()
    (root / "inside.png").symlink_to("sub/b.png")
    (root / "linked").symlink_to("sub")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "sub" / "out.png").symlink_to("../../secret.png")
    (root / "up").symlink_to("..")
    (root / "beside").symlink_to(tmp_path / "rooted")
    (root / "loop.png").symlink_to("loop.png")
    (root / "dead.png").symlink_to("nothing.png")
    (root / "twice").symlink_to("linked")
    return root


class TestFolder:
    @pytest.mark.parametrize(
        ("name", "place"),
        [
            ("a.png", "a.png"),
            ("./a.png", "a.png"),
            ("sub/b.png", "sub/b.png"),
            ("sub//deep/./c.png", "sub/deep/c.png"),
            ("inside.png", "sub/b.png"),
            ("linked/b.png", "sub/b.png"),
            ("twice/deep/c.png", "sub/deep/c.png"),
            ("..d.png", "..d.png"),
            ("e:f.png", None),  # a drive, where there are drives
        ],
    )
    def test_found(self, folder: Path, name: str, place: str | None) -> None:
        pictures = PictureFolder(folder)
        if place is None:
            with pytest.raises(EntryError):
                pictures.find(name)
            return
        assert pictures.find(name) == place
        assert pictures.path(place).is_file()
        pictures.forget()
        assert pictures.find(name) == place

    @pytest.mark.parametrize(
        "name",
        [
            "/etc/passwd",
            "../secret.png",
            "sub/../../secret.png",
            "..",
            "C:\\a.png",
            "\\a.png",
            "..\\secret.png",
            "C:a.png",
            "out.png",
            "sub/out.png",
            "up/secret.png",
            "beside/s.png",
            "//host/share/a.png",
            "\\\\host\\share\\a.png",
        ],
    )
    def test_leaving(self, folder: Path, name: str) -> None:
        with pytest.raises(EntryError, match="leaves the image folder") as caught:
            PictureFolder(folder).find(name)
        assert caught.value.kind == "path leaves the folder"

    @pytest.mark.parametrize(
        "name",
        [
            "b.png",
            "A.PNG.",
            "sub",
            "",
            "a\x00.png",
            "x" * 5000,
            "\ud800.png",
            ".",
            "loop.png",
            "dead.png",
            "none/a.png",
            "a.png/",
            None,
            3,
            ["a.png"],
        ],
    )
    def test_missing(self, folder: Path, name: Any) -> None:
        with pytest.raises(EntryError) as caught:
            PictureFolder(folder).find(name)
        assert caught.value.kind == "missing image"

    @RELAXED
    @given(
        st.lists(
            st.sampled_from(
                ["..", ".", "", "sub", "linked", "up", "beside", "twice", "root", "a.png", "out.png", "s.png"]
            )
            | st.text(max_size=3),
            max_size=6,
        ).map("/".join)
    )
    def test_nothing_outside_is_ever_found(self, folder: Path, name: str) -> None:
        try:
            place = PictureFolder(folder).find(name)
        except EntryError:
            return
        real = Path(os.path.realpath(folder / place))
        assert real.is_relative_to(folder.resolve()) and real.is_file()
        assert real == folder.resolve() / place, "links are followed already"

    def test_the_folder_itself_may_be_a_link(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(folder)
        assert PictureFolder(tmp_path / "link").find("a.png") == "a.png"

    def test_a_file_that_came_later_or_in_other_capitals_is_asked_of_the_disk(self, folder: Path) -> None:
        pictures = PictureFolder(folder)
        pictures.find("a.png")
        (folder / "late.png").touch()
        assert pictures.find("late.png") == "late.png"

    def test_the_likeliest_folder_has_most_of_the_first(self, folder: Path) -> None:
        folders = (folder, folder / "sub")
        assert likeliest_root(folders, ["none.png", "b.png", "../b.png", "\0"]) == folder / "sub"
        assert likeliest_root(folders, ["none.png"]) == folder
        assert likeliest_root(folders, []) == folder
