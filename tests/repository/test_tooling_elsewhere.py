"""Trying without installing: badges, Binder and Colab's set-up cell name one repository and leave torch alone."""

import re
import subprocess
import sys
import tomllib
import types
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
import yaml
from bookkit import elsewhere

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
NOTEBOOKS = sorted(path for folder in ("notebooks", "solutions") for path in (ROOT / folder).glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_each_notebook_has_its_badges_and_the_set_up_cell(path):
    _, badges, setup = nbformat.read(path, as_version=4).cells[:3]
    where = path.relative_to(ROOT).as_posix()
    slug = ADDRESS.removeprefix("https://github.com/")
    pictures, links = zip(*re.findall(r"\[!\[Open in \w+\]\(([^)]+)\)\]\(([^)]+)\)", badges.source), strict=True)
    assert links == (
        f"https://colab.research.google.com/github/{slug}/blob/main/{where}",
        f"https://mybinder.org/v2/gh/{slug}/main?urlpath=lab/tree/{where}",
    )
    assert all((path.parent / picture).is_file() for picture in pictures)
    assert f'"pcvr @ git+{ADDRESS}"' in setup.source and setup.metadata.jupyter.source_hidden
    assert all("remove-cell" in cell.metadata.tags for cell in (badges, setup))


def test_every_address_of_the_repository_is_that_of_pyproject():
    """On GitHub there are other projects too: what looks like this one has to be this one."""
    slug = ADDRESS.removeprefix("https://github.com/")
    name = slug.split("/")[1]
    texts = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CITATION.cff", *(ROOT / "docs").glob("*.md")]
    for path in [*texts, *(ROOT / "workbook").glob("*.py"), *(ROOT / "binder").iterdir()]:
        for found in re.findall(rf"(?:github\.com|/gh|/github)/([\w.-]+/{name})\b", path.read_text()):
            assert found == slug, f"{path.name} names {found}; pyproject.toml says {slug}"


def test_binder_has_what_the_notebooks_import_and_opens_jupyterlab():
    content = yaml.safe_load((ROOT / "binder/environment.yml").read_text())
    assert any("jupyterlab" in line for line in content["dependencies"][-1]["pip"])
    assert "--no-deps --editable ." in (ROOT / "binder/postBuild").read_text()


class Pip:
    """Stands in for pip: notes the call, and changes installed versions as it is told."""

    def __init__(self, returncode=0, stderr="", **versions):
        self.calls, self.result, self.versions = (
            [],
            types.SimpleNamespace(returncode=returncode, stderr=stderr),
            versions,
        )

    def __call__(self, command, **_):
        self.calls.append(command)
        return self.result


def run_cell(monkeypatch, capsys, pip):
    """Run the set-up cell as Colab would, with `pip` in place of pip."""
    there = [types.SimpleNamespace(name=name, version="1.0") for name in ("torch", "numpy", "Pillow", "pip")]

    def distributions():
        new = pip.versions if pip.calls else {}
        return [types.SimpleNamespace(name=each.name, version=new.get(each.name, each.version)) for each in there]

    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(subprocess, "run", pip)
    monkeypatch.setattr(metadata, "distributions", distributions)
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"numpy": ["numpy"], "PIL": ["Pillow"]})
    exec(elsewhere.cells("notebooks/05_pcvr.ipynb")[1].text, {})
    return capsys.readouterr().out


def test_on_colab_pip_installs_pcvr_and_may_not_touch_torch_and_numpy(monkeypatch, capsys):
    pip = Pip()
    assert "Colab's own torch and numpy stay" in run_cell(monkeypatch, capsys, pip)
    ((_, *command),) = pip.calls
    assert command[:3] == ["-m", "pip", "install"] and command[-1] == f"pcvr @ git+{ADDRESS}"
    assert "--upgrade" not in command and command[-3] == "--constraint"
    assert Path(command[-2]).read_text() == "torch==1.0\nnumpy==1.0\n"


def test_on_colab_a_restart_is_asked_for_only_if_an_imported_package_changed(monkeypatch, capsys):
    said = run_cell(monkeypatch, capsys, Pip(Pillow="2.0"))
    assert "new versions of pillow" in said and "Restart session" in said
    assert "Restart" not in run_cell(monkeypatch, capsys, Pip(pip="2.0"))


def test_on_colab_a_failed_installation_says_why(monkeypatch, capsys):
    said = run_cell(monkeypatch, capsys, Pip(1, "much\nERROR: no network\n"))
    assert "could not be installed: ERROR: no network" in said and "run this cell again" in said


def test_elsewhere_the_cell_does_nothing(monkeypatch, capsys):
    pip = Pip()
    monkeypatch.setattr(subprocess, "run", pip)
    namespace: dict[str, object] = {}
    exec(elsewhere.cells("notebooks/05_pcvr.ipynb")[1].text, namespace)
    assert not pip.calls and not capsys.readouterr().out and set(namespace) <= {"__builtins__", "sys"}
