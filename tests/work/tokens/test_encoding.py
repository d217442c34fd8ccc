import pytest

from summtune.base.errors import DataError
from summtune.prompts.formats import TextFormat
from summtune.prompts.templates import template_text
from summtune.runs.records import Dialogue
from summtune.work.tokens.encoding import PromptEncoder

TEMPLATE = template_text("summarize")


def talk(turns, name="d"):
    lines = [f"#Person{1 + turn % 2}#: turn {turn} about the rent" for turn in range(turns)]
    return Dialogue(name, "\n".join(lines), ("They talk about the rent.",))


@pytest.fixture
def encoder(tokenizer):
    def make(sequence_len, **options):
        return PromptEncoder(tokenizer, TextFormat(template=TEMPLATE), sequence_len, **options)

    return make


def plain(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=True)


def as_decoded(tokenizer, text):
    return plain(tokenizer, tokenizer(text)["input_ids"])


def test_a_prompt_that_fits_is_not_changed(tokenizer, encoder):
    dialogue = talk(2)
    whole = tokenizer(TEMPLATE.replace("{dialogue}", dialogue.dialogue))["input_ids"]
    (prompt,) = encoder(len(whole)).encode([dialogue])
    assert prompt.ids == whole
    assert not prompt.truncated
    assert encoder(len(whole) - 1).encode([dialogue])[0].truncated


def test_encoding_no_dialogue_gives_no_prompt(encoder):
    assert encoder(100).encode([]) == []


@pytest.mark.parametrize("sequence_len", range(100, 140))
def test_a_long_dialogue_is_cut_and_the_prompt_nearly_fills_the_length(tokenizer, encoder, sequence_len):
    (prompt,) = encoder(sequence_len).encode([talk(30)])
    assert prompt.truncated
    assert sequence_len - 4 <= len(prompt.ids) <= sequence_len
    assert prompt.ids[-1] == tokenizer.eos_token_id


def test_the_end_is_cut_and_never_the_instruction(tokenizer, encoder):
    (prompt,) = encoder(120).encode([talk(30)])
    text = plain(tokenizer, prompt.ids)
    before, after = TEMPLATE.split("{dialogue}")
    assert text.startswith(as_decoded(tokenizer, before + "#Person1#: turn 0 about"))
    assert text.endswith(as_decoded(tokenizer, after))
    assert as_decoded(tokenizer, "turn 29 about the rent") not in text


def test_the_start_is_cut_with_truncate_start(tokenizer, encoder):
    (prompt,) = encoder(120, long_dialogues="truncate_start").encode([talk(30)])
    text = plain(tokenizer, prompt.ids)
    before, after = TEMPLATE.split("{dialogue}")
    assert prompt.truncated
    assert text.startswith(as_decoded(tokenizer, before).strip())
    assert text.endswith(as_decoded(tokenizer, "turn 29 about the rent" + after))
    assert as_decoded(tokenizer, "turn 0 about the rent") not in text


def test_exemplars_stay_whole_while_the_dialogue_is_cut(tokenizer, encoder):
    solved = talk(2, "solved")
    whole = len(encoder(4000).encode([talk(1)], [[solved]])[0].ids)
    (prompt,) = encoder(whole + 60).encode([talk(30)], [[solved]])
    text = plain(tokenizer, prompt.ids)
    assert prompt.truncated
    assert as_decoded(tokenizer, solved.dialogue) in text
    assert as_decoded(tokenizer, solved.references[0]) in text


def test_each_dialogue_gets_its_own_exemplars(tokenizer, encoder):
    first, second = encoder(4000).encode([talk(1), talk(1)], [[talk(2, "solved")], []])
    assert len(first.ids) > 2 * len(second.ids)


def test_exemplars_that_fill_the_prompt_are_an_error(encoder):
    with pytest.raises(DataError, match=r"'long one' has \d+ tokens.*2 exemplars; got sequence_len: 200"):
        encoder(200).encode([talk(9, "long one")], [[talk(20), talk(20)]])


def test_an_instruction_that_fills_the_prompt_is_an_error(encoder):
    with pytest.raises(DataError, match=r"'d' has \d+ tokens without the dialogue.*0 exemplars; got sequence_len: 40"):
        encoder(40).encode([talk(9)])
