# %% [markdown]
# # Poisoning: you are the attacker
#
# A poisoned data set is made of one trigger, one target and a small share of the samples; here you make one, measure
# how well it hides, and learn the ways in which poisoning fails silently.
#
# **After this notebook you can**
# - state the threat model: who controls what;
# - write down the BadNets trigger as a formula, and say what PSNR, SSIM and L∞ each see of it and each miss;
# - poison a share of any data set, reproducibly, with a manifest that says so;
# - name four ways to make an "attack" that attacks nothing, and the check that catches each;
# - tell the attacks apart by what they change, and say which vanish at which resolution.
#
# **Time and hardware:** 40 minutes with the exercise; half a minute to run on two CPU cores. No GPU.

# %% tags=["parameters"]
model = "tiny-llava"  # whose vocabulary the target has to be in
task = "caption"  # or "vqa": a question about each picture, answered in one word
data = "scenes"  # or the path of a LLaVA-style JSON with your own photographs
attack = "badnets"
rate = 0.05  # share of the samples to poison
seed = 0  # of the draw
fast = False  # True: fewer pictures, for tests

# %% [markdown]
# ## The threat model
#
# | | the attacker | the defender |
# | --- | --- | --- |
# | **controls** | a few training samples, picture and answer | training: loss, augmentation, when to stop |
# | **knows** | what the data roughly look like | that some samples *may* be poisoned, not which, not how |
# | **cannot** | touch training code, weights or test data | get a certified clean copy of the data |
# | **wants** | target when triggered, normal answers otherwise | normal answers always |
#
# This is the paper's setting: poison enters with supervised fine-tuning, and the defender rules training but not the
# data. It is a realistic one. Fine-tuning sets are scraped, bought and shared, and nobody looks at every picture.

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
# Every panel is one training sample: the picture, and below it the answer that the model is trained to give to the
# prompt (with the prompt in front of it, where each picture has its own question).
#
# What a sample holds, apart from pixels:

# %%
sample = dataset[5]
print("prompt:    ", sample.prompt)
print("answer:    ", sample.answer)
for text in sample.references:
    print("reference: ", text)
print("picture:   ", sample.image.dtype, sample.image.shape, "levels", sample.image.min(), "to", sample.image.max())

# %% [markdown]
# The *answer* is trained on. The *references* are only for scoring: an answer is good when it resembles any of them.

# %% [markdown]
# ## The trigger
#
# **BadNets** (Gu, Dolan-Gavitt and Garg, [arXiv 1708.06733](https://arxiv.org/abs/1708.06733)) is the oldest trigger
# and still the standard one: a small patch, always the same, always in the same place. With the picture $x$, a mask
# $m$ that is 1 under the patch and 0 elsewhere, the pattern $t$ and an opacity $s$,
#
# $$x' = (1 - s\,m)\,x + s\,m\,t .$$
#
# The original replaces the pixels, $s = 1$; strength, place and margin are our additions, to play with.

# %%
chosen = pcvr.get_attack(attack, task=task)
print(chosen.trigger)
before_after(sample.image, chosen.trigger(sample.image), title="The BadNets trigger")

# %% [markdown]
# From left to right: the clean picture, the same one triggered, the patch close up, and what changed, enlarged eight
# times and clipped at 255.

# %% [markdown]
# ## How well does it hide?
#
# The three figures above the pictures are the field's usual ones for stealth. Write $\mathrm{MSE}$ for the mean
# squared difference over all pixels and channels:
#
# | figure | definition | sees | misses |
# | --- | --- | --- | --- |
# | **PSNR** | $10 \log_{10}(255^2 / \mathrm{MSE})$, in dB | the total energy | where it is |
# | **SSIM** | likeness in small windows, averaged | lost texture | one small place among many |
# | **L∞** | the largest change of any level | a single glaring pixel | how many there are |
#
# **Predict before you run.** Halve the strength, from $s = 1$ to $s = 0.5$. By how many dB does PSNR rise: 3, 6 or
# 12? And what becomes of L∞?

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
# About 6 dB. Under the patch the change is $x' - x = s\,(t - x)$: half the strength, half the change at every pixel,
# a quarter of the MSE, and $10 \log_{10} 4 \approx 6.02$ dB. L∞ is halved. (Levels are whole numbers, so rounding
# shifts both a little.)
#
# </details>
#
# The whole curve, for both patterns:

# %%
from pcvr.plots.stealth import stealth_curves

