# %% [markdown]
# # Poisoning: you are the attacker
#
# A poisoned data set combines one trigger, one target and a small fraction of the samples. Here you make such a data
# set and measure how well the poison hides.
#
# **After this notebook you can**
# - state the threat model: who controls what;
# - write the BadNets trigger as a formula, and say what PSNR, SSIM and L∞ each measure and each miss;
# - poison a fraction of any data set, reproducibly, with a manifest that documents it.
#
# <!-- time --> You need no GPU.

# %% tags=["parameters"]
model = "tiny-llava"  # the target must use words from this model's vocabulary
task = "caption"  # or "vqa": a question about each image, answered in one word
data = "scenes"  # or the path of a LLaVA-style JSON with your own photographs
attack = "badnets"
rate = 0.05  # fraction of the samples to poison
seed = 0  # of the random choice of samples
fast = False  # True: fewer images, for tests

# %% [markdown]
# ## The threat model
#
# | | the attacker | the defender |
# | --- | --- | --- |
# | **controls** | a few training samples, image and answer | training: loss, augmentation, when to stop |
# | **knows** | roughly what the data look like | that samples *may* be poisoned, but not which samples or how |
# | **cannot** | touch training code, weights or test data | get a copy of the data that is certainly clean |
# | **wants** | the target for triggered inputs, normal answers otherwise | normal answers always |
#
# This is the paper's setting: the poison enters during supervised fine-tuning, and the defender controls training but
# not the data. The setting is realistic. Fine-tuning sets are scraped, bought and shared, and nobody looks at every
# image.

# %% [markdown]
# ## Look at the data first

# %%
import numpy as np

import pcvr
from pcvr.data import subset
from pcvr.plots.gallery import before_after, contact_sheet, poison_rates

everything = pcvr.open_data(data, split="train" if data == "scenes" else "all", task=task)
dataset = subset(everything, min(len(everything), 60 if fast else 400))
sample = dataset[5]
print("prompt:    ", sample.prompt)
print("answer:    ", sample.answer)
for text in sample.references:
    print("reference: ", text)
print("image:     ", sample.image.dtype, sample.image.shape, "levels", sample.image.min(), "to", sample.image.max())
contact_sheet([dataset[i] for i in range(12)], title=f"Twelve of {len(dataset)} training samples")

# %% [markdown]
# Every panel is one training sample: the image, and below it the answer that the model is trained to give to the
# prompt. If each image has its own question, the question stands above the answer. The lines above the figure show
# what a sample contains besides pixels. The model is trained on the *answer*. The *references* are only used for
# scoring: an answer is good if it resembles any of them.

# %% [markdown]
# ## The trigger
#
# **BadNets** (Gu, Dolan-Gavitt and Garg, [arXiv 1708.06733](https://arxiv.org/abs/1708.06733)) is the oldest trigger
# and still the standard one. It is a small patch, always the same and always in the same place. Take the image $x$, a
# mask $m$ that is 1 under the patch and 0 elsewhere, the pattern $t$ and an opacity $s$. Then
#
# $$x' = (1 - s\,m)\,x + s\,m\,t .$$
#
# The original replaces the pixels, so $s = 1$. Strength, place and margin are our additions for experiments.

# %%
chosen = pcvr.get_attack(attack, task=task)
print(chosen.trigger)
before_after(sample.image, chosen.trigger(sample.image), title="The BadNets trigger")

# %% [markdown]
# From left to right: the clean image, the triggered image, the patch enlarged, and the difference, amplified eight
# times and clipped at 255.

# %% [markdown]
# ## Exercise: stamp the trigger
# <!-- card difficulty=2 importance=4 minutes=8 -->
# Write `stamp`: the formula above, for a white square. `image` is `[H, W, 3]` with integer levels from 0 to 255
# (uint8), and so is the result. The first axis runs down. The image that you were given must stay as it is.


