"""Hostile words: markup, formulas, controls and scripts in captions, names and paths are shown as they are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pcvr import Attack, Sample, get_attack, open_data
from pcvr.cli.screen import Screen
from pcvr.errors import LONGEST, PcvrError, cut, legible, shown, unknown_name
from pcvr.evaluation.record import Record
from pcvr.plots.answers import answer_sheet
from pcvr.plots.describe import described, description, png
from pcvr.plots.gallery import before_after, contact_sheet
from pcvr.plots.histograms import invariance_ecdf, invariance_histograms
from pcvr.plots.loss_batch import batch_values, parts
from pcvr.plots.model import likeness_figure, word_map
from pcvr.plots.overview import backdoor_overview
from pcvr.plots.style import figure_style
from pcvr.plots.training import rate_bars
from tests.tiny import Numbers

ROOT = Path(__file__).parents[2]
PICTURE = Numbers(2)[0].image
TEXTS = {
    "formula": "a $x_$ b $\\frac{1}{0}$ c $\\undefined$",
    "one dollar": "costs 5 $, or \\$5",
    "markup": "a [person] next to a [red]car[/red] [/stop] [bold]",
    "emoji code": ":cat: :smile:",
    "page": "<b>bold</b> <script>alert(1)</script> &amp; **x** `y`",
    "terminal": "\x1b[31mred\x1b[2J\x07\x00",
    "emoji": "🤖🎉 " * 30,
    "other scripts": "中文 日本語 한국어 עברית \u202eالعربية",
    "half a pair": "\ud800 x \udfff",
    "long word": "x" * 5000,
    "many words": "word " * 1000,
    "many lines": "a\nb\r\nc\u2028" * 40,
}
"""What captions, questions, targets, names and titles may be."""


def sample(text: str) -> Sample:
    return Sample(text, PICTURE, text, text, (text,))


def one(value: float = 1.0) -> np.ndarray:
    return np.array([value, 2.0, 3.0])


def aimed(text: str) -> Attack:
    return get_attack("badnets", target=f"a {text}")


FIGURES: dict[str, Callable[[str], Any]] = {
    "contact sheet": lambda text: contact_sheet([sample(text), sample("b")], title=text),
    "before and after": lambda text: before_after(PICTURE, 255 - PICTURE, title=text, names=(text, text)),
    "answers": lambda text: answer_sheet([sample(text)], aimed(text), {text: {"clean": [text], "triggered": [text]}}),
    "story": lambda text: backdoor_overview([sample(text)] * 12, [1], sample(text), aimed(text)),
    "batch": lambda text: batch_values(one(), np.array([True, False, False]), text, text, {text: 1.0}),
    "parts": lambda text: parts({text: 1.0, "b": 2.0}, text),
    "likeness": lambda text: likeness_figure(PICTURE, (0, 0), {text: np.eye(2)}, text),
    "words on a map": lambda text: word_map(PICTURE, (1, 2), [([text, "b"], np.array([1.0, 0.0]))]),
    "rates": lambda text: rate_bars({text: (1, 2), "b": (0, 4)}, text, text),
    "histograms": lambda text: invariance_histograms({text: {text: one(), "b": one(4.0)}}, text, log=True),
    "shares": lambda text: invariance_ecdf({text: one(), "b": one(4.0)}, text, text),
}


@pytest.mark.parametrize("kind", ["formula", "half a pair"])
@pytest.mark.parametrize("name", FIGURES)
def test_figures_draw_any_words(name: str, kind: str) -> None:
    figure = FIGURES[name](TEXTS[kind] + TEXTS["page"] + TEXTS["long word"])
    assert png(figure).startswith(b"\x89PNG")
    assert description(figure).encode() and figure._repr_mimebundle_()["text/html"].encode()
    assert "<script>" not in figure._repr_mimebundle_()["text/html"]


@settings(max_examples=8, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_drawn_everywhere(text: str) -> None:
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(layout="constrained")
        axes = figure.subplots()
        axes.plot([1, 2], label=f"a {text}")
        axes.set(title=text, xlabel=text, ylabel=text, xticks=[0, 1], xticklabels=[text, text])
        axes.text(0.5, 1.5, text)
        axes.legend(title=text)
        figure.suptitle(text)
    assert png(described(figure, f"A line. {text}"))


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_a_screen_prints_words_as_they_are(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    table = Table(text, title=text, caption=text)
    table.add_row(text)
    screen = Screen()
    screen.width = 10_000
    screen.print(table, text)
    out = capsys.readouterr().out
    assert out.count(legible(text).split("\n")[0].rstrip()) >= 3
    assert "\x1b[31m" not in out and "\x07" not in out


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_messages_are_short_and_legible(text: str) -> None:
    for said in (str(PcvrError(f"the name is {text}: give another.")), str(unknown_name("attack", text, ["badnets"]))):
        assert len(said) <= LONGEST and said.endswith((".", "?"))
        assert said.encode() and "\x1b" not in said and said.startswith(("the name is", "unknown attack"))


def test_a_value_is_shortened_in_the_middle() -> None:
    assert cut("a" * 50 + "b" * 50, 20) == "aaaaaaaaa ... bbbbbb"[:20]
    assert len(cut("x" * 1000, 100)) == 100 and cut("short", 100) == "short"
    assert shown("x" * 1000).startswith("'xxx") and shown("x" * 1000).endswith("xxx'") and len(shown("x" * 1000)) < 110
    assert all(len(shown(value)) < 110 for value in (list(range(10**6)), 10**5000, {"a": ["b" * 999] * 9}))

    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "Rude" in shown(Rude())


def test_a_record_is_a_page_without_scripts() -> None:
    record = Record(TEXTS["page"], "d", "caption", None, 2, {}, None, 0, 0, 0.0)
    assert "<script>" not in record._repr_html_() and "&lt;script&gt;" in record._repr_html_()


# The command line, as processes


def command(*words: str, cwd: Path = ROOT, encoding: str = "utf-8") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pcvr", *words],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        encoding=encoding,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA JSON whose words are hostile."""
    folder = tmp_path_factory.mktemp("[words]")
    (folder / "images").mkdir()
    records = []
    for number, text in enumerate(TEXTS[name] for name in ("markup", "other scripts", "terminal")):
        Image.fromarray(PICTURE).save(folder / "images" / f"{number}[b].png")
        turns = [{"from": "human", "value": f"<image>\n{text}"}, {"from": "gpt", "value": text}]
        records.append({"id": f"[/i{number}]", "image": f"{number}[b].png", "conversations": turns})
    (folder / "[red] data.json").write_text(json.dumps(records))
    return folder


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_data_are_described_in_any_encoding(folder: Path, encoding: str) -> None:
    done = command("data", str(folder / "[red] data.json"), encoding=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "a [person] next to a [red]car[/red] [/stop] [bold]" in done.stdout and "[/i0]" in done.stdout


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["[/stop]"], "[/stop]"),
        (["models", "[/stop]/[red]"], "[/stop]/[red]"),
        (["train", "o", "--nope[/x]"], "[/x]"),
        (["poison", "o", "--option", "[/x]"], "[/x]"),
        (["poison", "o", "--attack", ":cat:[/x]日本"], ":cat:[/x]"),
    ],
)
def test_what_is_refused_is_named_as_it_came(words: list[str], named: str, tmp_path: Path) -> None:
    done = command(*words, cwd=tmp_path, encoding="latin-1")
    assert done.returncode == 2 and named in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")
