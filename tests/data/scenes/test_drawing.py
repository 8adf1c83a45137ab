"""Composed scenes, stamps and uploads: what is drawn, what is said to be true of it, and what is refused."""

import io

import numpy as np
import pytest
from PIL import Image as PilImage

import pcvr
from pcvr.data.scenes import KINDS
from pcvr.data.scenes.background import BACKGROUNDS
from pcvr.data.scenes.compose import Drawing, Thing, compose, stamped, uploaded

CAR, HOUSE = Thing("car", "red", "large", 25, 70), Thing("house", "white", "small", 75, 30)


class TestCompose:
    def test_facts_are_those_of_the_objects_from_left_to_right(self):
        found = compose([HOUSE, CAR], "stripes", seed=3)
        assert [each["kind"] for each in found.facts["objects"]] == ["car", "house"]
        assert [each["place"] for each in found.facts["objects"]] == ["bottom left", "top right"]
        assert found.facts["background"] == "stripes" and found.notes == ()
        assert found.picture.shape == (96, 96, 3) and found.picture.dtype == np.uint8

    def test_objects_are_drawn_where_they_are_said_to_be(self):
        empty, full = compose([], seed=4).picture, compose([CAR], seed=4).picture
        rows, columns = np.nonzero((empty != full).any(-1))
        left, top, right, bottom = compose([CAR], seed=4).facts["objects"][0]["box"]
        assert abs(columns.min() - left) <= 1 and abs(rows.min() - top) <= 1
        assert right <= columns.max() + 4 and bottom <= rows.max() + 4, "the shadow falls a little further"
        middle = full[(top + bottom) // 2, (left + right) // 2]
        assert int(middle[0]) > 150 > int(middle[2]), "the body is red"

    @pytest.mark.parametrize("x", [0, 100])
    @pytest.mark.parametrize("y", [0, 100])
    def test_objects_are_kept_inside(self, x, y):
        for kind in KINDS:
            left, top, right, bottom = compose([Thing(kind, "blue", "large", x, y)]).facts["objects"][0]["box"]
            assert min(left, top) >= 3 and max(right, bottom) <= 93

    def test_the_same_values_give_the_same_picture(self):
        assert np.array_equal(compose([CAR], "noise", 1).picture, compose([CAR], "noise", 1).picture)
        assert not np.array_equal(compose([CAR], "noise", 1).picture, compose([CAR], "noise", 2).picture)
        assert len({compose([], family).picture.tobytes() for family in BACKGROUNDS}) == len(BACKGROUNDS)

    def test_a_later_object_lies_over_an_earlier_one(self):
        red, blue = (Thing("ball", color, "large", 50, 50) for color in ("red", "blue"))
        one, other = compose([red, blue]), compose([blue, red])
        assert not np.array_equal(one.picture, other.picture)
        assert one.notes == ("a kind of object is there twice", "objects overlap") and not one.answers

    def test_answers_are_true(self):
        found = compose([CAR, HOUSE])
        assert found.answers["list the objects."] == "large red car, small white house."
        assert found.answers["what colour is the house?"] == "white"
        assert found.answers["is there a cat?"] == "no" and found.answers["is there a car?"] == "yes"
        assert found.answers["is the car blue?"] == "no" and found.answers["is the car red?"] == "yes"
        assert {kind for kind in KINDS if found.answers.get(f"is there a{'n' * (kind[0] in 'aeiou')} {kind}?")} == set(
            KINDS
        )

    @pytest.mark.parametrize(("things", "note"), [([], "no objects"), ([CAR], "1 object,")])
    def test_unusual_scenes_say_so_and_know_no_answers(self, things, note):
        found = compose(things)
        assert note in found.notes[0] and not found.answers

    @pytest.mark.parametrize(
        ("make", "word"),
        [
            (lambda: compose([CAR] * 4), "at most 3"),
            (lambda: compose([CAR], "stripe"), "stripes"),
            (lambda: Thing("caar", "red"), "car"),
            (lambda: Thing("car", "rde"), "red"),
            (lambda: Thing("car", "red", "big"), "size"),
            (lambda: Thing("car", "red", x=101), "0 to 100"),
            (lambda: Thing("car", "red", y=-1), "0 to 100"),
        ],
    )
    def test_what_cannot_be_drawn_is_a_sentence(self, make, word):
        with pytest.raises(pcvr.PcvrError, match=word):
            make()


class TestStamps:
    def test_a_square_is_painted_and_nothing_else(self):
        plain = compose([CAR, HOUSE])
        found = stamped(plain, {63: "white", 1: "black"})
        assert (found.picture[84:, 84:] == 248).all() and (found.picture[:12, 12:24] < 30).all()
        changed = (found.picture != plain.picture).any(-1)
        changed[84:, 84:] = changed[:12, 12:24] = False
        assert not changed.any() and "stamped" in found.notes[-1]
        assert stamped(plain, {}) is plain

    @pytest.mark.parametrize(("squares", "word"), [({64: "red"}, "0 to 63"), ({0: "grey"}, "green")])
    def test_what_cannot_be_stamped_is_a_sentence(self, squares, word):
        with pytest.raises(pcvr.PcvrError, match=word):
            stamped(compose([]), squares)


def file_of(picture, kind="PNG"):
    out = io.BytesIO()
    PilImage.fromarray(picture).save(out, format=kind)
    return out.getvalue()


class TestUploads:
    def test_a_file_is_read_as_it_is(self):
        picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        found = uploaded(file_of(picture))
        assert isinstance(found, Drawing) and np.array_equal(found.picture, picture)
        assert found.facts == {} and found.answers == {} and "outside" in found.notes[0]
        assert stamped(found, {0: "red"}).picture[0, 0].tolist() == [222, 44, 40]

    def test_a_huge_one_is_reduced(self):
        assert uploaded(file_of(np.zeros((100, 5000, 3), np.uint8))).picture.shape == (41, 2048, 3)

    def test_it_stands_upright(self):
        out = io.BytesIO()
        exif = PilImage.Exif()
        exif[0x0112] = 6  # turned a quarter
        PilImage.fromarray(np.zeros((20, 40, 3), np.uint8)).save(out, format="JPEG", exif=exif)
        assert uploaded(out.getvalue()).picture.shape == (40, 20, 3)

    @pytest.mark.parametrize(
        "content",
        [b"", b"no picture", file_of(np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8))[:600]],
    )
    def test_what_is_no_picture_is_a_sentence(self, content):
        with pytest.raises(pcvr.PcvrError, match="cannot be read as an image"):
            uploaded(content)
