import pytest
import torch
from made_up_recipes import train_recipe
from tiny_decoders import write_decoder
from tiny_inputs import dialogues

from summtune.recipe.adapters import adapter_of
from summtune.work.models import decoder_only
from summtune.work.models.adapters import add_adapter
from summtune.work.models.encoder_decoder import Collator
from summtune.work.models.loading import load_model
from summtune.work.tokens.pairs import IGNORED, Pair, Pairs
from summtune.work.training.batches import share_of
from summtune.work.training.loss import TokenLoss

FILLER = Pair(input_ids=[1], labels=[IGNORED])


@pytest.fixture(scope="module")
def pairs(tokenizer):
    return [
        Pair(input_ids=tokenizer(row["dialogue"])["input_ids"], labels=tokenizer(row["summary"])["input_ids"])
        for row in dialogues(8)
    ]


@pytest.fixture
def model(checkpoint):
    return load_model(checkpoint, torch.float32).train()


CPU = torch.device("cpu")


def losses_of(model, pairs, micro, compiled=False):
    """Return the loss of each micro batch as a share of the mean over all tokens, and the gradient of their sum."""
    target_tokens = sum(label != IGNORED for pair in pairs for label in pair["labels"])
    token_loss, collate = TokenLoss(model, CPU, compiled), Collator(pad=0, start=0)
    model.zero_grad()
    losses = []
    for micro_batch in share_of(pairs, micro, 0, 1):
        loss = token_loss(model, collate(micro_batch)) / target_tokens
        loss.backward()
        losses.append(loss.item())
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm().item()
    return losses, norm


def mean_over_all_tokens(model, pairs):
    """Return the mean cross-entropy by the slowest way: one pair and one token at a time."""
    total, tokens = 0.0, 0
    with torch.no_grad():
        for pair in pairs:
            labels = pair["labels"]
            inputs = torch.tensor([pair["input_ids"]])
            logits = model(input_ids=inputs, decoder_input_ids=torch.tensor([[0, *labels[:-1]]])).logits[0]
            for place, label in enumerate(labels):
                total -= torch.log_softmax(logits[place], -1)[label].item()
                tokens += 1
    return total / tokens


@pytest.mark.parametrize("micro", [8, 4, 3, 1])
def test_micro_batches_add_up_to_the_mean_over_all_target_tokens(model, pairs, micro):
    losses, _ = losses_of(model, pairs, micro)
    assert sum(losses) == pytest.approx(mean_over_all_tokens(model, pairs), rel=1e-5)


def test_the_gradient_does_not_depend_on_the_micro_batch(model, pairs):
    norms = [losses_of(model, pairs, micro)[1] for micro in (8, 2, 1)]
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-5)


def test_all_logits_give_the_loss_and_gradient_of_those_of_target_tokens(checkpoint, pairs):
    filled = [*pairs, *[FILLER] * 2]
    every, chosen = (load_model(checkpoint, torch.float32).train() for _ in range(2))
    losses, norm = losses_of(every, filled, 2, compiled=True)
    quick_losses, quick_norm = losses_of(chosen, filled, 2)
    assert quick_losses[-1] == losses[-1] == 0.0
    assert quick_losses == pytest.approx(losses, rel=1e-6)
    assert quick_norm == pytest.approx(norm, rel=1e-6)


def test_logits_are_computed_only_for_positions_with_a_target(model, pairs):
    shapes = []
    model.get_output_embeddings().register_forward_hook(lambda _, __, logits: shapes.append(tuple(logits.shape)))
    batch = Collator(pad=0, start=0)(pairs[:3])
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    token_loss = TokenLoss(model, CPU)
    token_loss(model, batch)
    model(**inputs)
    assert shapes[0] == (sum(len(pair["labels"]) for pair in pairs[:3]), model.config.vocab_size)
    assert shapes[1] == (*batch["labels"].shape, model.config.vocab_size)


def test_an_error_in_the_model_resets_the_selection_of_positions(model, pairs):
    token_loss, batch = TokenLoss(model, CPU), Collator(pad=0, start=0)(pairs[:3])
    with pytest.raises(IndexError):
        token_loss(model, batch | {"input_ids": batch["input_ids"] + 10**6})
    batch.pop("labels")
    assert model(**batch).logits.ndim == 3


def test_fillers_add_nothing_to_loss_and_gradient(model, pairs):
    losses, norm = losses_of(model, pairs, 2)
    filled, filled_norm = losses_of(model, [*pairs, *[FILLER] * 4], 2)
    assert filled[-2:] == [0.0, 0.0]
    assert filled[:-2] == losses
    assert filled_norm == norm


def test_a_batch_of_fillers_has_a_gradient_of_zero(model):
    TokenLoss(model, CPU)(model, Collator(pad=0, start=0)([FILLER, FILLER])).backward()
    assert all(not parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)
    assert model.shared.weight.grad is not None


def test_the_loss_is_computed_in_fp32():
    class Model(torch.nn.Module):
        def forward(self):
            return {"logits": torch.tensor([[[1.0, 2.0, 3.0]]], dtype=torch.bfloat16)}

    model = Model()
    loss = TokenLoss(model, CPU, compiled=True)(model, {"labels": torch.tensor([[2]])})
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.4076, abs=1e-4)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_fillers_do_not_change_the_mean_over_all_target_tokens(model, pairs, at_once, compiled):
    filled = Pairs(pairs[:7], at_once, eos=1)
    losses, _ = losses_of(model, [filled[index] for index in range(len(filled))], at_once, compiled)
    assert sum(losses) == pytest.approx(mean_over_all_tokens(model, pairs[:7]), rel=1e-5)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft uses a deprecated name
@pytest.mark.parametrize("compiled", [True, False])
def test_with_virtual_tokens_before_a_prompt_the_loss_is_that_of_peft(tmp_path, compiled):
    """The logits of a decoder-only model begin with those of the virtual tokens."""
    planned = adapter_of(train_recipe(adapter="prompt_tuning", num_virtual_tokens=3), None)
    base = write_decoder(tmp_path / "base", "llama")
    model = add_adapter(load_model(base, torch.float32), planned, str(base))
    rows = [Pair(input_ids=[5, 6, 7], labels=[8, 2]), Pair(input_ids=[5, 6, 7, 9, 3], labels=[8, 9, 2])]
    ids, labels = torch.zeros(2, 8).long(), torch.full((2, 8), IGNORED)
    for row, pair in enumerate(rows):
        prompt, whole = len(pair["input_ids"]), [*pair["input_ids"], *pair["labels"]]
        ids[row, : len(whole)] = torch.tensor(whole)
        labels[row, prompt : len(whole)] = torch.tensor(pair["labels"])
    expected = model(input_ids=ids, labels=labels).loss * 5
    batch = decoder_only.Collator(0)([decoder_only.example(pair) for pair in rows])
    assert TokenLoss(model, CPU, compiled)(model, batch).item() == pytest.approx(expected.item(), rel=1e-5)