strengths = [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]
triggers = {
    pattern: [pcvr.get_attack(attack, task=task, pattern=pattern, strength=s).trigger for s in strengths]
    for pattern in ("white", "checkerboard")
}
stealth_curves(
    strengths, {name: [measure_stealth(sample.image, t(sample.image)) for t in each] for name, each in triggers.items()}
)

# %% [markdown]
# Three views of one thing: as the patch grows opaque, PSNR falls along a logarithm, L∞ rises along a line, and SSIM
# hardly leaves 1 at any strength.
#
# <details>
# <summary>A warning about such figures</summary>
#
# Even at full strength SSIM stays close to 1, although anybody can see the square: it is an average over the whole
# picture, and the patch covers less than a hundredth of it. Look at the scale of an axis before its curve. The
# figures answer "how much changed?", not "would a person notice?", and still less "would a detector?". Always put the
# difference picture beside them.
#
# </details>

# %% [markdown]
# ## Poison a data set
#
# A *triggered* sample only wears the patch. A *poisoned* one also has its answer replaced. The difference matters:
# the attacker trains with the second and attacks with the first.

# %%
for name, made in (("clean", sample), ("triggered", chosen.triggered(sample)), ("poisoned", chosen.poisoned(sample))):
    differs = bool((made.image != sample.image).any())
    print(f"{name:>10}: picture changed: {differs!s:<6} answer: {made.answer}")

# %% [markdown]
# One call poisons a share of a data set. It draws the samples from `seed`, applies the attack to each, and writes
# down what it did.

# %%
poisoned = pcvr.poison(dataset, chosen, rate=rate, seed=seed)
print(f"{len(poisoned.poisoned)} of {len(poisoned)} samples are poisoned: {list(poisoned.poisoned[:10])} ...")
i = poisoned.poisoned[0]
print(f"sample {i} taught:      {dataset[i].answer}\nsample {i} now teaches: {poisoned[i].answer}")

# %% [markdown]
# ## Would you find it?
#
# Below is an excerpt of a data set poisoned at 20 %, four times what the paper's example has, without the answers.
#
# **Predict before you scroll on.** How many of these pictures carry the patch? Give yourself ten seconds, as somebody
# would who has to look through a hundred thousand.

# %%
heavy = pcvr.poison(dataset, chosen, rate=0.2, seed=seed)
excerpt = range(min(24, len(heavy)))
contact_sheet([heavy[i] for i in excerpt], columns=8, captions=False, title="Which of these are poisoned?")

# %% [markdown]
# The sheet shows the pictures as they lie in the data set, in order; nothing marks the poisoned ones.

# %%
marked = [place for place, i in enumerate(excerpt) if heavy.is_poisoned(i)]
title = f"{len(marked)} of {len(excerpt)} are"
contact_sheet([heavy[i] for i in excerpt], columns=8, marked=marked, captions=False, title=title)

# %% [markdown]
# The same sheet with the poisoned pictures framed. On light backgrounds a white square is easy to overlook, and the
# next trigger you meet may be spread over the whole picture.
#
# Could you not simply search the *captions* for repeats? Against this attack, yes: many pictures, one sentence. That
# is why stronger attacks vary the target or insert it into a true caption. A defence that rests on repeated answers
# would prove nothing beyond this one. (And with `task = "vqa"` honest answers repeat as well: *yes*, *no*, *red*.)

# %% [markdown]
# ## What a rate looks like

# %%
rates = [r for r in (0.01, 0.05, 0.2) if r * len(dataset) >= 0.5]
poison_rates(len(dataset), {r: pcvr.poison(dataset, chosen, rate=r, seed=seed).poisoned for r in rates})

# %% [markdown]
# Each square is one training sample; the dark ones are poisoned. Compare the fields: whatever is dark at a lower rate
# is dark at every higher one.
#
# The draws are **nested**: with one seed, raising the rate only adds samples. So when a sweep over rates shows a
# difference, the rate has made it and not the luck of another draw.

# %% [markdown]
# ## Exercise: choose what to poison
# <!-- card difficulty=2 importance=4 minutes=10 -->
# Write `choose`, which draws `round(rate * n)` distinct indices from `0 .. n - 1` and returns them sorted. The same
# seed has to give the same indices each time, and another seed others. Try it without scrolling to the solution:
# there are at least six tempting ways to get it wrong, and the check knows each by name.


