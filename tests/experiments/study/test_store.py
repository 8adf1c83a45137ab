"""The store of a study: whole lines, one writer, torn lines mended, and ten thousand Records as a table in time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from pcvr import PcvrError
from pcvr.experiments import results
from pcvr.experiments.study.journal import Appender, appending, read_entries
from pcvr.experiments.study.store import Store
from tests.studies import plan, pretended

SETUP = {"made_by": "test", "date": "2026-11-29", "versions": {"torch": "2.13.0"}, "threads": 1, "cores": 2, "jobs": 1}
CELLS = list(plan().cells.values())


def record(number: int = 0) -> dict[str, Any]:
    return pretended(CELLS[number]) | {"setup": SETUP, "wall": 2.0}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def filled(store: Store, count: int) -> list[dict[str, Any]]:
    records = [record(number) for number in range(count)]
    with store.writing() as writer:
        for each in records:
            writer.add(each)
    return records


def test_what_is_added_is_read_in_its_order(store: Store) -> None:
    assert store.records() == [] and len(store.read()) == 0 and store.failures() == {}
    records = filled(store, 3)
    assert store.records() == records
    with store.writing() as writer:
        assert writer.keys == {r["key"] for r in records} and writer.mended == []
        writer.add(record(3))
    assert len(store.records()) == 4 and store.file.read_bytes().count(b"\n") == 4


class TestTornLines:
    @pytest.mark.parametrize("left", [1, 30, 900])
    def test_a_torn_last_line_is_cut_off(self, store: Store, left: int) -> None:
        records = filled(store, 3)
        lines = store.file.read_bytes().splitlines(keepends=True)
        assert len(lines[2]) > 900
        store.file.write_bytes(b"".join(lines[:2]) + lines[2][:left])
        assert store.records() == records[:2], "reading does not need the lock, and changes nothing"
        with store.writing() as writer:
            (said,) = writer.mended
            assert "torn" in said and f"{left} bytes" in said
            writer.add(records[2])
        assert store.records() == records and store.file.read_bytes() == b"".join(lines)

    def test_a_line_that_lacks_only_its_end_is_kept(self, store: Store) -> None:
        records = filled(store, 2)
        whole = store.file.read_bytes()
        store.file.write_bytes(whole[:-1])
        assert store.records() == records
        with store.writing() as writer:
            assert "lacked its end" in writer.mended[0]
            writer.add(record(2))
        assert store.records() == [*records, record(2)]

    def test_a_bad_line_elsewhere_is_named(self, store: Store) -> None:
        filled(store, 2)
        lines = store.file.read_bytes().splitlines(keepends=True)
        for bad in (b"{\n", b"[1]\n", b"\x00\xff\n", b"\n"):
            store.file.write_bytes(lines[0] + bad + lines[1])
            with pytest.raises(PcvrError, match=r"line 2 of .*records.jsonl is not a JSON object"):
                store.read()
        store.file.write_bytes(lines[0] + b"{}\n")
        with pytest.raises(PcvrError, match=r"line 2 of .* is not a Record"):
            store.read()
        store.file.write_bytes(lines[0] + lines[0])
        with pytest.raises(PcvrError, match=r"line 2 of .* has a cell for the second time"), store.writing():
            pass

    def test_a_full_disk_leaves_the_file_as_it_was(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        filled(store, 1)
        before = store.file.read_bytes()

        def half(self: Appender, data: bytes) -> None:
            self._stream.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")

        with store.writing() as writer:
            with monkeypatch.context() as patch:
                patch.setattr(Appender, "_write", half)
                with pytest.raises(PcvrError, match="No space left"):
                    writer.add(record(1))
            assert store.file.read_bytes() == before
            writer.add(record(1))
        assert len(store.records()) == 2


class TestOneWriter:
    def test_a_second_writer_is_refused(self, store: Store) -> None:
        with store.writing():
            with pytest.raises(PcvrError, match=r"another process is writing .*records.jsonl"), store.writing():
                pass
            assert store.records() == []
        with store.writing():
            pass

    def test_a_cell_is_refused_the_second_time(self, store: Store) -> None:
        filled(store, 1)
        with store.writing() as writer, pytest.raises(PcvrError, match=r"has the cell .* already"):
            writer.add(record(0))
        assert len(store.records()) == 1

    def test_something_else_is_refused(self, store: Store) -> None:
        with store.writing() as writer, pytest.raises(PcvrError, match="lacks seconds, setup"):
            writer.add({"key": "a", "experiment": {}, "record": {}})

    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(PcvrError, match=r"cannot be read \(Not a directory\): give a store"):
            Store(tmp_path / "file").check()
        with pytest.raises(PcvrError, match="the store is ''"):
            Store("")  # type: ignore[arg-type]


class TestWithdrawing:
    def test_a_cell_can_be_made_again(self, store: Store) -> None:
        first, second = filled(store, 2)
        with store.writing() as writer:
            writer.withdraw(first["key"], "the defence was put right")
            assert first["key"] not in writer.keys
            writer.add(first | {"seconds": 9.0})
        assert [(r["key"], r["seconds"]) for r in store.records()] == [(second["key"], 1.0), (first["key"], 9.0)]
        lines = [json.loads(line) for line in store.file.read_text().splitlines()]
        assert len(lines) == 4 and lines[2]["withdrawn"] == first["key"] and "put right" in lines[2]["why"]

    def test_not_without_a_cell_or_a_reason(self, store: Store) -> None:
        (first,) = filled(store, 1)
        with store.writing() as writer:
            with pytest.raises(PcvrError, match="no cell 'feed' to withdraw"):
                writer.withdraw("feed", "because")
            with pytest.raises(PcvrError, match="say why"):
                writer.withdraw(first["key"], " ")


def test_a_cell_is_found_by_the_beginning_of_its_key_or_by_its_label(store: Store) -> None:
    first, *_ = filled(store, 4)
    assert store.find(first["key"]) == store.find(first["key"][:6]) == first
    with pytest.raises(PcvrError, match=r"'none' names 4 cells .*: give one of \w{12}, "):
        store.find("none")
    for unknown in ("feedfeed", first["key"][:3], ""):
        with pytest.raises(PcvrError, match="has no cell"):
            store.find(unknown)


class TestFrame:
    def test_columns_are_flat(self, store: Store) -> None:
        filled(store, 2)
        frame = store.read()
        row = frame.iloc[1].to_dict()
        cell, said = CELLS[1], record(1)["record"]
        assert (row["key"], row["label"], row["attack"], row["seed"]) == (cell.key, "none", "badnets", 1)
        assert (row["options"], row["attack_options"], row["rate"]) == ("{}", "{}", 0.05)
        assert (row["hits"], row["n"], row["asr"]) == (said["hits"], 40, said["hits"] / 40)
        assert row["right"] == said["clean"]["attributes"] and row["triggered_right"] == said["triggered"]["attributes"]
        assert (row["clean_cider"], row["cider_low"], row["cider_high"]) == (400, 380, 420)
        assert (row["gate_recall"], row["gate_false_alarms"]) == (0.9, 1)
        assert (row["seconds"], row["wall"], row["answer_seconds"]) == (1, 2, 0.5)
        assert (row["threads"], row["made_by"], row["version_torch"]) == (1, "test", "2.13.0")
        assert not any(isinstance(value, dict | list) for value in row.values())

    def test_records_of_older_tables_have_the_present_names(self, store: Store) -> None:
        old = record()
        old["experiment"]["steps"] = old["experiment"].pop("max_steps")
        del old["outcomes"], old["experiment"]["novelty"], old["record"]["aimed"], old["gate"]
        with store.writing() as writer:
            writer.add(old)
        row = store.read().iloc[0]
        assert row["max_steps"] == 400 and row["n"] == 40 and row["novelty"] == "" and "bits_hit" not in row

    def test_ten_thousand_records_open_in_a_second(self, store: Store) -> None:
        store.folder.mkdir()
        run = results.load("defenses").runs[0]  # as long as real ones
        line = record() | {"record": run["record"], "gate": run["gate"]}
        line["outcomes"] = dict.fromkeys(line["outcomes"], "5a" * 64)
        with store.file.open("w") as stream:
            for number in range(10_000):
                stream.write(json.dumps(line | {"key": f"{number:012x}"}) + "\n")
        Store(store.folder / "none").read()  # pandas is imported
        text = store.file.read_text()
        began = time.process_time()
        lines = [json.loads(line) for line in text.splitlines()]
        parsing, began = time.process_time() - began, time.process_time()
        frame = store.read()
        seconds = time.process_time() - began
        assert len(lines) == 10_000
        assert len(frame) == 10_000 and frame["n"].sum() == 5_120_000
        print(f"10,000 Records, {store.file.stat().st_size / 1e6:.0f} MB: {seconds:.2f} s of the processor")
        assert seconds < 6 * parsing, "about a second on a free machine, half of it to parse the lines"


def test_a_journal_keeps_any_text(tmp_path: Path) -> None:
    file = tmp_path / "a" / "journal.jsonl"
    entries: list[dict[str, Any]] = [{"text": "line\nbreak \u2028 \ud800 é"}, {"number": float("inf")}]
    with appending(file) as journal:
        for entry in entries:
            journal.append(entry)
    assert read_entries(file) == entries
    assert file.read_bytes().isascii()
