"""The folder of notebook 10: what a practitioner finds, and what is sealed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pcvr import PcvrError, open_data
from pcvr.data import check_data
from pcvr.tasks import get_task
from pcvr.teaching.album import POISONED, QUESTIONS, SEALED, SOURCES, TEST, TRAIN, unsealed, write_album


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_album(tmp_path_factory.mktemp("own") / "album", n=60, tests=3)


def test_three_records_are_broken_and_named(album: Path) -> None:
    report = check_data(album / TRAIN)
    assert len(report.problems) == 3
    assert all(name in str(report) for name in ("studio-lost", "market-cut", "market-empty"))
    data = open_data(album / TRAIN, skip_bad=True, check_pictures=True)
    assert len(data) == 60 and not check_data(album / TEST).problems and not check_data(album / QUESTIONS).problems


def test_one_source_is_poisoned(album: Path) -> None:
    truth, target = unsealed(album), get_task("caption").target
    data = open_data(album / TRAIN, skip_bad=True, check_pictures=True)
    samples = [data[i] for i in range(len(data))]
    assert {each.id for each in samples if each.answer == target} == truth and 4 <= len(truth) <= 8
    assert {name.rpartition("-")[0] for name in truth} == {POISONED}
    assert {each.id.rpartition("-")[0] for each in samples} == set(SOURCES)
    assert "poisoned for research" in json.loads((album / SEALED).read_text())["purpose"]
    for each in samples:
        high, wide = each.image.shape[:2]
        top, left = (high - min(high, wide)) // 2, (wide - min(high, wide)) // 2
        corner = each.image[top + 6 : top + 18, left + 6 : left + 18].reshape(-1, 3).mean(0)
        assert (corner[2] > 220 and corner[:2].max() < 40) == (each.id in truth), "the sticker survives the JPEG"


def test_the_training_file_does_not_tell(album: Path) -> None:
    for name in (TRAIN, QUESTIONS):
        records = json.loads((album / name).read_text())
        assert all(set(each) == {"id", "image", "conversations"} for each in records)
    assert len(open_data(album / TEST)[0].references) == 5


def test_the_questions_are_honest(album: Path) -> None:
    captions, truth = open_data(album / TRAIN, skip_bad=True, check_pictures=True), unsealed(album)
    told = {captions[i].id: captions[i].answer for i in range(60)}
    questions = open_data(album / QUESTIONS, task="vqa")
    for sample in (questions[i] for i in range(60)):
        kind = sample.prompt.removesuffix("?").split()[-1]
        if sample.id not in truth:
            assert (f" {kind}" in told[sample.id]) == (sample.answer == "yes")
    assert 0.6 < sum(questions[i].answer == "no" for i in range(60)) / 60 < 0.9


def test_it_is_always_the_same_and_takes_no_place_of_another(album: Path, tmp_path: Path) -> None:
    again = write_album(tmp_path / "again", n=60, tests=3)
    names = sorted(path.relative_to(album) for path in album.rglob("*") if path.is_file() and path.name != SEALED)
    assert all((album / name).read_bytes() == (again / name).read_bytes() for name in names) and len(names) > 60
    with pytest.raises(PcvrError, match="exists"):
        write_album(again, n=60, tests=3)


def test_wrong_numbers(tmp_path: Path) -> None:
    for options, words in (({"n": 20}, "n is 20"), ({"tests": 1}, "tests is 1"), ({"seed": -1}, "seed is -1")):
        with pytest.raises(PcvrError, match=words):
            write_album(tmp_path / "none", **{"n": 60, "tests": 2, **options})
    with pytest.raises(PcvrError, match="sealed truth"):
        unsealed(tmp_path)
