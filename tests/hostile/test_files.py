"""Places and files of others, met by what is called from Python: nothing of theirs is touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pcvr import TrainConfig, VisionLanguageModel, finetune, get_attack, poison
from pcvr.attacks import save_poisoned
from pcvr.attacks.triggers.crafting import craft
from pcvr.data.report import Report
from pcvr.experiments import sweep
from pcvr.experiments.results import ready
from pcvr.pretraining.config import recipe_of
from pcvr.pretraining.pretrain import pretrain
from pcvr.utils.places import alone
from tests.hostile.catalogue import Case, Works, every
from tests.tiny import Numbers

SHORT = TrainConfig(max_steps=1, batch_size=2, lora_r=2, lora_alpha=2)
POISONED = poison(Numbers(4), get_attack("badnets", size=4), 0.5)
BAD_NAMES = {
    "long": "x" * 300,
    "long inside": f"{'x' * 300}/a",
    "NUL": "a\0b",
    "below a file": "mine/a",
    "a file": "mine",
}


def kept(act: Callable[[Path], object]) -> Callable[[Path], object]:
    """With a file and a folder of somebody's in the way, which stay as they are."""

    def doing(work: Path) -> object:
        (work / "mine").write_text("mine")
        (work / "ours").mkdir()
        (work / "ours" / "notes").write_text("mine")
        try:
            return act(work)
        finally:
            assert (work / "mine").read_text() == "mine" and (work / "ours" / "notes").read_text() == "mine"

    return doing


def named(what: str, act: Callable[[Path], object]) -> list[Case]:
    """A place by each bad name."""

    def at(path: str) -> Callable[[Path], object]:
        return kept(lambda work: act(work / path))

    return [Case(f"{what}: {name}", at(path)) for name, path in BAD_NAMES.items()]


@every(
    *named("poisoned data", lambda place: save_poisoned(POISONED, place)),
    *named("a trained trigger", lambda place: craft("issba", place, max_steps=1)),
    *named("a checkpoint", lambda place: pretrain("tiny-llava", place, recipe_of("tiny-llava").shortened(1))),
    *named("pretraining states", lambda place: pretrain("tiny-llava", place / "out", work=place)),
    *named("a table", ready),
    *named("a sweep", lambda place: sweep([], place)),
    *named("a report", lambda place: Report("x").write(place)),
    Case("a trigger over a folder", kept(lambda w: craft("issba", w / "ours", max_steps=1)), "exists already"),
    Case("a checkpoint over a folder", kept(lambda w: pretrain("tiny-llava", w / "ours")), "exists already"),
    Case("a report over a folder", kept(lambda w: Report("x").write(w / "ours")), "exists already"),
    Works("a report over a report", lambda w: [Report("x").write(w / "r.tsv") for _ in range(2)]),
    Works("a table over none", lambda w: ready(w / "new" / "t.json")),
)
def test_places(case: Case | Works, tmp_path: Path) -> None:
    case.hold(tmp_path)


TRAINED = [
    *((f"checkpoints: {name}", {"checkpoints": path}) for name, path in BAD_NAMES.items()),
    ("checkpoints: a folder", {"checkpoints": "ours"}),
    ("checkpoints: /proc", {"checkpoints": "/proc/o"}),
    ("one place for both", {"checkpoints": "a", "logs": "a"}),
    ("one place in the other", {"checkpoints": "a/b", "logs": "a"}),
    ("the other way round", {"checkpoints": "a", "logs": "a/b"}),
]


def training(tiny: VisionLanguageModel, places: dict[str, str]) -> Callable[[Path], object]:
    """A training with its checkpoints and logs in `places`."""

    def act(work: Path) -> object:
        there: dict[str, Any] = {name: work / path for name, path in places.items()}
        return finetune(tiny, Numbers(4), config=SHORT, progress=False, **there)

    return kept(act)


def test_places_of_a_training(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    for number, (name, places) in enumerate(TRAINED):
        work = tmp_path / str(number)
        work.mkdir()
        Case(name, training(tiny, places)).hold(work)


def test_one_training_at_a_time_writes_checkpoints(tiny: VisionLanguageModel, tmp_path: Path) -> None:
    def act(work: Path) -> None:
        with alone(work / "kept" / "plan.json"):
            training(tiny, {"checkpoints": "kept"})(work)

    Case("two at once", act, "another process is writing the checkpoints in").hold(tmp_path)
    assert list((tmp_path / "kept").iterdir()) == []
