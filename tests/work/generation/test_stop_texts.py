"""Texts that end a summary end it wherever they are written, and never because of the prompt."""

import pytest
import torch
from tiny_decoders import write_tokenizer

from summtune.work.generation.stop_texts import StopTexts, before_stop
from summtune.work.models.loading import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(write_tokenizer(tmp_path_factory.mktemp("tokenizer")))


def padded(tokenizer, texts):
    rows = [tokenizer(text)["input_ids"] for text in texts]
    width = max(map(len, rows))
    return torch.tensor([[2] * (width - len(row)) + row for row in rows])


def test_rows_that_have_written_a_text_end(tokenizer):
    ids = padded(tokenizer, ["They agree.\n\n", "They agree. ENDE", "They agree.\n", "ENDE", "END"])
    assert StopTexts(tokenizer, ["\n\n", "ENDE"], 0)(ids, None).tolist() == [True, True, False, True, False]


def test_the_prompt_does_not_end_a_summary(tokenizer):
    prompt = padded(tokenizer, ["x\n\n", "Say STOP\n"])
    written = padded(tokenizer, ["\nA", "STO"])
    stop = StopTexts(tokenizer, ["\n\n", "STOP"], prompt.shape[1])
    assert stop(prompt, None).tolist() == [False, False]
    assert stop(torch.cat([prompt, written], 1), None).tolist() == [False, False]


@pytest.mark.parametrize("text", ["é", "🙂", "a\u0301\n", "<|im_end|>", " agree"])
def test_a_text_is_found_however_it_is_divided_into_tokens(tokenizer, text):
    stop = StopTexts(tokenizer, [text], 0)
    ids = padded(tokenizer, [f"They talk about é, ü and {text}"])
    found = [bool(stop(ids[:, :count], None)) for count in range(1, ids.shape[1] + 1)]
    whole = [text in tokenizer.decode(ids[0, :count]) for count in range(1, ids.shape[1] + 1)]
    assert found[-1]
    assert found.index(True) == whole.index(True)


def test_a_summary_is_what_precedes_the_first_of_the_texts():
    assert before_stop("a\n\nb STOP c", ["STOP", "\n\n"]) == ("a", True)
    assert before_stop("a\nb", ["STOP", "\n\n"]) == ("a\nb", False)
    assert before_stop("STOP", ["STOP"]) == ("", True)
