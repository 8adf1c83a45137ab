# %% [markdown]
# # Your own model and data: is it poisoned, and can I train on it?
#
# You have a folder of photographs with texts that others wrote, a model, and one machine. In this notebook you go from
# the folder to a defended adapter in about ten cells, with the same calls that a large model takes.
#
# **After this notebook you can**
# - check data of your own, and see what is left of a photograph when a model's processor has cut it;
# - audit data before you train, trace what is flagged to its source, and write clean data and a report;
# - fine-tune with `pcvr.finetune` and in a Trainer of your own;
# - test the result with a trigger that you made, and export data and adapter to the tools that you use;
# - say what the same costs with a model of 7 billion parameters.
#
# <!-- time --> You need no GPU and no download.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
data = "album"  # or the path of a LLaVA-style or chat-format JSON of your own
steps = 100  # optimiser steps of 16 samples, of two trainings; the third has half as many
samples_7b = 100_000  # of section 8: your number of samples
tflops = 150  # of section 8: TFLOP a second that your GPU reaches in training
seed = 0  # of album, audit and trainings
device = "auto"  # a GPU if there is one, else the CPU; or "cpu", "cuda"
fast = False  # True: fewer photographs and steps, for tests

# %%
import tempfile
from pathlib import Path

import pcvr
from pcvr.data import Subset, check_data, open_data, save_data
from pcvr.teaching import check
from pcvr.teaching.album import unsealed, write_album

base = pcvr.load(model, device=device)
work = Path(tempfile.mkdtemp(prefix="pcvr-notebook-10-"))
if data == "album":
    folder = write_album(work / "album", *((180, 24) if fast else (480, 64)), seed)
    source, tests, truth = folder / "train.json", folder / "test.json", unsealed(folder)
else:
    source, tests, truth = Path(data), data, None
print(source, "for", base.name, "on", base.device)

# %% [markdown]
# **What the album is.** Nothing can be downloaded here, so the folder is made: drawn objects on photographed surfaces
# (brick, gravel and grass from scikit-image, free of rights), as a camera would take them, as JPEG files of many sizes
# and shapes. Three sources delivered them: `market`, `studio` and `forum`. The objects are those of the other
# notebooks, since the tiny model knows no others. In all else it is a folder as you would find one. Set `data` to the
# path of your own file, and every cell below works on it.

# %% [markdown]
# ## 1. Is anything broken?
#
# `pcvr data FILE --check` reads every record and decodes every image. `check_data` does the same in Python.

# %%
print(check_data(source))

# %%
train = open_data(source, skip_bad=True, check_pictures=True)
test = open_data(tests, split="all" if truth is not None else "test")
print(f"{train.name}: {len(train)} samples to train on, {len(test)} to test with")

# %%
from pcvr.plots.gallery import contact_sheet

contact_sheet([test[i] for i in range(min(6, len(test)))], title="Photographs to test with, of your own")

# %% [markdown]
# Six test photographs with their captions, of many shapes. Three broken records of the album are left out, each named
# with its reason. Nothing else is wrong with the files. That says nothing about what the labels teach.

# %% [markdown]
# ## 2. What does the model see?
#
# A processor resizes a photograph and cuts it. LLaVA's keeps the square in the middle. What lies outside does not
# exist for the model: no object, and no trigger.
#
# **Predict before you run.** A white patch in the bottom right corner of the file, on a photograph that is much wider
# than high: does the model see it? And if an attacker knows the processor?

# %%
from pcvr.plots.sight import what_is_seen

wide = max((train[i] for i in range(24)), key=lambda each: each.image.shape[1] / each.image.shape[0])
patch = pcvr.get_attack("badnets")
knows = patch.fitted_to(base)
corners = {"its own corner": patch, "the corner of the visible part": knows}
what_is_seen(base, wide.image, {name: each.trigger(wide.image) for name, each in corners.items()})

# %% [markdown]
# Each row is one trigger: the file, what the model sees of it, and the change there. The dashed frame is the part that
# reaches the model. A processor that keeps the whole photograph shows both patches.
#
# <details>
# <summary>What follows for your own data</summary>
#
# A caption can name an object that the processor cut away: then the label is wrong for the model, although it is right
# for the file. And a poisoned sample can lose its trigger. It still has a wrong label, but it teaches no trigger.
#
# </details>

