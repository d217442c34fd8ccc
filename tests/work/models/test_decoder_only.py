"""Decoder-only models read prompt and summary as one sequence, and their loss is that of transformers."""

import pytest
import torch
from families import loaded_by_transformers
from safetensors.torch import load_file, save_file
from tiny_decoders import ARCHITECTURES, VOCABULARY, made, write_decoder

from summtune.machine.stored_tensors import stored_tensors
from summtune.work.models import decoder_only
from summtune.work.models.families import family_of_model
from summtune.work.models.family import BatchNeeds
from summtune.work.models.loading import load_model, mark_untied
from summtune.work.models.saved_model import check_saved
from summtune.work.tokens.pairs import IGNORED, Pair
from summtune.work.training.loss import TokenLoss

PAIRS = [
    Pair(input_ids=[5, 6, 7, 8], labels=[9, 10, 2]),
    Pair(input_ids=[5], labels=[11, 12, 13, 14, 2]),
    Pair(input_ids=list(range(20, 60)), labels=[2]),
    Pair(input_ids=[3, 4], labels=[21, 2]),
]
NEEDS = BatchNeeds(padding=2, start=None, ends=(2,))


def test_an_example_has_each_label_where_the_logits_are_that_predict_it():
    example = decoder_only.example(PAIRS[0])
    assert example["input_ids"] == [5, 6, 7, 8, 9, 10]
    assert example["labels"] == [IGNORED, IGNORED, IGNORED, 9, 10, 2]
    assert decoder_only.example(PAIRS[2]) == Pair(input_ids=PAIRS[2]["input_ids"], labels=[IGNORED] * 39 + [2])


def test_a_batch_is_padded_on_the_right_and_its_end_tokens_stay_targets():
    batch = decoder_only.Collator(pad=2)([decoder_only.example(pair) for pair in (PAIRS[3], PAIRS[0])])
    assert batch.keys() == {"input_ids", "labels"}
    assert batch["input_ids"].tolist() == [[3, 4, 21, 2, 2, 2], [5, 6, 7, 8, 9, 10]]
    assert batch["labels"].tolist() == [[IGNORED, 21, 2, *[IGNORED] * 3], [*[IGNORED] * 3, 9, 10, 2]]


@pytest.mark.parametrize(("most", "width"), [(None, 8), (8, 8), (7, 6), (6, 6)])
def test_a_batch_is_padded_to_a_multiple_as_far_as_there_are_positions(most, width):
    batch = decoder_only.Collator(2, 8, most)([decoder_only.example(PAIRS[0])])
    assert {tensor.shape for tensor in batch.values()} == {(1, width)}


@pytest.mark.parametrize("compiled", [False, True], ids=["target logits", "all logits"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_loss_is_that_of_transformers_without_padding(architecture, compiled):
    model = made(architecture)
    expected = torch.zeros(())
    with torch.no_grad():
        for pair in PAIRS:
            ids = [*pair["input_ids"], *pair["labels"]]
            labels = [*[IGNORED] * len(pair["input_ids"]), *pair["labels"]]
            mean = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
            expected += mean * len(pair["labels"])
        assert family_of_model(model) is decoder_only
        batch = decoder_only.collator(model, NEEDS, 8)([decoder_only.example(pair) for pair in PAIRS])
        loss = TokenLoss(model, torch.device("cpu"), compiled)(model, batch)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_a_batch_of_fillers_has_no_loss_and_no_gradient():
    model = made("llama").train()
    filler = Pair(input_ids=[2], labels=[IGNORED])
    loss = TokenLoss(model, torch.device("cpu"))(model, decoder_only.Collator(2)([filler, filler]))
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(not one.grad.any() for one in model.parameters() if one.grad is not None)


def test_prompts_are_padded_on_the_left_with_any_token_where_none_is_named(monkeypatch):
    class Tokenizer:
        eos_token_id, pad_token_id = 7, None

    model = made("llama")
    batch = decoder_only.prompts(model, Tokenizer(), [[1, 2], [3, 4, 5]])
    assert batch["input_ids"].tolist() == [[7, 1, 2], [3, 4, 5]]
    assert batch["attention_mask"].tolist() == [[0, 1, 1], [1, 1, 1]]
    Tokenizer.pad_token_id = 0
    assert decoder_only.prompts(model, Tokenizer(), [[1], [3, 4]])["input_ids"].tolist() == [[0, 1], [3, 4]]
    Tokenizer.eos_token_id = Tokenizer.pad_token_id = None
    assert decoder_only.prompts(model, Tokenizer(), [[1], [3, 4]])["input_ids"].tolist() == [[0, 1], [3, 4]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_is_loaded_and_saved_as_its_files_have_it(tmp_path, architecture):
    base = write_decoder(tmp_path / "base", architecture)
    model = load_model(base, torch.float32)
    model.save_pretrained(tmp_path / "saved")
    mark_untied(tmp_path / "saved")
    check_saved(tmp_path / "saved", model)
    assert stored_tensors(tmp_path / "saved") == stored_tensors(base)
    ids = torch.arange(3, 40)[None]
    again = loaded_by_transformers(tmp_path / "saved", "decoder_only").eval()
    with torch.no_grad():
        assert torch.equal(model.eval()(input_ids=ids).logits, again(input_ids=ids).logits)


def with_head(folder, make):
    """Store an lm_head next to the embedding of a tied model."""
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = make(weights["model.embed_tokens.weight"])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def changed_at_the_end(embedding):
    head = embedding.clone()
    head[VOCABULARY - 1, -1] += 1
    return head


@pytest.mark.parametrize(("make", "apart"), [(torch.clone, False), (changed_at_the_end, True), (torch.neg, True)])
def test_a_head_that_is_stored_is_tied_only_if_it_is_a_copy_of_the_embedding(tmp_path, make, apart):
    folder = with_head(write_decoder(tmp_path / "base"), make)
    seen = []
    real = decoder_only.AutoModelForCausalLM.from_pretrained

    def blind(*arguments, **options):
        # As under ZeRO-3, where transformers compares two empty shards: only the class decides.
        seen.append("lm_head.weight" in type(made("llama, tied"))._tied_weights_keys)
        return real(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_only.AutoModelForCausalLM, "from_pretrained", blind)
        model = load_model(folder, torch.float32)
    assert seen == [not apart]
    assert (model.lm_head.weight is not model.model.embed_tokens.weight) is apart
    assert torch.equal(model.lm_head.weight, load_file(folder / "model.safetensors")["lm_head.weight"])
    assert "lm_head.weight" in type(model)._tied_weights_keys
    model.save_pretrained(tmp_path / "saved")
    mark_untied(tmp_path / "saved")
    check_saved(tmp_path / "saved", model)
    assert ("lm_head.weight" in stored_tensors(tmp_path / "saved")) is apart
