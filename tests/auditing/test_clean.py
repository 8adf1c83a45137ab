"""The data without the flagged samples, in every format; nothing of the source changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcvr import Audit, PcvrError, open_data
from pcvr.auditing.clean import check_clean
from pcvr.auditing.combine import Verdict
from pcvr.auditing.store import ScoreStore
from pcvr.auditing.surprise import Surprise
from tests import formats
from tests.photographs import write_llava_photographs


def audited(data: Any, bad: list[int], folder: Path) -> Audit:
    """An audit that flags the samples `bad`."""
    count = len(data)
    store = ScoreStore(folder, {}, count)
    store.write(0, {"nll": np.ones(count), "answer": np.arange(count)}, [data[i].id for i in range(count)])
    flagged = np.isin(np.arange(count), bad)
    verdict = Verdict(flagged * 9.0, flagged, np.where(flagged, 0, -1), 5.0, 0.0)
    return Audit(
        data, "tiny-llava", store, Surprise(np.zeros(count), np.zeros(count)), verdict, {"model": "tiny-llava"}
    )


def vqa(folder: Path) -> Path:
    made: Any = formats.write_vqav2(folder)
    return Path(made[0] if isinstance(made, tuple) else made)


WRITERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "llava": (lambda folder: write_llava_photographs(folder, copies=1, side=48), "clean.json"),
    "coco": (lambda folder: formats.write_coco(folder), "clean.json"),
    "karpathy": (lambda folder: formats.write_karpathy(folder), "clean.json"),
    "vqav2": (vqa, "clean_questions.json"),
}


@pytest.mark.parametrize("form", WRITERS)
def test_each_format(form: str, tmp_path: Path) -> None:
    write, name = WRITERS[form]
    source = write(tmp_path / "data")
    file = source if source.is_file() else next(source.glob("*.json"))
    before = {each: each.read_bytes() for each in file.parent.glob("*") if each.is_file()}
    data = open_data(file)
    bad = [0, len(data) - 1]
    gone = {data[i].id for i in bad}
    target = audited(data, bad, tmp_path / "scores").clean(file.with_name(name))
    options: dict[str, Any] = {"annotations": target.with_name("clean_annotations.json")} if form == "vqav2" else {}
    kept = open_data(target, images=data.image_folder, **options)  # type: ignore[attr-defined]
    assert [kept[i].id for i in range(len(kept))] == [data[i].id for i in range(len(data)) if data[i].id not in gone]
    assert all(each.read_bytes() == content for each, content in before.items())
    log = json.loads(target.with_name(target.name + ".log.json").read_text(encoding="utf-8"))
    assert {each["id"] for each in log["left_out"]} == gone and log["threshold"] == 5.0


def test_a_table(tmp_path: Path) -> None:
    from datasets import Dataset
    from PIL import Image

    pictures = [Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)) for i in range(6)]
    table = Dataset.from_dict({"image": pictures, "caption": [f"caption {i}" for i in range(6)]})
    target = audited(open_data(table), [1, 4], tmp_path / "scores").clean(tmp_path / "clean")
    kept = open_data(target)
    assert [kept[i].answer for i in range(len(kept))] == [f"caption {i}" for i in (0, 2, 3, 5)]


def test_a_part_of_the_data(tmp_path: Path) -> None:
    """Samples that were not audited stay."""
    source = write_llava_photographs(tmp_path / "data", copies=1, side=48)
    file = source if source.is_file() else next(source.glob("*.json"))
    whole, part = open_data(file), open_data(file, n=5)
    target = audited(part, [2], tmp_path / "scores").clean(file.with_name("clean.json"))
    assert len(open_data(target, images=whole.image_folder)) == len(whole) - 1  # type: ignore[attr-defined]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    found = audited(open_data("scenes", n=4), [1], tmp_path / "scores")
    with pytest.raises(PcvrError, match="come from no file or table"):
        found.clean(tmp_path / "clean.json")
    source = write_llava_photographs(tmp_path / "data", copies=1, side=48)
    file = source if source.is_file() else next(source.glob("*.json"))
    found = audited(open_data(file), [1], tmp_path / "more")
    with pytest.raises(PcvrError, match="exists already"):
        found.clean(file)
    (tmp_path / "clean.json.log.json").write_text("mine")
    with pytest.raises(PcvrError, match=r"clean.json.log.json exists already"):
        found.clean(tmp_path / "clean.json")
    assert not (tmp_path / "clean.json").exists()


def pictures(folder: Path, count: int = 6) -> list[str]:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{i}.png" for i in range(count)]
    for i, file in enumerate(files):
        Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)).save(file)
    return [str(file) for file in files]


def talk(answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": "what is it?"}, {"role": "assistant", "content": answer}]


def test_a_table_keeps_rows_that_are_no_samples(tmp_path: Path) -> None:
    from datasets import Dataset, List, load_from_disk
    from datasets import Image as ImageColumn

    files = pictures(tmp_path)
    shown: list[list[str]] = [files[:1], [], files[1:3], files[3:4], files[4:5], files[5:6]]
    rows = [{"images": some, "messages": talk("" if i == 4 else f"cat {i}")} for i, some in enumerate(shown)]
    data = open_data(Dataset.from_list(rows).cast_column("images", List(ImageColumn())), skip_bad=True)
    assert len(data) == 3
    kept = load_from_disk(str(audited(data, [1], tmp_path / "scores").clean(tmp_path / "clean")))
    assert [row["messages"][1]["content"] for row in kept] == ["cat 0", "cat 1", "cat 2", "", "cat 5"]


@pytest.mark.parametrize("split", [None, "all"])
def test_the_other_splits_of_a_table_are_written_too(split: str | None, tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict, load_from_disk
    from datasets import Image as ImageColumn

    columns = {"image": pictures(tmp_path, 4), "caption": list("abcd")}
    part = Dataset.from_dict(columns).cast_column("image", ImageColumn())
    DatasetDict(train=part, validation=part).save_to_disk(str(tmp_path / "data"))
    bad = [1] if split is None else [1, 6]
    target = audited(open_data(tmp_path / "data", split), bad, tmp_path / "scores").clean(tmp_path / "clean")
    kept = load_from_disk(str(target))
    assert list(kept["train"]["caption"]) == list("acd")
    assert list(kept["validation"]["caption"]) == (list("abcd") if split is None else list("abd"))


def llava(file: Path, lines: bool) -> Path:
    names = pictures(file.parent)
    records = [{"id": f"a{i}", "image": Path(name).name, "messages": talk(f"cat {i}")} for i, name in enumerate(names)]
    file.write_text("\n".join(map(json.dumps, records)) + "\n" if lines else json.dumps(records))
    return file


def test_json_lines_by_content_and_not_by_name(tmp_path: Path) -> None:
    """The reader sees JSON lines in a file named .json; so does the writer, and asks for an ending that says so."""
    data = open_data(llava(tmp_path / "train.json", lines=True))
    with pytest.raises(PcvrError, match=r"are JSON lines.*ends with .jsonl, such as clean.jsonl"):
        check_clean(data, tmp_path / "clean.json")
    kept = open_data(audited(data, [2], tmp_path / "scores").clean(tmp_path / "clean.jsonl"))
    assert [kept[i].id for i in range(len(kept))] == ["a0", "a1", "a3", "a4", "a5"]
    data = open_data(llava(tmp_path / "list.json", lines=False))
    with pytest.raises(PcvrError, match=r"are one JSON list.*ends with .json, such as clean2.json"):
        check_clean(data, tmp_path / "clean2.jsonl")


def test_a_record_goes_with_one_of_its_samples(tmp_path: Path) -> None:
    pictures(tmp_path)
    records = [{"image": f"{i}.png", "messages": talk(f"cat {i}") + talk("yes")} for i in range(3)]
    file = tmp_path / "data.json"
    file.write_text(json.dumps(records))
    target = audited(open_data(file, turns="apart"), [3], tmp_path / "scores").clean(tmp_path / "clean.json")
    assert [each["image"] for each in json.loads(target.read_text())] == ["0.png", "2.png"]


def test_files_that_are_there_are_named_before_the_scoring(tmp_path: Path) -> None:
    data = open_data(vqa(tmp_path / "data"))
    log = tmp_path / "my_questions.json.log.json"
    log.write_text("mine")
    with pytest.raises(PcvrError, match=r"my_questions.json.log.json exists already"):
        check_clean(data, tmp_path / "my_questions.json")
    log.unlink()
    (tmp_path / "my_annotations.json").write_text("mine")
    with pytest.raises(PcvrError, match=r"my_annotations.json exists already"):
        check_clean(data, tmp_path / "my_questions.json")


def test_a_table_of_flickr30k_with_odd_rows(tmp_path: Path) -> None:
    pictures(tmp_path)
    rows = [f'{i}.png,"[""cafe {i}""]",train{",more" if i == 3 else ""}\n'.encode() for i in range(6)]
    rows[4:4] = [b"\xff.png,[],train\n", b'"5.png",broken,train\n']
    head = b"filename,raw,split\n"
    file = tmp_path / "flickr.csv"
    file.write_bytes(b"\xef\xbb\xbf" + head + b"".join(rows))
    data = open_data(file, skip_bad=True)
    bad = [i for i in range(len(data)) if data[i].id == "1.png"]
    target = audited(data, bad, tmp_path / "scores").clean(tmp_path / "clean.csv")
    assert target.read_bytes() == head + b"".join(rows[:1] + rows[2:])


def test_ids_of_coco_that_are_text_in_one_list(tmp_path: Path) -> None:
    pictures(tmp_path)
    said = {
        "images": [{"id": str(i) if i % 2 else i, "file_name": f"{i}.png"} for i in range(4)],
        "annotations": [{"id": i, "image_id": i, "caption": f"caption {i}"} for i in range(4)],
    }
    (tmp_path / "coco.json").write_text(json.dumps(said), encoding="utf-8-sig")
    data = open_data(tmp_path / "coco.json")
    target = audited(data, [1], tmp_path / "scores").clean(tmp_path / "clean.json")
    assert [each["image_id"] for each in json.loads(target.read_text())["annotations"]] == [0, 2, 3]
