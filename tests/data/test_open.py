"""The one door to all data: which format a file has, splits, subsets, tasks, and what cannot be opened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pcvr.data import BadData, Dataset, LlavaJson, VQAv2, check_data, open_data, subset
from pcvr.data.detect import recognise
from pcvr.errors import PcvrError
from tests import formats
from tests.photographs import write_llava_photographs


def little(folder: Path, n: int = 1) -> Path:
    """A LLaVA JSON of `n` records that share one grey picture."""
    formats.grey(folder / "a.png")
    turns = [{"from": "human", "value": "what?"}, {"from": "gpt", "value": "grey."}]
    return formats.write_json(
        folder / "data.json", [{"id": str(i), "image": "a.png", "conversations": turns} for i in range(n)]
    )


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> LlavaJson:
    """Twelve photographs and 228 crops, small."""
    return LlavaJson(write_llava_photographs(tmp_path_factory.mktemp("many"), copies=20, side=16))


class TestSplitsAndSubsets:
    def test_splits_cover_and_never_overlap(self, photographs: LlavaJson) -> None:
        parts = {name: open_data(photographs.path, split=name) for name in ("train", "validation", "test")}
        ids = {name: [part[i].id for i in range(len(part))] for name, part in parts.items()}
        together = [identity for part in ids.values() for identity in part]
        assert sorted(together) == sorted(photographs[i].id for i in range(len(photographs)))
        assert 0.7 < len(ids["train"]) / 240 < 0.9
        assert 0.04 < len(ids["test"]) / 240 < 0.17
        assert len({part.fingerprint() for part in parts.values()}) == 3
        assert parts["test"].name == "llava-json:photographs:test (10 % by hash)"
        assert len(open_data(str(photographs.path), split="all")) == 240

    def test_all_questions_about_a_picture_are_in_one_split(self, tmp_path: Path) -> None:
        path = little(tmp_path, 30)
        sizes = []
        for name in ("train", "validation", "test"):
            try:
                sizes.append(len(open_data(path, split=name)))
            except PcvrError as error:
                assert "holds none of its 30 samples" in str(error)
        assert sizes == [30]

    def test_unknown_split(self, photographs: LlavaJson) -> None:
        with pytest.raises(PcvrError, match="did you mean 'validation'"):
            open_data(photographs.path, split="validate")

    def test_subset(self, photographs: LlavaJson) -> None:
        part = subset(photographs, 5, seed=1)
        assert isinstance(part, Dataset)
        assert part.indices == subset(photographs, 5, seed=1).indices != subset(photographs, 5, seed=2).indices
        assert list(part.indices) == sorted(set(part.indices))
        assert part[-1].id == photographs[part.indices[-1]].id
        assert part.task == "caption"
        for n in (0, 241):
            with pytest.raises(PcvrError, match="give 1 to 240"):
                subset(photographs, n)


class TestOpenData:
    def test_a_data_set_comes_back_as_it_is(self, tmp_path: Path) -> None:
        data = LlavaJson(little(tmp_path, 2))
        assert open_data(data) is data is open_data(data, task="caption")
        assert len(open_data(data, n=1)) == 1
        with pytest.raises(PcvrError, match="asks for 'caption', not 'vqa'"):
            open_data(data, task="vqa")
        with pytest.raises(PcvrError, match="not with a data set already open"):
            open_data(data, images=tmp_path)

    def test_a_folder(self, tmp_path: Path) -> None:
        little(tmp_path)
        (tmp_path / "manifest.json").write_text("{}")
        assert len(open_data(tmp_path, split="all")) == 1
        (tmp_path / "second.json").write_text("[]")
        with pytest.raises(PcvrError, match=r"exactly one annotation file \(it has: data.json, second.json\)"):
            open_data(tmp_path)
        (tmp_path / "empty").mkdir()
        with pytest.raises(PcvrError, match="it has: none"):
            open_data(tmp_path / "empty")

    def test_unknown(self, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="unknown data 'scene': did you mean 'scenes'"):
            open_data("scene")
        with pytest.raises(PcvrError, match="there is no data at"):
            open_data(tmp_path / "none.json")
        with pytest.raises(PcvrError, match="data is 3"):
            open_data(3)
        (tmp_path / "notes.txt").write_text("nothing")
        with pytest.raises(PcvrError, match=r"notes.txt has none of the known formats: give LLaVA-style JSON, .*COCO"):
            open_data(tmp_path / "notes.txt")
        with pytest.raises(PcvrError, match="not with scenes"):
            open_data("scenes", images=tmp_path)

    def test_scenes(self) -> None:
        data = open_data("scenes", split="test", n=3, seed=1)
        assert isinstance(data, Dataset)
        assert len(data) == 3
        assert data.name.startswith("scenes")
        assert open_data("scenes", n=2, task="vqa").task == "vqa"


WRITERS: dict[str, Callable[[Path], Path]] = {
    "llava": lambda folder: write_llava_photographs(folder, side=16),
    "coco": formats.write_coco,
    "karpathy": formats.write_karpathy,
    "flickr30k": formats.write_flickr_csv,
    "flickr30k-table": formats.write_flickr_hf,
    "vqav2": lambda folder: formats.write_vqav2(folder)[0],
}


class TestFormats:
    @pytest.mark.parametrize("kind", WRITERS)
    def test_each_is_known_by_its_content_and_opens(self, tmp_path: Path, kind: str) -> None:
        path = WRITERS[kind](tmp_path)
        assert recognise(path) == kind
        data = open_data(path, split="all")
        assert isinstance(data, Dataset)
        assert len(data) == (24 if kind == "vqav2" else 12)
        assert data.task == ("vqa" if kind == "vqav2" else "caption")
        assert data[3].image.ndim == 3
        assert len({data[i].id for i in range(len(data))}) == len(data)
        assert open_data(path, split="all").fingerprint() == data.fingerprint()
        assert not check_data(path)
        assert len(open_data(path.parent, split="all", n=2)) == 2
        # Its name says nothing: the suffix alone must not decide.
        other = path.rename(path.with_name("renamed.json" if kind.startswith("flickr") else "renamed.dat"))
        if kind != "vqav2":
            assert open_data(other, split="all").fingerprint() == data.fingerprint()

    @pytest.mark.parametrize("kind", ["coco", "karpathy", "flickr30k", "flickr30k-table"])
    def test_captions_are_no_questions(self, tmp_path: Path, kind: str) -> None:
        path = WRITERS[kind](tmp_path)
        with pytest.raises(PcvrError, match="holds captions and no questions, which the task 'vqa' needs"):
            open_data(path, task="vqa")
        with pytest.raises(PcvrError, match=r"annotations=.* goes with VQAv2's questions"):
            open_data(path, annotations=path)
        with pytest.raises(PcvrError, match="unknown task"):
            open_data(path, task="captions")

    def test_questions_are_no_captions(self, tmp_path: Path) -> None:
        questions, answers = formats.write_vqav2(tmp_path)
        with pytest.raises(PcvrError, match="holds questions, which the task 'caption' does not ask"):
            open_data(questions, task="caption")
        with pytest.raises(PcvrError, match="holds VQAv2's answers: give the file of questions"):
            open_data(answers)
        moved = answers.rename(tmp_path / "else.json")
        with pytest.raises(PcvrError, match="has only questions: give the file of their answers"):
            open_data(questions)
        assert len(open_data(questions, split="all", annotations=moved)) == 24

    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            ('{"id": 1, "image": "a.png", "conversations": []}\n{"id": 2}', "llava-lines"),
            ('{"annotations": [{"caption": "a"}], "images": []}', "coco"),
            ('{"annotations": [{"answers": []}]}', "vqav2-answers"),
            ('{"images": [], "annotations": []}', None),
            ('{"images": [{"id": 3}], "categories": [{"id": 3}]}', None),
            ('{"images": ', None),
            ("", None),
            ("a,b,c\n", None),
            ("a\rb", None),
            ("[]", "llava"),
            ("a.jpg#0\ta cat .\n", "flickr30k"),
        ],
    )
    def test_by_content(self, tmp_path: Path, text: str, kind: str | None) -> None:
        path = tmp_path / "file"
        path.write_text(text)
        assert recognise(path) == kind

    def test_a_folder_with_both_files_of_vqav2(self, tmp_path: Path) -> None:
        formats.write_vqav2(tmp_path)
        (tmp_path / "package.json").write_text('{"name": "something else"}')
        assert isinstance(open_data(tmp_path, split="all"), VQAv2)

    def test_json_lines_go_through_the_door(self, tmp_path: Path) -> None:
        records = json.loads(little(tmp_path, 3).read_text())
        path = tmp_path / "lines.jsonl"
        path.write_text("\n".join(map(json.dumps, records)) + "\n{")
        with pytest.raises(BadData, match="line 4"):
            open_data(path, split="all")
        data = open_data(path, split="train", skip_bad=True)
        assert len(data) == 3
        report = getattr(data, "report", None)  # a split of it keeps the report
        assert report is not None and len(report) == 1
        assert len(check_data(path)) == 1


@pytest.mark.parametrize(("ending", "kind"), [("parquet", "parquet"), ("tar", "webdataset")])
def test_files_of_datasets_are_refused_with_advice(ending: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / f"train-0.{ending}").write_bytes(b"PAR1")
    for place in (tmp_path, tmp_path / "data", tmp_path / "data" / f"train-0.{ending}"):
        with pytest.raises(PcvrError, match=rf'load_dataset\("{kind}", data_files=.*\).save_to_disk\(FOLDER\)'):
            open_data(place)
