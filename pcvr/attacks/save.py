"""Write poisoned data: LLaVA-style JSON with PNG images, or a ``datasets`` table; atomic and resumable."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image as PilImage
from tqdm.auto import tqdm

from pcvr.attacks.checksums import DATA, IMAGES, MANIFEST, SUMS, Journal
from pcvr.attacks.poison import PoisonedDataset
from pcvr.data.report import EMPTY, EntryError
from pcvr.data.sample import Sample
from pcvr.data.texts import encoded
from pcvr.data.wording import clean_answer, clean_prompt
from pcvr.errors import PcvrError, shown
from pcvr.utils.checks import check_choice
from pcvr.utils.files import NotWritten, beside, cannot_write, new_folder, refuse_existing, settle, write_json
from pcvr.utils.places import alone, check_place

_PLAN = "plan.json"
_BAR_AFTER = 2.0
_ROWS = 8  # of a table that are kept in memory: with a thousand, memory would grow with the data


def save_poisoned(
    dataset: PoisonedDataset, folder: str | Path, truth: bool = False, form: str = "llava", progress: bool = True
) -> Path:
    """Write ``dataset`` to a new ``folder``, which is built under another name and renamed when complete.

    An interrupted call leaves a hidden folder ``.NAME.part`` beside it; the same call resumes from the intact images
    there. While one call writes `folder`, a second one is refused.

    Args:
        dataset: from :func:`pcvr.attacks.poison`.
        folder: must not exist yet.
        truth: whether references and facts are written too. They reveal the poison (a poisoned answer contradicts the
            facts, and it has one reference where others have five), and no trainer reads them.
        form: ``"llava"`` (JSON and PNG, as LLaVA's trainer reads them) or ``"datasets"`` (a folder
            for ``datasets.load_from_disk``).
        progress: whether to show a bar once writing takes longer than two seconds.

    Returns:
        The folder's path.

    Raises:
        PcvrError: the folder exists, another process writes it, it cannot be written (no space or permission), an
            unrelated ``.NAME.part`` is in the way, or the form is unknown.
    """
    check_choice("form of poisoned data", form, FORMS)
    target = Path(folder)
    check_place(target)
    part = beside(target, ".part")
    plan = {"data": dataset.fingerprint(), "poison": dataset.manifest.sha256, "truth": truth, "form": form}
    with alone(target):
        refuse_existing(target)  # the process that held the lock may have made it
        _ready(part, plan)
        made = part / "folder"
        try:
            made.mkdir(exist_ok=True)
            journal = Journal(made, part / "written.txt")
            FORMS[form](dataset, made, journal, truth, progress)
            (made / MANIFEST).write_text(dataset.manifest.to_json() + "\n", encoding="utf-8")
            (made / SUMS).unlink(missing_ok=True)
            (made / SUMS).write_text(journal.text(), encoding="utf-8", newline="\n")
            settle(made)
        except OSError as problem:
            shutil.rmtree(part, ignore_errors=True)
            raise cannot_write(target, problem) from problem
        except PcvrError:
            shutil.rmtree(part, ignore_errors=True)
            raise
        refuse_existing(target)  # made meanwhile; the finished part stays for another call
        os.replace(made, target)
        shutil.rmtree(part, ignore_errors=True)
    return target


def _ready(part: Path, plan: Mapping[str, Any]) -> None:
    """Make a scratch folder, unless an interrupted call with the same plan left one.

    Raises:
        PcvrError: a folder of that name was not made by such a call.
    """
    try:
        found = json.loads((part / _PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if found == plan:
        return
    if os.path.lexists(part):
        if part.is_symlink() or not isinstance(found, dict) or set(found) != set(plan):
            raise NotWritten(f"{part} is in the way and was not made by this tool", "move it away")
        shutil.rmtree(part, ignore_errors=True)
    with new_folder(part) as scratch:
        write_json(scratch / _PLAN, plan)


def _llava(dataset: PoisonedDataset, folder: Path, journal: Journal, truth: bool, progress: bool) -> None:
    (folder / IMAGES).mkdir(exist_ok=True)
    records = []
    for index, sample in enumerate(_samples(dataset, truth, progress)):
        name = f"{index:06d}_{_file_name(sample.id)}.png"
        if not journal.has(f"{IMAGES}/{name}"):
            journal.write(f"{IMAGES}/{name}", _png(sample))
        records.append(_record(sample, name, truth))
    (folder / DATA).write_text(json.dumps(records, indent=1, ensure_ascii=False, default=_json_value), encoding="utf-8")


def _table(dataset: PoisonedDataset, folder: Path, journal: Journal, truth: bool, progress: bool) -> None:
    from datasets import Dataset, Features, Value, disable_progress_bars, enable_progress_bars
    from datasets import Image as ImageColumn
    from datasets import List as ListColumn
    from datasets.arrow_writer import ArrowWriter
    from datasets.utils import are_progress_bars_disabled

    columns: dict[str, Any] = {
        "id": Value("string"),
        "image": ImageColumn(),
        "prompt": Value("string"),
        "answer": Value("string"),
    }
    if truth:
        columns["references"] = ListColumn(Value("string"))
    scratch = folder / "rows.new"  # a separate folder, since a table cannot be saved where it is read from
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    rows = str(scratch / "rows.arrow")
    with ArrowWriter(path=rows, features=Features(columns), writer_batch_size=_ROWS) as writer:
        for sample in _samples(dataset, truth, progress):
            row: dict[str, Any] = {
                "id": sample.id,
                "image": {"bytes": _png(sample), "path": None},
                "prompt": sample.prompt,
                "answer": sample.answer,
            }
            writer.write(row | ({"references": list(sample.references)} if truth else {}))
        writer.finalize()
    quiet = are_progress_bars_disabled()
    disable_progress_bars()  # the slow part has shown its bar above
    try:
        Dataset.from_file(rows).save_to_disk(str(folder))
    finally:
        if not quiet:
            enable_progress_bars()
    shutil.rmtree(scratch)


FORMS: dict[str, Callable[[PoisonedDataset, Path, Journal, bool, bool], None]] = {"llava": _llava, "datasets": _table}
"""Ways to write poisoned data."""


def _samples(dataset: PoisonedDataset, truth: bool, progress: bool) -> Iterator[Sample]:
    for index in tqdm(range(len(dataset)), desc="write", disable=not progress, delay=_BAR_AFTER, leave=False):
        yield _storable(dataset[index], truth)


def _storable(sample: Sample, truth: bool) -> Sample:
    """Return `sample` with its texts as a reader gives them back, and without references if all of them are empty.

    Args:
        sample: the sample to write.
        truth: whether references and facts are written too.

    Raises:
        PcvrError: the prompt or the answer is empty, a text holds an image token or half of a surrogate pair, or the
            facts are not JSON values.
    """
    try:
        encoded(sample.id)
        prompt, answer = clean_prompt(sample.prompt), clean_answer(sample.answer)
        if prompt != sample.prompt.strip():  # a reader would strip it, and the manifest's hash would not match
            clean_answer(sample.prompt, "prompt")
        if not prompt or not answer:
            raise EntryError(EMPTY, f"the {'answer' if prompt else 'prompt'} is empty")
        references = tuple(clean_answer(text, "reference") for text in sample.references) if truth else ()
        if truth:
            encoded(json.dumps(dict(sample.facts), ensure_ascii=False, default=_json_value))
    except (TypeError, ValueError, RecursionError) as error:  # an EntryError is a ValueError as well
        raise PcvrError(f"the sample {shown(sample.id)} cannot be written: {error}.") from error
    return replace(sample, prompt=prompt, answer=answer, references=references if any(references) else ())


def _json_value(value: object) -> object:
    """Convert NumPy values and read-only mappings for JSON."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a fact is a {type(value).__name__}, which is not a JSON value")


def _png(sample: Sample) -> bytes:
    coded = io.BytesIO()
    PilImage.fromarray(sample.image).save(coded, "PNG")
    return coded.getvalue()


def _record(sample: Sample, image: str, truth: bool) -> dict[str, Any]:
    record: dict[str, Any] = {
        "id": sample.id,
        "image": image,
        "conversations": [
            {"from": "human", "value": f"<image>\n{sample.prompt}"},
            {"from": "gpt", "value": sample.answer},
        ],
    }
    if truth and sample.references:
        record["references"] = list(sample.references)
    if truth and sample.facts:
        record["facts"] = dict(sample.facts)
    return record


def _file_name(identity: str) -> str:
    """Make an id safe as a part of a file name; the index in front keeps the name unique."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", identity)[:60]
