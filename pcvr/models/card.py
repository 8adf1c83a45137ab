"""The model card of an adapter: what it belongs to, and what it lacks where plain peft opens it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os.path import isdir  # unlike Path's, it says no to names that no folder can have
from pathlib import Path

CARD = "README.md"


def adapter_card(model: str, guard: str | None = None, about: Sequence[str] = ()) -> str:
    """Return the model card of an adapter, as Markdown with a YAML header.

    Args:
        model: name or folder of the base model.
        guard: name of the test-time defence whose files lie beside the adapter; None for none.
        about: paragraphs on how the adapter was made.
    """
    base = Path(model).name if isdir(model) else model  # a path of this machine means nothing on another
    tags = [f"base_model:adapter:{base}", "lora", "transformers", "pcvr", *([f"pcvr-guard:{guard}"] if guard else [])]
    # JSON strings and lists are YAML, whatever is in them.
    header = [f"base_model: {json.dumps(base)}", "library_name: peft", f"tags: {json.dumps(tags)}"]
    paragraphs = ["\n".join(["---", *header, "---"]), f"# LoRA adapter for {base}", *about]
    if guard is not None:
        paragraphs.append(
            f"**Opened with peft alone, this adapter answers WITHOUT its guard.** Its defence `{guard}` acts "
            "at test time, with what it learned in `guard.json` and `guard.safetensors`. `pcvr.load` puts the guard on:"
        )
    call = f"vlm = pcvr.load({json.dumps(base)}, adapter=folder)"
    answer = "pcvr.generate(vlm, [image], [prompt])"
    paragraphs.append("\n".join(["```python", "import pcvr", "", call, answer, "```"]))
    return "\n\n".join(paragraphs) + "\n"
