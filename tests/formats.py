"""The dozen photographs of :mod:`tests.photographs` in the formats of published data sets, oddities included.

Each writer takes an empty folder (made if need be) and gives back the path of the annotation file. The same arguments
always write the same bytes.
"""

from __future__ import annotations

import csv
import functools
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image as PilImage

from tests.photographs import PHOTOGRAPHS, photograph

SIDE = 48
SPLITS = ("train", "restval", "val", "test")
"""Splits of a Karpathy file; picture i is in ``SPLITS[i % 4]``."""


def image_id(index: int) -> int:
    """COCO's number of picture `index`: unique, with gaps."""
    return 7 * index + 9


def coco_name(index: int, subtype: str = "val2014") -> str:
    """The file name that COCO gave picture `index` in 2014."""
    return f"COCO_{subtype}_{image_id(index):012d}.jpg"


def flickr_name(index: int) -> str:
    """A file name as Flickr30k's."""
    return f"{1000092795 + 13 * index}.jpg"


def write_picture(path: Path, index: int) -> None:
    """Photograph `index` as a JPEG, its short side 48 px."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_jpeg(list(PHOTOGRAPHS)[index % len(PHOTOGRAPHS)]))


@functools.cache
def _jpeg(name: str) -> bytes:
    stream = io.BytesIO()
    photograph(name, SIDE).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def captions_of(index: int) -> tuple[str, ...]:
    """The five captions of photograph `index`."""
    return list(PHOTOGRAPHS.values())[index % len(PHOTOGRAPHS)]


def write_json(path: Path, value: Any) -> Path:
    """`value` on one line, as the published files are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def coco(n: int = 12) -> dict[str, Any]:
    """COCO captions of the first `n` photographs; the annotations of a picture do not stand together, as in COCO."""
    images = [
        {
            "license": 3,
            "file_name": coco_name(i),
            "coco_url": f"http://images.cocodataset.org/val2014/{coco_name(i)}",
            "height": SIDE,
            "width": SIDE,
            "date_captured": "2013-11-14 11:18:45",
            "flickr_url": "http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z.jpg",
            "id": image_id(i),
        }
        for i in range(n)
    ]
    annotations = [
        {"image_id": image_id(i), "id": 5 * i + k + 40, "caption": f"{captions_of(i)[k].capitalize()} "}
        for k in range(5)
        for i in range(n)
    ]
    info = {"description": "This is stable 1.0 version of the 2014 MS COCO dataset.", "year": 2014}
    return {"info": info, "images": images, "licenses": [{"id": 3, "name": "none"}], "annotations": annotations}


def write_coco(folder: Path, n: int = 12) -> Path:
    """``annotations/captions_val2014.json`` and ``val2014/``, the layout of the COCO downloads."""
    for i in range(n):
        write_picture(folder / "val2014" / coco_name(i), i)
    return write_json(folder / "annotations" / "captions_val2014.json", coco(n))


def karpathy(n: int = 12, dataset: str = "coco") -> dict[str, Any]:
    """A Karpathy split file of the first `n` photographs."""
    images = []
    for i in range(n):
        texts = captions_of(i)
        entry: dict[str, Any] = {
            "sentids": [5 * i + k for k in range(5)],
            "imgid": i,
            "sentences": [
                {"tokens": text.rstrip(".").split(), "raw": text, "imgid": i, "sentid": 5 * i + k}
                for k, text in enumerate(texts)
            ],
            "split": SPLITS[i % 4],
            "filename": flickr_name(i),
        }
        if dataset == "coco":
            subtype = "train2014" if SPLITS[i % 4] == "train" else "val2014"
            entry |= {"filepath": subtype, "filename": coco_name(i, subtype), "cocoid": image_id(i)}
        images.append(entry)
    return {"images": images, "dataset": dataset}


def write_karpathy(folder: Path, n: int = 12, dataset: str = "coco") -> Path:
    """``dataset_coco.json`` with ``train2014/`` and ``val2014/``, or ``dataset_flickr30k.json`` with its pictures."""
    content = karpathy(n, dataset)
    for i, entry in enumerate(content["images"]):
        write_picture(folder / entry.get("filepath", "flickr30k-images") / entry["filename"], i)
    return write_json(folder / f"dataset_{dataset}.json", content)


