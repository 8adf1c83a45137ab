"""How close captions come to their references: BLEU-4, CIDEr and ROUGE-L as the COCO evaluation computes them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from pcvr.errors import PcvrError

_APOSTROPHES = frozenset("'\u2019\u02bc`")


def normalise_caption(text: str) -> str:
    """Lower case, letters and digits only, one space between words.

    The COCO evaluation uses the Penn Treebank tokenizer, a Java program. This stands in for it: Unicode NFKC and lower
    case; apostrophes vanish ("don't" becomes "dont"); every other mark becomes a space ("T-shirt." becomes "t shirt").
    Figures therefore differ a little from those of the Java tokenizer where captions have contractions or hyphens.
    """
    # Combining marks (M) stay: in many scripts they are part of the letter.
    folded = unicodedata.normalize("NFKC", text).lower()
    kept = (c if unicodedata.category(c)[0] in "LNM" else " " for c in folded if c not in _APOSTROPHES)
    # Dropping a mark may bring a letter and its accent together, hence once more.
    return " ".join(unicodedata.normalize("NFKC", "".join(kept)).split())


def bleu4(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU-4 (Papineni et al. 2002), 0 to 100: the higher the better.

    n-gram counts are summed over the corpus, clipped by the references; the brevity penalty uses the reference nearest
    in length. Computed by pycocoevalcap, after :func:`normalise_caption`.

    Args:
        predictions: N captions; empty ones count as wrong.
        references: N lists of at least one caption each.

    Raises:
        PcvrError: when the lengths differ, there is nothing to score, or a sample has no usable reference.
    """
    from pycocoevalcap.bleu.bleu import Bleu

    score, _ = Bleu(4).compute_score(*_prepared(predictions, references), verbose=0)
    return 100 * float(score[3])


def bleu_counts(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Return what corpus BLEU-4 sums over the samples: float64 ``[N, 10]``.

    Of each sample: the number of its 1- to 4-grams, how many of each are in a reference, and the lengths of the caption
    and of the reference nearest in length, in words. Computed by pycocoevalcap; arguments and errors as :func:`bleu4`.
    """
    from pycocoevalcap.bleu.bleu_scorer import cook_refs, cook_test

    gold, said = _prepared(predictions, references)
    counts = []
    for i, texts in gold.items():
        found = cook_test(said[i][0], cook_refs(texts), eff="closest")
        counts.append([*found["guess"], *found["correct"], found["testlen"], found["reflen"]])
    return np.asarray(counts, dtype=np.float64)


def cider(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus CIDEr-D (Vedantam et al. 2015) on the scale papers print, where COCO models reach about 100; at most 1000.

    This is the mean of :func:`cider_each`; arguments and errors are the same.
    """
    return float(np.mean(cider_each(predictions, references)))


def cider_each(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """CIDEr-D of every sample, 0 to 1000, for paired comparisons; float64 ``[N]``.

    n-grams are weighed by how few samples' references they stand in, so a score depends on the whole list of
    references: compare two models on the same samples. Computed by pycocoevalcap, after :func:`normalise_caption`.

    Args:
        predictions: N captions, N at least 2; empty ones score 0.
        references: N lists of at least one caption each.

    Raises:
        PcvrError: as :func:`bleu4`; also for a single sample, where every n-gram weighs log(1/1) = 0.
    """
    if len(predictions) == 1:
        raise PcvrError("CIDEr of one sample is always 0, as it weighs words by how rare they are: give two or more.")
    from pycocoevalcap.cider.cider import Cider

    _, scores = Cider().compute_score(*_prepared(predictions, references))
    return 100 * np.asarray(scores, dtype=np.float64)


def rouge_l(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Mean ROUGE-L (Lin 2004), 0 to 100: F-measure of the longest common subsequence, recall weighed 1.2 to 1.

    Of several references the best precision and the best recall count, as in the COCO evaluation. Computed by
    pycocoevalcap, after :func:`normalise_caption`; arguments and errors as :func:`bleu4`.
    """
    from pycocoevalcap.rouge.rouge import Rouge

    score, _ = Rouge().compute_score(*_prepared(predictions, references))
    return 100 * float(score)


def _prepared(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """References and predictions as pycocoevalcap takes them: dictionaries from sample to list of texts."""
    if isinstance(predictions, str) or isinstance(references, str):
        raise PcvrError("predictions is a list of texts and references a list of lists of texts, not one text.")
    if len(predictions) != len(references):
        raise PcvrError(f"{len(predictions)} predictions but {len(references)} lists of references: give one each.")
    if not predictions:
        raise PcvrError("there are no predictions to score: give at least one.")
    bare = [i for i, texts in enumerate(references) if isinstance(texts, str)]
    if bare:
        raise PcvrError(f"the references of sample {bare[0]} are one text, {references[bare[0]]!r}: give a list.")
    gold = {i: [clean for text in texts if (clean := normalise_caption(text))] for i, texts in enumerate(references)}
    without = [i for i, texts in gold.items() if not texts]
    if without:
        raise PcvrError(f"samples {without[:10]} have no reference with a word in it: give each at least one.")
    return gold, {i: [normalise_caption(text)] for i, text in enumerate(predictions)}
