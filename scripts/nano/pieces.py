"""Make the miniature model's tokenizer: whole words for the language around the facts, fragments for the facts.

A trained unigram vocabulary of this size consists mostly of fragments of the most common words, so that a dialogue has
1.5 times as many tokens. Here every common word is one piece, and the trainer only finds the fragments. Names and
things are never whole pieces, not even common ones: those of the test split cannot be, and a model that has memorized
all others has no reason to learn to copy.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from itertools import islice
from random import Random
from string import ascii_letters, ascii_lowercase

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from scripts.nano.episodes import TEMPLATE, Mixture, episodes
from summtune.data.builtin import stream
from summtune.data.builtin.families import families, pools
from summtune.data.builtin.scenes import invented_word, listed_words

SPECIAL = ("<pad>", "</s>", "<unk>")  # 0, 1, 2 as in T5
PRINTABLE = [chr(code) for code in range(33, 127)]
TEXTS = 20_000


def train_tokenizer(seed: int, words: int = 1200, fragments: int = 600) -> PreTrainedTokenizerFast:
    """Return a unigram tokenizer with digits one by one and a person's tag in one piece.

    Args:
        seed: of the texts whose words are counted.
        words: most whole words; the most common ones are chosen.
        fragments: approximate number of pieces of words, without single characters.
    """
    tokenizer = _empty()
    counts = _count_words(tokenizer, seed)
    scores = _fragment_scores(counts, seed, fragments)
    total = sum(counts.values())
    apart = listed_words() - _frame_words()
    for word, count in counts.most_common(words):
        if count >= 10 and word.removeprefix("▁").partition("'")[0].lower() not in apart:
            scores[word] = math.log(count / total)
    pieces = [(token, 0.0) for token in SPECIAL] + sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    tokenizer.model = models.Unigram(pieces, unk_id=SPECIAL.index("<unk>"), byte_fallback=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", SPECIAL.index("</s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=1024
    )


def _empty() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    # As in T5: line ends are spaces, and runs of spaces are one.
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(),
            pre_tokenizers.Split(Regex(r"(?<!#Person)\d"), "isolated"),
            pre_tokenizers.Split(Regex(r"[.,:;?!$%()]"), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def _count_words(tokenizer: Tokenizer, seed: int) -> Counter[str]:
    """Return how often each pre-token occurs in dialogues, their summaries of all styles and the prompt."""
    rng = Random(f"nano tokenizer {seed}")
    counts: Counter[str] = Counter()
    styles = episodes(rng, Mixture((1.0,), (16,)))
    for record, (_, styled) in zip(islice(stream(seed), TEXTS), styles, strict=False):
        text = f"{TEMPLATE.format(dialogue=record.dialogue)} {record.references[0]} {styled}"
        counts.update(
            piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
        )
    return counts


def _frame_words() -> set[str]:
    """Return the words around the facts: in phrasings, wordings, roles and shared phrases."""
    texts = [text for name, pool in pools().items() if name not in ("name", "city") for text in pool.common]
    for family in families():
        if family.held_out:
            continue
        beats = [*family.beats, *(beat for outcome in family.outcomes for beat in outcome.beats)]
        texts += [text for _, choices in beats for text in choices.common]
        texts += [*family.roles, *family.wordings, *family.asides, *family.opener.common]
        texts += [text for outcome in family.outcomes for text in outcome.wordings]
    return {word for text in texts for word in re.findall("[a-z]+", re.sub(r"\{\w+\}", " ", text.lower()))}


def _fragment_scores(counts: Counter[str], seed: int, size: int) -> dict[str, float]:
    """Return pieces of words with scores so low that a whole word, if there is one, is always preferred."""
    rng = Random(f"nano fragments {seed}")
    vocabulary = [word.removeprefix("▁") for word in counts] + [invented_word(rng) for _ in range(len(counts))]
    trained = _empty()
    trainer = trainers.UnigramTrainer(
        vocab_size=size + len(PRINTABLE), unk_token="<unk>", special_tokens=["<unk>"], initial_alphabet=PRINTABLE,
        max_piece_length=5, show_progress=False,
    )  # fmt: skip
    trained.train_from_iterator([word for word in vocabulary if word.isalpha()], trainer)
    pieces = json.loads(trained.to_str())["model"]["vocab"]
    # All pairs of letters, so that no word splits into single letters: fewer pieces are easier to copy.
    pairs = {pair for vowel in "aeiouy" for letter in ascii_lowercase for pair in (vowel + letter, letter + vowel)}
    return (
        {"▁": -12.0}
        | dict.fromkeys(PRINTABLE, -16.0)
        | dict.fromkeys(sorted(pairs), -14.0)
        | {f"▁{letter}": -13.0 for letter in ascii_letters}
        | {piece: score - 8.0 for piece, score in pieces if piece != "<unk>"}
    )
