"""Running the workbook: time, memory, failures in a sentence, pages to read. On small notebooks written here."""

import json
import re
import runpy
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import joblib
import nbformat
import psutil
import pytest
from bookkit import many, running
from bookkit.elsewhere import SKIPPED
from bookkit.report import clock, size, write_html
from bookkit.running import place, refuse_unknown, run_notebook
from bookkit.source import Cell, SourceError

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.notebook


def notebook(path, *code, parameters="fast = False\nn = 1"):
    cells = [
        nbformat.v4.new_markdown_cell("# Small & quick\n\nSays one thing. Then another."),
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *map(nbformat.v4.new_code_cell, code),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "3"}, "language_info": {"name": "python"}}
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def workbook(*arguments):
    call = [sys.executable, ROOT / "tools" / "run_workbook.py", *arguments]
    return subprocess.run(call, capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": ""})


def test_parameters_interpreter_memory_and_working_directory(tmp_path):
    path = notebook(
        tmp_path / "01_a.ipynb",
        f"import os, sys, time\nassert sys.executable == {sys.executable!r}\nassert fast is True and n == 1",
        "assert os.listdir() == []\nimport pcvr",
        "block = bytearray(400_000_000)\nblock[::4096] = b'x' * len(block[::4096])",
        "time.sleep(0.5)",
    )
    run = run_notebook(path, tmp_path / "out" / "01_a.ipynb", {"fast": True})
    assert run.error is None
    assert 400e6 < run.peak_bytes < 1e9
    assert 0.5 < run.seconds < 60
    assert (run.title, run.summary) == ("Small & quick", "Says one thing.")


def test_an_unknown_parameter_is_refused_before_anything_runs(tmp_path):
    path = notebook(tmp_path / "01_a.ipynb")
    with pytest.raises(SourceError, match="no parameter 'quick': it has fast, n"):
        refuse_unknown(path, {"quick": True})
    with pytest.raises(SourceError):
        run_notebook(path, tmp_path / "out.ipynb", {"quick": True})
    assert not (tmp_path / "out.ipynb").exists()


def test_a_cell_that_never_ends_is_stopped(tmp_path):
    path = notebook(tmp_path / "01_a.ipynb", "n", "import time\ntime.sleep(60)", "n")
    error = run_notebook(path, tmp_path / "out.ipynb", cell_timeout=2).error
    assert error == (
        "cell 4 (under 'Small & quick', 'import time') took longer than 2 s: other work on the machine may slow it "
        "down; give each cell longer with make workbook ARGS='--timeout 4'"
    )


def test_a_run_that_was_killed_leaves_no_half_notebook_in_the_way(tmp_path):
    """What a killed run left is hidden, and the next run takes its place."""
    path = notebook(tmp_path / "01_a.ipynb", "n + 1")
    half = tmp_path / "out" / ".running" / "01_a.ipynb"
    half.parent.mkdir(parents=True)
    half.write_text('{"cells": [')
    running.refuse_place(tmp_path / "out", ["01_a.ipynb"])
    run = run_notebook(path, tmp_path / "out" / "01_a.ipynb")
    assert run.error is None and 0 < run.longest < run.seconds
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["01_a.ipynb"]


def test_a_kernel_that_dies_is_named(tmp_path):
    path = notebook(tmp_path / "01_a.ipynb", "import os\nos._exit(1)", "n")
    error = run_notebook(path, tmp_path / "out.ipynb").error or ""
    assert "the kernel died in cell 3 (under 'Small & quick', 'import os')" in error


def test_a_kernel_that_does_not_start_is_a_failed_run(tmp_path, monkeypatch):
    folder = tmp_path / "broken" / "kernels" / "python3"
    folder.mkdir(parents=True)
    kernel = {"argv": [sys.executable, "-c", "raise SystemExit(1)"], "display_name": "3", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(kernel))
    monkeypatch.setattr(running, "this_kernel", nullcontext)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "broken"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    error = run_notebook(notebook(tmp_path / "01_a.ipynb"), tmp_path / "out.ipynb").error or ""
    assert error.startswith("the kernel did not start: ") and (tmp_path / "out.ipynb").exists()


def test_a_place_is_the_number_the_heading_and_the_first_line():
    cells = [
        Cell("markdown", "# Title\n## Part", (), {}),
        Cell("code", "\n" + "x" * 100 + "\ny", (), {}),
        Cell("code", "", (), {}),
    ]
    assert place(cells, 1) == f"cell 2 (under 'Part', '{'x' * 60}...')"
    assert place(cells, 2) == "cell 3 (under 'Part', '')"
    assert place(cells[1:], 0) == f"cell 1 ('{'x' * 60}...')"


def test_the_workbook_runs_every_notebook_and_writes_pages_also_for_one_that_fails(tmp_path):
    notebook(tmp_path / "in" / "00_good.ipynb", "n + 1")
    notebook(tmp_path / "in" / "01_bad.ipynb", "1 / 0")
    done = workbook("--notebooks", tmp_path / "in", "--out", tmp_path / "out", "--fast")
    assert done.returncode == 1, done.stderr
    assert "01_bad failed: cell 4 (under 'Small & quick', '1 / 0') raised ZeroDivisionError: division" in done.stdout
    assert "1 of 2 notebooks ran through" in done.stdout and "make lab" in done.stdout
    names = ["00_good.html", "00_good.ipynb", "01_bad.html", "01_bad.ipynb", "index.html", "mathjax"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    page = (tmp_path / "out" / "index.html").read_text()
    for text in ('<html lang="en">', "<caption>", 'scope="col"', "Small &amp; quick", "Says one thing.", "Peak memory"):
        assert text in page
    for text in ("fast=True", "1 of 2 notebooks failed", "failed: cell 4", "torch", "Python", 'href="00_good.html"'):
        assert text in page


def test_several_notebooks_at_a_time_share_the_cores(tmp_path):
    """Each waits until the other has begun: one after the other, neither would end."""
    meet = """
import os, pathlib, time
here = pathlib.Path({folder!r})
(here / {mine!r}).write_text(os.environ["OMP_NUM_THREADS"])
while not (here / {other!r}).exists():
    time.sleep(0.05)
"""
    for number, (mine, other) in enumerate((("a", "b"), ("b", "a"))):
        code = meet.format(folder=str(tmp_path), mine=mine, other=other)
        notebook(tmp_path / "in" / f"0{number}_{mine}.ipynb", code, "bytearray(1)")
    done = workbook("--notebooks", tmp_path / "in", "--out", tmp_path / "out", "--jobs", "2", "--timeout", "120")
    assert done.returncode == 0, done.stdout + done.stderr
    threads = max(1, joblib.cpu_count() // 2)
    assert {(tmp_path / name).read_text() for name in "ab"} == {str(threads)}
    assert "2 at a time" in (tmp_path / "out" / "index.html").read_text()


def test_a_machine_with_little_memory_runs_one_at_a_time(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 16)
    for free, jobs in ((100e9, 4), (5e9, 2), (1e9, 1)):
        monkeypatch.setattr(psutil, "virtual_memory", lambda free=free: SimpleNamespace(available=free))
        assert many.usual_jobs() == jobs


def test_cells_for_other_places_are_left_out_of_the_pages(tmp_path):
    path = notebook(tmp_path / "01_a.ipynb", "'seen'", "'only on Colab'")
    book = nbformat.read(path, as_version=4)
    book.cells[-1].metadata.tags = [SKIPPED]
    nbformat.write(book, path)
    page = write_html(run_notebook(path, tmp_path / "out.ipynb")).read_text()
    assert "seen" in page and "only on Colab" not in page


def test_a_page_needs_no_network_and_its_links_lead_somewhere(tmp_path):
    path = notebook(tmp_path / "in" / "01_a.ipynb", "n")
    book = nbformat.read(path, as_version=4)
    links = "[b](02_b.ipynb#x) [audit](../docs/audit.md) [paper](https://arxiv.org/abs/2604.04488) $x^2$"
    book.cells.append(nbformat.v4.new_markdown_cell(links))
    book.cells.append(nbformat.v4.new_code_cell("from ipywidgets import IntSlider\nIntSlider(3, description='Tempo')"))
    nbformat.write(book, path)
    out = tmp_path / "out"
    out.mkdir()
    page = write_html(run_notebook(path, out / "01_a.ipynb"))
    text = page.read_text()
    assert not re.search(r"""(src=|from |import\(|url\()["']?(https?:)?//""", text)
    assert 'src="mathjax/tex-svg.js"' in text and (out / "mathjax" / "tex-svg.js").is_file()
    assert "<dt>Tempo</dt><dd>3</dd>" in text and "Not live here" in text
    assert 'href="02_b.html#x"' in text and 'href="https://arxiv.org/abs/2604.04488"' in text
    (docs,) = re.findall(r'href="([^"]*audit.md)"', text)
    assert (out / docs).resolve() == ROOT / "docs" / "audit.md"


def test_a_record_is_of_the_default_mode_only(tmp_path, capsys):
    notebook(tmp_path / "in" / "00_a.ipynb")
    main = runpy.run_path(str(ROOT / "tools" / "run_workbook.py"))["main"]
    assert main(["--record", "--fast", "--out", str(tmp_path / "out")]) == 2
    assert "--record notes the default mode" in capsys.readouterr().err
    assert main(["--record", "--jobs", "2", "--out", str(tmp_path / "out")]) == 2
    assert "--record measures each notebook alone" in capsys.readouterr().err


def test_only_one_notebook_with_a_parameter(tmp_path):
    notebook(
        tmp_path / "in" / "00_a.ipynb", "assert n == 7 and word == 'x y'", parameters="fast = False\nn = 1\nword = ''"
    )
    notebook(tmp_path / "in" / "05_b.ipynb", "1 / 0")
    where = ["--notebooks", tmp_path / "in", "--out", tmp_path / "out"]
    done = workbook(*where, "--only", "00", "-p", "n=7", "-p", "word=x y")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 notebooks ran through" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--only", "07"], "there is no notebook '07': choose one of 00_a"),
        (["-p", "m=1"], "00_a.ipynb has no parameter 'm'"),
        (["-p", "n"], "-p takes NAME=VALUE"),
        (["--notebooks", "/nowhere"], "there is no notebook in /nowhere"),
    ],
)
def test_wrong_arguments_get_a_sentence(tmp_path, capsys, arguments, word):
    notebook(tmp_path / "in" / "00_a.ipynb")
    main = runpy.run_path(str(ROOT / "tools" / "run_workbook.py"))["main"]
    status = main(["--notebooks", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *arguments])
    assert status == 2 and word in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seconds", ["0", "-5", "1.5", "a minute", "²", ""])
def test_a_limit_is_a_whole_number_of_seconds(capsys, seconds):
    main = runpy.run_path(str(ROOT / "tools" / "run_workbook.py"))["main"]
    with pytest.raises(SystemExit):
        main([f"--timeout={seconds}"])
    assert "expected a whole number from 1 up" in capsys.readouterr().err


def test_figures_read_well():
    assert clock(8.06) == "8.1 s" and clock(125.9) == "2 min 05 s" and size(1_234_567_890) == "1235 MB"
