# %% [markdown]
# # Attacks: other triggers, and poison that does nothing
#
# The white square is the oldest trigger. Here you see the others on one image, and five ways in which an attack
# fails without any error: the most dangerous bug in this field.
#
# **After this notebook you can**
# - distinguish the attacks by what they change, and say at which image size a trigger vanishes;
# - name five mistakes that leave an attack without any effect, and the check that finds each;
# - say what a frozen vision tower sees of a trigger.
#
# <!-- time --> You need no GPU.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
task = "caption"  # or "vqa": a question about each image, answered in one word
data = "scenes"  # or the path of a LLaVA-style JSON with your own photographs
attack = "badnets"
rate = 0.05  # fraction of the samples to poison
seed = 0  # of the choice of samples
fast = False  # True: fewer images, for tests

# %% [markdown]
# ## All attacks on one image
#
# The patch is the oldest trigger. Other triggers cover the whole image, warp it, or hide in its frequencies or in the
# prompt. These are the attacks of the package (`pcvr.ATTACKS`), with the papers that they come from:
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
# | PGD | 1706.06083 | a perturbation searched on the base model |
# | wandering | 2003.03675 | a checkerboard patch, in another place of each image |
#
# (Rare word and AddSent are two attacks of one kind.) Each attack has two presets: `compat` uses the values of the
# papers, and `scaled` fits the trigger to the image size.

# %%
import pcvr
from pcvr.attacks import measure_stealth
from pcvr.data import subset
from pcvr.plots.gallery import contact_sheet
from pcvr.widgets.attack_lab import lab_explorer, lab_view

base = pcvr.load(model)
everything = pcvr.open_data(data, split="train" if data == "scenes" else "all", task=task)
dataset = subset(everything, min(len(everything), 60 if fast else 300))
sample = dataset[5]
chosen = pcvr.get_attack(attack, task=task)

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
# ## Attacks without any effect
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
try:
    pcvr.poison(dataset, chosen, rate=0.4 / len(dataset), seed=seed)
except pcvr.PcvrError as refusal:
    print(f"rate {0.4 / len(dataset):.5f}: rejected. {refusal}")

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
# Four more silent failures follow: a rate so low that no sample is chosen (the last line above), a trigger that the
# processor cuts away, a trigger that the tower hardly sees, and a target that the model cannot generate.

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

from pcvr.attacks.reach import check_reach
from pcvr.plots.sight import what_is_seen

photograph = chelsea()
patch = pcvr.get_attack("badnets")
worn = {"bottom_right": patch, "seen_bottom_right": patch.fitted_to(base)}
for place, each in worn.items():
    try:
        print(f"{place}: {check_reach([(photograph, each.trigger(photograph))], each, base)}")
    except pcvr.PcvrError as refusal:
        print(f"{place}: rejected. {refusal}")
what_is_seen(base, photograph, {place: each.trigger(photograph) for place, each in worn.items()})

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

# %% [markdown]
# ## What the tower sees
#
# The frozen tower has to see a trigger before the language model can learn it. How far does each trigger move the
# tower's features (its output vectors)? The unit is the mean distance between two different clean images.
#
# **Predict before you run.** Which trigger moves the features most: the visible patch (BadNets), the wave that covers
# every pixel (SIG), or the warp (WaNet)?

# %%
from pcvr.attacks import ATTACKS
from pcvr.evaluation.trigger_visibility import seen_by_tower
from pcvr.plots.trigger_visibility import tower_distances

watched = subset(dataset, min(len(dataset), 16 if fast else 32))
with_picture = {name: pcvr.get_attack(name, task=task) for name in ATTACKS}
with_picture = {name: each for name, each in with_picture.items() if each.trigger is not None}
try:
    seen = {name: seen_by_tower(base, watched, each) for name, each in with_picture.items()}
    figure = tower_distances(seen, f"What {model}'s tower sees of each trigger")
except pcvr.PcvrError as refusal:  # photographs of different sizes cannot be compared
    figure = None
    print(refusal)
figure

# %% [markdown]
# Orange dots: how far an image moves when the trigger is added (the bar is the range of the middle half of the
# images). Blue diamonds: the distance between two triggered images. A diamond to the left of the dotted line means
# that the trigger makes images more similar to each other.
#
# <details>
# <summary>What to look for</summary>
#
# The distance in features has little to do with PSNR: the tower does not see as we do. And a backdoor does not need a
# large change of the features. A small change is enough, if nothing else changes the features in the same direction.
# Compare this order with the table at the end of notebook 03: does the trigger that moves the features least need the
# most poison?
#
# </details>
#
# A trigger may move the features and still be hard to detect: a warped image looks like another possible image. So
# the next cell trains a linear probe (a linear classifier on the tower's features). The probe learns from clean
# images and from ten triggered images. Then it has to detect the trigger in new images. WaNet has three rows: the
# preset of this workbook, the same shift with the four grid points of its paper, and the paper's own strength
# (`compat`).

# %%
from pcvr.evaluation.trigger_visibility import found_by_probe
from pcvr.plots.trigger_visibility import probe_bars

tried = {
    "badnets": {},
    "sig": {},
    "wanet": {},
    "wanet, 4 points": {"cells": 4},
    "wanet, compat": {"preset": "compat"},
}
try:
    probed = subset(dataset, min(len(dataset), 60 if fast else 200))
    examples = min(10, len(probed) // 2)
    found = {
        name: found_by_probe(base, probed, pcvr.get_attack(name.split(",")[0], task=task, **options), examples)
        for name, options in tried.items()
    }
    figure = probe_bars(found, f"What a probe on {model}'s tower finds, {examples} examples")
except pcvr.PcvrError as refusal:  # photographs of different sizes
    figure = None
    print(refusal)
figure

# %% [markdown]
# Bars: the fraction of triggered images that the probe detects. Open diamonds: false positives on clean images. If a
# probe cannot detect a trigger, a language model behind the same frozen tower can hardly learn it. Compare the rows
# of WaNet with their success in the list at the end of notebook 03.

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

tokenizer = base.tokenizer
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
# ## Exercise: a target that is no surprise
# <!-- card difficulty=2 importance=3 minutes=6 -->
# Some defences look for labels that surprise the base model. An attacker answers with a target that does not. Write
# `plausible_target`: for each of several targets you get the log-probabilities that the base model gives to its words.
# Return the number of the target with the highest **mean** log-probability.

# %%
import numpy as np


# %% tags=["exercise"]
def plausible_target(log_p: list[np.ndarray]) -> int:
    """Log-probabilities of the words of each target -> number of the most plausible one."""
    # --- solution
    return int(np.argmax([words.mean() for words in log_p]))
    # --- stub
    # | # Why the mean, and not the sum? Think of a short target and of a long one.
    # | return ...
    # --- end


# %%
from pcvr.teaching import check

check.plausible_target(plausible_target)

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
# ## Recap
#
# - Attacks differ in what they change: a patch, the whole image, its frequencies, the prompt, the answer.
# - There are five silent failures, and a check for each: no pixel changed, no sample chosen, the trigger cropped away,
#   the trigger invisible to the tower, a target with untrained words.
# - A trigger that anybody can see at 32 pixels may be nothing at 336.
#
# **What is from papers and what is ours.** The triggers are those of their papers; the presets `scaled`, the checks,
# the linear probe and every number here are ours.
#
# <!-- next -->. Fine-tune on the poisoned data and watch how the backdoor forms.
