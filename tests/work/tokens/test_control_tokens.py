"""Control tokens that people typed stay text, with tokenizers of every kind."""

import random
import string

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from summtune.prompts.formats import TextFormat
from summtune.runs.records import Dialogue
from summtune.work.tokens.encoding import PromptEncoder

SPECIAL = ["<pad>", "</s>", "<unk>", "<mask>", "<extra_id_0>"]
LETTERS = sorted(set(string.printable[:94]) - {"~"})


def unigram(normalizer=None):
    pieces = [(name, 0.0) for name in SPECIAL]
    pieces += [("▁", -3.0), *((letter, -5.0) for letter in LETTERS), ("▁talk", -1.0), ("#Person1#", -2.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=2))
    backend.normalizer = normalizer
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return backend


def byte_level():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {name: at for at, name in enumerate([*SPECIAL, *alphabet, "</", "s>", "</s>s"])}
    merges = [("<", "/"), ("s", ">"), ("</", "s>"), ("</s>", "s")]
    backend = Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return backend


def whole_words():
    """As Llama 3's: what is a token as a whole needs no merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({name: at for at, name in enumerate([*SPECIAL, *alphabet])}, [], ignore_merges=True))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return backend


def byte_fallback():
    pieces = [*SPECIAL, *(f"<0x{at:02X}>" for at in range(256)), "▁", *LETTERS]
    backend = Tokenizer(
        models.BPE({name: at for at, name in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    )
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return backend


def word_pieces():
    pieces = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    backend = Tokenizer(models.WordPiece({name: at for at, name in enumerate(pieces)}, unk_token="<unk>"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.WhitespaceSplit(), decoders.WordPiece(cleanup=False)
    return backend


KINDS = [unigram, byte_level, whole_words, byte_fallback, word_pieces]


def wrapped(backend):
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", mask_token="<mask>"
    )
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<extra_id_0>", "#Person2#", "<speaker1>", "<|im_end|>"]}
    )
    tokenizer.add_tokens(["#Person1#"])
    return tokenizer


def encoder(kind, template="Talk: {dialogue} Short:", sequence_len=512, **options):
    return PromptEncoder(wrapped(kind()), TextFormat(template=template), sequence_len, **options)


def decoded(encoder, ids):
    return encoder.tokenizer.decode(ids, skip_special_tokens=True).strip()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "typed", ["</s>", "<pad>", "<unk>", "<mask>", "<extra_id_0>", "<|im_end|>", "</s></s>", "</s>s", "</s", "<s>"]
)
def test_a_control_token_in_a_summary_is_text_and_ends_nothing(kind, typed):
    encoding = encoder(kind)
    for summary in (typed, f"Say {typed} now", f"Say{typed}"):
        ((ids, _),) = encoding.encode_summaries([summary])
        assert decoded(encoding, ids) == summary
        assert ids.count(1) == 1
        assert ids[-1] == 1
        assert not {0, 2, 3, 4}.intersection(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_a_control_token_in_a_dialogue_and_an_exemplar_is_text(kind):
    encoding = encoder(kind)
    shown = Dialogue("e", "Ann: <pad>", ("She says </s>.",))
    dialogue = Dialogue("d", "Ben: </s> <unk> <extra_id_0>", ())
    (prompt,) = encoding.encode([dialogue], [(shown,)])
    assert prompt.typed
    expected = "Talk: Ann: <pad> Short: She says </s>. Talk: Ben: </s> <unk> <extra_id_0> Short:"
    assert "".join(decoded(encoding, prompt.ids).split()) == expected.replace(" ", "")
    assert prompt.ids.count(1) == 1
    assert not {0, 3, 4}.intersection(prompt.ids)


@pytest.mark.parametrize("kind", KINDS)
def test_the_control_tokens_of_the_template_stay_control_tokens(kind):
    template = "<extra_id_0> Talk: {dialogue} <mask></s>"
    encoding = encoder(kind, template)
    plain, typed = encoding.encode([Dialogue("a", "Ann: hi", ()), Dialogue("b", "Ann: <mask></s>", ())])
    assert not plain.typed
    assert plain.ids == encoding.tokenizer(template.replace("{dialogue}", "Ann: hi"))["input_ids"]
    assert typed.typed
    for prompt in (plain, typed):
        assert [at for at in prompt.ids if at in {0, 1, 3, 4}] == [4, 3, 1, 1]
    assert "Ann: <mask></s>" in decoded(encoding, typed.ids)


@pytest.mark.parametrize("kind", KINDS)
def test_a_control_token_that_template_and_dialogue_form_together_is_text(kind):
    encoding = encoder(kind, "Talk <{dialogue}>")
    (prompt,) = encoding.encode([Dialogue("a", "/s", ())])
    assert prompt.ids.count(1) == 1
    assert decoded(encoding, prompt.ids) == "Talk </s>"


@pytest.mark.parametrize("kind", KINDS)
def test_texts_without_control_tokens_have_the_ids_of_the_tokenizer(kind):
    encoding = encoder(kind)
    rng = random.Random(7)
    texts = ["".join(rng.choices(string.ascii_letters + " .,<>/[]|#", k=40)) for _ in range(200)]
    assert [(ids, False) for ids in encoding.tokenizer(texts)["input_ids"]] == encoding.encode_summaries(texts)


@pytest.mark.parametrize("kind", KINDS)
def test_added_speaker_tags_stay_whole_next_to_control_tokens(kind):
    encoding = encoder(kind)
    tags = encoding.tokenizer.convert_tokens_to_ids(["#Person1#", "#Person2#", "<speaker1>"])
    for text, is_typed in (
        ("#Person1#: hi #Person2#: ho <speaker1> a", False),
        ("#Person1#: </s> #Person2#: ho <|im_end|> <speaker1>", True),
    ):
        (prompt,) = encoding.encode([Dialogue("a", text, ())])
        assert prompt.typed == is_typed
        assert [at for at in prompt.ids if at in tags] == tags


def test_text_that_a_normalizer_turns_into_a_control_token_is_text():
    encoding = encoder(lambda: unigram(normalizers.NFKC()))
    ((ids, typed),) = encoding.encode_summaries(["Say ＜/s＞"])
    assert typed
    assert ids.count(1) == 1
    assert decoded(encoding, ids) == "Say </s>"


def test_a_control_token_whose_form_is_normalized_is_text():
    backend = unigram(normalizers.Lowercase())
    backend.add_special_tokens([AddedToken("<extra_id_9>", normalized=True, special=True)])
    encoding = PromptEncoder(wrapped(backend), TextFormat(template="{dialogue} <EXTRA_ID_9>"), 512)
    added = encoding.tokenizer.convert_tokens_to_ids("<extra_id_9>")
    ((ids, typed),) = encoding.encode_summaries(["say <EXTRA_ID_9>"])
    assert typed
    assert added not in ids
    assert decoded(encoding, ids) == "say <extra_id_9>"


@pytest.mark.parametrize("kind", [unigram, byte_level, byte_fallback])
@pytest.mark.parametrize("sequence_len", range(40, 60))
def test_dialogues_with_control_tokens_are_cut_but_never_the_template(kind, sequence_len):
    dialogue = Dialogue("a", " ".join(f"turn {at} </s>" for at in range(30)), ())
    end = encoder(kind, "<mask> Talk: {dialogue} Short:", sequence_len)
    (prompt,) = end.encode([dialogue])
    assert prompt.truncated
    assert sequence_len - 5 <= len(prompt.ids) <= sequence_len
    assert decoded(end, prompt.ids).startswith("Talk: turn 0 </s>")
    assert decoded(end, prompt.ids).endswith("Short:")
    assert [at for at in prompt.ids if at in {1, 3}] == [3, 1]
    start = encoder(kind, "Talk: {dialogue} Short:", sequence_len, long_dialogues="truncate_start")
    (prompt,) = start.encode([dialogue])
    assert decoded(start, prompt.ids).endswith("turn 29 </s> Short:")
    assert prompt.ids.count(1) == 1


def test_control_tokens_of_the_template_are_found_before_normalization():
    backend = unigram(normalizers.Replace(Regex("[^ -~]"), ""))
    backend.add_special_tokens([AddedToken("<extra_id_9>", normalized=True, special=True)])
    encoding = PromptEncoder(wrapped(backend), TextFormat(template="<extra_id_9> {dialogue}"), 512)
    added = encoding.tokenizer.convert_tokens_to_ids("<extra_id_9>")
    (prompt,) = encoding.encode([Dialogue("a", f"<extra_id_9> </s> {added}", ())])
    assert prompt.ids.count(added) == 1
    assert decoded(encoding, prompt.ids) == f"<extra_id_9> </s> {added}"


def test_of_two_control_tokens_in_the_template_the_longer_is_found():
    backend = unigram()
    backend.add_special_tokens(["<|a|>", "<|a|>b|>"])
    encoding = PromptEncoder(wrapped(backend), TextFormat(template="<|a|>b|> {dialogue}"), 512)
    plain, typed = encoding.encode([Dialogue("a", "x", ()), Dialogue("b", "</s>", ())])
    added = encoding.tokenizer.convert_tokens_to_ids("<|a|>b|>")
    assert plain.ids[0] == typed.ids[0] == added
