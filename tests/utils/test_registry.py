"""The registry: lookups, names that are taken, order, and folders that are read at the first lookup."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from threading import Thread

import pytest

from pcvr import PcvrError
from pcvr.utils.registry import Registry


def first() -> int:
    return 1


def second() -> int:
    return 2


class TestEntries:
    def test_it_is_a_read_only_mapping_sorted_by_order_and_name(self) -> None:
        things: Registry[int] = Registry("thing")
        for name, order in (("b", 0), ("c", -1), ("a", 0)):
            things.register(name, ord(name), order=order)
        assert list(things) == ["c", "a", "b"] and sorted(things) == ["a", "b", "c"] and len(things) == 3
        assert dict(things) == {"a": 97, "b": 98, "c": 99} and things["a"] == 97
        assert "a" in things and "d" not in things and None not in things
        assert things.get("d") is None and things.get("d", 5) == 5
        assert repr(things) == "<thing registry: c, a, b>"
        with pytest.raises(TypeError):
            things["d"] = 1  # type: ignore[index]

    def test_an_unknown_name_suggests_the_nearest(self) -> None:
        things: Registry[int] = Registry("thing")
        things.register("lantern", 1)
        for kind in (PcvrError, KeyError):
            with pytest.raises(kind, match=r"^unknown thing 'lantren': did you mean 'lantern'\?$"):
                things["lantren"]
        for odd in (None, 3, ["lantern"]):
            with pytest.raises(PcvrError, match=r"unknown thing .*: "):
                things[odd]  # type: ignore[index]
        with pytest.raises(PcvrError, match="unknown thing 'x'"):
            things.unregister("x")

    def test_a_name_is_given_once(self) -> None:
        things: Registry[object] = Registry("thing")
        things.register("it", first)
        with pytest.raises(PcvrError, match=rf"^the thing 'it' is registered already by {__name__}.first: .*") as said:
            things.register("it", second)
        assert "unregister('it')" in str(said.value) and ". " not in str(said.value)
        assert things["it"] is first
        things.unregister("it")
        things.register("it", second)
        assert things["it"] is second
        things.register("value", (1, 2))
        things.register("value", (1, 2))
        with pytest.raises(PcvrError, match="the thing 'value' is registered already: "):
            things.register("value", (1, 3))

    def test_a_cell_may_run_again(self) -> None:
        things: Registry[object] = Registry("thing")
        for value in (1, 2):
            exec(f"def mine():\n    return {value}", made := {"__name__": "notebook"})  # as a kernel runs a cell
            things.register("mine", made["mine"])
        assert things["mine"] is made["mine"]
        things.register("local", lambda: 1)
        with pytest.raises(PcvrError, match="registered already"):
            things.register("local", lambda: 2)

    @pytest.mark.parametrize("name", ["", "two words", "line\n", None, 3, first])
    def test_a_name_is_a_word(self, name: object) -> None:
        with pytest.raises(PcvrError, match="the name of the thing is "):
            Registry("thing").register(name, 1)  # type: ignore[arg-type]


MODULE = """
from registered import THINGS

def {name}():
    return "{name}"

THINGS.register("{name}", {name})
"""


class TestFolders:
    @pytest.fixture
    def things(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[object]]:
        """A registry whose folder `registered` holds the modules ``b`` and ``a``."""
        folder = tmp_path / "registered"
        folder.mkdir()
        (folder / "__init__.py").write_text(
            'from pcvr.utils.registry import Registry\nTHINGS = Registry("thing", ("registered",))\n'
        )
        for name in "ba":
            (folder / f"{name}.py").write_text(MODULE.format(name=name))
        monkeypatch.syspath_prepend(tmp_path)
        yield import_module("registered").THINGS

        for module in [name for name in sys.modules if name.partition(".")[0] == "registered"]:
            del sys.modules[module]

    def test_modules_are_imported_at_the_first_lookup(self, things: Registry[object]) -> None:
        assert "registered.a" not in sys.modules
        assert list(things) == ["a", "b"]

    def test_one_new_file_is_a_new_entry(self, things: Registry[object], tmp_path: Path) -> None:
        (tmp_path / "registered" / "c.py").write_text(MODULE.format(name="c"))
        assert list(things) == ["a", "b", "c"]

    def test_so_is_a_file_in_an_extension_of_the_folder(
        self, things: Registry[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "more").mkdir()
        (tmp_path / "more" / "c.py").write_text(MODULE.format(name="c"))
        monkeypatch.setattr(
            sys.modules["registered"], "__path__", [str(tmp_path / "registered"), str(tmp_path / "more")]
        )
        assert list(things) == ["a", "b", "c"]

    def test_names_of_the_folder_are_taken_before_it_is_read(self, things: Registry[object]) -> None:
        with pytest.raises(PcvrError, match=r"'a' is registered already by registered\.a\.a"):
            things.register("a", first)
        assert list(things) == ["a", "b"]

    def test_a_module_that_fails_says_so_at_every_lookup_until_it_is_mended(
        self, things: Registry[object], tmp_path: Path
    ) -> None:
        file = tmp_path / "registered" / "c.py"
        file.write_text("import no_such_module")
        for _ in range(2):
            with pytest.raises(ModuleNotFoundError, match="no_such_module"):
                len(things)
        file.write_text(MODULE.format(name="c") + "# mended\n")
        assert list(things) == ["a", "b", "c"]

    def test_a_module_may_look_up_what_comes_after_it(self, things: Registry[object], tmp_path: Path) -> None:
        (tmp_path / "registered" / "aa.py").write_text(MODULE.format(name="aa") + "assert THINGS['b']\n")
        assert list(things) == ["a", "aa", "b"]

    def test_threads_wait_for_the_first_lookup(self, things: Registry[object], tmp_path: Path) -> None:
        (tmp_path / "registered" / "aa.py").write_text("import time\ntime.sleep(0.3)\n")
        found: list[int] = []
        threads = [Thread(target=lambda: found.append(len(things))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [2, 2, 2, 2]