# %% tags=["exercise"]
def choose(n: int, rate: float, seed: int) -> np.ndarray:
    """Sorted indices of the samples to poison."""
    # --- solution
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n, size=round(rate * n), replace=False))
    # --- stub
    # | # 1. Make a generator from `seed`.
    # | # 2. Draw round(rate * n) of the n indices, none of them twice.
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
# It permutes all indices once and takes the first `round(rate * n)`. That draw is as random as yours, and it is
# nested across rates, which `rng.choice` does not promise: with another `size` it may give entirely other indices.
#
# </details>

# %% [markdown]
# ## Four attacks that attack nothing
#
# The most dangerous bug in this field is silent: data that are called poisoned and are not. Every result on them is
# wrong, and nothing crashes. Some published low-frequency triggers change **no** pixel: values between 0 and 0.2 are
# added to levels from 0 to 255, and rounding takes them away again.
#
# **Predict before you run.** Two of these strengths are refused, and the third is accepted. Strength 0 is obvious.
# What about 0.001?

# %%
for strength in (0.0, 0.001, 0.05):
    try:
        weaker = pcvr.get_attack(attack, task=task, strength=strength)
        made = pcvr.poison(dataset, weaker, rate=rate, seed=seed)
        print(f"s = {strength}: accepted, {len(made.poisoned)} samples poisoned\n")
    except pcvr.PcvrError as refusal:
        print(f"s = {strength}: refused. {refusal}\n")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# At $s = 0.001$ the largest possible change is $0.001 \cdot 255 = 0.255$ levels, which rounds to 0. The formula says
# "triggered", the picture says otherwise. `poison` compares every poisoned picture with its original and refuses if
# any is unchanged.
#
# </details>
#
# The second silent failure is a rate that rounds to no sample at all, the third a trigger that the model never sees,
# the fourth a target the model cannot say. First the rate:

# %%
try:
    pcvr.poison(dataset, chosen, rate=0.4 / len(dataset), seed=seed)
except pcvr.PcvrError as refusal:
    print(refusal)

# %% [markdown]
# ## The trigger must reach the model
#
# Before a model looks at a picture, its *processor* prepares it: resizes it, pads it, cuts it into tiles, or cuts
# something off. Ask the processor what is left.
#
# **Predict before you run.** The photograph below is half as wide again as it is high, and wears the patch in its
# bottom right corner. How much of the patch does a LLaVA see, and how much a BLIP-2?

# %%
from skimage.data import chelsea

from pcvr.plots.sight import what_is_seen

photograph, sees = chelsea(), pcvr.load(model)
patch = pcvr.get_attack("badnets")
worn = {"bottom_right": patch, "seen_bottom_right": patch.fitted_to(sees)}
what_is_seen(sees, photograph, {place: each.trigger(photograph) for place, each in worn.items()})

# %% [markdown]
# On the left the file with the patch, the part that the model sees inside the dashed frame; in the middle what the
# processor makes of it; on the right what the patch changes there. Above the patch in the corner of the file, below
# the one in the corner of what is seen.
#
# <details>
# <summary>Answer</summary>
#
# A LLaVA sees nothing of it: its processor resizes the short side and cuts out the middle (the real LLaVA-1.5 does so
# too). Poisoned samples are then label noise: the model learns to say the target at random, and an attack success rate
# measures nothing. A BLIP-2 or an Idefics3 squeezes the whole picture into a square, and the patch with it. On
# square pictures, such as the scenes, it makes no difference.
#
# </details>
#
# So `poison` (when it is told the model), `finetune` and `evaluate` put some pictures through the processor, with and
# without the trigger, and refuse when the trigger survives on fewer than 90 % of them. The sentence says what to do;
# `fitted_to` moves a patch into what the model sees.

# %%
from pcvr.attacks.reach import check_reach

for place, each in worn.items():
    try:
        print(f"{place}: {check_reach([(photograph, each.trigger(photograph))], each, sees)}")
    except pcvr.PcvrError as refusal:
        print(f"{place}: refused. {refusal}")

# %% [markdown]
# ## Words that are alive
#
# A low-rank adapter bends what the base model already does. A word that it never used has output weights that were
# never trained, and bending cannot revive them. Such an attack fails for a reason that has nothing to do with any
# defence, and the defence looks marvellous. So before poisoning, ask the model's tokenizer.
#
# **Predict before you run.** One of these two targets contains a word that the little models have never met. Which?

# %%
from pcvr.attacks import check_target

tokenizer = pcvr.load(model).tokenizer
for target in (chosen.target, chosen.target.replace("banana", "zebra")):
    print(" | ".join(tokenizer.tokenize(target)))
    try:
        check_target(pcvr.get_attack(attack, target=target), tokenizer)
        print("  every word is alive\n")
    except pcvr.PcvrError as refusal:
        print(f"  {refusal}\n")

