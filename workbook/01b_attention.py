# %% [markdown]
# # Attention maps: where the model looks, and what that proves (optional)
#
# You lay attention over an image, and then you test whether the answer depends on what is bright there. No later
# notebook needs this one.
#
# **After this notebook you can**
# - lay an attention map over an image, and choose between a mean, a head and a rollout;
# - test what a word *needs*, by covering parts of the image;
# - name four things that an attention map cannot show.
#
# <!-- time --> You need no GPU. Nothing is trained here.

# %% tags=["parameters"]
model = "tiny-llava"  # tiny-llava, tiny-blip2, tiny-idefics3, a folder, or a hub id
task = "caption"  # caption: ask for all objects; vqa: ask one question
data = "scenes"  # or the path of a LLaVA-style JSON with your own photographs
seed = 0  # of the images and of every random mask
fast = False  # True: fewer images, for tests

# %% [markdown]
# ## 1. What an attention map shows
#
# In every layer of the language model, each token attends to itself and to all tokens before it. It takes a fraction
# of its information from each of them. These fractions sum to 1; they are the **attention**. To generate a word, the
# model uses the attention of the last token before that word. What does this token attend to?

# %%
import pcvr
from pcvr.analysis.attention import attend
from pcvr.analysis.question_accuracy import usual_question
from pcvr.data import subset
from pcvr.plots.attention import attention_maps, share_bars

vlm = pcvr.load(model)
everything = pcvr.open_data(data, split="test" if data == "scenes" else "all", task=task, seed=seed)
samples = list(subset(everything, min(len(everything), 3 if fast else 8)))
seen = [attend(vlm, each.image, usual_question(vlm, each, task)) for each in samples]
one = seen[1]
share_bars(one)

# %% [markdown]
# For each word of the answer, three fractions of attention: on the image, on the prompt with its special tokens, and
# on the words generated so far. (Each is a mean over all layers and heads.)
#
# **Predict before you run.** The next figure shows only the attention on the image, laid over the image, word by
# word. Where will the attention be before the name of an object? Where will it be before a comma, or before the end?

# %%
attention_maps(one)

# %% [markdown]
# One panel for each word of the answer, bright where the model attended. Each panel has its own scale. The percentage
# below is the fraction of attention on the image as a whole.
#
# <details>
# <summary>What to look for</summary>
#
# In the trained models the bright area moves from object to object as the list goes on. Before commas and before the
# end, the model needs nothing from the image, and the bright area spreads out. (The tokens of BLIP-2 have no
# position. So the attention on a query is divided among the patches that the query attended to, and these maps are
# more blurred.)
#
# </details>
#
# These maps look convincing, and it is tempting to stop here. Let us look closer. The last figure was a mean over
# layers and heads. The next one shows each layer and head separately, before one word.

# %%
from pcvr.analysis.occlusion import naming_token
from pcvr.plots.attention import head_maps

word = naming_token(one.steps.tokens)
head_maps(one, word)

# %% [markdown]
# Layers from top to bottom, heads from left to right, each map on its own scale. Above each panel: the fraction of
# attention on the image, and the fraction on its brightest cell.
#
# <details>
# <summary>What to look for</summary>
#
# The heads do not agree. Some attend to the object, some to other objects, and some hardly to the image at all. None
# of them is "the" attention map. The mean over heads is one choice. A single head, chosen because its map looks
# convincing, is another choice.
#
# </details>
#
# A third choice is **attention rollout** (Abnar and Zuidema, [arXiv 2005.00928](https://arxiv.org/abs/2005.00928)).
# It follows attention through *all* layers back to the input. It also counts the residual connection, which carries
# half of the information past each layer:
#
# $$R = \tilde A_L \cdots \tilde A_2 \tilde A_1, \qquad \tilde A_\ell = \tfrac12 (A_\ell + I) .$$

# %%
attention_maps(one, how="rollout")

# %% [markdown]
# The same answer with attention rollout.
#
# <details>
# <summary>What to look for</summary>
#
# The maps are blurred and often brighter at the first patches. The reading order causes this. In a language model a
# token sees only what comes *before* it, and this holds for image tokens too. So attention that is followed back
# through the layers collects at the first tokens. The model and the answer are the same, but the map is different.
#
# </details>

# %% [markdown]
# ## Exercise: from attention to a map
# <!-- card difficulty=2 importance=3 minutes=8 -->
# Write `patch_map`. `attention` is `[H, T]`, for one word: a row for each head, a column for each token that was
# read. `image_at` contains the positions of the image tokens among the T tokens, in reading order. `grid` is (down,
# across). Average over the heads, select the image tokens, and reshape them to the grid. Keep the sum of the map: it
# says how much attention falls on the image.


