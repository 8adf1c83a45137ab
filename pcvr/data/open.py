"""One door to every data set: the embedded scenes, files in the usual formats, Hugging Face tables, or an open one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.data.coco import CocoCaptions
from pcvr.data.detect import FORMATS, recognise
from pcvr.data.flickr import Flickr30k, FlickrAnnotations
from pcvr.data.karpathy import Karpathy
from pcvr.data.listed import Listed
from pcvr.data.llava_json import LINES, LlavaJson
from pcvr.data.photographs import Photographs
from pcvr.data.report import BadData, Report
from pcvr.data.sample import Dataset, Sample
from pcvr.data.split import canonical
from pcvr.data.subset import subset
from pcvr.data.tables import is_table, open_table
from pcvr.data.vqav2 import VQAv2
from pcvr.errors import PcvrError, shown, unknown_name
from pcvr.utils.files import as_path

if TYPE_CHECKING:
    import datasets

# Written beside the data by save_poisoned; it describes the data and holds none.
_NOT_DATA = "manifest.json"
_SUFFIXES = (".json", *LINES, ".csv", ".token")
_CHOICES = "a file of annotations (LLaVA JSON, COCO, Karpathy split, Flickr30k, VQAv2)"

# Those that come with their own splits, so that the pictures of the other splits need not be there.
_WITH_SPLITS: dict[str, type[Karpathy] | type[FlickrAnnotations]] = {
    "karpathy": Karpathy,
    "flickr30k-table": FlickrAnnotations,
}
_PLAIN: dict[str, Callable[..., Photographs]] = {"coco": CocoCaptions, "flickr30k": Flickr30k}


def open_data(
    spec: str | Path | Dataset | Sequence[Sample] | datasets.Dataset | datasets.DatasetDict,
    split: str | None = None,
    n: int | None = None,
    seed: int = 0,
    task: str | None = None,
    *,
    images: str | Path | None = None,
    annotations: str | Path | None = None,
    skip_bad: bool = False,
    check_pictures: bool = False,
    follow_links: bool = False,
    prefer: str = "train",
) -> Dataset:
    """Open a data set by name, by path, or hand back one that is already open.

    Args:
        spec: ``"scenes"``; the path of a file of annotations, whose format is seen from what is in it (LLaVA-style JSON
            or JSON lines, COCO captions, a Karpathy split, Flickr30k, VQAv2's questions); a folder that holds exactly
            one (pictures beside it or in ``images/``); a ``datasets`` table or dictionary of tables, or a folder that
            its ``save_to_disk`` wrote; a list of samples; or a data set of this package.
        split: ``"train"``, ``"validation"`` or ``"test"`` (``"val"`` and ``"dev"`` are understood), ``"all"`` but for
            scenes, or another name that the data use. Without it, data that come with splits (scenes, Karpathy splits,
            dictionaries of tables, a column or key ``split``) give `prefer`, and others are used whole. Asked for a
            split, data without any are split by a hash of the picture's file name: about 80, 10 and 10 %; the data
            set's name says so. A data set already open keeps the split it was made with.
        n: how many samples; by default all of them (for ``scenes``, its own default).
        seed: for ``scenes`` which pictures are drawn, else which ``n`` samples are picked.
        task: what is asked; by default what the data are: questions for VQAv2 and for tables with people's answers,
            captions else.
        images: for a file of annotations, the folder of its pictures; by default looked for near it.
        annotations: for VQAv2's questions, the file of their answers; by default the one of the official name.
        skip_bad: leave out what cannot be used, and keep what was wrong as the data set's ``report``.
        check_pictures: decode every picture now; otherwise only their being there is checked.
        follow_links: whether links may lead out of the folder of pictures: give it if you trust who made them.
        prefer: the split that is taken where `split` is not given and the data come with splits.

    Raises:
        BadData: listing everything in the file that cannot be used, unless `skip_bad`.
        PcvrError: when nothing can be opened under that name, split or size, or the task does not fit the data.
    """
    options: dict[str, Any]
    if isinstance(spec, str) and spec == "scenes":
        from pcvr.data.scenes import Scenes

        _no_files(spec, images, annotations)
        options = {"split": canonical(prefer if split is None else split), "seed": seed, "n": n, "task": task}
        return Scenes(**{name: value for name, value in options.items() if value is not None})
    dataset: Dataset
    place = as_path(spec, "data").expanduser() if isinstance(spec, str | Path) else spec
    if is_table(place):
        _no_files("a table", images, annotations)
        dataset = open_table(place, split, task, prefer=prefer, skip_bad=skip_bad, check_pictures=check_pictures)
    elif isinstance(spec, str | Path):
        options = {"skip_bad": skip_bad, "check_pictures": check_pictures, "follow_links": follow_links}
        options |= {} if task is None else {"task": task}
        dataset = _open_file(_file_of(spec), split, prefer, images, annotations, options)
    elif isinstance(spec, list | tuple):
        _no_files("a list", images, annotations)
        dataset = Listed(spec, task or "caption")
    elif isinstance(spec, Dataset) and not isinstance(spec, type):
        _no_files("a data set already open", images, annotations)
        if task not in (None, spec.task):
            raise PcvrError(f"{spec.name} asks for {spec.task!r}, not {task!r}: leave the task out.")
        dataset = spec
    else:
        raise PcvrError(f"data is {shown(spec)}: give 'scenes', {_CHOICES} or its folder, or a table.")
    return dataset if n is None else subset(dataset, n, seed)


def check_data(
    spec: str | Path | datasets.Dataset | datasets.DatasetDict,
    split: str = "all",
    *,
    task: str | None = None,
    images: str | Path | None = None,
    annotations: str | Path | None = None,
    check_pictures: bool = True,
    follow_links: bool = False,
) -> Report:
    """Everything that is wrong with data from outside, pictures cut short included; an empty report where nothing is.

    Arguments are those of :func:`open_data`. Every picture is decoded, unless `check_pictures` is off; a bar shows how
    far it is when that takes longer than two seconds.

    Raises:
        PcvrError: nothing can be read there at all, such as a file that is no JSON.
    """
    try:
        found = open_data(
            spec,
            split,
            task=task,
            images=images,
            annotations=annotations,
            skip_bad=True,
            check_pictures=check_pictures,
            follow_links=follow_links,
        )
    except BadData as error:  # nothing usable is left
        return error.report
    report = getattr(found, "report", None)
    return report if isinstance(report, Report) else Report(found.name)


def _open_file(
    path: Path,
    split: str | None,
    prefer: str,
    images: str | Path | None,
    annotations: str | Path | None,
    options: dict[str, Any],
) -> Dataset:
    kind = recognise(path)
    if kind == "vqav2-answers":
        raise PcvrError(f"{path} holds VQAv2's answers: give the file of questions, and this one as annotations=.")
    if annotations is not None and kind != "vqav2":
        raise PcvrError(f"annotations={str(annotations)!r} goes with VQAv2's questions, not with {path}: leave it out.")
    if kind in _WITH_SPLITS:
        return _WITH_SPLITS[kind](path, images, split=split or prefer, **options)
    found: Photographs
    if kind == "vqav2":
        found = VQAv2(path, annotations, images, **options)
    elif kind in _PLAIN:
        found = _PLAIN[kind](path, images, **options)
    elif kind is None and path.suffix.lower() != ".json":
        raise PcvrError(f"{path} has none of the known formats: give {', '.join(FORMATS.values())}.")
    else:
        found = LlavaJson(path, images, lines=kind == "llava-lines", **options)  # what is wrong with it, it says itself
    return found.split(split or (prefer if found.splits else "all"))


def _file_of(spec: str | Path) -> Path:
    path = Path(spec).expanduser()
    if path.is_dir():
        found = _candidates(path)
        if len(found) != 1:
            names = ", ".join(file.name for file in found[:5]) or "none"
            raise PcvrError(f"the folder {path} must hold exactly one annotation file (it has: {names}): name it.")
        return found[0]
    if path.is_file():
        return path
    if isinstance(spec, str) and path.suffix.lower() not in _SUFFIXES and len(path.parts) == 1:
        raise unknown_name("data", spec, ["scenes", "a path to a LLaVA JSON"])
    raise PcvrError(f"there is no data at {path}: give 'scenes', {_CHOICES}, or a folder with one.")


def _candidates(folder: Path) -> list[Path]:
    """Files in a folder that hold annotations; where none is known to, those that may be meant to."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower().endswith(_SUFFIXES) and entry.is_file())
    files = [folder / name for name in names if name != _NOT_DATA and not name.startswith(".")]
    kinds = [_kind(file) for file in files]
    known = [file for file, kind in zip(files, kinds, strict=True) if kind not in (None, "vqav2-answers")]
    return known or [file for file in files if file.suffix.lower() in (".json", *LINES)]


def _kind(file: Path) -> str | None:
    try:
        return recognise(file)
    except PcvrError:  # it is said when that very file is opened
        return None


def _no_files(what: str, images: object, annotations: object) -> None:
    if images is not None or annotations is not None:
        raise PcvrError(f"images= and annotations= go with a file of annotations, not with {what}: leave them out.")
