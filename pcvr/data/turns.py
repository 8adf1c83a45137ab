"""Conversations in the forms of published data, and their pairs of question and answer.

::

    [{"from": "human", "value": "<image>\\nWhat is it?"}, {"from": "gpt", "value": "a cat."}]
    [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "a cat."}]
    [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}, ...]
    [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "cat.png"}}, ...]}, ...]

A record without a list of turns can have one exchange in keys of its own: ``query`` and ``response``, or
``instruction``, ``input`` and ``output``, each with ``history`` (earlier pairs) and ``system``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pcvr.data.report import BROKEN, MOVED, OTHER_TURN, UNPAIRED, EntryError
from pcvr.utils.checks import check_choice

KEYS = ("conversations", "messages")
"""Keys of a record's conversation."""
TOGETHER, APART = "together", "apart"
TURNS = (TOGETHER, APART)
"""What becomes of a conversation: one sample with all turns, or one sample for each question, without the others."""

_ASKING = frozenset(("human", "user"))
_ANSWERING = frozenset(("gpt", "assistant", "model", "chatgpt", "bot"))
_FLAT = ((("query",), "response"), (("instruction", "input"), "output"), ((), "text"), ((), "caption"))
_PICTURE = "<image>"
_PATHS = ("image", "path", "url", "image_url")


@dataclass
class Conversation:
    """The turns of a conversation.

    Attributes:
        pairs: each question with its answer, unchanged; an image part becomes ``<image>``.
        system: the system turns before the first question.
        left_out: number of turns in no pair, by kind of note.
        pictures: paths of images in the turns.
    """

    pairs: list[tuple[str, str]] = field(default_factory=list)
    system: str = ""
    left_out: Counter[str] = field(default_factory=Counter)
    pictures: list[str] = field(default_factory=list)

    @property
    def pictured(self) -> bool:
        """Whether a question contains an image."""
        return bool(self.pictures) or any(_PICTURE in asked for asked, _ in self.pairs)

    @property
    def several(self) -> bool:
        """Whether the turns name more than one image."""
        return len(self.pictures) > 1

    def notes(self, turns: str) -> Counter[str]:
        """Return what was left out or changed, by kind of note, if the turns are read `turns`, one of :data:`TURNS`."""
        first, *later = (_PICTURE in asked for asked, _ in self.pairs)
        return self.left_out + Counter({MOVED: int(turns == TOGETHER and not first and any(later))})


def check_turns(turns: object) -> str:
    """Return `turns`, one of :data:`TURNS`.

    Raises:
        PcvrError: it is none of them.
    """
    check_choice("turns", turns, TURNS)
    return str(turns)


def turns_of(entry: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the turns of a record, and the key that holds them.

    Raises:
        EntryError: it has none.
    """
    key = next((key for key in KEYS if entry.get(key) is not None), None)
    turns = _flat(entry) if key is None else entry[key]
    if turns is None:
        raise EntryError(BROKEN, f"no {' or '.join(KEYS)}")
    system = entry.get("system")
    if isinstance(system, str) and system.strip() and isinstance(turns, list):
        turns = [{"role": "system", "content": system}, *turns]
    return turns, key or KEYS[1]


def conversation(turns: Any, key: str = KEYS[0]) -> Conversation:
    """Pair each question with the answer that follows it.

    Args:
        turns: the value of `key`.
        key: its name in messages.

    Raises:
        EntryError: it is not a list of turns, or has no question that is followed by an answer.
    """
    if isinstance(turns, dict) and all(isinstance(column, list) for column in turns.values()):
        # Some releases of datasets give a list of mappings as a mapping of lists.
        turns = [dict(zip(turns, row, strict=False)) for row in zip(*turns.values(), strict=False)]
    if not isinstance(turns, list | tuple):
        raise EntryError(BROKEN, f"{key} is not a list of turns with a text 'from' and a text 'value'")
    found = Conversation()
    asked: str | None = None
    for turn in turns:
        role, text = _turn(turn, key, found.pictures)
        if role in _ANSWERING and asked is not None:
            found.pairs.append((asked, text))
            asked = None
        elif role in _ASKING:
            found.left_out[UNPAIRED] += asked is not None
            asked = text
        elif role == "system" and asked is None and not found.pairs:
            found.system = "\n".join(filter(None, (found.system, text.strip())))
        else:
            found.left_out[UNPAIRED if role in _ANSWERING else OTHER_TURN] += 1
    found.left_out[UNPAIRED] += asked is not None
    if not found.pairs:
        raise EntryError(BROKEN, f"{key} has no human turn followed by a gpt turn")
    return found


def _flat(entry: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the turns of a record with one exchange in keys of its own; None if it has none."""
    for asking, answering in _FLAT:
        asked = [text for name in asking if isinstance(text := entry.get(name), str) and text]
        if not isinstance(entry.get(answering), str) or (asking and not asked):
            continue
        earlier = entry.get("history") or []
        if not isinstance(earlier, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in earlier):
            raise EntryError(BROKEN, "history is not a list of pairs of a question and its answer")
        pairs = [*earlier, ["\n".join(asked), entry[answering]]]
        roles = ("user", "assistant")
        return [{"role": role, "content": text} for pair in pairs for role, text in zip(roles, pair, strict=True)]
    return None


def _turn(turn: Any, key: str, pictures: list[str]) -> tuple[str, str]:
    """Return the role in lower case, and the text."""
    given: dict[str, Any] = turn if isinstance(turn, dict) else {}
    role = given.get("from") or given.get("role")
    text = given["value"] if isinstance(given.get("value"), str) else _first(given, "value", "content", "text")
    if isinstance(text, list | tuple):
        text = "\n".join(_part(part, key, pictures) for part in text)
    if not isinstance(role, str) or not isinstance(text, str):
        raise EntryError(BROKEN, f"{key} is not a list of turns with a text 'from' and a text 'value'")
    return role.strip().lower(), text


def _part(part: Any, key: str, pictures: list[str]) -> str:
    """Return the text of one part of a turn; an image adds its path to `pictures`."""
    if isinstance(part, str):
        return part
    given: dict[str, Any] = part if isinstance(part, dict) else {}
    kind = str(given.get("type") or ("text" if isinstance(given.get("text"), str) else "image"))
    text = given.get("text")
    if "text" in kind and isinstance(text, str):
        return text
    if "image" not in kind or not given:
        raise EntryError(BROKEN, f"{key} has a part of type {kind[:20]!r}: only texts and images are allowed")
    path = _first(given, *_PATHS)
    path = path.get("url") if isinstance(path, dict) else path  # as OpenAI's interface has it
    if isinstance(path, str):
        pictures.append(path)
    return _PICTURE


def _first(given: dict[str, Any], *names: str) -> Any:
    return next((given[name] for name in names if given.get(name) is not None), None)
