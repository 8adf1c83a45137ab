"""Nested values stored as JSON plus one safetensors file: the state in a training checkpoint, without pickle.

Numbers, texts, lists, tuples, sets, dictionaries and dataclasses go into the JSON. Tensors, arrays and the states of
random generators go into the safetensors; the JSON refers to each by name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pcvr.errors import PcvrError, cut, first_line
from pcvr.utils.moved import class_now
from pcvr.utils.renamed import current_names

_MARK = "@"
"""Key that marks a JSON object as a stand-in; its value is the type of the original."""
_TREE = "tree"
"""Name of the JSON among flat tensors; the other names are numbers."""


def write_packed(folder: Path, name: str, value: Any) -> None:
    """Write `value` as ``name.json`` and ``name.safetensors`` in `folder`.

    Raises:
        PcvrError: a part of it has an unsupported type; the message says where.
    """
    tensors: dict[str, Tensor] = {}
    tree = _pack(value, tensors, name)
    save_file(tensors, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(tree), encoding="utf-8")


def read_packed(
    folder: Path,
    name: str,
    packages: Collection[str] = ("pcvr",),
    device: str = "cpu",
    advice: str = "the checkpoint is damaged, remove it",
) -> Any:
    """Return the value that `write_packed` wrote.

    Args:
        folder: the folder.
        name: stem of the two files.
        packages: packages whose dataclasses may be restored, from modules that are already imported.
        device: device for tensors that were on a GPU.
        advice: what the error says to do.

    Raises:
        PcvrError: the files are missing, damaged or name a class of another package.
    """
    with undamaged(folder / name, advice):
        tree = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        return _unpack(tree, load_file(folder / f"{name}.safetensors"), packages, device)


def packed(value: Any, name: str = "state") -> dict[str, Tensor]:
    """Return `value` as flat tensors, which safetensors can keep: its own, and the JSON as bytes.

    Raises:
        PcvrError: a part of it has an unsupported type; the message starts with `name`.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_pack(value, tensors, name))
    return tensors | {_TREE: torch.frombuffer(bytearray(tree.encode()), dtype=torch.uint8)}


def unpacked(tensors: Mapping[str, Tensor], packages: Collection[str] = ("pcvr",), device: str = "cpu") -> Any:
    """Return the value that `packed` took; arguments and errors as `read_packed`."""
    with undamaged("the saved state", "it is damaged or something else, give one that state_dict() returned"):
        tree = json.loads(bytes(tensors[_TREE].tolist()).decode())
        return _unpack(tree, tensors, packages, device)


@contextmanager
def undamaged(path: str | Path, advice: str = "the checkpoint is damaged, remove it") -> Iterator[None]:
    """Turn any error inside the block into a PcvrError that says that `path` cannot be read, and `advice`."""
    try:
        yield
    except PcvrError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as problem:
        place, reason = cut(str(path), 200), first_line(problem)
        raise PcvrError(f"{place} cannot be read ({reason}): {advice}.") from None


def _pack(value: Any, tensors: dict[str, Tensor], where: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        return _kept(value.detach(), tensors, "tensor", home=value.device.type)
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        kind = "array" if isinstance(value, np.ndarray) else "number"
        return _kept(torch.from_numpy(np.array(value)), tensors, kind)
    if isinstance(value, torch.Generator):
        return _kept(value.get_state(), tensors, "generator")
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and _MARK not in value:
            return {key: _pack(part, tensors, f"{where}[{key!r}]") for key, part in value.items()}
        pairs = [[_pack(k, tensors, where), _pack(v, tensors, f"{where}[{k!r}]")] for k, v in value.items()]
        return {_MARK: "items", "items": pairs}
    if isinstance(value, list | tuple | set | frozenset):
        ordered = value if isinstance(value, list | tuple) else sorted(value, key=repr)
        parts = [_pack(part, tensors, f"{where}[{k}]") for k, part in enumerate(ordered)]
        if isinstance(value, list):
            return parts
        return {_MARK: next(k for k in ("tuple", "frozenset", "set") if isinstance(value, _PLAIN[k])), "items": parts}
    if is_dataclass(value) and not isinstance(value, type):
        made = type(value)
        own = {f.name: _pack(getattr(value, f.name), tensors, f"{where}.{f.name}") for f in fields(value)}
        return {_MARK: "dataclass", "module": made.__module__, "class": made.__qualname__, "fields": own}
    raise PcvrError(
        f"{where} is {type(value).__name__}, which a checkpoint cannot keep: use numbers, texts, tensors, arrays, "
        "dataclasses, and lists or dictionaries of them."
    )


def _kept(tensor: Tensor, tensors: dict[str, Tensor], kind: str, **facts: str) -> dict[str, str]:
    name = str(len(tensors))
    tensors[name] = tensor.cpu().clone().contiguous()  # a view of a tensor would be refused
    return {_MARK: kind, "at": name, **facts}


_PLAIN: dict[str, type] = {"tuple": tuple, "set": set, "frozenset": frozenset}


def _unpack(tree: Any, tensors: Mapping[str, Tensor], packages: Collection[str], device: str) -> Any:
    def inside(part: Any) -> Any:
        return _unpack(part, tensors, packages, device)

    if isinstance(tree, list):
        return [inside(part) for part in tree]
    if not isinstance(tree, dict):
        return tree
    kind = tree.get(_MARK)
    if kind is None:
        return {key: inside(part) for key, part in tree.items()}
    if kind == "tensor":
        return tensors[tree["at"]].to("cpu" if tree["home"] == "cpu" else device)
    if kind == "array":
        return tensors[tree["at"]].numpy()
    if kind == "number":
        return tensors[tree["at"]].numpy()[()]
    if kind == "generator":
        generator = torch.Generator()
        generator.set_state(tensors[tree["at"]])
        return generator
    if kind == "items":
        return {inside(key): inside(part) for key, part in tree["items"]}
    if kind == "dataclass":
        made = _class(tree["module"], tree["class"], packages)
        try:
            return made(**current_names(made, {k: inside(v) for k, v in tree["fields"].items()}))
        except PcvrError as problem:  # of a value that the class refuses; the caller adds the file
            raise ValueError(str(problem).rstrip(".")) from None
    return _PLAIN[kind](inside(part) for part in tree["items"])


def _class(module: str, name: str, packages: Collection[str]) -> Any:
    """Return a dataclass of one of `packages` by name; only modules that are already imported are searched."""
    if (now := class_now(f"{module}.{name}")) != f"{module}.{name}":
        module, _, name = now.rpartition(".")
    found: Any = sys.modules.get(module) if any(f"{module}.".startswith(f"{p}.") for p in packages) else None
    for part in name.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and is_dataclass(found)):
        raise ValueError(f"{module}.{name} is not a known dataclass")
    return found
