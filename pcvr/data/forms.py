"""Samples as records of other programs' data formats, and the files of a folder of data that name them.

::

    data.json               LLaVA (image folder: ``images``); also ``references`` and ``facts`` where they are known
    messages.jsonl          ms-swift, and LLaMA-Factory through dataset_info.json; images relative to the folder
    images/metadata.jsonl   ``datasets.load_dataset(folder)``: the columns image, id and messages, as TRL reads them
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pcvr.data.sample import Sample
from pcvr.data.turns import Conversation

DATA, IMAGES, MESSAGES = "data.json", "images", "messages.jsonl"
METADATA, CARD = f"{IMAGES}/metadata.jsonl", "README.md"
_TOKEN, _LLAVA = "<image>", {"from", "value"}

_CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path:
    - images/metadata.jsonl
    - images/[0-9][0-9][0-9][0-9][0-9][0-9]*.png
---
{about}

- LLaVA: `--data_path data.json --image_folder images`
- LLaMA-Factory: `dataset_dir` is this folder, `dataset` is `{name}` (see `dataset_info.json`)
- ms-swift: `--dataset messages.jsonl`, started in this folder
- Hugging Face: `datasets.load_dataset` with the path of this folder
"""


def llava_record(sample: Sample, image: str, truth: bool) -> dict[str, Any]:
    """Return a sample as LLaVA's trainer reads it; with `truth`, references and facts too."""
    said = [] if not sample.system else [{"from": "system", "value": sample.system}]
    for place, (prompt, answer) in enumerate(sample.exchanges):
        said.append({"from": "human", "value": prompt if place else f"<image>\n{prompt}"})
        said.append({"from": "gpt", "value": answer})
    record: dict[str, Any] = {"id": sample.id, "image": image, "conversations": said}
    if truth and sample.references:
        record["references"] = list(sample.references)
    if truth and sample.facts:
        record["facts"] = dict(sample.facts)
    return record


def messages(sample: Sample, token: str = "") -> list[dict[str, str]]:
    """Return a sample's turns with role and content; the first question begins with `token`."""
    said = [] if not sample.system else [{"role": "system", "content": sample.system}]
    for place, (prompt, answer) in enumerate(sample.exchanges):
        said.append({"role": "user", "content": prompt if place else token + prompt})
        said.append({"role": "assistant", "content": answer})
    return said


def messages_record(sample: Sample, image: str) -> dict[str, Any]:
    """Return a sample as ms-swift and LLaMA-Factory read it: ``messages``, in which ``<image>`` stands for an image."""
    return {"id": sample.id, "messages": messages(sample, "<image>"), "images": [f"{IMAGES}/{image}"]}


def metadata_record(sample: Sample, image: str) -> dict[str, Any]:
    """Return a sample's line of ``metadata.jsonl``."""
    return {"file_name": image, "id": sample.id, "messages": messages(sample)}


def unread_llava(entry: Mapping[str, Any], talk: Conversation, images: Sequence[str]) -> dict[str, Any]:
    """Return a record without an image or with several as LLaVA's trainer reads it; turns in that form stay."""
    shows: dict[str, Any] = {"image": list(images)} if images and "image" not in entry else {}
    turns = entry.get("conversations")
    if isinstance(turns, list) and all(isinstance(turn, dict) and turn.keys() >= _LLAVA for turn in turns):
        return dict(entry) | shows
    shows = {"image": list(images)} if images else {}
    said = [] if not talk.system else [{"from": "system", "value": talk.system}]
    for prompt, answer in _with_tokens(talk, len(images)):
        said += [{"from": "human", "value": prompt}, {"from": "gpt", "value": answer}]
    record = {key: entry[key] for key in ("id", "references", "facts", "split") if entry.get(key) is not None}
    return record | shows | {"conversations": said}


def unread_messages(talk: Conversation, images: Sequence[str]) -> dict[str, Any]:
    """Return a conversation without an image or with several, as `messages_record` does, without unpaired turns."""
    said = [] if not talk.system else [{"role": "system", "content": talk.system}]
    for prompt, answer in _with_tokens(talk, len(images)):
        said += [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return {"messages": said, "images": [f"{IMAGES}/{image}" for image in images]}


def _with_tokens(talk: Conversation, images: int) -> list[tuple[str, str]]:
    """Return the exchanges; the first question gets the image tokens that are missing: trainers want one an image."""
    (first, answer), *later = talk.pairs
    missing = images - sum(prompt.count(_TOKEN) for prompt, _ in talk.pairs)
    return [(f"{_TOKEN}\n" * missing + first, answer), *later]


def card(name: str, about: str) -> str:
    """Return the ``README.md`` of a folder of data; its head says to ``datasets`` which files are the data."""
    return _CARD.format(name=name, about=about)


def dataset_name(name: str) -> str:
    """Return a data set's name as LLaMA-Factory's command line can take it: letters, digits, ``_`` and ``-``."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:60] or "data"


def file_name(index: int, identity: str) -> str:
    """Return the name of a sample's image; the index in front makes it unique, whatever the id is."""
    return f"{index:06d}_{re.sub(r'[^A-Za-z0-9_-]+', '_', identity)[:60]}.png"


def as_json(value: Any, indent: int | None = None) -> str:
    """Return `value` as JSON text, with NumPy values and read-only mappings as plain ones."""
    return json.dumps(value, indent=indent, ensure_ascii=False, default=_json_value)


def _json_value(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a fact is a {type(value).__name__}, which is not a JSON value")
