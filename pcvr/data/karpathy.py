"""Reader of the Karpathy split of COCO and Flickr30k: one JSON with pictures, their sentences, and each one's split.

::

    {"dataset": "coco",
     "images": [{"filepath": "val2014", "filename": "COCO_val2014_000000391895.jpg", "cocoid": 391895, "imgid": 0,
                 "split": "test", "sentids": [770337, ...], "sentences": [{"raw": "A man in a helmet.", ...}, ...]},
                ...]}

Karpathy and Fei-Fei 2015, "Deep visual-semantic alignments", arXiv 1412.2306. COCO's ``restval``, the part of its
validation pictures that is left over, counts as train, as has become usual.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pcvr.data.coco import captions_for, coco_places, near_coco
from pcvr.data.photographs import Photographs
from pcvr.data.records import Members, Records
from pcvr.data.report import BROKEN, EMPTY, UNANSWERED, EntryError, Report
from pcvr.data.split import SPLITS, SYNONYMS, known_split, label
from pcvr.data.stream import JsonFile
from pcvr.data.wording import clean_answer
from pcvr.errors import PcvrError

_FLICKR_FOLDERS = ("flickr30k-images", "flickr30k_images")
_ENTRY = Members("filename", "split", "sentences")


def caption_places(name: str) -> Iterator[str]:
    """Where a picture of COCO or Flickr30k may lie."""
    yield from coco_places(name)
    file = name.rpartition("/")[2]
    for folder in _FLICKR_FOLDERS:
        yield f"{folder}/{file}"


class Karpathy(Photographs):
    """A Karpathy split file: one sample a picture, all sentences the references, one in turn the answer.

    The samples' ids are COCO's image ids, for Flickr30k the file names.
    """

    format: ClassVar[str] = "karpathy"
    places = staticmethod(caption_places)
    near = staticmethod(near_coco)

    def __init__(
        self,
        path: str | Path,
        images: str | Path | None = None,
        task: str = "caption",
        split: str = "all",
        *,
        skip_bad: bool = False,
        check_pictures: bool = False,
        follow_links: bool = False,
    ) -> None:
        """
        Args:
            path: the JSON file.
            images: the folder of pictures, or the one that has ``train2014/`` and ``val2014/`` in it; by default the
                one near `path` that holds the first pictures.
            task: what is asked; one with a prompt of its own.
            split: ``"train"``, ``"validation"``, ``"test"`` or ``"all"``; the pictures of the others need not be there.
            skip_bad: leave out what cannot be used, and keep the report.
            check_pictures: decode every picture now.
            follow_links: whether links may lead out of the folder of pictures.

        Raises:
            BadData: naming everything that cannot be used (the first ten in words, and how many in all).
            PcvrError: no such file, folder or split, no valid JSON, or another task.
        """
        path = Path(path).expanduser()
        captions_for(task, path)
        records = Records(Report(str(path)), "image")
        digest = _read(path, records, known_split(split))
        options: dict[str, Any] = {"skip_bad": skip_bad, "check_pictures": check_pictures, "follow_links": follow_links}
        super().__init__(path, task, records, digest, images, split=known_split(split), **options)


def captioned(
    records: Records, number: int, given: Any, name: str, split: Any, wanted: str, captions: Sequence[Any]
) -> None:
    """Add a picture with its captions and its split, or report what is wrong; those of other splits are left out.

    Args:
        records: where to.
        number: the entry's place in its file.
        given: its id.
        name: the picture's file name.
        split: what the file says about its split.
        wanted: which split is read, or ``"all"``.
        captions: its captions, which may be anything.
    """
    said = label(split)
    if said not in SPLITS or said == "all":
        raise EntryError(BROKEN, f"split is {split!r}, not one of {', '.join(SYNONYMS)}, restval")
    if wanted not in ("all", said):
        return
    records.report.looked[f"{records.noun}s"] += 1
    identity = records.identity(given)
    texts = []
    for place, caption in enumerate(captions):
        if text := clean_answer(caption, f"caption {place}"):
            texts.append(text)
        else:
            records.report.add(EMPTY, records.label(number, identity), f"caption {place} is empty")
    row = records.add(number, identity, name, references=texts)
    records.splits.append(said)
    if not texts:
        records.problem(row, UNANSWERED, "no caption belongs to it")


def _read(path: Path, records: Records, wanted: str) -> str:
    empty = True
    with JsonFile(path) as file:
        for key, number, entry in file:
            if key != "images" or number < 0:
                continue
            empty = False
            given = None
            try:
                filename, split, sentences = _ENTRY(entry)
                given = entry.get("cocoid", filename)
                folder = entry.get("filepath", "")
                if not isinstance(filename, str) or not filename or not isinstance(folder, str):
                    raise EntryError(BROKEN, "filename or filepath is not a text")
                name = f"{folder}/{filename}" if folder else filename
                captioned(records, number, given, name, split, wanted, _raw(sentences))
            except EntryError as error:
                records.report.add(error.kind, records.label(number, given), str(error))
    if empty:
        raise PcvrError(f"{path} has no list of images: a Karpathy split file has one, with sentences and splits.")
    records.references.sort(len(records))
    return file.digest.hexdigest()


def _raw(sentences: Any) -> list[Any]:
    if not isinstance(sentences, list) or not all(isinstance(each, dict) and "raw" in each for each in sentences):
        raise EntryError(BROKEN, "sentences is not a list of objects with raw")
    return [each["raw"] for each in sentences]