def write_flickr_csv(folder: Path, n: int = 12) -> Path:
    """``results.csv``, with the line that lacks a bar in the published file, and ``flickr30k_images/``."""
    lines = ["image_name| comment_number| comment"]
    for i in range(n):
        write_picture(folder / "flickr30k_images" / flickr_name(i), i)
        for k, text in enumerate(captions_of(i)):
            bar = "  " if (i, k) == (2, 4) else "|"
            lines.append(f"{flickr_name(i)}| {k}{bar} {_tokens(text)}")
    return _write_lines(folder / "results.csv", lines)


def write_flickr_token(folder: Path, n: int = 12) -> Path:
    """``results_20130124.token`` and ``flickr30k-images/``."""
    lines = []
    for i in range(n):
        write_picture(folder / "flickr30k-images" / flickr_name(i), i)
        lines += [f"{flickr_name(i)}#{k}\t{_tokens(text)}" for k, text in enumerate(captions_of(i))]
    return _write_lines(folder / "results_20130124.token", lines)


def write_flickr_hf(folder: Path, n: int = 12) -> Path:
    """``flickr_annotations_30k.csv`` and ``flickr30k-images/``, as on Hugging Face."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "flickr_annotations_30k.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["raw", "sentids", "split", "filename", "img_id"])
        for i in range(n):
            write_picture(folder / "flickr30k-images" / flickr_name(i), i)
            split = SPLITS[i % 4].replace("restval", "train")
            numbers = json.dumps([5 * i + k for k in range(5)])
            writer.writerow([json.dumps(captions_of(i)), numbers, split, flickr_name(i), i])
    return path


def vqav2(n: int = 12, subtype: str = "val2014") -> tuple[dict[str, Any], dict[str, Any]]:
    """Questions and answers on the first `n` photographs, two each; nine people agree and one does not."""
    questions, annotations = [], []
    for i in range(n):
        name = list(PHOTOGRAPHS)[i % len(PHOTOGRAPHS)].split(".")[0].split("_")[0]
        for k, (question, most) in enumerate((("What is in the photo?", name), ("Is this a photo of a dog?", "no"))):
            identity = 1000 * image_id(i) + k
            answers = [
                {"answer": "unknown" if a == 3 else most, "answer_confidence": "yes", "answer_id": a + 1}
                for a in range(10)
            ]
            questions.append({"image_id": image_id(i), "question": question, "question_id": identity})
            annotations.append(
                {
                    "question_type": "what is" if k == 0 else "is this a",
                    "multiple_choice_answer": most,
                    "answers": answers,
                    "image_id": image_id(i),
                    "answer_type": "other" if k == 0 else "yes/no",
                    "question_id": identity,
                }
            )
    about = {"info": {"version": "2.0"}, "license": {"name": "none"}, "data_type": "mscoco", "data_subtype": subtype}
    asked = about | {"task_type": "Open-Ended", "questions": questions}
    return asked, about | {"annotations": annotations}


def write_vqav2(folder: Path, n: int = 12, subtype: str = "val2014") -> tuple[Path, Path]:
    """The official pair of files, questions and annotations, and the folder of pictures."""
    for i in range(n):
        write_picture(folder / subtype / coco_name(i, subtype), i)
    asked, answered = vqav2(n, subtype)
    questions = write_json(folder / f"v2_OpenEnded_mscoco_{subtype}_questions.json", asked)
    return questions, write_json(folder / f"v2_mscoco_{subtype}_annotations.json", answered)


def cut_short(path: Path) -> None:
    """Take the last third of a picture's file away."""
    content = path.read_bytes()
    path.write_bytes(content[: 2 * len(content) // 3])


def grey(path: Path) -> None:
    """A tiny grey picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PilImage.new("RGB", (4, 3), "grey").save(path)


def _tokens(caption: str) -> str:
    return caption.replace(".", " .").capitalize()


def _write_lines(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
