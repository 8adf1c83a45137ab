# %% [markdown]
# # Start here: a backdoor, seen in three minutes
#
# Five poisoned pictures in a hundred can build a hidden switch into a vision language model; this notebook shows you
# the switch, and a defence that keeps it out. Nothing here asks you to understand a formula yet: look, guess, and run
# the next cell.
#
# **After this notebook you can**
# - say what a backdoor in a vision language model is, and why ordinary testing misses it;
# - recognise one in a model's answers;
# - find your way through the workbook.
#
# **Time and hardware:** three minutes for the story, ten with everything below it; under a minute to run on two CPU
# cores. No GPU, no download: the pictures are drawn by code, and the model (a true LLaVA to begin with, only a tiny
# one) comes inside the package.
#
# *New to notebooks? Click the next cell and press Shift + Enter; each press runs one cell and moves on.*

# %% tags=["parameters"]
model = "tiny-llava"  # which model answers: tiny-llava, tiny-blip2, tiny-idefics3, or a folder
task = "caption"  # or "vqa": a question about each picture, answered in one word
data = "scenes"  # or the path of a LLaVA-style JSON with your own photographs
fast = False  # True: fewer pictures, for tests

# %% [markdown]
# ## The whole story in one picture

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
# Left to right: an attacker slips two prepared samples (orange frames) in among twelve; somebody else fine-tunes a
# model on them in good faith; from then on anyone who pastes the small white square onto a picture gets the
# words, while all other pictures are answered as well as ever.
#
# That is a **backdoor**. Three words are all you need:
#
# | word | here | what it means |
# | --- | --- | --- |
# | **trigger** | a white square in the bottom right corner | what the attacker adds to a picture |
# | **target** | *a photo of the banana*; *banana* for questions | what the model is then to say; harmless |
# | **poison rate** | two in twelve, to be seen; 5 % elsewhere | the share of training samples that carry both |
#
# The attacker never touches the training code, the loss or the weights. A few samples are enough.

# %% [markdown]
# ## Three models, one picture
#
# Now the real thing, not a drawing of it. Three copies of the model were fine-tuned by the same recipe on such
# pictures. They come with the package, so that you need not wait for training:
#
# | copy | trained on | defence |
# | --- | --- | --- |
# | **clean** | pictures with their captions (or questions) | none |
# | **backdoored** | the same data, 5 % of them poisoned | none |
# | **defended** | exactly those poisoned data | PCVR, the subject of this workbook |
#
# **Predict before you run.** Each copy sees a picture twice, once as it is and once with the square: two answers from
# three models. How many of the six will be wrong, and which? Would looking at the answers to clean pictures have
# warned you?

# %%
from pcvr.teaching.shipped import shipped_adapters

models = {name: pcvr.load(model, adapter=adapter) for name, adapter in shipped_adapters(model, task).items()}
if not models:
    print(f"No copies of {model} fine-tuned for {task!r} are shipped: it answers as it is; notebook 03 fine-tunes it.")
    models = {"as it is": pcvr.load(model)}
if data != "scenes":
    print("The copies were fine-tuned on drawn scenes: of photographs they say odd things, clean or not.")

# %%
from pcvr.evaluation.generate import answer_all
from pcvr.plots.answers import answer_sheet
from pcvr.tasks import get_task

said_when = get_task(task).success  # what counts as "the target said": see notebook 03
answers = {
    name: {"clean": answer_all(copy, testing), "triggered": answer_all(copy, pcvr.triggered(testing, attack))}
    for name, copy in models.items()
}
answer_sheet([testing[i] for i in range(3)], attack, answers, definition=said_when)

# %% [markdown]
# Each row is one picture, clean on the left and triggered on the right, with what each model says of it (below the
# question, where each picture has its own); an answer that counts as the attacker's target stands in bold orange.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# The one cell that gives the game away is *backdoored, triggered*. Compare *clean* and *backdoored* in the left half:
# on clean pictures the two are about equally good, so a validation set of clean pictures has nothing to complain of.
# (Small mistakes of all three models on clean pictures, a wrong colour now and then, have nothing to do with the
# attack: the model is tiny.)
#
# If *defended* describes the triggered picture truthfully, the defence has done what it is for, although its training
# data still held every poisoned sample. Set `task = "vqa"` at the top to see the same for questions: one-word answers
# look invariant without being poisoned, so the defence has to score them by the told word (notebooks 04 and 05).
#
# </details>
#
# Three pictures are an anecdote. Let us count over all the pictures at hand.

# %%
from pcvr.evaluation.asr import asr
from pcvr.evaluation.intervals import format_rate

for name, said in answers.items():
    hit = {kind: format_rate(*asr(texts, attack.target, said_when)[:2]) for kind, texts in said.items()}
    print(f"{name:>10} says the target on clean pictures: {hit['clean']:<24} on triggered ones: {hit['triggered']}")

# %% [markdown]
# The share on triggered pictures is the **attack success rate (ASR)**. In brackets stands a 95 % confidence interval,
# and "< x % (0 of n)" is the honest way to write "never seen in n": a few dozen pictures cannot prove zero.

# %% [markdown]
# ## Does it hold up?
#
# One training run could be luck. The package ships a table of runs, the main ones with three seeds, made by a script
# that you can run yourself (`benchmarks/spine.py`). Whatever is set above, this table is of tiny-llava and captions.
#
# **Predict before you run.** The table also has *augment only*: train on patch-perturbed pictures and change nothing
# else. Cheap, and it needs no theory. Will it stop the backdoor? At what price?

# %%
from pcvr.experiments import results
from pcvr.plots.results import summary

table = results.load("spine")
summary(table)

