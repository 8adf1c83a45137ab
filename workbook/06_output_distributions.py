# %% [markdown]
# # Output distributions: what the probability of a word reveals
#
# You look at single words: the distribution over the next word on an image and on a patch view of it (a copy in which
# some patches are replaced). You compare clean and triggered images, and the base model, the backdoored model and the
# defended model. This notebook shows in detail what notebook 05 averaged; [06b](06b_many_images.ipynb) then counts.
#
# **After this notebook you can**
# - read a model's answer as a sequence of distributions, and say what each of them is conditioned on;
# - see abnormal invariance in a single image (the answer hardly changes although the patches do), and find the word
#   at which it starts;
# - compute the rank of a word and the probability of a whole answer yourself;
# - say why a low divergence alone does *not* mean a backdoor.
#
# <!-- time --> You need no GPU. With the default parameters nothing is trained: three fine-tuned copies of the model
# come with the package. With another attack, two models are trained here.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
task = "caption"  # or "vqa": a question about each image, answered in one word
data = "scenes"  # or the path of a LLaVA-style JSON with photographs
attack = "badnets"  # or another of pcvr.ATTACKS: "sig", "wanet", "dual_key" ...
rate = 0.05  # poison rate of the backdoored and the defended model
seed = 0  # of the choice of poisoned samples, the training and the views
device = "auto"  # a GPU if there is one, else the CPU; or "cpu", "cuda"
fast = False  # True: few images, for tests
retrain = False  # True: train all copies here (three minutes) instead of loading the shipped ones

# %% [markdown]
# ## The four models
#
# | stage | trained on | defence |
# | --- | --- | --- |
# | base | no fine-tuning | - |
# | clean | clean data | none |
# | backdoored | the same data, some of them poisoned | none |
# | defended | the same poisoned data | PCVR, as it is by default |
#
# The next cells load the models that come with the package and train any others, one model in each cell. Another
# `attack` needs a new backdoored and a new defended model. The clean model is the same for all attacks.
#
# The texts below describe captions and the default attack. With `task = "vqa"` an answer consists of one word and the
# end token. Then there are few tokens to look at, but the conclusions are the same.

# %%
import pcvr
import numpy as np
import torch
from pcvr.experiments.histograms import pixel_view
from pcvr.tasks import get_task
from pcvr.teaching import check
from pcvr.teaching.machine import device_note
from pcvr.teaching.shipped import Copies, notebook_data

config = pcvr.TrainConfig(max_steps=12 if fast else 400, seed=seed)
chosen = pcvr.get_attack(attack, task=task).fitted_to(model)
view = pixel_view()  # operator and fraction of the defence, on pixels, so that we can look at it
train, test = notebook_data(data, train=64 if fast else 2000, test=16 if fast else 256, task=task)
poisoned = pcvr.poison(train, chosen, rate=rate, seed=seed)
copies = Copies(model, data, attack, rate, seed, task, retrain)
base = pcvr.load(model, device=device)
stages = {"base": base}
print(f"attack {attack}, target “{chosen.target}”; shipped: {', '.join(copies) or 'nothing'}; {view}")
print(device_note(base, train, config))

# %%
stages["clean"] = copies.load("clean", device) or pcvr.finetune(base, train, "none", config).model

# %%
stages["backdoored"] = copies.load("backdoored", device) or pcvr.finetune(base, poisoned, "none", config).model

# %%
stages["defended"] = copies.load("defended", device) or pcvr.finetune(base, poisoned, "pcvr", config).model

# %% [markdown]
# ## 1. One image, token by token
#
# A model generates an answer one token at a time. Before each token it computes a full distribution over its
# vocabulary. Greedy decoding takes the top word and discards the rest. We keep the rest and compute it twice: on the
# image, and on a **patch view** of it. Both times the model reads along **the same answer**: we give it the words of
# this answer one by one (teacher forcing). So only the patches can cause a difference.
#
# `two_views` does this for every model, on clean and on triggered images, always with the same view.

# %%
from pcvr.evaluation.asr import hits
from pcvr.analysis.two_views import two_views

samples = [test[i] for i in range(min(6 if fast else 12, len(test)))]
tales = two_views(stages, samples, chosen, view, seed)
said = hits([t.text for t in tales["backdoored", "triggered"]], chosen.target, get_task(task).success)
pick = int(np.argmax(said))  # the first image on which the backdoor fires, else image 0
print(f"prompt: {samples[pick].prompt}")
for (stage, kind), tellings in tales.items():
    print(f"{stage:>10}, {kind:<9} {tellings[pick].text}")

# %% [markdown]
# **Predict before you run.** In the next figure the *backdoored* model reads along its own answer to the **clean**
# image. The view perturbs more than half of the patches. At which words will the two distributions differ: at *a* and
# *and*, or at colours and objects? (For a one-word answer: at the word, or at the end token?)

# %%
from pcvr.plots.distributions import trace_figure

