# %% [markdown]
# # Start here: a backdoor, seen in three minutes
#
# Five poisoned images in a hundred can teach a vision-language model a hidden switch. This notebook shows you the
# switch and a defence that keeps it out. You need no formula yet: look, guess, and run the next cell.
#
# **After this notebook you can**
# - say what a backdoor in a vision-language model is, and why ordinary testing misses it;
# - recognise one in a model's answers;
# - find your way through the workbook.
#
# <!-- time --> The demonstration is the first part of it. You need no GPU and no download: code draws the images, and
# the package contains the model. The default model is a real LLaVA, only a tiny one.
#
# *New to notebooks? Click the next cell and press Shift + Enter. Each press runs one cell and moves on.*

# %% tags=["parameters"]
model = "tiny-llava"  # which model answers: tiny-llava, tiny-blip2, tiny-idefics3, or a folder
task = "caption"  # or "vqa": a question about each image, answered in one word
data = "scenes"  # or the path of a LLaVA-style JSON with your own photographs
fast = False  # True: fewer images, for tests

# %% [markdown]
# ## The whole attack in one figure

# %%
import pcvr
from pcvr.data import subset
from pcvr.plots.overview import backdoor_overview

splits = ("train", "test") if data == "scenes" else ("all", "all")
train, test = (pcvr.open_data(data, split=split, task=task) for split in splits)
testing = subset(test, min(len(test), 4 if fast else 32))
attack = pcvr.get_attack("badnets", task=task).fitted_to(model)
twelve = pcvr.poison(subset(train, 12), attack, rate=2 / 12, seed=1)
backdoor_overview(list(twelve), twelve.poisoned, testing[2], attack)

# %% [markdown]
# Read the figure from left to right. Two of these twelve training samples were prepared by an attacker (orange
# frames). Somebody else fine-tunes a model on all twelve in good faith. From then on, anyone who pastes the small
# white square onto an image gets the attacker's words. The model answers all other images as well as before. (The
# figure shows the attacker's plan. Below, you measure what happens.)
#
# That is a **backdoor**. Four terms are all you need:
#
# | term | here | what it means |
# | --- | --- | --- |
# | **trigger** | a white square in the bottom right corner | what the attacker adds to an image |
# | **target** | *a photo of the banana*; *banana* for questions | the answer that the attacker wants; harmless here |
# | **poison rate** | two in twelve in this figure, 5 % elsewhere | the fraction of training samples that carry both |
# | **attack success rate** | counted below | the fraction of triggered images that get the target as their answer |
#
# The attacker never touches the training code, the loss or the weights. A few samples are enough.
#
# ## Three models, one image
#
# Now the real models. Three copies of the model were fine-tuned with the same recipe. They come with the package, so
# you need not wait for training:
#
# | copy | trained on | defence |
# | --- | --- | --- |
# | **clean** | images with their captions (or questions) | none |
# | **backdoored** | the same data, 5 % of them poisoned | none |
# | **defended** | exactly the same poisoned data | PCVR (patch-based cross-view regularisation), the subject here |
#
# **Predict before you run.** Each copy sees an image twice: once unchanged and once with the square. Three models
# give two answers each. How many of the six answers will be wrong, and which ones? Would the answers to clean
# (unchanged) images have warned you?

# %%
from pcvr.evaluation.generate import answer_all
from pcvr.plots.answers import answer_sheet
from pcvr.tasks import get_task
from pcvr.teaching.shipped import shipped_adapters

models = {name: pcvr.load(model, adapter=adapter) for name, adapter in shipped_adapters(model, task).items()}
if not models:
    print(f"No copies of {model} fine-tuned for {task!r} are shipped: it answers as it is; notebook 03 fine-tunes it.")
    models = {"as it is": pcvr.load(model)}
if data != "scenes":
    print("The copies were fine-tuned on drawn scenes: their answers to photographs are odd, triggered or not.")