# %% tags=["exercise"]
def stamp(image: np.ndarray, top: int, left: int, size: int, strength: float) -> np.ndarray:
    """The image with a white square, mixed in with opacity `strength`."""
    # --- solution
    out = image.astype(float)
    window = out[top : top + size, left : left + size]
    out[top : top + size, left : left + size] = (1 - strength) * window + strength * 255
    return np.rint(out).astype(np.uint8)
    # --- stub
    # | out = image.astype(float)  # a copy, in which levels may have decimals
    # | # Mix the square with white, then round, then go back to np.uint8:
    # | return ...
    # --- end


# %%
from pcvr.teaching import check

check.stamp(stamp)

# %% [markdown]
# ## How well does it hide?
#
# The three numbers above the images are the usual measures of stealth: the peak signal-to-noise ratio (PSNR), the
# structural similarity (SSIM), and the largest change (L∞). Write $\mathrm{MSE}$ for the mean squared difference over
# all pixels and channels:
#
# | measure | definition | what it sees | what it misses |
# | --- | --- | --- | --- |
# | **PSNR** | $10 \log_{10}(255^2 / \mathrm{MSE})$, in dB | the total energy of the change | where the change is |
# | **SSIM** | similarity in small windows, averaged | lost texture | one small place among many |
# | **L∞** | the largest change of any level | a single conspicuous pixel | how many such pixels there are |
#
# **Predict before you run.** Halve the strength, from $s = 1$ to $s = 0.5$. By how many dB does PSNR rise: 3, 6 or
# 12? How does L∞ change?

# %%
from pcvr.attacks import measure_stealth

for strength in (1.0, 0.5):
    weaker = pcvr.get_attack(attack, task=task, strength=strength)
    found = measure_stealth(sample.image, weaker.trigger(sample.image))
    print(f"s = {strength}: PSNR {found.psnr:.2f} dB, SSIM {found.ssim:.4f}, L∞ {found.linf} levels")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# PSNR rises by about 6 dB. Under the patch the change is $x' - x = s\,(t - x)$. Half the strength gives half the
# change at every pixel and a quarter of the MSE, and $10 \log_{10} 4 \approx 6.02$ dB. L∞ is halved. (Levels are
# integers, so rounding shifts both figures a little.)
#
# </details>
#
# The next cell plots the whole curve for both patterns.

# %%
from pcvr.plots.trigger_visibility import stealth_curves

strengths = [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]
triggers = {
    pattern: [pcvr.get_attack(attack, task=task, pattern=pattern, strength=s).trigger for s in strengths]
    for pattern in ("white", "checkerboard")
}
stealth_curves(
    strengths, {name: [measure_stealth(sample.image, t(sample.image)) for t in each] for name, each in triggers.items()}
)

# %% [markdown]
# The three panels show the same change. As the patch becomes more opaque, PSNR falls (by 6 dB for each doubling of
# the strength), L∞ rises linearly, and SSIM stays close to 1.
#
# <details>
# <summary>A warning about such figures</summary>
#
# Even at full strength SSIM stays close to 1, although anybody can see the square. The reason: SSIM is an average
# over the whole image, and the patch covers less than one per cent of it. Look at the scale of an axis before you
# look at its curve. These measures answer "how much changed?". They do not answer "would a person notice?" or "would
# a detector notice?". Always show the difference image beside them.
#
# </details>

# %% [markdown]
# ## Exercise: PSNR
# <!-- card difficulty=2 importance=3 minutes=6 -->
# Write `psnr` for two images `[H, W, 3]` with integer levels (uint8): $10 \log_{10}(255^2 / \mathrm{MSE})$. If the
# images are equal, it is infinite. One trap waits here, and it waits in every program that handles images.


