"""One door to every data set: the embedded scenes, LLaVA-style JSON, Hugging Face tables, or one already made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pcvr.data.llava_json import LlavaJson
from pcvr.data.sample import Dataset
from pcvr.data.subset import subset
from pcvr.data.table import is_table, open_table
from pcvr.errors import PcvrError, unknown_name

if TYPE_CHECKING:
    import datasets

# Written beside the data by save_poisoned; it describes the data and holds none.
_NOT_DATA = "manifest.json"


def open_data(
    spec: str | Path | Dataset | datasets.Dataset | datasets.DatasetDict,
    split: str = "train",
    n: int | None = None,
    seed: int = 0,
    task: str = "caption",
) -> Dataset:
    """Open a data set by name, by path, or hand back one that is already open.

    Args:
        spec: ``"scenes"``; the path of a LLaVA-style JSON; a folder that holds exactly one (pictures beside it or in
            ``images/``); a ``datasets`` table or dictionary of tables, or a folder that its ``save_to_disk`` wrote;
            or a data set of this package.
        split: ``"train"``, ``"validation"`` or ``"test"``; for a JSON also ``"all"``. A data set already open keeps
            the split it was made with.
        n: how many samples; by default all of them (for ``scenes``, its own default).
        seed: for ``scenes`` which pictures are drawn, else which ``n`` samples are picked.
        task: ``"caption"`` or ``"vqa"``.

    Raises:
        PcvrError: when nothing can be opened under that name, split or size.
    """
    if isinstance(spec, str) and spec == "scenes":
        from pcvr.data.scenes import Scenes

        return Scenes(split=split, seed=seed, task=task) if n is None else Scenes(n, split=split, seed=seed, task=task)
    dataset: Dataset
    folder = Path(spec).expanduser() if isinstance(spec, str | Path) else spec
    if is_table(folder):
        dataset = open_table(folder, split, task)
    elif isinstance(spec, str | Path):
        dataset = LlavaJson(_json_of(spec), task=task).split(split)
    elif isinstance(spec, Dataset):
        dataset = spec
    else:
        raise PcvrError(
            f"data is a {type(spec).__name__}: give 'scenes', the path of a LLaVA JSON or its folder, or a table."
        )
    return dataset if n is None else subset(dataset, n, seed)


def _json_of(spec: str | Path) -> Path:
    path = Path(spec).expanduser()
    if path.is_dir():
        found = sorted(file for file in path.glob("*.json") if file.name != _NOT_DATA)
        if len(found) != 1:
            names = ", ".join(file.name for file in found[:5]) or "none"
            raise PcvrError(f"the folder {path} must hold exactly one LLaVA JSON (it has: {names}): name the file.")
        return found[0]
    if path.is_file():
        return path
    if isinstance(spec, str) and path.suffix.lower() != ".json" and len(path.parts) == 1:
        raise unknown_name("data", spec, ["scenes", "a path to a LLaVA JSON"])
    raise PcvrError(f"there is no data at {path}: give 'scenes', the path of a LLaVA JSON, or a folder with one.")