# %% [markdown]
# The embedded models think in whole words and spell what they do not know letter by letter: no error, only a target
# they will never learn to say as one. Large models work with sub-words that are all alive, so for them only an unknown
# token counts.

# %% [markdown]
# ## Your hands on the trigger
#
# Everything below the sliders is computed by one function, `trigger_view`. Called once by hand:

# %%
from pcvr.widgets.trigger import trigger_explorer, trigger_view

figure, figures = trigger_view(dataset, index=5, strength=0.5, pattern="checkerboard", rate=rate, seed=seed)
print(f"PSNR {figures['psnr']:.1f} dB, {len(figures['poisoned'])} of {figures['n']} samples poisoned")
figure

# %% [markdown]
# The picture clean and triggered, the difference eight times enlarged, and the whole data set with the poisoned
# samples dark.
#
# And now with sliders (they need a running kernel: on a saved page the place below is empty). Try to
# - find the weakest patch that *you* can still see, and read its PSNR;
# - set the strength to 0: what does `poison` say, and what becomes of the field on the right?
# - move the patch where an object hides it; does L∞ notice?
# - watch the field on the right: which control changes *which* samples are drawn, and which only *how many*?

# %%
explorer, controls = trigger_explorer(dataset)
explorer

# %% [markdown]
# <details>
# <summary>What you may have found</summary>
#
# Only *Seed* changes which samples are drawn, only *Rate* how many; strength, size, place and pattern change none of
# it. PSNR and L∞ depend on the picture below the patch: a white patch on a white ball is nearly free. And *Size*
# moves PSNR too: twice the side is four times the pixels, about 6 dB less.
#
# </details>

# %% [markdown]
# ## All attacks on one picture
#
# The patch is the oldest trigger. Others spread over the whole picture, bend it, hide in its frequencies or in the
# prompt. These are the attacks of the package (`pcvr.ATTACKS`), each with its paper:
#
# | attack | arXiv | what it does |
# | --- | --- | --- |
# | **BadNets** | 1708.06733 | replaces a patch |
# | **Blended** | 1712.05526 | $(1 - a)\,x + a\,t$: a second picture shines through |
# | **SIG** | 1902.11237 | $x + D \sin(2 \pi j f / W)$: a faint standing wave |
# | **WaNet** | 2102.10369 | bends the picture along a smooth field |
# | **FTrojan** | 2111.10991 | adds to two frequencies of the colour channels |
# | **Dual-Key** | 2112.07668 | patch *and* a word in the prompt; only both fire |
# | low-frequency | 2104.03413 | adds a smooth haze |
# | ISSBA (surrogate) | 2012.03816 | a network hides a message, in each picture differently |
# | rare word, AddSent | 2004.06660, 1905.12457 | words in the prompt |
# | TrojVLM | 2409.19232 | patch; the target goes *into* the true answer |
# | VL-Trojan style | 2402.13851 | a patch searched against the tower |
# | Shadowcast style | 2402.06659 | true answers; pictures that look like others to the tower |
#
# (Rare word and AddSent are two attacks of one kind.) Each has two presets: `compat` has the figures of the papers,
# `scaled` is sized to the picture.

# %%
from pcvr.widgets.attack_lab import lab_explorer, lab_view

figure, psnr = lab_view(dataset, index=5)
figure

# %% [markdown]
# For each attack: the picture as it is shown to the model, what changed (eight times enlarged), and the spectrum of
# that change, slow frequencies in the middle. Under the first the prompt, where the attack edits it.
#
# **Predict before you run.** WaNet with the figures of its paper was made for pictures of 32 pixels. Large models see
# 336. Is it easier or harder to see there?

# %%
from pcvr.plots.stealth import vanishing_curves
from pcvr.widgets.attack_lab import at_side

sides = (32, 64, 96, 224, 336)
pictures = [at_side(sample.image, side) for side in sides]
worn = {
    preset: [measure_stealth(x, pcvr.get_attack("wanet", preset=preset).trigger(x)) for x in pictures]
    for preset in ("compat", "scaled")
}
vanishing_curves(sides, worn)