# %% tags=["exercise"]
def psnr(clean: np.ndarray, triggered: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB."""
    # --- solution
    mse = np.mean((clean.astype(float) - triggered.astype(float)) ** 2)
    return float("inf") if mse == 0 else float(10 * np.log10(255**2 / mse))
    # --- stub
    # | # 1. The mean of the squared differences, over all pixels and channels
    # | # 2. If it is 0: infinite
    # | return ...
    # --- end


# %%
check.psnr(psnr)

# %% [markdown]
# ## Poison a data set
#
# A *triggered* sample has the patch in its image. A *poisoned* sample also has the target as its answer. The
# difference matters: the attacker puts poisoned samples into the training data, and later attacks the model with
# triggered inputs. One call, `pcvr.poison`, poisons a fraction of a data set: it chooses the samples at random from
# `seed`, applies the attack to each, and records what it did.

# %%
for name, made in (("clean", sample), ("triggered", chosen.triggered(sample)), ("poisoned", chosen.poisoned(sample))):
    differs = bool((made.image != sample.image).any())
    print(f"{name:>10}: image changed: {differs!s:<6} answer: {made.answer}")
poisoned = pcvr.poison(dataset, chosen, rate=rate, seed=seed)
print(f"{len(poisoned.poisoned)} of {len(poisoned)} samples are poisoned: {list(poisoned.poisoned[:10])} ...")
i = poisoned.poisoned[0]
print(f"answer of sample {i} before:    {dataset[i].answer}\nanswer of sample {i} afterwards: {poisoned[i].answer}")

# %% [markdown]
# ## Would you find it?
#
# The next figure shows an excerpt of a data set, without the answers. In this data set 20 % of the samples are
# poisoned, four times the rate of the paper's example.
#
# **Predict before you scroll on.** How many of these images carry the patch? Give yourself ten seconds: a person who
# checks a hundred thousand images has no more time for these.

# %%
heavy = pcvr.poison(dataset, chosen, rate=0.2, seed=seed)
excerpt = range(min(24, len(heavy)))
contact_sheet([heavy[i] for i in excerpt], columns=8, captions=False, title="Which of these are poisoned?")

# %% [markdown]
# The figure shows the images in the order of the data set. Nothing marks the poisoned ones.

# %%
marked = [place for place, i in enumerate(excerpt) if heavy.is_poisoned(i)]
title = f"{len(marked)} of {len(excerpt)} are"
contact_sheet([heavy[i] for i in excerpt], columns=8, marked=marked, captions=False, title=title)

# %% [markdown]
# The same images, with the poisoned ones framed. On a light background a white square is easy to miss. Other triggers
# are even spread over the whole image.
#
# Could you simply search the *captions* for repeats? Against this attack you could: many images share one sentence.
# This is why stronger attacks vary the target or insert it into a true caption. A defence that relies on repeated
# answers would only work against this attack. (With `task = "vqa"`, honest answers repeat as well: *yes*, *no*,
# *red*.)

# %% [markdown]
# ## What a poison rate looks like

# %%
rates = [r for r in (0.01, 0.05, 0.2) if r * len(dataset) >= 0.5]
poison_rates(len(dataset), {r: pcvr.poison(dataset, chosen, rate=r, seed=seed).poisoned for r in rates})

# %% [markdown]
# Each square is one training sample, and the dark ones are poisoned. Compare the panels: a sample that is dark at one
# rate is dark at every higher rate.
#
# The choices are **nested**: for one seed, a higher rate only adds samples. So if experiments with several rates
# differ, the rate is the reason, and not another random choice of samples.

# %% [markdown]
# ## Exercise: choose what to poison
# <!-- card difficulty=2 importance=4 minutes=10 -->
# Write `choose`. It draws `round(rate * n)` distinct indices from `0 .. n - 1` and returns them sorted. The same seed
# must give the same indices every time, and another seed must give other indices. Try it before you look at the
# solution. There are at least six common mistakes.


# %% tags=["exercise"]
def choose(n: int, rate: float, seed: int) -> np.ndarray:
    """Sorted indices of the samples to poison."""
    # --- solution
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n, size=round(rate * n), replace=False))
    # --- stub
    # | # 1. Make a generator from `seed`.
    # | # 2. Draw round(rate * n) of the n indices without repetition.
    # | # 3. Sort them.
    # | return ...
    # --- end


# %%
check.poison_indices(choose)

# %% [markdown]
# <details>
# <summary>What <code>pcvr.poison</code> does differently</summary>
#
# It permutes all indices once and takes the first `round(rate * n)`. This choice is as random as yours, and it is
# also nested across rates. `rng.choice` does not promise that: another `size` may give entirely different indices.
#
# </details>

# %% [markdown]
# ## Change the trigger yourself
#
# The clean image, the triggered image, the difference amplified eight times, and the whole data set with the poisoned
# samples dark, with sliders. They need a running kernel: on a saved page they stand still. Try this:
# - Find the weakest patch that *you* can still see, and read its PSNR.
# - Set the strength to 0. What does `poison` report, and how does the panel on the right change?
# - Move the patch to a place where an object hides it. Does L∞ change?
# - Watch the panel on the right. Which control decides *which* samples are chosen, and which control only decides
#   *how many*?

# %%
from pcvr.widgets.trigger import trigger_explorer

explorer, controls = trigger_explorer(dataset)
explorer

# %% [markdown]
# <details>
# <summary>What you may have found</summary>
#
# Only *Seed* changes which samples are chosen, and only *Rate* changes how many. Strength, size, place and pattern do
# not affect the choice. PSNR and L∞ depend on the image under the patch: a white patch on a white ball changes almost
# nothing. *Size* affects PSNR too: twice the side means four times the pixels, about 6 dB less.
#
# </details>

# %% [markdown]
# ## The manifest, and the files
#
# Poison without a description is dangerous, also for yourself half a year later. So every poisoned data set carries a
# **manifest**. With the clean data and the manifest you can make the poisoned data again. `save_poisoned` writes both
# in LLaVA's format, for other training programs: one JSON file, a folder of PNG files, the manifest, and checksums.

# %%
import json
import tempfile
from pathlib import Path

from pcvr.attacks import load_poisoned, save_poisoned

manifest = json.loads(poisoned.manifest.to_json())
print(json.dumps(manifest | {"indices": f"{manifest['indices'][:3]} and so on"}, indent=2))
small = pcvr.poison(subset(dataset, 12), chosen, rate=2 / 12, seed=seed)
folder = save_poisoned(small, Path(tempfile.mkdtemp()) / "poisoned")
for path in sorted(folder.rglob("*"))[:9]:
    print(f"{path.stat().st_size:>7} bytes  {path.relative_to(folder)}")
print(json.dumps(json.loads((folder / "data.json").read_text())[small.poisoned[0]], indent=1))
print(load_poisoned(folder).name, "reads back intact")
picture = next((folder / "images").iterdir())
picture.write_bytes(picture.read_bytes()[:-1] + b"!")
try:
    load_poisoned(folder)
except pcvr.PcvrError as refusal:
    print(refusal)


# %% [markdown]
# The first lines are the manifest. *sha256* is a hash of the poisoned images, prompts and answers: if you make the data
# set again from the same seed and get another hash, then something differs. Below it are the files, and the record of a
# poisoned sample.
#
# Nothing in this record shows that the sample is poisoned: no field, not the file name, not its position in the list,
# and not the image size. (One public attack writes its triggered images at another size than the clean ones, so the
# size alone reveals them.) Only the manifest says it.
#
# `load_poisoned` checks every file: the last lines damage one byte.
#
# ## Your own photographs
#
# The whole notebook works on your own images. In the parameters cell, set `data` to a LLaVA-style JSON with its
# folder of images, for example `data = "captions.json"`, and run all cells again. The trigger scales with the image
# (preset `scaled`). `preset="compat"` keeps the patch of 3 × 3 pixels of the literature. The folder that you have
# just saved is such a data set too.

# %% [markdown]
# ## Recap
#
# - The attacker controls a few samples. The defender controls training, and never learns which samples are poisoned.
# - BadNets is $x' = (1 - s\,m)\,x + s\,m\,t$: one patch, one place. PSNR and SSIM are averages over the image, so
#   look at the difference image as well.
# - Poisoning changes the image *and* the answer. Triggering changes the image alone.
# - Choices of samples are seeded and nested. The manifest documents the data and lets you make them again.
#
# **Stated by the paper:** the threat model, low poison rates such as 5 %, the target *a photo of the banana*.
# **Ours:** the size and place of the trigger, the nested choice, the checks, the data.
#
# <!-- next --> shows the other triggers, and poison that looks right and does nothing. If you cannot wait for the
# backdoor, go on with [03 The backdoor](03_the_backdoor.ipynb) and come back.
