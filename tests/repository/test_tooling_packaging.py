"""Everything that names a requirement says the same: pyproject.toml, constraints, conda, binder, the Makefile."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import release
import yaml
from constraints import declared, torch_pin
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import pcvr

# Where the name to import is not the name to install.
IMPORTED_AS = {"PIL": "pillow", "skimage": "scikit-image", "sklearn": "scikit-learn"}
IMPORTED_AS |= {"xdist": "pytest-xdist", "yaml": "pyyaml"}
IMPORTED_AS |= {"markdown_it": "markdown-it-py"}
TOOLS = {file.stem for file in (Path(__file__).parents[2] / "tools").iterdir() if file.stem != "__pycache__"}
# Each comes with something declared and is used only beside it: packaging with JupyterLab, IPython with ipykernel,
# traitlets with ipywidgets, pycocotools with pycocoevalcap, the hub with transformers, dask with distributed. Who gives
# a study a ray cluster has ray; whoever lacks it is told so in a sentence.
COMES_ALONG = {"packaging", "IPython", "traitlets", "pycocotools", "huggingface_hub", "dask", "ray"}


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def as_ranges(lines):
    """Name -> range, as text that does not depend on the order of its parts."""
    found = {}
    for line in lines:
        requirement = Requirement(line)
        assert canonicalize_name(requirement.name) not in found, f"{requirement.name} stands there twice"
        found[canonicalize_name(requirement.name)] = str(requirement.specifier)
    return found


@pytest.mark.parametrize(
    ("file", "torch", "extras"),
    [
        ("environment.yml", "pytorch", ["jupyter", "course", "site", "test"]),
        ("binder/environment.yml", "pytorch-cpu", ["jupyter"]),
    ],
)
def test_conda_files_say_what_pyproject_says(root, project, file, torch, extras):
    expected = [*project["dependencies"]]
    for extra in extras:
        expected += project["optional-dependencies"][extra]
    content = yaml.safe_load((root / file).read_text())
    plain = [line for line in content["dependencies"] if isinstance(line, str)]
    (pip,) = [line["pip"] for line in content["dependencies"] if isinstance(line, dict)]
    assert plain[:2] == ["python=3.11", "pip"] and len(plain) == 3
    assert Requirement(plain[2]).name == torch
    found = as_ranges(pip) | {"torch": str(Requirement(plain[2]).specifier)}
    assert found == as_ranges(expected)


def test_constraints_pin_every_requirement_inside_its_range(root, project):
    pins = {}
    for line in (root / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            (pin,) = Requirement(line).specifier
            assert pin.operator == "==", line
            pins[Requirement(line).name] = pin.version
    for requirement in declared(root):
        name = canonicalize_name(requirement.name)
        if name != "torch":  # the Makefile chooses it
            assert requirement.specifier.contains(pins.get(name, "0")), f"{requirement} is not {pins.get(name)}"
    assert "torch" not in pins and not any(name.startswith(("nvidia", "triton")) for name in pins)


def test_the_constraints_run_on_the_oldest_python_promised(root, project):
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    for line in (root / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            said = metadata.distribution(Requirement(line).name).metadata
            if "Requires-Python" in said:  # with dask's importlib_metadata, a missing entry is an error
                needs = said["Requires-Python"]
                assert SpecifierSet(needs).contains(oldest), f"{line} needs Python {needs}"


def test_the_makefile_takes_torch_from_the_range(root, project):
    text = (root / "Makefile").read_text()
    (torch,) = [line for line in project["dependencies"] if Requirement(line).name == "torch"]
    assert f"echo '{torch}'" in text
    assert Requirement(torch).specifier.contains("2.13.0") and "echo 'torch==2.13.0'" in text


def imported(folder):
    """Every third-party module that the Python files of a folder import, anywhere in them, with one file that does."""
    found: dict[str, Path] = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = [node.module]
            for name in names:
                found.setdefault(name.split(".")[0], path)
    return {name: path for name, path in found.items() if name not in sys.stdlib_module_names}


@pytest.mark.parametrize(
    ("folder", "extras", "own"),
    [
        ("pcvr", ["jupyter", "vision", "dask"], {"pcvr"}),
        ("tools", ["jupyter", "course", "site", "test"], {"pcvr", "tests", *TOOLS}),
        ("workbook", ["jupyter"], {"pcvr"}),
        ("examples", ["trl"], {"pcvr", "records"}),
        ("benchmarks", ["jupyter"], {"pcvr", "tests", "benchmarks"}),
        (
            "tests",
            ["jupyter", "test"],
            {"pcvr", "tests", "benchmarks", *TOOLS},
        ),
    ],
)
def test_what_is_imported_is_declared(root, project, folder, extras, own):
    declared = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    names = {canonicalize_name(Requirement(line).name) for line in declared}
    for name, path in imported(root / folder).items():
        if name not in own | COMES_ALONG:
            assert canonicalize_name(IMPORTED_AS.get(name, name)) in names, f"{path} imports {name}: declare it"


def test_each_requirement_says_why_it_is_there(root, project):
    text = (root / "CONTRIBUTING.md").read_text()
    declared = [*project["dependencies"], *(one for many in project["optional-dependencies"].values() for one in many)]
    for line in declared:
        assert f"`{Requirement(line).name}`" in text, f"CONTRIBUTING.md says nothing about {line}"


def test_citation_and_licence(root, project):
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["version"] == pcvr.__version__
    assert citation["license"] == project["license"] == "Apache-2.0"
    assert "2604.04488" in str(citation["references"])
    licence = (root / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in licence and "APPENDIX" in licence


def test_uv_has_the_same_pins_and_no_lock_file_names_an_index(root):
    text = (root / "pyproject.toml").read_text()
    pins = tomllib.loads(text)["tool"]["uv"]["constraint-dependencies"]
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert pins == [*lines, torch_pin((root / "Makefile").read_text())], "run python tools/constraints.py --uv"
    assert "uv.lock" in (root / ".gitignore").read_text().splitlines()


def test_a_tag_has_to_be_the_version_everywhere(root, capsys):
    assert set(release.versions(root).values()) == {pcvr.__version__}
    assert release.main([f"v{pcvr.__version__}"]) == 0
    assert release.main(["v99.0.0"]) == 1 and capsys.readouterr().err.count("v99.0.0") == len(release.PLACES)


def test_workflows_and_hooks_call_what_is_there(root):
    workflows = {file.stem: yaml.safe_load(file.read_text()) for file in (root / ".github/workflows").glob("*.yml")}
    steps = [step for flow in workflows.values() for job in flow["jobs"].values() for step in job["steps"]]
    runs = [step["run"] for step in steps if "run" in step]
    assert ".ci/run" in runs
    hooks = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    named = [word for line in [*runs, *(hook["entry"] for hook in hooks)] for word in line.split()]
    scripts = [word for word in named if word.startswith((".ci/", "tools/"))]
    assert len(scripts) >= 4 and all((root / script).is_file() for script in scripts)
    for form in (root / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        assert form.stem == "config" or {"name", "description", "body"} <= yaml.safe_load(form.read_text()).keys()


@pytest.mark.slow
def test_a_wheel_made_from_the_sdist_holds_what_is_shipped_and_works(root, tmp_path):
    """As from an index: no git, no checkout, no network; the dependencies are those of this environment."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True)
    for name in filter(lambda name: name.startswith("pcvr/") or "/" not in name, tracked.stdout.split("\0")):
        if (root / name).is_file():
            (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, tmp_path / "tree" / name)
    build = "import sys; from setuptools import build_meta as b; print(getattr(b, f'build_{sys.argv[1]}')(sys.argv[2]))"

    def built(kind, tree):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", build, kind, tmp_path], cwd=tree, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return tmp_path / done.stdout.split()[-1]

    sdist = built("sdist", tmp_path / "tree")
    shutil.unpack_archive(sdist, tmp_path, filter="data")
    wheel = built("wheel", tmp_path / sdist.name.removesuffix(".tar.gz"))
    assert wheel.name == f"pcvr-{pcvr.__version__}-py3-none-any.whl"
    shipped = {name for name in tracked.stdout.split("\0") if name.startswith("pcvr/")}
    assert shipped <= set(zipfile.ZipFile(wheel).namelist())
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel]
    subprocess.run(pip, check=True)
    use = (
        "import pcvr, pcvr.experiments.results as r; r.load('spine'); print(pcvr.__file__)\n"
        "m = pcvr.load('tiny-llava')\n"
        "s = pcvr.open_data('scenes', n=1)[0]; print(pcvr.generate(m, [s.image], [s.prompt])[0])"
    )
    environment = {**os.environ, "PYTHONPATH": str(target)}
    done = subprocess.run([sys.executable, "-c", use], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    place, answer = done.stdout.splitlines()[:2]
    assert place.startswith(str(target)) and len(answer.split()) > 1


@pytest.mark.parametrize("script", [".ci/run", "binder/postBuild"])
def test_scripts_are_executable_and_stop_at_the_first_error(root, script):
    path = root / script
    assert os.access(path, os.X_OK)
    assert "set -euo pipefail" in path.read_text()
    subprocess.run(["bash", "-n", path], check=True)


def make(root, *arguments):
    clean = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", "-C", root, *arguments], capture_output=True, text=True, env=clean)


def test_an_old_python_is_refused_with_a_sentence(root, tmp_path):
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = make(root, "setup", f"PYTHON={old}", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr and "Python 3.9.2" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_missing_python_is_named(root, tmp_path):
    done = make(root, "setup", "PYTHON=python-that-is-not-there", f"VENV={tmp_path}/venv")
    assert done.returncode != 0 and "there is no 'python-that-is-not-there'" in done.stderr


def test_a_second_call_sets_nothing_up(root, tmp_path):
    asked = make(root, "-s", "--eval", "show:;@echo $(READY)", "show", f"VENV={tmp_path}")
    assert "pip" in make(root, "-n", "test", f"VENV={tmp_path}").stdout
    (tmp_path / os.path.basename(asked.stdout.strip())).touch()
    assert "pip" not in make(root, "-n", "test", f"VENV={tmp_path}").stdout