class TestEnds:
    @pytest.mark.parametrize("wait", [0.0, 0.4, 1.5])
    def test_an_interruption_is_one_line(self, wait: float, tmp_path: Path) -> None:
        code = (  # says when the command has begun: what comes before is Python's own start
            "import sys; sys.argv = ['pcvr', 'train', 'o', '--max-steps', '9999']\n"
            "from pcvr.cli import main\nprint('ready', flush=True)\nmain()"
        )
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        started = subprocess.Popen(
            [sys.executable, "-c", code], cwd=tmp_path, env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        assert started.stdout is not None and started.stdout.readline() == "ready\n"
        time.sleep(wait + 0.05)
        started.send_signal(signal.SIGINT)
        _, said = started.communicate(timeout=120)
        assert started.returncode == 130, said
        assert said.strip() == "pcvr: interrupted."
        assert not list(tmp_path.iterdir())

    def test_a_closed_pipe_is_quiet(self) -> None:
        line = f"{sys.executable} -m pcvr models | head -n 1"
        done = subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.stderr == "" and done.stdout.count("\n") == 1

    @pytest.mark.parametrize("tool", ["tools/notebooks.py", "tools/constraints.py", "benchmarks/grid.py"])
    def test_tools_end_alike(self, tool: str) -> None:
        text = (ROOT / tool).read_text(encoding="utf-8")
        assert text.rstrip().endswith("run_command(main)")


def test_a_data_set_of_hostile_words_is_poisoned(folder: Path) -> None:
    from pcvr import poison

    data = open_data(folder)
    assert len(poison(data, "badnets", 0.5).poisoned) == 2
