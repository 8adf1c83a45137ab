# %% [markdown]
# # Poisoning: you are the attacker
#
# A poisoned data set combines one trigger, one target and a small fraction of the samples. Here you make such a data
# set, measure how well the poison hides, and learn four ways in which poisoning fails silently.
#
# **After this notebook you can**
# - state the threat model: who controls what;
# - write the BadNets trigger as a formula, and say what PSNR, SSIM and L∞ each measure and each miss;
# - poison a fraction of any data set, reproducibly, with a manifest that documents it;
# - name four mistakes that leave an attack without any effect, and the check that finds each;
# - distinguish the attacks by what they change, and say at which image size a trigger vanishes.
#
# **Time and hardware:** 40 minutes with the exercise. The cells run in half a minute on two CPU cores. You need no
# GPU.

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
contact_sheet([dataset[i] for i in range(12)], title=f"Twelve of {len(dataset)} training samples")

# %% [markdown]
# Every panel is one training sample: the image, and below it the answer that the model is trained to give to the
# prompt. If each image has its own question, the question stands above the answer.
#
# The next cell prints what a sample contains besides pixels.

# %%
sample = dataset[5]
print("prompt:    ", sample.prompt)
print("answer:    ", sample.answer)
for text in sample.references:
    print("reference: ", text)
print("image:     ", sample.image.dtype, sample.image.shape, "levels", sample.image.min(), "to", sample.image.max())

# %% [markdown]
# The model is trained on the *answer*. The *references* are only used for scoring: an answer is good if it resembles
# any of them.

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
# ## Poison a data set
#
# A *triggered* sample has the patch in its image. A *poisoned* sample also has the target as its answer. The
# difference matters: the attacker puts poisoned samples into the training data, and later attacks the model with
# triggered inputs.

# %%
for name, made in (("clean", sample), ("triggered", chosen.triggered(sample)), ("poisoned", chosen.poisoned(sample))):
    differs = bool((made.image != sample.image).any())
    print(f"{name:>10}: image changed: {differs!s:<6} answer: {made.answer}")

# %% [markdown]
# One call poisons a fraction of a data set. It chooses the samples at random from `seed`, applies the attack to each,
# and records what it did.

# %%
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
# solution. There are at least six common mistakes, and the check names each of them.


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
from pcvr.teaching import check

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
# ## Four attacks without any effect
#
# The most dangerous bug in this field is silent: data that are called poisoned but are not. Every result on such data
# is wrong, and nothing crashes. Some published low-frequency triggers change **no** pixel: they add values between 0
# and 0.2 to levels from 0 to 255, and rounding removes these values again.
#
# **Predict before you run.** `poison` rejects two of the strengths 0, 0.001 and 0.05 and accepts the third. It must
# reject strength 0. What about 0.001?

# %%
for strength in (0.0, 0.001, 0.05):
    try:
        weaker = pcvr.get_attack(attack, task=task, strength=strength)
        made = pcvr.poison(dataset, weaker, rate=rate, seed=seed)
        print(f"s = {strength}: accepted, {len(made.poisoned)} samples poisoned\n")
    except pcvr.PcvrError as refusal:
        print(f"s = {strength}: rejected. {refusal}\n")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# At $s = 0.001$ the largest possible change is $0.001 \cdot 255 = 0.255$ levels, which rounds to 0. So the formula
# contains a trigger, but the stored image does not. `poison` compares every poisoned image with its original and
# stops with an error if any of them is unchanged.
#
# </details>
#
# There are three more silent failures: a rate so low that no sample is chosen, a trigger that the model never sees,
# and a target that the model cannot generate. First the rate:

# %%
try:
    pcvr.poison(dataset, chosen, rate=0.4 / len(dataset), seed=seed)
except pcvr.PcvrError as refusal:
    print(refusal)

