"""What the stages of training and prediction report about themselves."""

from __future__ import annotations

from typing import Literal

from summtune.base.strict import Count, Measure, StrictModel
from summtune.runs.stopping import Stopping

TRAINING_FILE = "training.json"
TRAIN_LOG_FILE = "train_log.jsonl"
STATS_FILE = "prediction_stats.json"

Precision = Literal["bf16", "fp32"]


class LossTally(StrictModel):
    """How many texts one kind of loss concerns, with their unknown tokens, lost characters and first ids."""

    texts: Count
    tokens: Count
    characters: Count
    examples: tuple[tuple[str, str], ...]


class LossesOfTexts(StrictModel):
    """How many texts and characters there are, and what the tokenizer loses of them by kind of loss."""

    texts: Count
    characters: Count
    lost: dict[str, LossTally]


class TextLosses(StrictModel):
    """What the tokenizer loses of a role's texts.

    Args:
        template: characters of the prompt template that it loses.
        prompts: of the prompts.
        summaries: of the summaries.
    """

    template: str
    prompts: LossesOfTexts
    summaries: LossesOfTexts


class Training(StrictModel):
    """``training.json``.

    Args:
        trainable_parameters: that training could change.
        total_parameters: all, an adapter's included.
        pairs: dialogue-summary pairs that were trained on.
        steps: optimizer steps.
        epochs: passes over the pairs.
        eval_loss: the best validation loss; None without validation data.
        best_step: of the model that was kept; None without validation data.
        train_loss: mean of the logged losses; None when none was logged.
        resumed_from_step: of the last interruption; None without one.
        seconds: of training, over every interruption.
        device_seconds: the same, times devices.
        peak_memory_bytes: most memory that a process held.
        processes: that trained, each on a device.
        precision: of the forward and backward pass.
        unchanged_tensors: weights that equal the base model's; None for an adapter.
        compared_tensors: weights that were compared with the base model's; None for an adapter.
        lost_text: by role what the tokenizer loses.
        warnings: sentences that a reader of the scores must know.
    """

    trainable_parameters: Count
    total_parameters: Count
    pairs: Count
    steps: Count
    epochs: Measure
    eval_loss: Measure | None
    best_step: Count | None
    train_loss: Measure | None
    resumed_from_step: Count | None
    seconds: Measure
    device_seconds: Measure
    peak_memory_bytes: Count
    processes: Count
    precision: Precision
    unchanged_tensors: Count | None
    compared_tensors: Count | None
    lost_text: dict[str, TextLosses]
    warnings: tuple[str, ...]


class TrainLogRow(StrictModel):
    """One line of ``train_log.jsonl``: a logged step of training, or an evaluation.

    Args:
        step: optimizer steps so far.
        epoch: passes over the pairs so far.
        loss: mean over the target tokens of the steps since the last line.
        grad_norm: of the last step; None if it was not measured or is not finite.
        learning_rate: of the last step.
        samples_per_second: since the last line.
        tokens_per_second: target tokens, likewise.
        peak_memory_bytes: of the first process.
        eval_loss: of an evaluation, whose line has none of the above but step and epoch.
    """

    step: Count
    epoch: Measure
    loss: Measure | None = None
    grad_norm: Measure | None = None
    learning_rate: Measure | None = None
    samples_per_second: Measure | None = None
    tokens_per_second: Measure | None = None
    peak_memory_bytes: Count | None = None
    eval_loss: Measure | None = None


class EndpointStats(StrictModel):
    """What the server of a run did, over every attempt of the run; texts are those of distinct prompts.

    Args:
        model: that was asked for.
        models: that answered, by their own names, with the number of their texts; "" of those that do not say.
        fingerprints: of the server's software and settings, with the number of their texts.
        requests: that were sent.
        retries: by cause, the requests that were sent again.
        unanswered: requests that got no whole answer, though the server may have charged for them.
        refusals: texts in whose place the model wrote that it refuses.
        content_filters: texts that the server withheld or cut.
        empty: other texts that are empty, without a thought.
        without_usage: texts whose tokens the server did not count.
        extra_choices: texts that came with others for the same prompt, which were left out.
        keys_replaced: texts that held the API key, which was replaced.
        prompt_tokens: that the server counted, of all texts.
        new_tokens: that it counted, thoughts included.
        cached_tokens: of the prompts, those that it had in its cache.
        reasoning_tokens: of the new tokens, those of thoughts where it says so.
        charged_prompt_tokens: that the server may have charged for at most, requests without an answer included.
        charged_new_tokens: likewise.
    """

    model: str
    models: dict[str, Count]
    fingerprints: dict[str, Count]
    requests: Count
    retries: dict[str, Count]
    unanswered: Count
    refusals: Count
    content_filters: Count
    empty: Count
    without_usage: Count
    extra_choices: Count
    keys_replaced: Count
    prompt_tokens: Count
    new_tokens: Count
    cached_tokens: Count
    reasoning_tokens: Count
    charged_prompt_tokens: Count
    charged_new_tokens: Count


class PredictionStats(StrictModel):
    """``prediction_stats.json``; of external outputs the file holds both counts of parameters alone, which are None.

    Args:
        dialogues: that were summarized.
        unique_prompts: of those, prompts that differ; each was generated once.
        truncated: dialogues that were cut to fit ``sequence_len``.
        thoughts: dialogues for which a reasoning model wrote a thought, which is not part of the prediction.
        unfinished_thoughts: of those, without a summary after the thought, which ``max_new_tokens`` ended.
        trainable_parameters: that training could change, 0 for a prompted model; None if unknown.
        total_parameters: all parameters, an adapter's included; None if unknown.
        exemplars: ids of the dialogues that prompts show.
        processes: that generated, each on a device.
        precision: of the generation.
        global_attention: a sentence on it; None of a model without.
        prompt_tokens: of all prompts that differ; None if unknown, as for the next.
        generated_tokens: of their outputs, thoughts included.
        seconds: of the stage, over every interruption.
        device_seconds: of generating the outputs, over every interruption, times devices; None of an older run and of
            a server.
        peak_memory_bytes: most memory that the first process held.
        lost_text: what the tokenizer loses.
        stopping: how often the trained model ended summaries of validation dialogues by itself; None if not measured.
        endpoint: what the server did; None for a model on this machine.
        engine: name and version of what generated on this machine; None for transformers.
        warnings: sentences that a reader of the scores must know.
    """

    dialogues: Count | None = None
    unique_prompts: Count | None = None
    truncated: Count | None = None
    thoughts: Count = 0
    unfinished_thoughts: Count = 0
    trainable_parameters: Count | None
    total_parameters: Count | None
    exemplars: tuple[str, ...] = ()
    processes: Count | None = None
    precision: Precision | None = None
    global_attention: str | None = None
    prompt_tokens: Count | None = None
    generated_tokens: Count | None = None
    seconds: Measure | None = None
    device_seconds: Measure | None = None
    peak_memory_bytes: Count | None = None
    lost_text: TextLosses | None = None
    stopping: Stopping | None = None
    endpoint: EndpointStats | None = None
    engine: str | None = None
    warnings: tuple[str, ...] = ()
