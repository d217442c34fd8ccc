"""The folder of the built-in model has the documented files, and plain transformers loads it as a FLAN-T5."""

from __future__ import annotations

import json
from importlib.resources import files
from itertools import islice
from pathlib import Path

import pytest

from scripts.nano.make_nano import STAGES
from summtune.data.builtin import dialogues

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

NANO = Path(str(files("summtune"))) / "assets" / "flan-t5-nano"
PROMPT = "Summarize the following conversation.\n\n{dialogue}\n\nSummary:"


@pytest.fixture(scope="module")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(NANO)


@pytest.fixture(scope="module")
def model():
    return transformers.AutoModelForSeq2SeqLM.from_pretrained(NANO, dtype=torch.float32).eval()


def test_the_folder_is_small_and_has_no_pickle() -> None:
    sizes = {file.name: file.stat().st_size for file in NANO.iterdir()}

    assert sum(sizes.values()) < 6 * 2**20
    assert set(sizes) == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_the_model_has_flan_t5_s_architecture_and_the_parameters_that_its_readme_names(model) -> None:
    count = sum(parameter.numel() for parameter in model.parameters())
    assert f"| parameters | {count:,} " in (NANO / "README.md").read_text(encoding="utf-8")
    assert type(model) is transformers.T5ForConditionalGeneration
    assert model.config.feed_forward_proj == "gated-gelu"
    assert model.dtype == torch.float32


def test_the_lm_head_is_not_tied_to_the_embedding(model) -> None:
    assert model.lm_head.weight.data_ptr() != model.shared.weight.data_ptr()
    assert not torch.equal(model.lm_head.weight, model.shared.weight)
    assert model.encoder.embed_tokens.weight.data_ptr() == model.shared.weight.data_ptr()
    # Otherwise transformers scales the decoder's outputs as for tied embeddings, and the text is noise.
    assert json.loads((NANO / "config.json").read_text())["tie_word_embeddings"] is False
    assert not getattr(model.config, "scale_decoder_outputs", False)


def test_the_tokenizer_has_the_pieces_that_the_readme_names(tokenizer, model) -> None:
    assert f"unigram, {len(tokenizer):,} pieces" in (NANO / "README.md").read_text(encoding="utf-8")
    assert model.config.vocab_size == len(tokenizer)


def test_special_tokens_are_those_of_t5(tokenizer) -> None:
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer("Yes.").input_ids[-1] == 1
    assert tokenizer.convert_ids_to_tokens([0, 1, 2]) == ["<pad>", "</s>", "<unk>"]


def test_summaries_survive_the_tokenizer(tokenizer) -> None:
    for record in islice(dialogues("test"), 100):
        for summary in record.references:
            ids = tokenizer(summary).input_ids
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids, skip_special_tokens=True) == summary


def test_persons_are_cheap_digits_are_single_and_line_ends_are_spaces(tokenizer) -> None:
    assert tokenizer.tokenize("#Person1#: at 10:30") == ["▁#Person1#", ":", "▁at", "▁", "1", "0", ":", "3", "0"]
    assert tokenizer("one\n#Person2#: two").input_ids == tokenizer("one #Person2#: two").input_ids


def test_the_model_writes_a_summary_that_ends(tokenizer, model) -> None:
    prompts = [PROMPT.format(dialogue=record.dialogue) for record in islice(dialogues("validation"), 4)]
    inputs = tokenizer(prompts, padding=True, return_tensors="pt")

    output = model.generate(**inputs, max_new_tokens=80, do_sample=False)

    texts = tokenizer.batch_decode(output, skip_special_tokens=True)
    assert all(len(text.split()) >= 3 for text in texts), texts
    assert len(set(texts)) == len(texts)
    assert (output == tokenizer.eos_token_id).any(dim=1).all()


def test_names_and_things_are_never_whole_pieces(tokenizer) -> None:
    pieces = set(tokenizer.get_vocab())

    for word in ("Anna", "Gloria", "camera", "wheelbarrow", "Boston", "Helsinki"):
        assert f"▁{word}" not in pieces
        assert len(tokenizer.tokenize(word)) > 1


def test_the_log_of_the_pretraining_is_kept() -> None:
    path = Path(__file__).parents[2] / "scripts" / "nano" / "log.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]

    assert list(dict.fromkeys(row["stage"] for row in rows)) == [stage.name for stage in STAGES]
    for stage in STAGES:
        losses = [row["loss"] for row in rows if row["stage"] == stage.name and "loss" in row]
        assert losses[-1] < losses[0], stage.name
    assert path.stat().st_size < 100_000
