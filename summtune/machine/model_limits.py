"""Compares what a recipe asks of a model with what the model's files allow, without loading it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from summtune.base.files import CONFIG_BYTES, read_bounded
from summtune.recipe.adapters import virtual_tokens
from summtune.recipe.families import Family, facts_about, family_of, no_family
from summtune.recipe.families.facts import FamilyFacts, Limit, first_id, is_id
from summtune.recipe.keys import LocalRecipe, TrainRecipe

# Tokenizer classes without default special tokens: what tokenizer_config.json omits is missing.
_PLAIN_TOKENIZERS = frozenset(("PreTrainedTokenizerFast", "TokenizersBackend"))

_TOKENIZER_BYTES = 64 << 20
"""Size limit of a tokenizer.json; one with 250,000 tokens has about 30 MB."""

Found = tuple[str, str]
"""The key of the recipe that does not suit the model, and why."""


@dataclass(frozen=True)
class ModelFacts:
    """Sizes and special tokens according to a model's files.

    Args:
        folder: of the model.
        config: its config.json; if ``loaded``, completed with the defaults of its class.
        generation: its generation_config.json.
        last_token: text and id of the tokenizer's token with the largest id; None if unknown.
        special_tokens: the tokenizer's ``pad_token`` and ``eos_token``; None for one that it lacks, no entry for one
            that is unknown.
        loaded: whether transformers has read the files, so that a missing value is certainly missing.
    """

    folder: Path
    config: Mapping[str, Any]
    generation: Mapping[str, Any]
    last_token: tuple[str, int] | None
    special_tokens: Mapping[str, str | None]
    loaded: bool = False

    @property
    def family(self) -> Family | None:
        """The family of the model; None where it is of none that summtune knows."""
        return family_of(self.config)

    @property
    def about(self) -> FamilyFacts:
        """What differs between families."""
        assert self.family is not None, "`misfits` refuses a model of another family"
        return facts_about(self.family)

    @property
    def start(self) -> int | None:
        """The id that a summary starts from; None where no file names one."""
        return self.about.start(self.config, self.generation)[1]

    @property
    def ends(self) -> tuple[int, ...]:
        """The ids that end a generated summary; empty if no file names one."""
        for file in (self.generation, self.config):
            ids = file.get("eos_token_id")
            listed = [one for one in (ids if isinstance(ids, list | tuple) else [ids]) if is_id(one)]
            if listed:
                return tuple(listed)
        return ()


def config_of(folder: Path) -> dict[str, Any]:
    """Return the content of config.json in a model's folder; empty where it is missing or damaged.

    Raises:
        InputError: it is far larger than such a file can be.
    """
    return _object(folder / "config.json")


def wrong_family(folder: Path) -> str | None:
    """Return the message for a model of a family that summtune does not know; None for the others."""
    config = config_of(folder)
    if not config and (folder / "config.json").is_file():
        return f"config.json is not a JSON object with keys (got {folder / 'config.json'}); copy the model again"
    return no_family(config, folder / "config.json") if family_of(config) is None else None


def facts_of(folder: Path) -> ModelFacts:
    """Return what the JSON files in a model's folder contain; a missing or damaged file counts as empty.

    Raises:
        InputError: one of them is implausibly large.
    """
    settings = _object(folder / "tokenizer_config.json")
    special: dict[str, str | None] = {}
    if _text_of(settings.get("tokenizer_class")) in _PLAIN_TOKENIZERS:
        named = _object(folder / "special_tokens_map.json") | settings
        special = {name: _text_of(named.get(name)) for name in ("pad_token", "eos_token")}
    return ModelFacts(
        folder=folder,
        config=config_of(folder),
        generation=_object(folder / "generation_config.json"),
        last_token=_last_token(
            _object(folder / "tokenizer.json", _TOKENIZER_BYTES), _text_of(settings.get("mask_token"))
        ),
        special_tokens=special,
    )


def misfits(facts: ModelFacts, recipe: LocalRecipe) -> list[Found]:
    """Return what the recipe needs and the model lacks: positions, embeddings of tokens, special tokens.

    Of a model of a family that summtune does not know, it is this alone.

    Args:
        facts: of the model.
        recipe: of kind prompt or train.
    """
    if facts.family is None:
        return [("base_model", no_family(facts.config, facts.folder / "config.json"))]
    return [
        *_too_long(facts, recipe),
        *_ngrams_of_prompts(facts, recipe),
        *_without_embedding(facts),
        *_missing_tokens(facts, recipe.kind == "train"),
    ]


def lengths_within(facts: ModelFacts, sequence_len: int, max_new_tokens: int) -> tuple[int, int]:
    """Return the two lengths, lowered to what the model accepts, which is unknown for a model of another family."""
    if facts.family is None:
        return sequence_len, max_new_tokens
    prompt, summary = facts.about.prompt_limit(facts.config), facts.about.summary_limit(facts.config)
    if prompt is not None and facts.about.continues_prompt():
        max_new_tokens = min(max_new_tokens, max(1, prompt.tokens // 2))
        return min(sequence_len, prompt.tokens - max_new_tokens), max_new_tokens
    return (
        min(sequence_len, prompt.tokens) if prompt else sequence_len,
        min(max_new_tokens, summary.tokens) if summary else max_new_tokens,
    )


def _too_long(facts: ModelFacts, recipe: LocalRecipe) -> Iterator[Found]:
    prompt, summary = facts.about.prompt_limit(facts.config), facts.about.summary_limit(facts.config)
    summaries = [("generation.max_new_tokens", recipe.generation.max_new_tokens)]
    if isinstance(recipe, TrainRecipe):
        summaries.append(("target_len", recipe.target_len))
    virtual, where = virtual_tokens(recipe), facts.folder / "config.json"
    if facts.about.continues_prompt():
        key, tokens = max(summaries, key=lambda one: one[1])
        if prompt is not None and recipe.sequence_len + virtual + tokens > prompt.tokens:
            yield "sequence_len", _shared(recipe.sequence_len, virtual, key, tokens, prompt, where)
        return
    asked = [("sequence_len", recipe.sequence_len, prompt), *((*one, summary) for one in summaries)]
    for key, tokens, limit in asked:
        before = virtual if key == "sequence_len" else 0
        if limit is not None and tokens + before > limit.tokens:
            more = f" and {before:,} virtual tokens" if before else ""
            got = f"got {tokens:,}{more}; {limit.key} is {limit.value:,} in {where}"
            yield key, f"{key} exceeds the model's positions ({got}); set {key} to at most {limit.tokens - before}"


def _shared(sequence_len: int, virtual: int, key: str, tokens: int, limit: Limit, where: Path) -> str:
    """Return the message for prompt and summary that together exceed the positions of a model."""
    room, asked = limit.tokens - virtual - tokens, sequence_len + virtual + tokens
    added = f" + {virtual:,} virtual tokens" if virtual else ""
    advice = f"set sequence_len to at most {room}" if room > 0 else f"set {key} to less than {limit.tokens}"
    scaled = "" if limit.tokens == limit.value else f", scaled to {limit.tokens:,}"
    return (
        f"sequence_len and {key} exceed the model's positions, which prompt and summary share (got "
        f"{sequence_len:,} + {tokens:,}{added} = {asked:,}; {limit.key} is {limit.value:,} in {where}{scaled}); "
        f"{advice}"
    )


def _ngrams_of_prompts(facts: ModelFacts, recipe: LocalRecipe) -> Iterator[Found]:
    if facts.about.continues_prompt() and recipe.generation.no_repeat_ngram_size:
        yield (
            "generation.no_repeat_ngram_size",
            "no_repeat_ngram_size would forbid a decoder-only model to write what its prompt contains, such as names "
            f"(got {recipe.generation.no_repeat_ngram_size}); remove it",
        )


def _without_embedding(facts: ModelFacts) -> Iterator[Found]:
    rows = _rows(facts.config)
    if rows is None:
        return
    known, key = rows
    config = facts.folder / "config.json"
    if facts.last_token is not None and facts.last_token[1] >= known:
        text, number = facts.last_token
        yield (
            "base_model",
            f"the tokenizer has tokens without an embedding in the model (got {text!r} with id {number} in "
            f"{facts.folder}; {key} is {known} in {config}); add rows with transformers' `resize_token_embeddings` and "
            "save the model, or remove the tokens from tokenizer.json",
        )
    start_key, start = facts.about.start(facts.config, facts.generation)
    starts = () if start is None else (start,)
    for name, ids in ((start_key, starts), ("eos_token_id", facts.ends)):
        for one in ids:
            if one >= known:
                yield (
                    "base_model",
                    f"{name} is not a token of the model (got {one}; {key} is {known} in {config}); correct it",
                )


def _rows(config: Mapping[str, Any]) -> tuple[int, str] | None:
    """Return how many tokens the model has embeddings for and the key that sets it; None if unknown."""
    configs = {"": config} | {f"{part}.": config.get(part) for part in ("encoder", "decoder", "text_config")}
    names = ("vocab_size", "src_vocab_size", "tgt_vocab_size", "decoder_vocab_size")
    found = [
        (part[name], prefix + name)
        for prefix, part in configs.items()
        if isinstance(part, Mapping)
        for name in names
        if is_id(part.get(name)) and part[name]
    ]
    return min(found, default=None)


def _missing_tokens(facts: ModelFacts, trained: bool) -> Iterator[Found]:
    where, config = facts.folder / "tokenizer_config.json", facts.folder / "config.json"
    needed = {} if facts.about.continues_prompt() else {"pad_token": "pads a batch"}
    if trained:
        needed["eos_token"] = "ends each summary in training"
    for name, purpose in needed.items():
        if facts.special_tokens.get(name, "") is None:
            number = first_id(facts.generation, facts.config, key=name + "_id")
            hint = f"; {config} has {name}_id: {number}" if number is not None else ""
            yield (
                "base_model",
                f'the tokenizer has no {name}, which {purpose} (got none in {where}{hint}); name it there as "{name}"',
            )
    no_start = facts.about.missing_start(facts.config, facts.loaded, config) if facts.start is None else None
    if no_start is not None:
        yield "base_model", no_start
    if facts.loaded and not facts.ends:
        yield (
            "base_model",
            f"the model has no token that ends a summary (got no eos_token_id in {config} or "
            "generation_config.json); add it",
        )


def _last_token(tokenizer: Mapping[str, Any], mask: str | None) -> tuple[str, int] | None:
    """Return the token with the largest id, except the mask, for which some models have no embedding."""
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, Mapping) else None
    last: tuple[str, int] | None = None
    if isinstance(vocabulary, Mapping):
        last = max(((str(text), one) for text, one in vocabulary.items() if is_id(one)), key=_id_of, default=None)
    elif isinstance(vocabulary, list) and vocabulary:
        entry = vocabulary[-1]
        last = (str(entry[0] if isinstance(entry, list) and entry else entry), len(vocabulary) - 1)
    added = tokenizer.get("added_tokens")
    for entry in added if isinstance(added, list) else ():
        if isinstance(entry, Mapping) and is_id(entry.get("id")) and entry.get("content") != mask:
            last = max((one for one in (last, (str(entry.get("content")), entry["id"])) if one), key=_id_of)
    return last


def _id_of(token: tuple[str, int]) -> int:
    return token[1]


def _text_of(token: object) -> str | None:
    """Return a special token, which is stored as a string or as an object with its content."""
    text = token.get("content") if isinstance(token, Mapping) else token
    return text if isinstance(text, str) else None


def _object(path: Path, most_bytes: int = CONFIG_BYTES) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = read_bounded(path, most_bytes)
    except OSError:
        return {}
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
