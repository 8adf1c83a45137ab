"""A reader's own copies in work/: nothing that somebody wrote there is ever lost."""

import io
import json
import re
import runpy
import subprocess
from pathlib import Path

import nbformat
import pytest
from bookkit import own
from bookkit.origin import origin, untouched, worked_in
from bookkit.own import refresh, reset
from bookkit.source import SourceError

from pcvr.errors import PcvrError
from pcvr.utils.files import write_bytes
from tests.repository.test_tooling_editions import DEMO, HEAD, add_a_note, in_jupyter, run_it, solve, write

ROOT = Path(__file__).resolve().parents[2]
NEWER = DEMO.replace("Recap", "Summary")


def main(name, *arguments):
    return runpy.run_path(str(ROOT / "tools" / name))["main"](list(map(str, arguments)))


def make_notebooks(root, text=DEMO, name="02_demo"):
    write(root, text, name)
    assert main("notebooks.py", "build", "--root", root) == 0


@pytest.fixture
def copy(tmp_path):
    """The reader's copy of a small workbook's only notebook."""
    make_notebooks(tmp_path)
    assert refresh(tmp_path) == []
    return tmp_path / "work" / "02_demo.ipynb"


def names(copy):
    return sorted(path.relative_to(copy.parent).as_posix() for path in copy.parent.rglob("*") if path.is_file())


def yes(_):
    return True


def test_a_copy_is_made_once_and_a_later_notebook_is_added(copy, tmp_path):
    assert copy.read_bytes() == (tmp_path / "notebooks" / "02_demo.ipynb").read_bytes()
    in_jupyter(copy, solve)
    mine = copy.read_bytes()
    make_notebooks(tmp_path, HEAD, "03_more")
    assert refresh(tmp_path) == [] and names(copy) == ["02_demo.ipynb", "03_more.ipynb"]
    assert copy.read_bytes() == mine


def test_a_copy_that_nobody_touched_becomes_the_new_version(copy, tmp_path):
    make_notebooks(tmp_path, NEWER)
    assert refresh(tmp_path) == [] and names(copy) == ["02_demo.ipynb"]
    assert copy.read_bytes() == (tmp_path / "notebooks" / "02_demo.ipynb").read_bytes()


def delete_the_recap(notebook):
    del notebook.cells[-1]


def swap_two(notebook):
    notebook.cells[-1], notebook.cells[-2] = notebook.cells[-2], notebook.cells[-1]


@pytest.mark.parametrize("work", [solve, add_a_note, delete_the_recap, swap_two, run_it])
def test_whatever_a_reader_leaves_stays_and_the_new_version_lies_beside_it(copy, tmp_path, work):
    in_jupyter(copy, work)
    mine = copy.read_bytes()
    assert worked_in(copy) == (work is not run_it) and not untouched(copy)
    make_notebooks(tmp_path, NEWER)
    for _ in range(2):
        (sentence,) = refresh(tmp_path)
        assert "work/02_demo.ipynb is of an earlier version and was left as it is" in sentence
        assert "'make reset NB=02' keeps yours in work/backups/" in sentence
        assert copy.read_bytes() == mine and names(copy) == ["02_demo (new).ipynb", "02_demo.ipynb"]
    beside = copy.with_name("02_demo (new).ipynb")
    assert origin(beside) == origin(tmp_path / "notebooks" / "02_demo.ipynb") != origin(copy)
    in_jupyter(beside, add_a_note)
    theirs = beside.read_bytes()
    assert refresh(tmp_path) == []
    make_notebooks(tmp_path, DEMO.replace("Recap", "The end"))
    assert "02_demo.ipynb and work/02_demo (new).ipynb, and there is a newer version" in refresh(tmp_path)[0]
    assert (copy.read_bytes(), beside.read_bytes()) == (mine, theirs)


def test_what_an_editor_notes_is_nobodys_work(copy):
    def look(notebook):
        notebook.cells[0].metadata["collapsed"] = True
        notebook.metadata.language_info.version = "3.13.1"

    in_jupyter(copy, look)
    assert untouched(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"cells": 1}', "<<<<<<< mine\n{}"])
def test_a_half_written_copy_is_left_alone_and_named(copy, tmp_path, text):
    copy.write_text(text)
    make_notebooks(tmp_path, NEWER)
    assert worked_in(copy) and not untouched(copy) and origin(copy) is None
    (sentence,) = refresh(tmp_path)
    assert "work/02_demo.ipynb cannot be read as a notebook and was left as it is" in sentence
    assert copy.read_text() == text
    reset(tmp_path, ["02"], yes)
    (kept,) = (copy.parent / "backups").iterdir()
    assert kept.read_text() == text and untouched(copy)


