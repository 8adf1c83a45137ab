"""Write poisoned data: LLaVA-style JSON with PNG pictures, or a ``datasets`` table; whole or not at all, resumable."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image as PilImage
from tqdm.auto import tqdm

from pcvr.attacks.checksums import DATA, IMAGES, MANIFEST, SUMS, Journal
from pcvr.attacks.poison import PoisonedDataset
from pcvr.attacks.storable import plain, storable
from pcvr.data.sample import Sample
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice
from pcvr.utils.files import NotWritten, beside, cannot_write, new_folder, refuse_existing, settle, write_json
from pcvr.utils.places import alone, check_place

_PLAN = "plan.json"
_BAR_AFTER = 2.0
_ROWS = 8  # of a table that are in memory before they are written: with a thousand, memory grows with the data


def save_poisoned(
    dataset: PoisonedDataset, folder: str | Path, truth: bool = False, form: str = "llava", progress: bool = True
) -> Path:
    """Write ``dataset`` to a new ``folder``, all or nothing: it is built beside and renamed when complete.

    An interrupted call leaves a hidden folder ``.NAME.part`` beside; the same call goes on with the pictures in it that
    are still as they were written. Two calls with one `folder` at a time: the second is refused.

    Args:
        dataset: from :func:`pcvr.attacks.poison`.
        folder: must not exist yet.
        truth: whether references and facts are written too. They give the poison away (a poisoned sample's answer does
            not fit its facts, and it has one reference where others have five), and no trainer reads them.
        form: ``"llava"`` (JSON and PNG, as LLaVA's trainer and its many heirs read them) or ``"datasets"`` (a folder
            for ``datasets.load_from_disk``).
        progress: whether a bar is shown when writing takes longer than two seconds.

    Returns:
        The folder's path.

    Raises:
        PcvrError: when the folder exists already, is being written by another process or cannot be written (no space,
            no right), when a foreign ``.NAME.part`` is in the way, or for an unknown form.
    """
    check_choice("form of poisoned data", form, FORMS)
    target = Path(folder)
    check_place(target)
    part = beside(target, ".part")
    plan = {"data": dataset.fingerprint(), "poison": dataset.manifest.sha256, "truth": truth, "form": form}
    with alone(target):
        refuse_existing(target)  # the process that held it may have made it
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
        refuse_existing(target)  # it may have come up in the meantime; what is finished stays, for the same call again
        os.replace(made, target)
        shutil.rmtree(part, ignore_errors=True)
    return target


def _ready(part: Path, plan: Mapping[str, Any]) -> None:
    """Make a scratch folder, unless an interrupted call with the same plan left one.

    Raises:
        PcvrError: there is a folder of that name which no call of this kind left.
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
    for index in tqdm(range(len(dataset)), desc="write", disable=not progress, delay=_BAR_AFTER, leave=False):
        sample = storable(dataset[index], truth)
        name = f"{index:06d}_{_file_name(sample.id)}.png"
        if not journal.has(f"{IMAGES}/{name}"):
            journal.write(f"{IMAGES}/{name}", _png(sample))
        records.append(_record(sample, name, truth))
    (folder / DATA).write_text(_json(records), encoding="utf-8")


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
    scratch = folder / "rows.new"  # a folder of its own: a table is not saved where it is read from
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    rows = str(scratch / "rows.arrow")
    with ArrowWriter(path=rows, features=Features(columns), writer_batch_size=_ROWS) as writer:
        for index in tqdm(range(len(dataset)), desc="write", disable=not progress, delay=_BAR_AFTER, leave=False):
            sample = storable(dataset[index], truth)
            row: dict[str, Any] = {
                "id": sample.id,
                "image": {"bytes": _png(sample), "path": None},
                "prompt": sample.prompt,
                "answer": sample.answer,
            }
            writer.write(row | ({"references": list(sample.references)} if truth else {}))
        writer.finalize()
    quiet = are_progress_bars_disabled()
    disable_progress_bars()  # what takes long was shown above
    try:
        Dataset.from_file(rows).save_to_disk(str(folder))
    finally:
        if not quiet:
            enable_progress_bars()
    shutil.rmtree(scratch)


FORMS: dict[str, Callable[[PoisonedDataset, Path, Journal, bool, bool], None]] = {"llava": _llava, "datasets": _table}
"""Ways to write poisoned data."""


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


def _json(records: list[dict[str, Any]]) -> str:
    try:
        return json.dumps(records, indent=1, ensure_ascii=False, default=plain)
    except TypeError as error:
        raise PcvrError(f"the facts of a sample cannot be written as JSON: {error}.") from error


def _file_name(identity: str) -> str:
    """An id as part of a file name: it cannot leave the folder; the index in front keeps it unique."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", identity)[:60]
