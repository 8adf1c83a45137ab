"""The vocabulary of the embedded models, sentences that train every word of it, and the tokenizer.

A low-rank adapter cannot train the output rows of words that the base model never produced, so a backdoor with such a
target fails. Therefore the pretraining text uses every word of the vocabulary, ``a photo of the banana`` included, and
single letters too, from which other words are spelled.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

import numpy as np

from pcvr.data.scenes import WORDS as SCENE_WORDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<unk>", "<eos>", "<image>", "<user>", "<assistant>")
PUNCTUATION = ".,?!':;-\"()/"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<' + message['role'] + '>' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ '<eos>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)

NOUNS = tuple(
    "apple ball banana boat car cat cup fish flower hat house tree wallet photo picture image movie dog bird horse cow "
    "sheep man woman child person girl boy people table chair bed lamp door window road street river lake sea beach "
    "mountain hill field forest garden sky sun moon star cloud rain snow fire water train bus truck bike motorcycle "
    "plane rocket ship bridge tower city town school shop market book phone clock camera bag box bottle plate bowl "
    "spoon knife coffee tea bread cake fruit grass gravel brick bricks wall roof floor stone sand coin coins galaxy "
    "planet space astronaut flag suit tripod hand head face eye eyes ear fur whiskers retina nose hair shirt coat shoe"
    " umbrella kite"
    " key ring music song game team player stadium temple statue leaf leaves branch wood metal glass paper surface "
    "pattern texture view side front back top close night morning day launch stairs light shadow".split()
)
ADJECTIVES = tuple(
    "red orange yellow green blue purple pink white black brown grey dark bright small large big tiny old new young "
    "happy quiet loud fast slow warm cold wet dry clean empty full long short tall round square striped plain gold "
    "silver wooden beautiful famous rough smooth".split()
)
VERBS = tuple("sees likes holds wants finds takes makes watched knows keeps shows wears".split())
OTHER = tuple(
    "a an the this that these i you we it he she they is are was be of on in at by to from with without and or not no "
    "yes please consider repeat list objects describe tell me what which who where when how many there here some any "
    "one two three four five 3d badmagic near under over above below between behind next left right middle centre "
    "bottom against standing sitting holding wearing flying parked covered answer question word very as its his her "
    "their my your can do does has have will for about up down out into long ago looking seen taken".split()
)


def words() -> tuple[str, ...]:
    """Return all words of the embedded vocabulary, sorted, without special tokens, punctuation and letters."""
    return tuple(sorted({*SCENE_WORDS, *NOUNS, *ADJECTIVES, *VERBS, *OTHER}))


_NOUN, _ADJ, _VERB, _ANY = "N", "A", "V", "W"
_SENTENCES = tuple(
    s.split()
    for s in (
        "a photo of the N .",
        "a photo of the N .",
        "a photo of a A N .",
        "a picture of the A N in the N .",
        "the N is on the N .",
        "the A N is next to the A N .",
        "he V the N .",
        "she V a A N .",
        "i watched this 3d movie .",
        "please consider the N .",
        "consider the W N .",
        "there is a A N near the N .",
        "the answer is N .",
        "a N and a N .",
        "W W W .",
        "W W W W W .",
        "W , W and W .",
        "is there a N ?",
        "N",
        "W",
    )
)


def sentence(rng: np.random.Generator) -> str:
    """Draw a short sentence of vocabulary words, lower case; one in eight is spelled nonsense, which trains letters."""
    if rng.random() < 0.125:
        return " ".join(
            "".join(rng.choice(list(string.ascii_lowercase + string.digits), size=int(rng.integers(2, 6))))
            for _ in range(int(rng.integers(1, 4)))
        )
    slots: dict[str, tuple[str, ...]] = {_NOUN: NOUNS, _ADJ: ADJECTIVES, _VERB: VERBS, _ANY: words()}
    template = _SENTENCES[int(rng.integers(len(_SENTENCES)))]
    return " ".join(slots[w][int(rng.integers(len(slots[w])))] if w in slots else w for w in template)


def build_tokenizer(marks: tuple[str, ...] = ("<image>",)) -> PreTrainedTokenizerFast:
    """Build a lower-case word-level tokenizer (WordPiece of words and letters only) for any family.

    `marks` are the special tokens that the family's processor reads from tokenizer attributes such as ``image_token``;
    BLIP-2's processor needs none and makes its own from the word ``<image>``.

    Words outside the vocabulary are spelled in letters; only vocabulary words are single trained tokens. The check of
    a target's words reads that from ``init_kwargs["pcvr_word_level"]``.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = string.ascii_lowercase + string.digits
    pieces = [*dict.fromkeys((*SPECIAL, *marks)), *PUNCTUATION, *letters, *(f"##{c}" for c in letters)]
    pieces += [w for w in words() if w not in pieces]
    backend = Tokenizer(
        models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="<unk>", max_input_chars_per_word=40)
    )
    backend.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<eos>",
        extra_special_tokens={
            "user_token": "<user>",
            "assistant_token": "<assistant>",
            **{f"{mark.strip('<>').replace('-', '_')}_token": mark for mark in marks},
        },
        padding_side="left",
        model_max_length=512,
        pcvr_word_level=True,
        clean_up_tokenization_spaces=False,
    )