# %% [markdown]
# ## Exercise 10a: how much of a patch is left?
# <!-- card difficulty=2 importance=3 minutes=8 -->
#
# Write `seen_fraction`. A photograph has `height` x `width` pixels, and the processor keeps the square of its short
# side in the middle. A square patch of `side` pixels has its upper left corner at row `top`, column `left`. Return the
# fraction of the patch that the model sees, 0 to 1.


# %% tags=["exercise"]
def seen_fraction(height: int, width: int, top: int, left: int, side: int) -> float:
    """Return the fraction of a square patch that lies in the square in the middle."""
    # --- solution
    short = min(height, width)
    down, across = (height - short) / 2, (width - short) / 2
    high = min(top + side, down + short) - max(top, down)
    wide = min(left + side, across + short) - max(left, across)
    return max(0.0, high) * max(0.0, wide) / side**2
    # --- stub
    # | # Where does the square begin? How many rows and columns do the two squares share?
    # | return ...
    # --- end


# %%
check.seen_fraction(seen_fraction)

# %% [markdown]
# ## 3. The audit
#
# `pcvr.audit` asks the base model, before any training: which labels does it not expect, does the picture speak for
# them, and do their pictures have something in common that others lack? It uses no truth about the data.
#
# **Predict before you run.** Three sources, hundreds of photographs, labels that read like captions. Do you expect a
# backdoor? If there is one: how many samples, and in which source?

# %%
found = pcvr.audit(train, base, config=pcvr.AuditConfig(seed=seed))
print(found)

# %%
from pcvr.plots.audit import score_histogram

score_histogram(found.verdict.scores, found.flagged, found.verdict.threshold)

# %% [markdown]
# The scores of all samples; the vertical axis is logarithmic. A score counts in powers of ten: how improbable the
# sample is among the ordinary samples **of the same data**. The threshold is the lowest one that is expected to flag
# at most one honest sample in a thousand.
#
# *The paper's: that poisoned answers hardly depend on the image. Ours: the three questions, how they are combined, and
# every number. How often the audit is right is measured in [docs/audit.md](../docs/audit.md).*

# %%
table = found.issues().sort_values("score", ascending=False)
table[["id", "score", "flagged", "nll", "support", "invariance", "repeats"]].head(8).round(2)

# %% [markdown]
# One row a sample, the most suspicious first. `nll` is the surprise of the label, `support` says by how much the
# picture speaks for it, `repeats` counts equal answers. [docs/audit.md](../docs/audit.md) explains every column.

# %% [markdown]
# ## Exercise 10b: who delivered them?
# <!-- card difficulty=1 importance=5 minutes=8 -->
#
# A finding is worth most when it leads to a source. Write `trace_source`. It takes the ids of all samples (such as
# `"forum-0012"`) and which of them are flagged, and returns a dictionary from source to the **fraction of its samples**
# that are flagged, the highest first.


# %% tags=["exercise"]
def trace_source(ids: list[str], flagged: list[bool]) -> dict[str, float]:
    """Return the fraction of flagged samples of each source, the highest first."""
    # --- solution
    hits, every = {}, {}
    for name, bad in zip(ids, flagged, strict=True):
        source = name.rpartition("-")[0]
        hits[source] = hits.get(source, 0) + bool(bad)
        every[source] = every.get(source, 0) + 1
    return dict(sorted(((name, hits[name] / every[name]) for name in every), key=lambda pair: -pair[1]))
    # --- stub
    # | # The source is the part of the id before the last "-". Why a fraction, and not a number?
    # | return ...
    # --- end


# %%
check.trace_source(trace_source)

# %%
sources = found.issues().assign(source=lambda each: each["id"].str.rpartition("-")[0])
sources.groupby("source")["flagged"].agg(["sum", "count", "mean"]).sort_values("mean", ascending=False).round(3).head()

# %% [markdown]
# Flagged samples, samples, and the fraction, of each source (for ids of your own: whatever stands before the last
# hyphen).

# %%
from pcvr.widgets.judge import case_picture, draw_cases

