"""The report of a study, opened as text: it holds every cell, says what was not run, and needs nothing from outside."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pcvr.experiments import HEADLINE
from pcvr.experiments.study.plan import Plan, plan_of
from pcvr.experiments.study.runner import run_study
from pcvr.experiments.study.sheets import sheets_of
from pcvr.experiments.study.store import Store
from pcvr.plots.describe import description
from pcvr.plots.study import price_picture, success_picture
from pcvr.plots.study_report import report_page, write_report
from tests.studies import failing, plan, pretended

_CLOSED = {"img", "meta", "br"}


class Reader(HTMLParser):
    """Reads tables and images, and holds tags to be closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.images: list[dict[str, str | None]] = []
        self.addresses: list[str] = []
        self.caption = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        assert tag not in ("script", "link", "iframe", "form"), tag
        if tag == "img":
            self.images.append(values)
        if tag not in _CLOSED:
            self.open.append(tag)
        if tag == "caption":
            self.caption = ""
        if tag == "tr":
            self.tables.setdefault(self.caption, []).append([])
        if tag in ("td", "th"):
            self.tables[self.caption][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "caption" in self.open:
            self.caption += data
        elif "td" in self.open or "th" in self.open:
            self.tables[self.caption][-1][-1] += data


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_it_holds_every_cell_and_nothing_from_outside(store: Store) -> None:
    whole = plan()
    first = Plan("mine", dict(list(whole.cells.items())[:9]))
    run_study(first, store, run=pretended, threads=1, made_by="pcvr study <mine>.py")
    page = report_page(Plan("mine", whole.cells), store, "pcvr study mine.py --html x.html")
    read = Reader(page)
    assert len(read.images) == 2 and all(str(image["alt"]).startswith("tiny-llava, caption. ") for image in read.images)
    assert all(address.startswith("data:image/png;base64,") for address in read.addresses)
    assert not re.search(r"url\(|@import|https?://", page)
    every = read.tables["The plan's cells, in its order"]
    assert [row[0] for row in every[1:]] == [*whole.cells]
    for row, (key, cell) in zip(every[1:], whole.cells.items(), strict=True):
        assert row[1:7] == [cell.label, cell.model, cell.task, cell.attack, "5 %", str(cell.seed)]
        expected = pretended(cell)["record"]["hits"]
        assert row[7] == (f"{expected} of 40" if key in first.cells else "not run")
    rates = read.tables["tiny-llava, caption: attack success"]
    assert rates[0] == ["defence", "badnets", "sig"] and rates[2][0] == "PCVR" and rates[2][2] == "not run"
    assert rates[1][1] == "100.0 % in each of 3 seeds" and "over seeds" in rates[2][1]
    assert read.tables["Cells without a result"][1] == ["tiny-llava, caption", "PCVR", "sig", "3 of 3", "not tried"]
    (setup,) = read.tables["How the runs were made"][1:]
    assert setup[:3] == ["1", "9", "pcvr study <mine>.py"] and "torch " in setup[3] and setup[6] == "1"
    assert "9 of the plan&#x27;s 12 cells" in page or "9 of the plan's 12 cells" in page
    against = read.tables["tiny-llava, caption: PCVR minus the other defence, attack success by image, each seed"]
    assert against[1][:2] == ["none", "badnets"] and against[1][2].count("points") == 3 and "p < 0.001" in against[1][2]


def test_failures_and_attacks_that_did_not_take(store: Store) -> None:
    def weak(cell: Any) -> dict[str, Any]:
        found = failing(cell)
        return found | {"record": found["record"] | {"hits": 20}}

    whole = plan(attacks="badnets")
    run_study(whole, store, run=weak)
    page = report_page(whole, store)
    read = Reader(page)
    assert "RuntimeError: no memory for this" in read.tables["Cells without a result"][1][4]
    assert all("attack did not take" in row[1] for row in read.tables["tiny-llava, caption: attack success"][1:])
    assert "Below 90 % without a defence (attack did not take): badnets." in page
    assert not [caption for caption in read.tables if "minus" in caption]


def test_an_empty_store_is_a_report_too(store: Store) -> None:
    whole = plan(labels="none other", attacks="badnets")
    read = Reader(report_page(whole, store))
    assert len(read.tables["Cells without a result"]) == 3 and not read.images
    assert "Not run at all, defence: none; other." in report_page(whole, store)


def test_what_was_run_comes_first_and_alone(store: Store) -> None:
    whole = plan_of([*plan(task="vqa").cells.values(), *plan(labels="none PCVR other").cells.values()])
    first = Plan("some", {key: cell for key, cell in whole.cells.items() if cell.task == "caption"}).only(
        ["none", "PCVR"]
    )
    run_study(first, store, run=pretended)
    page = report_page(whole, store)
    read = Reader(page)
    assert page.index("<h2>tiny-llava, caption</h2>") < page.index("<h2>tiny-llava, vqa</h2>")
    assert [row[0] for row in read.tables["tiny-llava, caption: attack success"][1:]] == ["none", "PCVR"]
    assert "tiny-llava, vqa: attack success" not in read.tables and "Not run at all, defence: other." in page


def test_records_that_are_not_in_the_plan_are_counted(store: Store) -> None:
    run_study(plan(), store, run=pretended)
    page = report_page(plan(seeds=1), store)
    assert "8 further Records, which are not in this plan" in page and "Every cell of the plan was run." in page


def test_labels_and_errors_are_text(store: Store) -> None:
    cell = replace(next(iter(plan().cells.values())), label="<b>&\x1b row</b>")
    run_study(plan_of([cell]), store, run=pretended)
    page = report_page(plan_of([cell]), store)
    assert "<b>&" not in page and "&lt;b&gt;&amp;" in page
    Reader(page)


def test_an_attack_of_which_nobody_knows_whether_it_took_is_no_price(store: Store) -> None:
    run_study(plan(attacks="badnets").only(["PCVR"]), store, run=pretended)
    (sheet,) = sheets_of(plan(attacks="badnets"), store.read())
    assert description(price_picture(sheet)).endswith("Nothing was run.")
    titles = [text.get_text() for text in success_picture(sheet).axes[0].get_xticklabels()]
    assert titles == ["badnets\n(not known whether it took)"]


def test_the_figures_are_described(store: Store) -> None:
    run_study(plan(), store, run=pretended)
    (sheet,) = sheets_of(plan(), store.read())
    said = description(success_picture(sheet))
    assert said.startswith("tiny-llava, caption. Squares of attack success.") and "none, badnets: 100.0 %" in said
    prices = description(price_picture(sheet))
    assert re.search(r"PCVR: \d+\.\d % \(from .* to .*\) at \d+\.\d % of the clean answers in 1 s", prices)


def test_a_large_study_is_written_in_ten_seconds(store: Store, tmp_path: Path) -> None:
    tasks = ("caption", "vqa")
    labels = " ".join(f"defence{n}" for n in range(14))
    plans = [plan(f"none PCVR {labels}", attacks=" ".join(HEADLINE), task=task, tests=512) for task in tasks]
    whole = plan_of(cell for each in plans for cell in each.cells.values())
    with store.writing() as writer:
        for cell in whole.cells.values():
            writer.add(pretended(cell) | {"setup": {"made_by": "m", "date": "2026-11-29", "versions": {}}})
    file = tmp_path / "report.html"
    write_report(plan(), store, file)  # matplotlib and scipy are imported
    began = time.process_time()
    write_report(whole, store, file)
    seconds = time.process_time() - began
    print(f"{len(whole.cells)} cells: {seconds:.1f} s of the processor, {file.stat().st_size / 1e6:.1f} MB")
    assert seconds < 30, "10 s on a free machine"
    assert file.read_text(encoding="utf-8").count("<tr>") > len(whole.cells)
