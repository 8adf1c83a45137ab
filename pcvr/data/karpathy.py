"""Reader of the Karpathy split of COCO and Flickr30k: one JSON with images, their sentences and their splits.

::

    {"dataset": "coco",
     "images": [{"filepath": "val2014", "filename": "COCO_val2014_000000391895.jpg", "cocoid": 391895, "imgid": 0,
                 "split": "test", "sentids": [770337, ...], "sentences": [{"raw": "A man in a helmet.", ...}, ...]},
                ...]}

Karpathy and Fei-Fei 2015, "Deep visual-semantic alignments", arXiv 1412.2306. COCO's ``restval``, the rest of its
validation images, counts as train, as is usual.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pcvr.data.coco import near_coco
from pcvr.data.records import Members, Records
from pcvr.data.report import BROKEN, EntryError
from pcvr.data.split_captions import SplitCaptions
from pcvr.data.stream import JsonFile
from pcvr.errors import PcvrError

_ENTRY = Members("filename", "split", "sentences")


class Karpathy(SplitCaptions):
    """A Karpathy split file: one sample an image, all sentences its references, the answer one of them in turn.

    The samples' ids are COCO's image ids, for Flickr30k the file names.
    """

    format: ClassVar[str] = "karpathy"
    noun = "image"
    near = staticmethod(near_coco)

    def _read(self, records: Records) -> str:
        empty = True
        with JsonFile(self.path) as file:
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
                    self._add(records, number, given, name, split, _raw(sentences))
                except EntryError as error:
                    records.report.add(error.kind, records.label(number, given), str(error))
        if empty:
            raise PcvrError(f"{self.path} has no list of images: a Karpathy split file has one, with sentences.")
        records.references.sort(len(records))
        return file.digest.hexdigest()


def _raw(sentences: Any) -> list[Any]:
    if not isinstance(sentences, list) or not all(isinstance(each, dict) and "raw" in each for each in sentences):
        raise EntryError(BROKEN, "sentences is not a list of objects with raw")
    return [each["raw"] for each in sentences]