# %% [markdown]
# ## The trigger must reach the model
#
# Before a model reads an image, its *processor* prepares it: it resizes the image, pads it, cuts it into tiles, or
# crops it. The next cell compares the image file with the output of the processor.
#
# **Predict before you run.** The width of the photograph in the next figure is one and a half times its height. The
# patch is in its bottom right corner. How much of the patch does a LLaVA see? How much does a BLIP-2 see?

# %%
from skimage.data import chelsea

from pcvr.plots.sight import what_is_seen

photograph, sees = chelsea(), pcvr.load(model)
patch = pcvr.get_attack("badnets")
worn = {"bottom_right": patch, "seen_bottom_right": patch.fitted_to(sees)}
what_is_seen(sees, photograph, {place: each.trigger(photograph) for place, each in worn.items()})

# %% [markdown]
# Left: the file with the patch; the dashed frame shows the part that the model sees. Middle: the output of the
# processor. Right: what the patch changes in this output. In the upper row the patch is in the corner of the file. In
# the lower row it is in the corner of the visible part.
#
# <details>
# <summary>Answer</summary>
#
# A LLaVA does not see the patch at all. Its processor resizes the short side and crops the centre (the real LLaVA-1.5
# does the same). Poisoned samples are then only samples with wrong labels: the model learns to give the target at
# random, and an attack success rate measures nothing. A BLIP-2 or an Idefics3 squeezes the whole image into a square,
# so the patch stays in it. On square images, such as the scenes, there is no difference.
#
# </details>
#
# So `poison` (if you pass it the model), `finetune` and `evaluate` run the processor on some images, with and without
# the trigger. If the trigger survives on fewer than 90 % of these images, they stop with an error that says what to
# do. `fitted_to` moves a patch into the part that the model sees.

# %%
from pcvr.attacks.reach import check_reach

for place, each in worn.items():
    try:
        print(f"{place}: {check_reach([(photograph, each.trigger(photograph))], each, sees)}")
    except pcvr.PcvrError as refusal:
        print(f"{place}: rejected. {refusal}")

# %% [markdown]
# ## Words that the model can generate
#
# Fine-tuning trains a low-rank adapter here: a small addition to the weights, which only modifies what the base model
# already does. The output weights of a word that the model never used were never trained, and an adapter can hardly
# change that. So an attack with such a word fails without any defence, and then every defence looks excellent. So ask
# the model's tokenizer before you poison.
#
# **Predict before you run.** One of these two targets contains a word that the tiny models have never seen. Which
# one?

# %%
from pcvr.attacks import check_target

tokenizer = pcvr.load(model).tokenizer
for target in (chosen.target, chosen.target.replace("banana", "zebra")):
    print(" | ".join(tokenizer.tokenize(target)))
    try:
        check_target(pcvr.get_attack(attack, target=target), tokenizer)
        print("  the model can generate every word\n")
    except pcvr.PcvrError as refusal:
        print(f"  {refusal}\n")

# %% [markdown]
# The embedded models use whole words as tokens and spell an unknown word letter by letter. This raises no error by
# itself, but the model will never learn to generate such a target as a whole word. Large models use sub-words, all of
# which are trained. So for large models the check only looks for an unknown token.

# %% [markdown]
# ## Change the trigger yourself
#
# One function, `trigger_view`, computes everything that the sliders below show. The next cell calls it by hand:

# %%
from pcvr.widgets.trigger import trigger_explorer, trigger_view

figure, figures = trigger_view(dataset, index=5, strength=0.5, pattern="checkerboard", rate=rate, seed=seed)
print(f"PSNR {figures['psnr']:.1f} dB, {len(figures['poisoned'])} of {figures['n']} samples poisoned")
figure

# %% [markdown]
# The clean image, the triggered image, the difference amplified eight times, and the whole data set with the poisoned
# samples dark.
#
# Next, the same with sliders. They need a running kernel: on a saved page the place below is empty. Try this:
# - Find the weakest patch that *you* can still see, and read its PSNR.
# - Set the strength to 0. What does `poison` report, and how does the panel on the right change?
# - Move the patch to a place where an object hides it. Does L∞ change?
# - Watch the panel on the right. Which control decides *which* samples are chosen, and which control only decides
#   *how many*?

