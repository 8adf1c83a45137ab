"""Opening any data set: the embedded scenes, files in the usual formats, Hugging Face tables, or an open data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.data.coco import CocoCaptions
from pcvr.data.detect import FORMATS, check_no_table, recognise
from pcvr.data.flickr import Flickr30k, FlickrAnnotations
from pcvr.data.karpathy import Karpathy
from pcvr.data.listed import Listed
from pcvr.data.llama_factory import INFO, named_files
from pcvr.data.llava_json import LINES, LlavaJson
from pcvr.data.photographs import Photographs
from pcvr.data.records_in_memory import as_table
from pcvr.data.report import BadData, Report
from pcvr.data.sample import Dataset, Sample
from pcvr.data.split import canonical
from pcvr.data.split_captions import SplitCaptions
from pcvr.data.subset import subset
from pcvr.data.tables import is_table, open_table
from pcvr.data.turns import TOGETHER, check_turns
from pcvr.data.vqav2 import VQAv2
from pcvr.errors import PcvrError, shown, unknown_name
from pcvr.utils.files import as_path

if TYPE_CHECKING:
    import datasets

# Written beside the data; they hold no samples.
_NOT_DATA = ("manifest.json", INFO)
_SUFFIXES = (".json", *LINES, ".csv", ".token")
_CHOICES = "a file of annotations (LLaVA JSON, COCO, Karpathy split, Flickr30k, VQAv2)"

# Formats that state splits; images of the splits that are not read may be missing.
_WITH_SPLITS: dict[str, type[SplitCaptions]] = {"karpathy": Karpathy, "flickr30k-table": FlickrAnnotations}
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
    turns: str = TOGETHER,
    prefer: str = "train",
) -> Dataset:
    """Open a data set by name or path; an open one is returned as it is.

    Args:
        spec: ``"scenes"``; the path of an annotation file, whose format is recognised by its content (LLaVA-style JSON
            or JSON lines, COCO captions, a Karpathy split, Flickr30k, VQAv2's questions); a folder with exactly one
            annotation file (images beside it or in ``images/``); a ``datasets`` table or dictionary of tables, or the
            folder that its ``save_to_disk`` wrote; a list of samples, or of records with the keys of such files or
            tables; or a data set of this package.
        split: ``"train"``, ``"validation"`` (also ``"val"``, ``"dev"``), ``"test"``, another name that the data use, or
            ``"all"`` (not for scenes). By default `prefer` for data with splits (scenes, Karpathy splits, dictionaries
            of tables, a column or key ``split``), else all samples. Data without splits are split by a hash of the
            image's file name, about 80, 10 and 10 %; the data set's name says so. An open data set keeps its split.
        n: number of samples; by default all (for ``scenes``, its own default).
        seed: for ``scenes`` it decides which images are drawn, else which ``n`` samples are picked.
        task: a key of :data:`pcvr.tasks.TASKS`; by default the data's: questions for VQAv2 and for tables with human
            answers, else captions.
        images: the folder of images of an annotation file; by default it is searched near the file.
        annotations: the file of answers to VQAv2's questions; by default the one of the official name.
        skip_bad: leave out entries with problems; the data set's ``report`` lists them.
        check_pictures: decode every image now; otherwise only their existence is checked.
        follow_links: whether links may lead out of the folder of images; set it only if you trust their source.
        turns: ``"together"`` makes one sample of a conversation, whose answers are all trained on. ``"apart"`` makes
            one of each question with its answer, without the other turns; then evaluation asks all questions.
        prefer: the default split of data with splits.

    Raises:
        BadData: entries have problems, unless `skip_bad`; it lists them all.
        PcvrError: no data under that name, split or size, or a task that does not fit the data.
    """
    options: dict[str, Any]
    check_turns(turns)
    if isinstance(spec, str) and spec == "scenes":
        from pcvr.data.scenes import Scenes

        _no_files(spec, images, annotations)
        options = {"split": canonical(prefer if split is None else split), "seed": seed, "n": n, "task": task}
        return Scenes(**{name: value for name, value in options.items() if value is not None})
    dataset: Dataset
    place = as_path(spec, "data").expanduser() if isinstance(spec, str | Path) else spec
    if isinstance(place, list | tuple) and place and all(isinstance(each, Mapping) for each in place):
        place = as_table(place)
    if is_table(place):
        _no_files("a table", images, annotations)
        options = {"prefer": prefer, "skip_bad": skip_bad, "check_pictures": check_pictures, "turns": turns}
        dataset = open_table(place, split, task, **options)
    elif isinstance(spec, str | Path):
        options = {"skip_bad": skip_bad, "check_pictures": check_pictures, "follow_links": follow_links}
        options |= {} if task is None else {"task": task}
        dataset = _open_file(_file_of(spec), split, prefer, images, annotations, options, turns)
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
    turns: str = TOGETHER,
) -> Report:
    """Return a report of every problem in data from outside, truncated images included.

    Arguments are those of :func:`open_data`. Every image is decoded, unless `check_pictures` is off; a progress bar
    shows after two seconds.

    Raises:
        PcvrError: nothing can be read at all, such as a file that is not JSON.
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
            turns=turns,
        )
    except BadData as error:  # no usable entry is left
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
    turns: str,
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
        check_no_table(path)
        raise PcvrError(f"{path} has none of the known formats: give {', '.join(FORMATS.values())}.")
    else:
        found = LlavaJson(
            path, images, lines=kind == "llava-lines", turns=turns, **options
        )  # it reports any problem itself
    return found.split(split or (prefer if found.splits else "all"))


def _file_of(spec: str | Path) -> Path:
    path = Path(spec).expanduser()
    if path.is_dir():
        found = _candidates(path)
        named = {path / name for name in named_files(path)}  # beside other files: the same data in another form
        found = [file for file in found if file not in named] or found
        if not found:
            check_no_table(path)
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
    """Return the annotation files in a folder; if none is recognised, the JSON files."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower().endswith(_SUFFIXES) and entry.is_file())
    files = [folder / name for name in names if name not in _NOT_DATA and not name.startswith(".")]
    kinds = [_kind(file) for file in files]
    known = [file for file, kind in zip(files, kinds, strict=True) if kind not in (None, "vqav2-answers")]
    return known or [file for file in files if file.suffix.lower() in (".json", *LINES)]


def _kind(file: Path) -> str | None:
    try:
        return recognise(file)
    except PcvrError:  # raised again when that file is opened
        return None


def _no_files(what: str, images: object, annotations: object) -> None:
    if images is not None or annotations is not None:
        raise PcvrError(f"images= and annotations= go with a file of annotations, not with {what}: leave them out.")
