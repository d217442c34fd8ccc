"""Make the miniature model's tokenizer: whole words of the generator, and fragments for all others.

A trained unigram vocabulary of this size spends itself on fragments of the commonest words, so that a dialogue takes
half as many tokens again. Here every word that is common enough is one piece, and the trainer only finds the fragments.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import islice
from random import Random

from nano_episodes import TEMPLATE, draw_episode
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from summtune.dialogue_generator import stream
from summtune.dialogue_generator.scenes import invented_word

SPECIAL = ("<pad>", "</s>", "<unk>")  # 0, 1, 2 as in T5
PRINTABLE = [chr(code) for code in range(33, 127)]
TEXTS = 20_000


def train_tokenizer(seed: int, words: int = 1250, fragments: int = 420) -> PreTrainedTokenizerFast:
    """Return a unigram tokenizer with digits one by one and a person's tag in one piece.

    Args:
        seed: of the texts that are counted.
        words: at most so many whole words, the commonest.
        fragments: about so many pieces of words, single characters not counted.
    """
    tokenizer = _empty()
    counts = _count_words(tokenizer, seed)
    scores = _fragment_scores(counts, seed, fragments)
    total = sum(counts.values())
    for word, count in counts.most_common(words):
        if count >= 10:
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
    # As T5 does: line ends are spaces, runs of them one.
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
    for record in islice(stream(seed), TEXTS):
        _, styled = draw_episode(rng, 0)
        text = f"{TEMPLATE.format(dialogue=record.dialogue)} {record.references[0]} {styled}"
        counts.update(
            piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
        )
    return counts


def _fragment_scores(counts: Counter[str], seed: int, size: int) -> dict[str, float]:
    """Return pieces of words with scores so low that a whole word, where there is one, is always preferred."""
    rng = Random(f"nano fragments {seed}")
    vocabulary = [word.removeprefix("▁") for word in counts] + [invented_word(rng) for _ in range(len(counts))]
    trained = _empty()
    trainer = trainers.UnigramTrainer(
        vocab_size=size + len(PRINTABLE), unk_token="<unk>", special_tokens=["<unk>"], initial_alphabet=PRINTABLE,
        max_piece_length=5, show_progress=False,
    )  # fmt: skip
    trained.train_from_iterator([word for word in vocabulary if word.isalpha()], trainer)
    pieces = json.loads(trained.to_str())["model"]["vocab"]
    return (
        {"▁": -12.0}
        | dict.fromkeys(PRINTABLE, -16.0)
        | {piece: score - 8.0 for piece, score in pieces if piece != "<unk>"}
    )