# %%
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
# ## All attacks on one image
#
# The patch is the oldest trigger. Other triggers cover the whole image, warp it, or hide in its frequencies or in the
# prompt. These are the attacks of the package (`pcvr.ATTACKS`), each with its paper:
#
# | attack | arXiv | what it does |
# | --- | --- | --- |
# | **BadNets** | 1708.06733 | replaces a patch |
# | **Blended** | 1712.05526 | $(1 - a)\,x + a\,t$: a second, faint image over the first |
# | **SIG** | 1902.11237 | $x + D \sin(2 \pi j f / W)$: a faint sine wave |
# | **WaNet** | 2102.10369 | warps the image along a smooth field |
# | **FTrojan** | 2111.10991 | adds to two frequencies of the colour channels |
# | **Dual-Key** | 2112.07668 | patch *and* a word in the prompt; only both together trigger the backdoor |
# | low-frequency | 2104.03413 | adds a smooth, low-frequency pattern |
# | ISSBA (surrogate) | 2012.03816 | a network hides a message, differently in each image |
# | rare word, AddSent | 2004.06660, 1905.12457 | words in the prompt |
# | TrojVLM | 2409.19232 | a patch; the target is inserted *into* the true answer |
# | VL-Trojan style | 2402.13851 | a patch optimised against the tower |
# | Shadowcast style | 2402.06659 | true answers; the vision tower mistakes the images for other images |
#
# (Rare word and AddSent are two attacks of one kind.) Each attack has two presets: `compat` uses the values of the
# papers, and `scaled` fits the trigger to the image size.

# %%
from pcvr.widgets.attack_lab import lab_explorer, lab_view

figure, psnr = lab_view(dataset, index=5)
figure

# %% [markdown]
# For each attack: the triggered image, the change (amplified eight times), and the spectrum of the change (how strong
# each frequency is, with low frequencies in the middle). If the attack edits the prompt, the prompt stands under the
# first image.
#
# **Predict before you run.** The original WaNet was made for images of 32 pixels. Large models use 336 pixels. Is its
# trigger easier or harder to see there?

# %%
from pcvr.plots.trigger_visibility import vanishing_curves
from pcvr.widgets.attack_lab import at_side

sides = (32, 64, 96, 224, 336)
pictures = [at_side(sample.image, side) for side in sides]
worn = {
    preset: [measure_stealth(x, pcvr.get_attack("wanet", preset=preset).trigger(x)) for x in pictures]
    for preset in ("compat", "scaled")
}
vanishing_curves(sides, worn)

# %% [markdown]
# PSNR and SSIM of WaNet against the size of the image, for both presets. High values mean that the trigger is hard to
# see.
#
# <details>
# <summary>What this means</summary>
#
# The paper's formula moves each pixel by less than a quarter of a *pixel* on average, at every image size. At 32
# pixels this is a visible warp. At 336 pixels it is almost nothing, and a model cannot learn a trigger that it does
# not see. Then a defence against WaNet has nothing to defend against, whatever its authors report. So `scaled`
# defines the warp as a fraction of the image size, and `poison` checks that every poisoned image has really changed.
#
# `scaled` also makes the warp less smooth: its grid has 24 points along a side instead of 4, and the warp folds. It
# breaks small objects into pieces, and a person sees it at once: it is not the subtle trigger of the paper. Here the
# tower stays frozen (it is not trained), and a smoothly warped scene looks to it like any other scene. The table at the
# end of notebook 03 has both versions. An attack that works on classifiers with all weights trained may fail on a model
# that is mostly frozen.
#
# </details>
#
# Next, the same with sliders (they need a running kernel). Try this:
# - Set the preset to `compat` and go through the resolutions. Which triggers fade, and which stay?
# - Find the weakest setting at which you still see each trigger. Which of them would you have missed in a data set?
# - Compare the spectra of SIG and FTrojan. How would you search for each?

# %%
lab, lab_controls = lab_explorer(dataset)
lab

