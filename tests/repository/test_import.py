"""``import pcvr`` costs next to nothing, and every name it offers is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import pcvr

HEAVY = (
    "torch transformers peft accelerate datasets scipy skimage sklearn matplotlib seaborn pycocoevalcap PIL typer "
    "jupyterlab ipywidgets IPython ipykernel nbformat papermill"
).split()


def fresh(root: Path, code: str) -> str:
    """What `code` prints in a new interpreter in the checkout."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=root, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_import_is_light(root: Path) -> None:
    code = (
        "import sys, json, time\n"
        "began = time.process_time(); import pcvr; seconds = time.process_time() - began\n"
        "print(json.dumps([seconds, sorted(sys.modules)]))"
    )
    seconds, modules = json.loads(fresh(root, code))
    assert not set(HEAVY) & set(modules)
    assert seconds < 0.1  # of the processor: what else the machine does is not its fault


def test_core_needs_no_jupyter(root: Path) -> None:
    blocked = [name for name in HEAVY if name.startswith(("jupyter", "ipy", "IPy", "nb", "paper"))]
    code = (
        "import sys\n"
        f"for name in {blocked!r}: sys.modules[name] = None\n"
        "import pcvr, pcvr.training, pcvr.experiments, pcvr.cli, pcvr.experiments.results\n"
        "[getattr(pcvr, name) for name in pcvr.__all__]\n"
        "print('fine')"
    )
    assert fresh(root, code) == "fine\n"


def test_every_name_resolves_and_is_listed() -> None:
    for name in pcvr.__all__:
        assert getattr(pcvr, name) is not None
    assert set(pcvr.__all__) <= set(dir(pcvr))
    assert len(set(pcvr.__all__)) == len(pcvr.__all__)


def test_the_public_face_has_what_people_need() -> None:
    names = (
        "ATTACKS DEFENSES TASKS register_attack register_defense register_task get_attack get_defense Attack Defense "
        "Trigger Task PCVR finetune FinetuneResult evaluate generate load open_data poison save_poisoned load_poisoned"
    )
    assert set(names.split()) < set(pcvr.__all__)
    assert pcvr.__doc__ and "private" in pcvr.__doc__


@pytest.mark.parametrize("package", ["pcvr.attacks", "pcvr.defenses"])
def test_triggers_and_defences_are_imported_when_they_are_used(root: Path, package: str) -> None:
    code = (
        f"import sys, {package} as package\n"
        "loaded = lambda: [m for m in sys.modules if m.startswith((package.__name__ + '.triggers.', "
        "package.__name__ + '.baselines.', package.__name__ + '.pcvr.'))]\n"
        "assert not loaded(), loaded()\n"
        "assert set(package.__all__) <= set(dir(package))\n"
        "assert all(getattr(package, name) is not None for name in package.__all__) and loaded()"
    )
    fresh(root, code)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'finetuna'"):
        _ = pcvr.finetuna


def test_what_there_is_can_be_listed_by_name() -> None:
    assert {"badnets", "add_sent"} < set(pcvr.ATTACKS)
    assert {"none", "pcvr"} < set(pcvr.DEFENSES)
    assert {"caption", "vqa"} <= set(pcvr.TASKS)