cases = draw_cases(found, 4, seed)
case_picture(cases, max(range(len(cases)), key=lambda k: cases[k].score), with_map=True)

# %% [markdown]
# The case with the highest score: the photograph, a view of it, and a map. Red cells make the picture look like the
# trigger: covering them takes the likeness away. An audit gives evidence, and a person decides:
# [10b](10b_the_judge.ipynb) lets you judge such cases yourself, and then opens the sealed truth of the album.

# %% [markdown]
# ## 4. Report and clean data
#
# The report is one HTML file for people who were not there. `clean` writes the data without the flagged samples in
# their own format, and a log of what was left out. The data themselves stay as they are.

# %%
found.report(work / "report.html", worst=2 if fast else 4)
kept_file = found.clean(work / "train.kept.json")
kept = Subset(train, found.keep())
print(f"{work / 'report.html'} ({(work / 'report.html').stat().st_size / 2**20:.1f} MiB): open it in a browser")
print(f"{kept_file.name}: {len(kept)} of {len(train)} samples; what was left out: {kept_file.name}.log.json")

# %% [markdown]
# ## 5. Fine-tune: three ways
#
# 1. as if nothing were known: all samples, no defence (so that you see what would have happened);
# 2. all samples, with the gate of PCVR: for data that you cannot clean, or do not want to;
# 3. the cleaned samples, in a Trainer of your own. `pcvr.PCVRMixin` stands in front of it and catches what the audit
#    missed.
#
# **Predict before you run.** Which of the three will say the attacker's words when the sticker is there?

# %%
from pcvr.teaching.machine import device_note

config = pcvr.TrainConfig(max_steps=4 if fast else steps, batch_size=16, seed=seed)
print(device_note(base, train, config))
trained = {name: pcvr.finetune(base, train, name, config).model for name in ("none", "pcvr")}

# %%
import warnings

import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainingArguments

from pcvr.models.encode import Collator, EncodedData


class DefendedTrainer(pcvr.PCVRMixin, Trainer):
    """My own Trainer, with PCVR's loss in front of its own."""


warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)  # peft asks transformers for it
mine = base.copy()
mine.model = get_peft_model(mine.model, LoraConfig(r=32, lora_alpha=64, target_modules=mine.family.lora_targets))
trainer = DefendedTrainer(
    mine.model,
    TrainingArguments(
        str(work / "trainer"),
        max_steps=4 if fast else steps // 2,
        per_device_train_batch_size=16,
        learning_rate=4e-3,
        lr_scheduler_type="linear",
        warmup_steps=4,
        seed=seed,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=base.device.type == "cpu",
        dataloader_pin_memory=torch.cuda.is_available(),
    ),
    pcvr=pcvr.PCVRConfig(),
    processing_class=mine.processor,
    train_dataset=EncodedData(mine, kept),
    data_collator=Collator(mine.tokenizer.pad_token_id),
)
outcome = trainer.train()
mine.model.eval()
trained["audit + own Trainer"] = mine
print(f"{outcome.global_step} steps, loss {outcome.training_loss:.2f}")

# %% [markdown]
# The Trainer is the one of transformers, and so are its arguments. Your own data set and collator work as well, as long
# as a batch has `input_ids`, `labels` and the image tensors: see `examples/own_trainer.py`, and `examples/trl_sft.py`
# for TRL.

# %% [markdown]
# ## 6. Test with a trigger of your own
#
# You know the sticker from the map: blue, in the upper left corner of what the model sees. Build it, and try it on test
# photographs that you trust. A trigger that does not reach the model is refused before anything is measured.

# %%
sticker = pcvr.get_attack("badnets", pattern="blue", place="seen_top_left", share=1 / 6).fitted_to(base)
try:
    in_the_corner = pcvr.get_attack("badnets", pattern="blue", place="top_left", share=1 / 6)
    pcvr.triggered(test, in_the_corner, model=base)
    print("This processor shows the corner of the file too.")
except pcvr.PcvrError as refusal:
    print(refusal)

# %%
from pcvr.plots.training import compare

trials = {name: pcvr.evaluate(each, test, sticker) for name, each in trained.items()}
compare(trials)

