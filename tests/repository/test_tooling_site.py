"""Parts of the site that need no browser: the check of links, widgets as pictures, and what counts as up to date."""

import hashlib
import lzma
import re
from importlib.util import find_spec

import nbformat
import pytest
from bookkit.widgets import as_picture
from nbformat.v4 import new_code_cell, new_notebook, new_output
from sitekit.links import faults
from sitekit.notebooks import up_to_date
from sitekit.pages import public_modules, public_names

import pcvr


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="other.html#here">fine</a> <a href="https://example.org">outside</a>', ""),
        ('<a href="gone.html">x</a>', "leads nowhere"),
        ('<a href="other.html#there">x</a>', "no place of that name"),
        ('<a href="#there">x</a>', "no place of that name"),
        ('<img src="gone.png">', "leads nowhere"),
        ('<img src="https://example.org/a.png">', "from a network"),
        ('<script src="//example.org/a.js"></script>', "from a network"),
        ('<link rel="stylesheet" href="https://example.org/a.css">', "from a network"),
    ],
)
def test_links_are_checked(tmp_path, body, fault):
    (tmp_path / "index.html").write_text(body)
    (tmp_path / "other.html").write_text('<p id="here">')
    found = faults(tmp_path)
    assert len(found) == bool(fault) and all(fault in each for each in found), found


def test_style_sheets_load_nothing_from_a_network(tmp_path):
    (tmp_path / "a.css").write_text('@import "https://example.org/b.css"; a { background: url(b.png) }')
    assert [fault.split(" loads ")[0] for fault in faults(tmp_path)] == ["a.css"]


def test_a_widget_becomes_a_picture_with_its_controls():
    choice = {"description": "Attack", "_options_labels": ["badnets", "sig"], "index": 1}
    state = {
        "box": {
            "model_name": "HBoxModel",
            "state": {"children": ["IPY_MODEL_choice", "IPY_MODEL_go", "IPY_MODEL_text"]},
        },
        "choice": {"model_name": "DropdownModel", "state": choice},
        "go": {"model_name": "ButtonModel", "state": {"description": "Train"}},
        "text": {"model_name": "HTMLModel", "state": {"value": "<b>two</b>"}},
        "bar": {"model_name": "IntProgressModel", "state": {"value": 1}},
    }
    shown = as_picture(state, "box")
    assert shown is not None and "Not live here" in shown and "<b>two</b>" in shown
    assert "<dt>Attack</dt><dd>sig</dd>" in shown and "<dt>Train</dt><dd>a button</dd>" in shown
    assert as_picture(state, "bar") is None and as_picture(state, "unknown") is None


def test_an_executed_notebook_is_out_of_date_when_its_source_changed_or_it_failed(tmp_path):
    source, done = tmp_path / "a.ipynb", tmp_path / "b.ipynb"
    assert not up_to_date(source, done, fast=True)
    cells = [new_code_cell("x = 1", id="one")]
    nbformat.write(new_notebook(cells=cells), source)
    injected = new_code_cell("fast = True", id="two", metadata={"tags": ["injected-parameters"]})
    nbformat.write(new_notebook(cells=[*cells, injected]), done)
    assert up_to_date(source, done, fast=True) and not up_to_date(source, done, fast=False)
    failed = new_code_cell("x = 1", id="one", outputs=[new_output("error", ename="E", evalue="", traceback=[])])
    nbformat.write(new_notebook(cells=[failed]), done)
    assert not up_to_date(source, done, fast=True)
    nbformat.write(new_notebook(cells=[new_code_cell("x = 2", id="one")]), done)
    assert not up_to_date(source, done, fast=True)


def test_the_reference_has_every_public_name():
    names = [name for listed in public_names().values() for name in listed]
    assert sorted(names) == sorted(set(pcvr.__all__) - {"__version__"})
    for modules in public_modules().values():
        for module in modules:
            assert find_spec(module), module


def test_vendored_files_are_those_that_their_list_names(root):
    folder = root / "tools" / "sitekit" / "vendor"
    rows = re.findall(r"^\| `([^`]+)` \|.*`([0-9a-f]{64})` \|$", (folder / "README.md").read_text(), flags=re.M)
    assert {path.relative_to(folder).as_posix() for path in folder.glob("*/*")} == {
        *(name for name, _ in rows),
        "onnxruntime-web/LICENSE",
        "mathjax/LICENSE",
    }
    for name, digest in rows:
        content = (folder / name).read_bytes()
        content = lzma.decompress(content) if name.endswith(".xz") else content
        assert hashlib.sha256(content).hexdigest() == digest, name
