import contextlib

import pytest
import torch
from tiny_inputs import dialogues

from summtune.work.models.encoder_decoder import Collator
from summtune.work.models.loading import load_model
from summtune.work.tokens.pairs import IGNORED, Pair, Pairs
from summtune.work.training.target_tokens import TargetTokens
from summtune.work.training.trainer import LayoutInvariantTrainer, global_token_mean, summed_cross_entropy

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


def losses_of(model, pairs, micro, targets=None):
    """Return the loss of each micro batch and the gradient of their sum, as the trainer adds them up."""
    target_tokens = torch.tensor(sum(label != IGNORED for pair in pairs for label in pair["labels"]))
    collate = Collator(pad=0, start=0)
    model.zero_grad()
    losses = []
    for start in range(0, len(pairs), micro):
        batch = collate(pairs[start : start + micro])
        labels = batch.pop("labels")
        with targets.of(labels) if targets else contextlib.nullcontext():
            outputs = model(**batch)
        loss = global_token_mean(outputs, labels, target_tokens)
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


def test_logits_of_only_target_tokens_give_the_same_loss_and_gradient(model, pairs):
    filled = [*pairs, *[FILLER] * 2]
    losses, norm = losses_of(model, filled, 2)
    quick_losses, quick_norm = losses_of(model, filled, 2, TargetTokens(model))
    assert quick_losses[-1] == losses[-1] == 0.0
    assert quick_losses == pytest.approx(losses, rel=1e-6)
    assert quick_norm == pytest.approx(norm, rel=1e-6)


def test_fillers_add_nothing_to_loss_and_gradient(model, pairs):
    losses, norm = losses_of(model, pairs, 2)
    filled, filled_norm = losses_of(model, [*pairs, *[FILLER] * 4], 2)
    assert filled[-2:] == [0.0, 0.0]
    assert filled[:-2] == losses
    assert filled_norm == norm


def test_a_batch_of_fillers_has_a_gradient_of_zero(model):
    batch = Collator(pad=0, start=0)([FILLER, FILLER])
    labels = batch.pop("labels")
    global_token_mean(model(**batch), labels, torch.tensor(10)).backward()
    assert all(not parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)
    assert model.shared.weight.grad is not None


def test_the_loss_is_computed_in_fp32():
    logits = torch.tensor([[[1.0, 2.0, 3.0]]], dtype=torch.bfloat16)
    loss = summed_cross_entropy(logits, torch.tensor([[2]]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.4076, abs=1e-4)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_the_evaluation_loss_is_the_mean_over_all_target_tokens(monkeypatch, model, pairs, at_once, quick):
    evaluated = pairs[:7]
    filled = Pairs(evaluated, at_once, eos=1)
    trainer = LayoutInvariantTrainer.__new__(LayoutInvariantTrainer)
    trainer.eval_dataset = filled
    trainer.evaluation_tokens = filled.target_tokens
    trainer.targets = TargetTokens(model) if quick else None
    monkeypatch.setattr(trainer, "_prepare_inputs", dict, raising=False)
    monkeypatch.setattr(trainer, "compute_loss_context_manager", torch.no_grad, raising=False)
    collate = Collator(pad=0, start=0)
    repeated = []  # the Trainer repeats the loss of a batch for each pair in it, and takes the mean over all pairs
    for start in range(0, len(filled), at_once):
        batch = collate([filled[index] for index in range(start, start + at_once)])
        loss, logits, labels = trainer.prediction_step(model, batch, prediction_loss_only=True)
        assert logits is labels is None
        repeated += [loss.item()] * at_once
    assert sum(repeated) / len(repeated) == pytest.approx(mean_over_all_tokens(model, evaluated), rel=1e-5)
