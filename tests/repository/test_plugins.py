"""Attacks and defences of other packages, and of one new file: no list, table or benchmark has to know them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GLOW = '''
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pcvr
from pcvr.attacks import DEFAULT_TARGET, ImageTrigger


@dataclass(frozen=True)
class Glow(ImageTrigger):
    """Every level a little brighter."""

    levels: int = 40

    def apply(self, batch):
        return np.minimum(batch.astype(int) + self.levels, 255).astype(np.uint8)


@pcvr.register_attack("glow", target="a cat")
def glow(target=DEFAULT_TARGET, preset="scaled", levels=40):
    """Glow: brighter pictures."""
    return pcvr.Attack("glow", trigger=Glow(levels), target=target, preset=preset)
'''

HALF = '''
from dataclasses import dataclass, field
from typing import ClassVar

import pcvr


@pcvr.register_defense
@dataclass(frozen=True)
class Half(pcvr.Defense):
    """Half of the loss."""

    name: ClassVar[str] = "half"
    factor: float = field(default=0.5, metadata={"help": "factor on the loss"})

    def loss(self, run, batch):
        return self.factor * super().loss(run, batch)
'''

USE = """
import contextlib, io, sys
import pcvr
from pcvr.cli import main

def command(*words):
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["pcvr", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.suppress(SystemExit):
        main()
    return out.getvalue() + err.getvalue()

assert "glow" in pcvr.ATTACKS and "half" in pcvr.DEFENSES
assert list(pcvr.DEFENSES)[0] == "none" and sorted(pcvr.ATTACKS) == list(pcvr.ATTACKS)
attack = pcvr.get_attack("glow", levels=90)
assert attack.target == "a cat" and attack.trigger.levels == 90, attack
assert pcvr.get_attack("glow", target="a dog").target == "a dog"
try:
    pcvr.get_attack("glw")
except pcvr.PcvrError as problem:
    assert "did you mean 'glow'" in str(problem), problem
assert "glow" in command("attacks") and "brighter" in command("attacks")
assert "half" in command("defenses") and "factor on the loss" in command("defenses", "half")
"""

TRAIN = """
from dataclasses import replace
data = pcvr.poison(pcvr.open_data("scenes", n=12), "glow", rate=0.25)
back = pcvr.load_poisoned(pcvr.save_poisoned(data, "poisoned"))
assert back.attack == data.attack and back.attack.name == "glow"
rule = pcvr.get_defense("half", factor=0.25)
result = pcvr.finetune("tiny-llava", back, rule, pcvr.TrainConfig(max_steps=1, batch_size=4), progress=False)
assert result.defense.factor == 0.25
"""


def install(site: Path, package: str, points: dict[str, str], **modules: str) -> None:
    """Put a package into a folder as pip leaves one: modules, and a dist-info with entry points."""
    (site / package).mkdir(parents=True)
    for name, code in {"__init__": "", **modules}.items():
        (site / package / f"{name}.py").write_text(code)
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [line for group, point in points.items() for line in (f"[{group}]", point)]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def run(root: Path, work: Path, code: str, *paths: Path) -> str:
    """Run `code` in a new interpreter with `paths` before the checkout; warnings are errors there too."""
    found = ":".join(map(str, (*paths, root)))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import sys\nsys.path[:0] = {found.split(':')!r}\n{code}"],
        cwd=work,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_installed_package_brings_an_attack_and_a_defence(root: Path, tmp_path: Path) -> None:
    points = {"pcvr.attacks": "glow = shine.glow", "pcvr.defenses": "half = shine.half:Half"}
    install(tmp_path / "site", "shine", points, glow=GLOW, half=HALF)
    run(root, tmp_path, USE + TRAIN, tmp_path / "site")


def test_one_new_file_is_enough(root: Path, tmp_path: Path) -> None:
    """In a copy of the package, so that nothing is left in the checkout."""
    shutil.copytree(
        root / "pcvr", tmp_path / "pcvr", ignore=shutil.ignore_patterns("__pycache__", "*.safetensors", "results")
    )
    (tmp_path / "pcvr/attacks/triggers/glow.py").write_text(GLOW)
    (tmp_path / "pcvr/defenses/baselines/half.py").write_text(HALF)
    (tmp_path / "pcvr/tasks/count.py").write_text(
        "from dataclasses import replace\nfrom pcvr.tasks.base import get_task, register_task\n"
        "register_task(replace(get_task('vqa'), name='count', of_scene=lambda scene, index: ('?', 'two', ('two',))))\n"
    )
    # Without weights the trained triggers cannot be built; the list of attacks says so and goes on.
    code = "import pcvr\nassert pcvr.__file__.startswith(sys.path[0])\nassert list(pcvr.TASKS)[1] == 'count'\n"
    run(root, tmp_path, code + USE, tmp_path)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module", "no_such_module"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit('no licence')", "no licence"),
        ("", "registers no attack"),
        (GLOW.replace('"glow", target', '"badnets", target'), "'badnets' is registered already"),
    ],
)
def test_a_plugin_that_fails_stops_only_who_asks_for_it(root: Path, tmp_path: Path, code: str, reason: str) -> None:
    install(tmp_path / "bad", "gloom", {"pcvr.attacks": "gloom = gloom.attack"}, attack=code)
    install(tmp_path / "good", "shine", {"pcvr.attacks": "glow = shine.glow"}, glow=GLOW)
    use = """
import json, pcvr
assert {"badnets", "glow"} <= set(pcvr.ATTACKS) and "gloom" not in pcvr.ATTACKS
assert pcvr.get_attack("badnets").trigger is not None and pcvr.get_attack("glow").target == "a cat"
said = {}
for name in ("gloom", "glo"):
    try:
        pcvr.get_attack(name)
    except pcvr.PcvrError as problem:
        said[name] = str(problem)
print(json.dumps([said, pcvr.ATTACKS.broken()]))
"""
    said, broken = json.loads(run(root, tmp_path, use, tmp_path / "bad", tmp_path / "good"))
    for part in ("'gloom = gloom.attack'", "package 'gloom'", reason, "uninstall that package."):
        assert part in said["gloom"]
    assert "\n" not in said["gloom"] and said["gloom"].count(". ") == 0
    assert said["glo"] == "unknown attack 'glo' (plugins that could not be loaded: gloom): did you mean 'glow'?"
    assert broken == {"gloom": said["gloom"]}


def test_a_plugin_that_is_imported_first_is_no_other(root: Path, tmp_path: Path) -> None:
    install(tmp_path / "site", "shine", {"pcvr.attacks": "lights = shine.glow"}, glow=GLOW)
    code = "import shine.glow, pcvr\nassert pcvr.get_attack('glow') and not pcvr.ATTACKS.broken()"
    run(root, tmp_path, code, tmp_path / "site")