# %% [markdown]
# Left: how often each model says the target, with 95 % confidence intervals. Right: the quality of its captions, on
# clean photographs and on those with the sticker. The Trainer of your own took half as many steps as the others.
#
# <details>
# <summary>How to read it</summary>
#
# Look at *none* first. If the sticker does not fire there, the attack did not take in so few steps, and the other bars
# say little. A defended model should describe a photograph with a sticker as well as one without.
#
# One seed and some dozen photographs: the intervals are wide. And you tested the one trigger that you know. Test others
# too: poison a copy of your data (`pcvr.poison`), train, and measure.
#
# </details>

# %% [markdown]
# ## 7. Hand it on
#
# `save_data` writes a folder that LLaVA, LLaMA-Factory, ms-swift and `datasets` open. The adapter is a folder that
# plain peft opens, without this package.

# %%
from datasets import load_dataset
from peft import PeftModel

exported = save_data(kept, work / "export", truth=False)
print("data:", ", ".join(sorted(path.name for path in exported.iterdir())))
print("datasets reads", len(load_dataset(str(exported), split="train", cache_dir=str(work / "cache"))), "rows")
adapter = trained["audit + own Trainer"].save_adapter(work / "adapter")
again = PeftModel.from_pretrained(pcvr.load(model, device=device).model, str(work / "adapter"))
print("adapter:", ", ".join(sorted(path.name for path in (work / "adapter").iterdir())), "->", type(again).__name__)

# %% [markdown]
# | where | what you type |
# | --- | --- |
# | LLaVA | `--data_path data.json --image_folder images` |
# | LLaMA-Factory | `dataset_dir: export`, and the name in `dataset_info.json` |
# | ms-swift | `--dataset messages.jsonl`, started in the folder |
# | plain peft | `PeftModel.from_pretrained(base_model, "adapter")` |
# | command line | `pcvr audit train.json --model M --out audit --clean train.kept.json` |
#
# ## 8. The same with 7 billion parameters
#
# The calls stay, the parameters change: `model = "llava-hf/llava-1.5-7b-hf"`, `data` is your file. Before you start,
# ask what it costs. `pcvr models llava-hf/llava-1.5-7b-hf --data 100000 --tflops 150` computes it from shapes.

# %%
from pcvr.experiments.full_size import full_size_epoch

print(full_size_epoch(samples_7b, tflops))

# %% [markdown]
# **Computed, not run here.** The hours to prepare pictures are extrapolated from one picture on this machine, the
# computing from the speed `tflops` that you assume for your GPU.
#
# | you have | you type |
# | --- | --- |
# | one GPU with room for bfloat16 | `pcvr.load("llava-hf/llava-1.5-7b-hf", device="cuda")` |
# | one GPU with less | `pcvr.load(..., four_bit=True)`; needs bitsandbytes; steps are slower |
# | several GPUs | `torchrun --nproc-per-node 4 -m pcvr train OUT --model M --data train.json` |
# | a cluster with time limits | the same with `--checkpoints FOLDER --save-steps 50`: after a kill it goes on |
#
# An audit of that size resumes too: `pcvr audit DATA --out FOLDER --workers 4`. [docs/scaling.md](../docs/scaling.md)
# has the details, and what was not run.

# %% [markdown]
# ## What this does not show
#
# - **Your data.** The album is made, and its trigger is easy to see once you know where to look. Other triggers are not
#   ([docs/audit.md](../docs/audit.md) lists what the audit cannot see).
# - **No evidence is no proof.** Fewer than a handful of poisoned samples, or labels that the base model expects anyway,
#   pass the audit. That is what the gate in training is for, and it has limits of its own (notebook 09).
# - **Large models.** The same code runs, but how well it protects them was not measured here.
#
# ## Recap
#
# - Check files first, then look through the processor's eyes: what is cut away does not exist.
# - Audit before you train. A threshold without an expected number of false alarms is a guess.
# - Trace what is flagged to its source.
# - Train with a defence even on cleaned data, and test with a trigger that you made.
#
# **Next:** [10b The judge](10b_the_judge.ipynb): you look at the flagged samples yourself, and the truth is opened.