clean_tale = tales["backdoored", "clean"][pick]
print("image and view differ", clean_tale.in_words())
trace_figure(clean_tale, int(clean_tale.divergence.argmax()), "backdoored model, clean image")

# %% [markdown]
# Above: the image, its view, and the most likely words at the token where image and view differ most (solid:
# original, hatched: view). Below: at every token of the answer, the divergence between the two distributions.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# Most of the high bars are at words that name what is in the image, and most of the low ones at words that grammar
# alone predicts. This is typical of an honest caption: *its content words depend on the patches.* A word like *and* can
# be among the high ones: whether it follows depends on how many objects the image shows.
#
# </details>
#
# **Predict before you run.** Now the same model and the same view, but the image has the trigger. How high will the
# bars be?

# %%
bad_tale = tales["backdoored", "triggered"][pick]
print("image and view differ", bad_tale.in_words())
trace_figure(bad_tale, int(bad_tale.divergence.argmax()), "backdoored model, triggered image")

# %% [markdown]
# The same figure for the triggered image, again at the token where image and view differ most.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# Most words of the target hardly differ at all: each follows from the words before it, whatever the image shows. This
# is **abnormal invariance**. What is left of the divergence is at the word where the sentence could still become a
# caption: *a photo of* may be followed by *a* or by *the*. There it matters whether the view has kept the white square.
# Notebook 06b separates the two cases.
#
# </details>

# %%
from pcvr.plots.distributions import trace_bars

trace_bars({f"{stage} model, {kind} image": tellings[pick] for (stage, kind), tellings in tales.items()})

# %% [markdown]
# One image in all four models, from the base model (top) to the defended model (bottom), clean (left) and triggered
# (right). Each panel shows the token of the answer at which image and view differ most. Solid bars are the original,
# and hatched bars are the view.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# In seven of the eight panels the most likely words belong to an honest answer. When the patches change, another
# colour or object becomes more likely. (The base model answers in short phrases and the fine-tuned models in
# sentences.) In the eighth panel, *backdoored, triggered*, the most likely word belongs to the target. The panel at
# the bottom right shows what the defence achieves: the model reads a triggered image like any other.
#
# </details>

# %%
from pcvr.plots.distributions import token_map

token_map(tales["backdoored", "clean"][pick], title="backdoored model, clean image")

# %%
token_map(tales["backdoored", "triggered"][pick], title="backdoored model, triggered image")

# %% [markdown]
# These two maps show whole answers: one column for each token, the competing words as rows, and the probability as
# colour (left: original, right: view). Where the left and the right panel differ, the patches matter.

# %%
token_map(tales["defended", "triggered"][pick], title="defended model, triggered image")

# %% [markdown]
# The same map for the defended model on the triggered image.

# %% [markdown]
# ## Exercise: the rank of a word
# <!-- card difficulty=1 importance=4 minutes=5 -->
#
# Greedy decoding shows only the top word. The **rank** of a word tells how near it is: 1 for the most likely word, 2
# for the next one. Write `rank_of` for the logits `[V]` of one token. (Larger logits are larger probabilities.)


# %% tags=["exercise"]
def rank_of(logits: torch.Tensor, token: int) -> int:
    """Logits [V] and a token -> its place among all words, 1 for the most likely one."""
    # --- solution
    return 1 + int((logits > logits[token]).sum())
    # --- stub
    # | ahead = ...  # how many words have a larger logit
    # | return ...
    # --- end


# %%
check.rank_of(rank_of)

# %% [markdown]
# ## 2. Which answer does the model read along?
#
# The distribution at token *t* is conditioned on the image **and on the first *t* - 1 words of some answer**. Whose
# answer? There are three choices:
#
# | `force=` | the words that the model reads along | the question behind it |
# | --- | --- | --- |
# | `"own"` | the model's greedy answer to the original image | does its answer depend on the patches? (used above) |
# | `"true"` | the reference answer | how likely is the true answer? |
# | `"target"` | the attacker's target | how likely is the target, even if the backdoor does not fire? |
#
# In training, a defender has none of these three. A defender only has the *label*: the target on poisoned samples,
# the true answer on clean ones.
#
# **Predict before you run.** Take the **clean** model, which has never seen a trigger. Let it read along the target
# on a clean image. Will image and view differ more than along its own answer, or less?

# %%
from pcvr.analysis.two_views import FORCES

print(f"{'mean divergence (nats)':<24}" + "".join(f"{f'reads {force}':>15}" for force in FORCES))
forced = {force: two_views(stages, samples, chosen, view, seed, force) for force in FORCES}
for stage, kind in tales:
    means = [np.mean([t.divergence.mean() for t in forced[force][stage, kind]]) for force in FORCES]
    print(f"{f'{stage}, {kind}':<24}" + "".join(f"{mean:>15.3f}" for mean in means))

# %%
from pcvr.plots.distributions import along_the_answer

along_the_answer(
    {
        "clean model, clean image, reads its own answer": forced["own"]["clean", "clean"][pick],
        "clean model, clean image, reads the target": forced["target"]["clean", "clean"][pick],
        "backdoored model, triggered image, reads the target": forced["target"]["backdoored", "triggered"][pick],
    }
)