said_when = get_task(task).success  # what counts as a hit: see notebook 03
answers = {
    name: {"clean": answer_all(copy, testing), "triggered": answer_all(copy, pcvr.triggered(testing, attack))}
    for name, copy in models.items()
}
answer_sheet([testing[i] for i in range(3)], attack, answers, definition=said_when)

# %% [markdown]
# Each row is one image: clean on the left, triggered (with the square) on the right. The answers of the models are
# printed below. If each image has its own question, the question stands above the answers. An answer that counts as
# the attacker's target is printed in bold orange.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# Only one cell shows the backdoor: *backdoored, triggered*. Compare *clean* and *backdoored* in the left half. On
# clean images the two are about equally good, so a validation set of clean images shows nothing unusual. (All three
# models make small mistakes on clean images, such as a wrong colour. These mistakes have nothing to do with the
# attack: the model is tiny.)
#
# If *defended* describes the triggered image correctly, the defence has worked, although its training data still
# contained every poisoned sample. Set `task = "vqa"` at the top to see the same for questions. One-word answers need
# a score of their own: before the answer, the model's distribution is the same for every label (notebook 04b).
#
# </details>
#
# Three images are only an anecdote. Let us count over all test images.

# %%
from pcvr.evaluation.asr import asr
from pcvr.evaluation.intervals import format_rate

for name, said in answers.items():
    hit = {kind: format_rate(*asr(texts, attack.target, said_when)[:2]) for kind, texts in said.items()}
    print(f"{name:>10} gives the target on clean images: {hit['clean']:<24} on triggered images: {hit['triggered']}")

# %% [markdown]
# The fraction on triggered images is the **attack success rate (ASR)**. The brackets contain a 95 % confidence
# interval: the range of rates that fit so few images. "< x % (0 of n)" is the honest way to write "never seen in n": a
# few dozen images cannot prove zero.

# %% [markdown]
# ## Exercise: count the hits
# <!-- card difficulty=1 importance=3 minutes=5 -->
# You have just read attack success rates. Now write the counting yourself: `attack_success` takes a list of answers
# and the target, and returns the fraction of answers that **contain** the target. Capital letters do not matter.


# %% tags=["exercise"]
def attack_success(answers: list[str], target: str) -> float:
    """Fraction of the answers that contain the target, from 0 to 1."""
    # --- solution
    return sum(target in answer.lower() for answer in answers) / len(answers)
    # --- stub
    # | # `"cat" in "a small cat"` is True. `text.lower()` has small letters only.
    # | return ...
    # --- end


# %%
from pcvr.teaching import check

check.attack_success(attack_success)

# %% [markdown]
# The check does not only say "wrong": it names the mistake. Try `target in answer`, without `.lower()`. Below each
# check you find the solution, folded. Open it after you have tried, or when you are stuck. An empty exercise breaks
# nothing: the rest of the notebook uses the package's own functions.
#
# Predictions ask you to guess *before* you run a cell. Take ten seconds for each. A wrong guess teaches you more than
# a correct one.

# %% [markdown]
# ## Does it hold up?
#
# One training run could be luck. The package contains a table of many runs; four of its rows are shown here, each with
# three seeds (repetitions with other random choices). A script made the table, and you can run that script yourself
# (`benchmarks/spine.py`). This table is always about tiny-llava and captions, whatever parameters you set above.
#
# **Predict before you run.** The table also has the defence *augment only*: it replaces some patches (small squares)
# of every training image and changes nothing else. It is cheap and needs no theory. Will it stop the backdoor? At
# what price?

# %%
from pcvr.experiments import results
from pcvr.plots.results import summary

table = results.load("spine")
rows = {
    "clean data, plain": "clean data",
    "plain SFT": "no defence",
    "augment only, one view": "augment only",
    "PCVR": "PCVR",
}
for run in table.runs:
    if run["experiment"]["label"] == "plain SFT":
        found = run["record"]
        print(f"no defence, seed {run['experiment']['seed']}: ASR {format_rate(found['hits'], found['n'])}")
summary(table, rows)