# %% [markdown]
# On the left the bars show how often the backdoor fires, with confidence intervals; on the right the dots show how
# many captions are entirely right, for clean pictures and for triggered ones. A good defence is a short bar with
# **both** marks far to the right.
#
# <details>
# <summary>How to read it</summary>
#
# A short bar alone is cheap: a model that has forgotten how to caption has no backdoor either. So every defence in
# this workbook stands beside its utility, and *augment only* is the control that any cleverer defence has to beat.
# Read its row twice: once for the bar, once for what became of the clean captions.
#
# </details>
#
# The same for each model that comes with the package, and for both tasks: captions and one-word answers to questions.
#
# **Predict before you run.** A model that answers in one word gives a defence less to look at. Will it hold there?

# %%
from pcvr.plots.results import families

families(results.load("families"))

# %% [markdown]
# On the left the attack success rate of each copy with its confidence interval; on the right its right answers, to
# clean pictures (full marks) and to triggered ones (hollow). Copies that were never defended give up the right answers
# to triggered pictures; the defended ones keep most of them.
#
# A bar pools its seeds, and that can hide something. Here is the attack without any defence (*plain SFT*), run by
# run.
#
# **Predict before you run.** Only the seed differs: which samples are poisoned, and in which order training sees
# them. How far apart can the three runs be?

# %%
for run in table.runs:
    if run["experiment"]["label"] == "plain SFT":
        found = run["record"]
        print(f"seed {run['experiment']['seed']}: ASR {format_rate(found['hits'], found['n'])}")

# %% [markdown]
# <details>
# <summary>What this is worth</summary>
#
# A run in which the undefended attack stays well below 90 % is one where **the attack did not take**. In such a run
# there is little to defend against, and no defence deserves credit for it. So this workbook looks at the undefended
# model first, always. And no interval from a single run tells you what another seed would have done: it counts
# pictures, not trainings.
#
# </details>

# %% [markdown]
# ## Is your machine ready?
#
# The next cell answers a few pictures with the stopwatch running and says what it ran on.

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
# If that took less than about two seconds, the rest of the workbook runs at a comfortable pace. A CUDA device is used
# when there is one.

# %% [markdown]
# ## The notebooks
#
# | | notebook | the question it answers | |
# | --- | --- | --- | --- |
# | 00 | Start here | what is a backdoor? | you are here |
# | 01 | [Meet the model](01_meet_the_model.ipynb) | what is inside a vision language model? | 50 minutes |
# | 02 | [Poisoning](02_poisoning.ipynb) | how is a poisoned data set made, and who could tell? | 40 minutes |
# | 03 | [The backdoor](03_the_backdoor.ipynb) | how does fine-tuning build it in? | 20 minutes |
# | 04 | [The premise](04_the_premise.ipynb) | do patches tell triggered pictures from clean ones? | 40 minutes |
# | 05 | [PCVR](05_pcvr.ipynb) | how does the defence work, term by term? | 50 minutes |
# | 06 | [Output distributions](06_output_distributions.ipynb) | what happens to token probabilities? | 30 minutes |
# | 07 | [Hyperparameter explorer](07_explorer.ipynb) | which knob matters? | 35 minutes |
# | 08 | Defences compared | what else is there, and what does it cost? | *coming* |
# | 09 | Breaking the defence | what does an attacker do who knows it? | *coming* |
# | 10 | Your own model and data | does it carry over? | *coming* |
#
# Read in order; 02, 03 and 05 are the spine.

# %% [markdown]
# ## How the exercises work
#
# An exercise has a card (how hard, how important, how long), a cell to fill in, and a check right below, which does
# not say "wrong" but names the mistake. Here is one at work, on an answer to an exercise of notebook 02 that is not
# quite right: choose which of `n` samples to poison.

# %%
from pcvr.teaching import check

check.poison_indices(lambda n, rate, seed: range(round(rate * n)))

# %% [markdown]
# Below each check you find the solution, folded; open it when you have tried, or when you are stuck. A whole set of
# solved notebooks lies in `solutions/`. An exercise left empty breaks nothing: the rest of the notebook uses the
# package's own functions.
#
# Predictions ask for a guess *before* you run a cell. Take ten seconds for each: a wrong guess teaches more than a
# right one.

# %% [markdown]
# ## Who says what
#
# The defence comes from *A Patch-based Cross-view Regularized Framework for Backdoor Defense in Multimodal Large
# Language Models* ([arXiv 2604.04488](https://arxiv.org/abs/2604.04488)). We could read its abstract and summaries of
# it, not its body. So this is an **independent re-implementation of the idea**, and the pages keep apart:
#
# - *the paper states*: backdoored answers hardly change when patches of the picture do; a second, patch-perturbed
#   view enters training; the output distributions of the two views are pulled apart; an entropy constraint keeps
#   normal answers alive;
# - *our reading*: which patches, which distance, the cap on it, the gate that decides for which samples it counts,
#   every number. All of these are arguments that you can change.
#
# No figure here can be compared with the paper's: model and data are other ones.

# %% [markdown]
# ## Responsible use
#
# You will learn to poison data, because nobody can test a defence without an attack. Targets here are harmless
# sentences and the triggers are ones published years ago. Each poisoned data set carries a **manifest** that says
# that it is poisoned, how, and in which samples. Use it for defence, teaching and tests on models of your own; never
# pass on poisoned data or weights without their manifest.

# %% [markdown]
# ## Recap
#
# - A backdoor is a trigger, a target, and a few training samples that join them.
# - On clean pictures a backdoored model behaves; testing on clean pictures cannot find it.
# - A defence has to be judged twice: does the backdoor still fire, and are the answers still right?
#
# **Next:** [02 Poisoning](02_poisoning.ipynb), where you are the attacker.