# %% tags=["exercise"]
def patch_map(attention, image_at, grid: tuple[int, int]):
    """Attention over the image, `[down, across]`."""
    # --- solution
    return attention.mean(0)[image_at].reshape(grid)
    # --- stub
    # | # 1. Average over the heads: [T]
    # | # 2. Select the image tokens: [I]
    # | # 3. Reshape them to the grid, row by row
    # | return ...
    # --- end


# %%
from pcvr.teaching import check

check.patch_map(patch_map)

# %% [markdown]
# ## 2. What it does not show
#
# A map says where the model *attended*. Does the word *depend* on what is there? We can test this: cover parts of the
# image, and measure how the probability of the word changes while the words before it stay the same.
#
# **Predict before you run.** We cover more and more patches in three orders: most attention first, least attention
# first, or random. How would the three lines look if attention said nothing about what the word needs? How would they
# look if it said everything?

# %%
from pcvr.analysis.occlusion import covering_curves
from pcvr.plots.attention import covering_figure

cells = one.grid[0] * one.grid[1]
counts = [count for count in (0, 1, 2, 4, 8, 12, 18) if count <= cells // 2]
curves = covering_curves(vlm, seen, counts, seed)
covering_figure(counts, curves, cells)

# %% [markdown]
# The probability of one word (the first that names an object, otherwise the first word of the answer), as a mean over
# the images. From left to right, more and more cells of the map are painted in the mean colour of the image.
#
# <details>
# <summary>What to look for</summary>
#
# Suppose that the lines lie apart: *most attention first* falls fastest, and *least attention first* hardly falls.
# Then attention points to what the word needs, on average, for this model. If the lines lie together, the maps above
# explained nothing. Test this again for every model. The literature has argued for both sides ([Attention is not
# explanation](https://arxiv.org/abs/1902.10186), and the reply, [Attention is not not
# explanation](https://arxiv.org/abs/1908.04626); both study models of text).
#
# A *mean over images* also promises nothing about a single image.
#
# </details>
#
# So let us take a single image. The next code covers 40 % of its cells at random, hundreds of times. For each cell of
# the image it compares two means: the probability of the word when the cell was visible, and when it was covered. The
# difference is the *effect* of the cell on the word. (The idea of random masks is from RISE, [arXiv
# 1806.07421](https://arxiv.org/abs/1806.07421).)
#
# **Predict before you run.** Can a cell have a *negative* effect, so that covering it makes the correct word more
# likely? Can an attention map show that?

# %%
from pcvr.analysis.occlusion import agreement, occlusion_map
from pcvr.plots.attention import beside_occlusion

effect = occlusion_map(vlm, one, word, draws=64 if fast else 160, seed=seed)
beside_occlusion(one, word, effect, agreement(effect, one.map(word)))

# %% [markdown]
# Left: the image. Middle: where the model attended before the word. Right: how much each cell adds to the probability
# of the word (purple) or takes away from it (orange). Faint colours on the right are noise from the random masks.
#
# <details>
# <summary>What to look for</summary>
#
# The middle map cannot show four things:
#
# 1. **Sign.** Attention is never negative. A competing object attracts attention too, but its effect is *against* the
#    word.
# 2. **Need.** Several cells can hold the same evidence. The model attends to all of them and needs none of them in
#    particular.
# 3. **Amount.** A head may attend to a token and still take almost nothing from it. Attention is a weight that
#    multiplies a vector, and this vector can be small.
# 4. **Origin.** The token at a patch knows its neighbourhood (notebook 01, section 2), and with a Q-Former it has no
#    position at all.
#
# So attention is a hint about where to look next, and covering is the way to check it. The defence of this workbook
# uses the second kind of evidence: it *changes patches* and measures probabilities. Notebook 04 tests whether this
# works, and notebook 05 builds a loss from it.
#
# </details>
#
# ## 3. Explore
#
# Choose an image, a word, a layer and a head.

# %%
from pcvr.widgets.attend import attention_explorer

explorer, attention_controls = attention_explorer(seen[:6])
explorer

# %% [markdown]
# Things to try:
#
# 1. Move **Word** along a list of objects. Is there one **Head** that always attends to the object about to be named?
# 2. Find a head that hardly attends to the image. What does it attend to instead? (The line above the figure tells
#    you.)
# 3. Compare *mean* and *rollout* at the last word, the end of the answer.
#
# ## Recap
#
# - An attention map shows where the model attended. Mean, head and rollout give different maps of one answer.
# - To find out what a word needs, change the image. Covering has a sign, an attention map has none.
# - The defence of this workbook uses the second kind of evidence.
#
# **What is from papers and what is ours.** Rollout and random masks are from the papers named above. The covering test,
# the mean over layers and heads, and every number here are ours.
#
# <!-- next -->, where you are the attacker.