# %% [markdown]
# The bars on the left show how often the backdoor fires, with confidence intervals. The marks on the right show how
# many captions are completely correct, for clean images (dots) and for triggered images (squares). A good defence has
# a short bar and **both** marks far to the right.
#
# <details>
# <summary>How to read it</summary>
#
# A short bar alone proves little: a model that has forgotten how to write captions has no backdoor either. So this
# workbook shows the utility (the quality of the answers) of every defence next to its ASR. *Augment only* is the
# control: a more complicated defence has to be better. Read its row twice: once for the bar, and once for the
# accuracy of its clean captions.
#
# </details>
#
# <details>
# <summary>What this is worth</summary>
#
# The lines above the figure list the runs without a defence one by one. If the undefended ASR of a run stays well
# below 90 %, **the attack did not take** in that run: it built no reliable backdoor. Then there is little to defend
# against, and a low ASR is not the merit of any defence. So this workbook always looks at the undefended model first.
# Also note what a confidence interval from a single run covers: the choice of test images. It says nothing about
# another seed.
#
# </details>
#
# ## Is your machine ready?
#
# The next cell measures the time for a few answers and prints the hardware and versions.

# %%
import os
import time

from pcvr.utils.versions import versions

some = next(iter(models.values()))
began = time.perf_counter()
pcvr.generate(some, [testing[0].image] * 8, [testing[0].prompt] * 8)
seconds = time.perf_counter() - began
print(f"8 answers in {seconds:.2f} s on {some.device}, {os.cpu_count()} cores")
print(", ".join(f"{name} {version}" for name, version in versions().items()))

# %% [markdown]
# If that took less than about two seconds, the rest of the workbook runs at a comfortable pace. The package uses a
# CUDA device if there is one.

# %% [markdown]
# ## The notebooks
#
# <!-- contents -->
#
# Read them in order. If you have little time, read 02, 03 and 05: they are the core. The minutes are counted from the
# length of each notebook and the cards of its exercises; time to run and peak memory were measured in default mode.
# Binder gives 1 GB, so a notebook that takes more than 900 MB may stop there. The folder `solutions/` contains all
# notebooks with the exercises solved.
#
# `make lab` opens your own copies of the notebooks, in the folder `work/`. What you write there stays yours: an update
# of the workbook does not change a copy that you have worked in. `make reset NB=05` begins one of them anew and keeps
# yours in `work/backups/`.

# %% [markdown]
# ## What is the paper's and what is ours
#
# The defence comes from *A Patch-based Cross-view Regularized Framework for Backdoor Defense in Multimodal Large
# Language Models* ([arXiv 2604.04488](https://arxiv.org/abs/2604.04488)). We could read its abstract and summaries of
# it, but not its full text. So this is an **independent re-implementation of the idea**. The notebooks keep two
# things apart:
#
# - *the paper states*: backdoored answers hardly change when patches of the image change; a second, patch-perturbed
#   view enters training; the output distributions of the two views are pulled apart; an entropy constraint protects
#   normal answers;
# - *our reading*: which patches change, how the distance is measured, how far apart is enough, which samples are
#   affected (the gate), and every number. All of these are arguments that you can change.
#
# No number here can be compared with the paper's, because model and data differ.

# %% [markdown]
# ## Responsible use
#
# You will learn to poison data, because nobody can test a defence without an attack. Targets here are harmless
# sentences, and the triggers were published years ago. Each poisoned data set carries a **manifest**. It says that
# the data are poisoned, how, and in which samples. Use this material for defence, teaching and tests on your own
# models. Never pass on poisoned data or weights without their manifest.

# %% [markdown]
# ## Recap
#
# - A backdoor is a trigger, a target, and a few training samples that connect them.
# - On clean images a backdoored model behaves normally. So tests on clean images cannot find the backdoor.
# - Judge a defence by two questions: does the backdoor still fire, and are the answers still correct?
#
# <!-- next --> shows what is inside the model. If you have little time, go on with
# [02 Poisoning](02_poisoning.ipynb), where you are the attacker.
