"""Losses of a tokenizer are counted by kind."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from summtune.prompts.formats import TextFormat
from summtune.runs.records import Dialogue
from summtune.work.tokens.encoding import PromptEncoder
from summtune.work.tokens.lost_text import LostText, losses


def made(backend, **options):
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", **options)


def byte_level():
    alphabet = ["</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({name: at for at, name in enumerate(alphabet)}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return made(backend, unk_token="</s>")


def letters(unknown, normalizer=None):
    pieces = ["<unk>", "</s>", *" abcdefghijklmnopqrstuvwxyz.<>/"]
    backend = Tokenizer(models.BPE({name: at for at, name in enumerate(pieces)}, [], unk_token=unknown))
    backend.normalizer, backend.decoder = normalizer, decoders.Fuse()
    return made(backend, unk_token="<unk>")


def found(tokenizer, dialogues, template="{dialogue}", exemplars=(), at_once=None):
    encoder = PromptEncoder(tokenizer, TextFormat(template=template), 512)
    lost = LostText(encoder)
    lost.prompts(dialogues, exemplars, encoder.encode(dialogues, exemplars))
    pairs = [(one.id, text) for one in dialogues for text in one.references]
    lost.summaries([a for a, _ in pairs], [b for _, b in pairs], encoder.encode_summaries([b for _, b in pairs]))
    only_references = LostText(encoder)
    only_references.references(dialogues)
    result = lost.to_json()
    assert only_references.to_json()["summaries"]["lost"].keys() >= result["summaries"]["lost"].keys() - {"control"}
    return result


def test_unknown_tokens_are_counted_with_the_characters_they_stand_for():
    rows = [
        Dialogue("a", "hi Привет ho", ("hi", "П")),
        Dialogue("b", "all is known", ("fine",)),
        Dialogue("c", "été", ("no\0",)),
    ]
    result = found(letters("<unk>"), rows)
    assert result["prompts"] == {
        "texts": 3,
        "characters": 27,
        "lost": {
            "unknown": {"texts": 2, "tokens": 8, "characters": 8, "examples": [("a", "Привет"), ("c", "é")]},
        },
    }
    assert result["summaries"]["lost"] == {
        "unknown": {"texts": 2, "tokens": 2, "characters": 2, "examples": [("a", "П"), ("c", "\0")]}
    }
    assert (result["summaries"]["texts"], result["template"]) == (4, "")


def test_unknown_characters_of_the_template_are_counted_separately():
    result = found(letters("<unk>"), [Dialogue("a", "hi", ("ho",))], template="{~} {dialogue}")
    assert (result["template"], result["prompts"]["lost"]) == ("{~}", {})


def test_unknown_characters_of_exemplars_count_for_the_prompt_that_shows_them():
    shown = Dialogue("e", "Ж", ("ho",))
    result = found(letters("<unk>"), [Dialogue("a", "hi", ())], exemplars=[(shown,)])
    assert result["prompts"]["lost"]["unknown"]["examples"] == [("a", "Ж")]


def test_characters_that_are_dropped_without_an_unknown_token_are_found():
    rows = [Dialogue("a", "hi Привет", ("Пon",)), Dialogue("b", "hi", ("ho",))]
    result = found(letters(None), rows)
    assert result["prompts"]["lost"] == {
        "unknown": {"texts": 1, "tokens": 0, "characters": 6, "examples": [("a", "Привет")]}
    }
    assert result["summaries"]["lost"] == {
        "unknown": {"texts": 1, "tokens": 0, "characters": 1, "examples": [("a", "П")]}
    }


def test_a_tokenizer_of_bytes_loses_nothing():
    rows = [Dialogue("a", "Привет\n\0\U0001f9ff", ("客服\r\n  ＦＩ\t</s>\u2028x é e\u0301",))]
    result = found(byte_level(), rows)
    assert result["prompts"]["lost"] == {}
    assert result["summaries"]["lost"].keys() == {"control"}


def test_typed_control_tokens_are_counted():
    rows = [Dialogue("a", "hi </s>", ("<unk> ho",)), Dialogue("b", "hi", ("ho",))]
    result = found(letters("<unk>"), rows)
    for kind, token in (("prompts", "</s>"), ("summaries", "<unk>")):
        assert result[kind]["lost"] == {
            "control": {"texts": 1, "tokens": 0, "characters": 0, "examples": [("a", token)]}
        }


def test_special_tokens_that_decoding_omits_are_counted():
    tokenizer = letters("<unk>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["#Person1#"]})
    tokenizer.add_tokens(["#Person2#"])
    result = found(tokenizer, [Dialogue("a", "#Person1#", ("#Person1# hi", "#Person2# hi"))])
    tally = {"texts": 1, "tokens": 0, "characters": 0, "examples": [("a", "#Person1#")]}
    assert (result["prompts"]["lost"], result["summaries"]["lost"]) == ({}, {"hidden": tally})


def test_losses_of_the_normalizer_are_counted_by_kind():
    normalizer = normalizers.Sequence(
        [
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Replace("\n", " "),
        ]
    )
    rows = [
        Dialogue("a", "hi", ("one\ntwo", "Upper", "ﬁ")),
        Dialogue("b", "hi", ("fine", "café")),
    ]
    summaries = found(letters("<unk>", normalizer), rows)["summaries"]["lost"]
    assert {name: tally["examples"] for name, tally in summaries.items()} == {
        "lines": [("a", "\n")],
        "case": [("a", "U")],
        "rewritten": [("a", "ﬁ")],
        "accents": [("b", "é")],
    }


@pytest.mark.parametrize(
    ("text", "decoded", "expected"),
    [
        (" same ", "same", []),
        ("a\nb", "a b", [("lines", "\n")]),
        ("a\r\nb\r\nc", "a\nb\nc", [("spaces", "")]),
        ("a\u2028b", "a b", [("lines", "\n")]),
        ("a  b\tc", "a b c", [("spaces", "")]),
        ("it's, ok", "it ' s , ok", [("spacing", "")]),
        ("Ａb ﬁne…", "Ab fine...", [("rewritten", "Ａﬁ…")]),
        ("Anna\nBen", "anna ben", [("lines", "\n"), ("case", "AB")]),
        ("Élan", "elan", [("accents", "É")]),
        ("10 € more", "10 more", [("dropped", "€")]),
    ],
)
def test_losses_classifies_differences(text, decoded, expected):
    assert losses(text, decoded) == expected


def test_only_the_first_examples_are_kept_and_shortened():
    rows = [Dialogue(f"d{at}", "".join(map(chr, range(0x410, 0x440))), ()) for at in range(5)]
    tally = found(letters("<unk>"), rows)["prompts"]["lost"]["unknown"]
    assert tally["texts"] == 5
    assert [identity for identity, _ in tally["examples"]] == ["d0", "d1", "d2"]
    assert {len(shown) for _, shown in tally["examples"]} == {25}