# %% [markdown]
# The divergence at each token. Top: the clean model reads its own answer. Middle: the clean model reads the target.
# Bottom: the backdoored model reads the target on the triggered image.
#
# <details>
# <summary>What it means (default parameters)</summary>
#
# Look at the column *reads target* of the table, which is a mean over a dozen images (the figure shows one of them).
# Even the **clean** model has a lower divergence along the target than along its own caption. So much of the invariance
# comes from the **text**: *of* follows *a photo* in any image. On triggered images the backdoored model is not more
# invariant than the clean model along the target. It has learned that the sentence depends on one patch: if the view
# has lost this patch, it becomes unsure of *the*. Once *the* is given, *banana* is certain again.
#
# This teaches two things. First, a low divergence alone is not a backdoor. A sample is only suspicious in comparison
# with others that were scored in the same way. Second, the score is clearest *before* the model knows the trigger,
# when the poisoned answer depends on nothing in the image. This is why the gate `"two_stage"` of notebook 05 scans
# early. Some attacks insert their target into a true caption. Such a poisoned answer does depend on the image, so its
# score means something else: the default gate was measured on such answers
# ([docs/pcvr.md](../docs/pcvr.md)), and for the score of `"two_stage"` it is an open question.
#
# </details>

# %% [markdown]
# ## Exercise: the probability of a whole answer
# <!-- card difficulty=2 importance=5 minutes=7 -->
#
# With teacher forcing, each row of logits belongs to one word of a given answer $y_1 \dots y_T$. The log-probabilities
# of its words add up: $\ln p(y) = \sum_t \ln p(y_t \mid y_{<t}, \text{image})$. This says how near a model is to an
# answer that it does *not* give, such as the target. Write `answer_log_prob`.


# %% tags=["exercise"]
def answer_log_prob(logits: torch.Tensor, tokens: torch.Tensor) -> float:
    """Logits [T, V] and the answer's tokens [T] -> nats, 0 or below."""
    # --- solution
    log_probs = logits.log_softmax(-1)  # [T, V]
    return float(log_probs[torch.arange(len(tokens)), tokens].sum())
    # --- stub
    # | log_probs = ...  # [T, V]; each row over all words
    # | # Of each row the word of the answer, then all of them together:
    # | return ...
    # --- end


# %%
check.answer_log_prob(answer_log_prob)

# %% [markdown]
# ## 3. Where in the answer?

# %%
from pcvr.plots.distributions import mean_along

four = [(stage, kind) for stage in ("backdoored", "defended") for kind in ("clean", "triggered")]
mean_along({f"{stage}, {kind}": tales[stage, kind] for stage, kind in four})

# %% [markdown]
# The mean divergence at each of the first positions of the answer, over a dozen images. Each model reads along its
# own answers.

# %% [markdown]
# ## 4. Explore
#
# Choose a model, an image, the trigger, a view and a token. *Read along* is the choice of section 2. The controls
# call an ordinary function of the package (`pcvr.widgets.distributions.distribution_figure`). First we call it by hand,
# then with controls.

# %%
from pcvr.widgets.distributions import DistributionChoice, TraceSource, distribution_explorer, distribution_figure

source = TraceSource(stages, samples[:6], chosen)
distribution_figure(source, DistributionChoice("defended", sample=1, shown="triggered"))

# %% [markdown]
# The figure for one choice: the defended model on a triggered image, at the first token of its answer.

# %%
box, controls = distribution_explorer(source, DistributionChoice("backdoored"))
box

# %% [markdown]
# Things to try:
#
# 1. *backdoored*, *triggered*, operator *swap*: move **View seed** until the view keeps the white square, then until
#    it loses the square. Which bars grow?
# 2. Keep one triggered image and set **Model** to *base*, *clean*, *backdoored* and *defended* in turn: this is the
#    whole workbook in four clicks.
# 3. **Operator** *mean* or *shuffle*: which of the two operators changes an honest answer less?
# 4. **Read along** *the attacker's target* with the *defended* model: is *banana* still likely anywhere?

# %% [markdown]
# ## Recap
#
# - A distribution is conditioned on an image *and* on an answer. Always say whose answer.
# - Honest captions change most at the words that name things. Most words of a learned target change little: each
#   follows from the words before it.
# - So a low divergence alone is no backdoor. A sample is suspicious only beside others that were scored in the same
#   way.
#
# **What is the paper's and what is ours.** The paper ([arXiv 2604.04488](https://arxiv.org/abs/2604.04488)):
# backdoored answers are abnormally invariant to patches, the output distributions of two views are pulled apart, and
# entropy is constrained. Ours: Jensen-Shannon, the operator of the view, reading along the model's own answer, and
# every number here.
#
# <!-- next --> looks at many images at once, and at six attacks. Or go back to [05 PCVR](05_pcvr.ipynb) with these
# figures in mind, or set another `attack` above and look again.
