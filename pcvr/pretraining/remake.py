"""Make an embedded checkpoint again, measure its quality, and compare it with the shipped one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.models.zoo import embedded
from pcvr.pretraining.checkpoint import add_quality
from pcvr.pretraining.config import PretrainConfig
from pcvr.utils.renamed import current_names

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel

TESTS = 512
"""Number of test scenes for a checkpoint's quality."""


def quality(vlm: VisionLanguageModel, n: int = TESTS) -> dict[str, float | int]:
    """Measure the accuracy of a base model on test scenes, before any fine-tuning.

    Returns:
        ``"objects listed"``: fraction of objects that the list names with colour and kind; ``"lists all right"``:
        fraction of lists with exactly the objects; ``"questions right"``: accuracy on questions; ``"test scenes"``: n.
    """
    from pcvr.data.scenes import Scenes, attribute_recall, attributes_right
    from pcvr.data.scenes.telegrams import TERSE_PROMPT
    from pcvr.evaluation.generate import answer_all, generate
    from pcvr.evaluation.vqa import vqa_accuracy

    scenes, asked = Scenes(n, split="test"), Scenes(n, split="test", task="vqa")
    samples = [scenes[i] for i in range(n)]
    listed = generate(vlm, [s.image for s in samples], [TERSE_PROMPT] * n)
    both = list(zip(listed, (s.facts for s in samples), strict=True))
    return {
        "objects listed": sum(attribute_recall(text, facts) for text, facts in both) / n,
        "lists all right": sum(attributes_right(text, facts) for text, facts in both) / n,
        "questions right": vqa_accuracy(answer_all(vlm, asked), [asked[i].references for i in range(n)]),
        "test scenes": n,
    }


def remake(name: str, out: str | Path, config: PretrainConfig | None = None, work: str | Path = "runs/pretrain") -> Any:
    """Pretrain `name` into folder `out`, measure its quality, complete its card, and return the training record."""
    from pcvr.models.load import load
    from pcvr.pretraining.pretrain import pretrain

    pretrain(name, out, config, work)
    return add_quality(out, quality(load(out)))


def against_shipped(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Compare a record with the shipped checkpoint's: rows ``(figure, made again, shipped)``."""
    file = embedded(record["name"]).folder / "training.json"
    if not file.is_file():
        return []
    shipped = json.loads(file.read_text(encoding="utf-8"))
    made, theirs = (current_names(PretrainConfig, each["config"]) for each in (record, shipped))
    rows = [("steps", str(made["max_steps"]), str(theirs["max_steps"]))]
    common = {each[0]: each[-1] for each in shipped["losses"]}
    for step, *_, loss in (record["losses"][0], record["losses"][-1]) if record["losses"] else ():
        rows.append((f"naming at step {step}", f"{loss:.4f}", f"{common[step]:.4f}" if step in common else "-"))
    for label, value in record.get("quality", {}).items():
        before = shipped.get("quality", {}).get(label)
        rows.append((label, _shown(value), "-" if before is None else _shown(before)))
    rows.append(("seconds", f"{record['seconds']:.0f}", f"{shipped['seconds']:.0f}"))
    same = record["sha256"] == shipped["sha256"]
    rows.append(("weights", "the same to the bit" if same else "others (machines round differently)", "as shipped"))
    return rows


def _shown(value: float | int) -> str:
    return f"{100 * value:.1f} %" if isinstance(value, float) else str(value)