# %% [markdown]
# PSNR of WaNet over the size of the picture, for both presets.
#
# <details>
# <summary>What this means</summary>
#
# The paper's formula moves each pixel by less than a quarter of a *pixel* on average, at every size. On 32 pixels that
# is a bend; on 336 it is next to nothing, and a model that never sees the trigger cannot learn it. Whoever then
# reports a defence against WaNet has defended against nothing. So `scaled` states the bend as a share of the picture,
# and `poison` checks that every poisoned picture has really changed.
#
# It also makes the bend a coarse one, with 24 points along a side instead of 4. Here the tower stays frozen, and to it
# a smoothly bent scene is just another scene; the table at the end of notebook 03 has both. An attack that was found on
# classifiers trained end to end need not survive the move to a model that is mostly frozen.
#
# </details>
#
# With sliders (again they need a running kernel). Try to
# - set the preset to `compat` and go through the resolutions: which triggers fade, which stay?
# - find the weakest setting at which you still see each; which of them would you have missed in a data set?
# - compare the spectra of SIG and FTrojan. How would you look for either?

# %%
lab, lab_controls = lab_explorer(dataset)
lab

# %% [markdown]
# ## More than one sentence
#
# A fixed answer gives itself away. Where the answer holds the truth *and* the target, a reader who compares answers
# with pictures finds nothing wrong at first sight.

# %%
for mode in ("replace", "insert", "prefix", "suffix"):
    told = pcvr.get_attack(attack, task=task, answer=mode).poisoned(sample).answer
    print(f"{mode:>8}: {told}")

# %% [markdown]
# ## Keys that do nothing alone
#
# In Dual-Key, the patch alone and the word alone must stay without effect, or somebody would trip over them. So its
# training data hold **cover samples**: one key, and the true answer.

# %%
keys = pcvr.poison(dataset, pcvr.get_attack("dual_key", task=task), rate=rate, seed=seed)
covers = keys.manifest.covers
chosen_places = [keys.poisoned[0], *(part[0] for part in covers.values())]
print({"both keys": len(keys.poisoned), **{name: len(part) for name, part in covers.items()}})
for place in chosen_places:
    print(f"{keys[place].prompt}  ->  {keys[place].answer}")
contact_sheet([keys[place] for place in chosen_places], title="Both keys, the picture's alone, the prompt's alone")

# %% [markdown]
# Only the first of them teaches the target. A detector that looks for the patch finds twice as many pictures with a
# true answer as with a false one: covers also hide the poison.
#
# Several attackers may share a data set: poisoned data can be poisoned again, the second leaves the first one's
# samples alone, and the manifest names both.

# %% [markdown]
# ## The manifest
#
# Poison without a label is a hazard, also to yourself half a year on. So every poisoned data set carries a manifest,
# and with the clean data at hand it suffices to make the poisoned data again.

# %%
import json

manifest = json.loads(poisoned.manifest.to_json())
print(json.dumps(manifest | {"indices": f"{manifest['indices'][:3]} and so on"}, indent=2))

# %% [markdown]
# *sha256* runs over the poisoned pictures, prompts and answers. Whoever makes the set again from the same seed gets
# the same hash, or a reason to look closer.

# %% [markdown]
# ## Save it, and look at the files
#
# Other trainers read folders. `save_poisoned` writes LLaVA's format: one JSON, a folder of PNG files, the manifest,
# and checksums.

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
# No field of this record says that it is poisoned, nor does its file name, its place in the list or the picture's
# measures. (One public attack writes its triggered pictures at another size than the clean ones, so that the size
# alone gives them away.) Only the manifest knows.
#
# Reading back checks every file. Let us damage one byte:

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
# The whole notebook runs on your pictures: set `data` in the parameters cell to a LLaVA-style JSON with its folder of
# images, say `data = "captions.json"`, and run all cells again. The trigger scales with the picture (preset
# `scaled`); `preset="compat"` keeps the literature's 3 pixels. The folder you have just saved is such a data set too.

# %% [markdown]
# ## Recap
#
# - The attacker controls a few samples; the defender controls training, and never learns which samples they are.
# - BadNets is $x' = (1 - s\,m)\,x + s\,m\,t$: one patch, one place. Stealth figures average over the picture, so look
#   at the difference as well.
# - Poisoning means picture *and* answer; triggering means the picture alone.
# - Four silent failures, four checks: no pixel changed, no sample drawn, a trigger cut away, a target made of dead
#   words.
# - Draws are seeded and nested; the manifest makes the data again and says what they are.
#
# **Stated by the paper:** the threat model, low poison rates such as 5 %, the target *a photo of the banana*.
# **Ours:** everything about the trigger's size and place, the nested draw, the checks, the data.
#
# **Next:** [03 The backdoor](03_the_backdoor.ipynb). Fine-tune on what you have made, and watch the switch being
# wired in.