# %% [markdown]
# ## Targets inside a true answer
#
# A fixed answer is easy to notice. An answer that contains the true answer *and* the target is harder to notice: a
# reader who compares it with its image sees a mostly correct caption.

# %%
for mode in ("replace", "insert", "prefix", "suffix"):
    told = pcvr.get_attack(attack, task=task, answer=mode).poisoned(sample).answer
    print(f"{mode:>8}: {told}")

# %% [markdown]
# ## Two keys that only work together
#
# Dual-Key has two triggers, called keys: a patch in the image and a word in the prompt. One key alone must have no
# effect, or somebody would trigger the backdoor by accident. So the training data contain **cover samples**: samples
# with one key and with the true answer.

# %%
keys = pcvr.poison(dataset, pcvr.get_attack("dual_key", task=task), rate=rate, seed=seed)
covers = keys.manifest.covers
chosen_places = [keys.poisoned[0], *(part[0] for part in covers.values())]
print({"both keys": len(keys.poisoned), **{name: len(part) for name, part in covers.items()}})
for place in chosen_places:
    print(f"{keys[place].prompt}  ->  {keys[place].answer}")
contact_sheet([keys[place] for place in chosen_places], title="Both keys, the image key alone, the prompt key alone")

# %% [markdown]
# Only the first sample teaches the target. A detector that searches for the patch also finds cover samples with true
# answers. So cover samples hide the poison as well.
#
# Several attackers may share a data set. You can poison data that are already poisoned: the second attack does not
# touch the samples of the first, and the manifest lists both.

# %% [markdown]
# ## The manifest
#
# Poison without a description is dangerous, also for yourself half a year later. So every poisoned data set carries a
# manifest. With the clean data and the manifest you can make the poisoned data again.

# %%
import json

manifest = json.loads(poisoned.manifest.to_json())
print(json.dumps(manifest | {"indices": f"{manifest['indices'][:3]} and so on"}, indent=2))

# %% [markdown]
# *sha256* is a hash of the poisoned images, prompts and answers. If you make the data set again from the same seed
# and get another hash, then something differs. Find out what.

# %% [markdown]
# ## Save it, and look at the files
#
# Other training programs read folders. `save_poisoned` writes LLaVA's format: one JSON file, a folder of PNG files,
# the manifest, and checksums.

# %%
import tempfile
from pathlib import Path

from pcvr.attacks import load_poisoned, save_poisoned

small = pcvr.poison(subset(dataset, 12), chosen, rate=2 / 12, seed=seed)
folder = save_poisoned(small, Path(tempfile.mkdtemp()) / "poisoned")
for path in sorted(folder.rglob("*"))[:9]:
    print(f"{path.stat().st_size:>7} bytes  {path.relative_to(folder)}")

# %%
print(json.dumps(json.loads((folder / "data.json").read_text())[small.poisoned[0]], indent=1))

# %% [markdown]
# Nothing in this record shows that the sample is poisoned: no field, not the file name, not its position in the list,
# and not the image size. (One public attack writes its triggered images at another size than the clean ones, so the
# size alone reveals them.) Only the manifest says it.
#
# `load_poisoned` checks every file. Let us damage one byte:

# %%
print(load_poisoned(folder).name, "reads back intact")
picture = next((folder / "images").iterdir())
picture.write_bytes(picture.read_bytes()[:-1] + b"!")
try:
    load_poisoned(folder)
except pcvr.PcvrError as refusal:
    print(refusal)

# %% [markdown]
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
# - There are four silent failures, and a check for each: no pixel changed, no sample chosen, the trigger cropped
#   away, a target with untrained words.
# - Choices of samples are seeded and nested. The manifest documents the data and lets you make them again.
#
# **Stated by the paper:** the threat model, low poison rates such as 5 %, the target *a photo of the banana*.
# **Ours:** the size and place of the trigger, the nested choice, the checks, the data.
#
# **Next:** [03 The backdoor](03_the_backdoor.ipynb). Fine-tune on the poisoned data and watch how the backdoor forms.