def test_a_notebook_that_is_gone_takes_only_untouched_copies_along(copy, tmp_path):
    renamed = copy.with_name("02_demo of mine.ipynb")
    renamed.write_bytes(copy.read_bytes())
    source = tmp_path / "workbook" / "02_demo.py"
    source.rename(source.with_name("03_demo.py"))
    assert main("notebooks.py", "build", "--root", tmp_path) == 0
    in_jupyter(copy, solve)
    assert "work/02_demo.ipynb was kept, and the workbook no longer has this notebook" in refresh(tmp_path)[0]
    reset_text = (tmp_path / "notebooks" / "03_demo.ipynb").read_bytes()
    copy.write_bytes(renamed.read_bytes())
    assert refresh(tmp_path) == [] and names(copy) == [renamed.name, "03_demo.ipynb"]
    assert (copy.parent / "03_demo.ipynb").read_bytes() == reset_text


def test_reset_asks_keeps_and_renews(copy, tmp_path):
    in_jupyter(copy, solve)
    mine = copy.read_bytes()
    assert reset(tmp_path, ["2"], lambda _: False) == ["work/02_demo.ipynb was left as it is."]
    assert copy.read_bytes() == mine and names(copy) == ["02_demo.ipynb"]
    (sentence,) = reset(tmp_path, ["02"], yes)
    (kept,) = (copy.parent / "backups").iterdir()
    assert kept.read_bytes() == mine and kept.name in sentence and untouched(copy)
    in_jupyter(copy, add_a_note)  # a second time in the same second
    reset(tmp_path, ["02_demo"], yes)
    assert len(list((copy.parent / "backups").iterdir())) == 2
    with pytest.raises(SourceError, match="no notebook '07': choose one of 02_demo"):
        reset(tmp_path, ["07"], yes)


@pytest.mark.parametrize("stage", [1, 2])
def test_a_reset_that_is_killed_loses_nothing(copy, tmp_path, monkeypatch, stage):
    """Stopped before the first or the second write, as a kill would."""
    in_jupyter(copy, solve)
    mine = copy.read_bytes()
    writes = []

    def killed(*arguments, **options):
        writes.append(arguments)
        if len(writes) == stage:
            raise KeyboardInterrupt
        real(*arguments, **options)

    real = write_bytes
    monkeypatch.setattr(own, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        reset(tmp_path, ["02"], yes)
    assert copy.read_bytes() == mine
    assert all(json.loads(path.read_text()) for path in copy.parent.rglob("*.ipynb"))


def test_the_command_without_a_terminal_changes_nothing_unless_told(copy, tmp_path, capsys, monkeypatch):
    in_jupyter(copy, solve)
    mine = copy.read_bytes()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main("work.py", "reset", "02", "--root", tmp_path) == 2
    assert "add YES=1" in capsys.readouterr().err and copy.read_bytes() == mine
    assert main("work.py", "reset", "--root", tmp_path) == 2
    assert "as in 'make reset NB=05': 02_demo" in capsys.readouterr().err
    assert main("work.py", "reset", "02", "--yes", "--root", tmp_path) == 0 and untouched(copy)
    capsys.readouterr()
    assert main("work.py", "open", "2", "--root", tmp_path) == 0
    assert capsys.readouterr().out == "work/02_demo.ipynb\n"


def test_no_notebook_and_no_place_get_a_sentence(tmp_path, capsys):
    assert main("work.py", "open", "--root", tmp_path) == 2
    assert "there is no notebook in" in capsys.readouterr().err
    make_notebooks(tmp_path)
    (tmp_path / "work").write_text("a file")
    with pytest.raises(PcvrError, match="could not be written"):
        refresh(tmp_path)


def test_forced_notebooks_are_kept(tmp_path, capsys):
    make_notebooks(tmp_path)
    student = tmp_path / "notebooks" / "02_demo.ipynb"
    in_jupyter(student, solve)
    mine = student.read_bytes()
    write(tmp_path, NEWER)
    assert main("notebooks.py", "build", "--root", tmp_path) == 1 and student.read_bytes() == mine
    assert main("notebooks.py", "build", "--force", "--root", tmp_path) == 0
    (kept,) = (tmp_path / "work" / "backups").iterdir()
    assert kept.read_bytes() == mine and untouched(student)
    assert f"notebooks/02_demo.ipynb is kept as work/backups/{kept.name}" in capsys.readouterr().out


def test_links_of_the_shipped_notebooks_lead_somewhere_from_work(tmp_path):
    for folder in ("notebooks", "solutions", "docs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    refresh(tmp_path)
    copies = sorted((tmp_path / "work").glob("*.ipynb"))
    found = 0
    for path in copies:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", cell.source):
                    if not re.match(r"[a-z]+:", link):
                        found += 1
                        assert (path.parent / link).exists(), f"{path.name} links to {link}"
    assert found > len(copies)


def test_work_is_ignored_by_git_and_left_alone_by_clean():
    def said(*command):
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout

    assert said("git", "check-ignore", "work/05_pcvr.ipynb") == "work/05_pcvr.ipynb\n"
    planned = said("make", "-n", "clean", "distclean").splitlines()
    removing = [line for line in planned if line.startswith(("rm", "find"))]
    assert removing and not any(re.search(r"(^|[\s'\"./])work/?($|[\s'\"*])", line) for line in removing)
