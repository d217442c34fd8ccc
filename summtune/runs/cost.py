"""What a system costs: ``cost.json`` of a run, which a comparison repeats for each of its systems."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from summtune.base.strict import Count, Measure, StrictModel, parse_model
from summtune.runs.run_plan import PLAN_FILE, PlanView
from summtune.runs.statistics import STATS_FILE, PredictionStats, Training

COST_FILE = "cost.json"

_Amount = Annotated[float, Field(ge=0, le=1e18)]


class Cost(StrictModel):
    """What a system costs; None if unknown, as for external outputs. No money is known without a price.

    A stage whose outputs were reused has the cost of the run that made them. It was paid once.

    Args:
        training_device_hours: hours times devices, over every interruption; 0 for a prompted model.
        devices: processes that trained, each on one GPU (without GPUs, on this machine's CPU).
        peak_memory_bytes: most memory that a process held in training or, of a prompted model, in prediction: of its
            GPU, or its resident memory without one.
        size_bytes: of the weights that are kept besides the base model's: all of them after full fine-tuning, the
            adapter's, or 0 for a prompted model; None of a server.
        generation_device_hours: of generating the outputs of all dialogues, likewise, without loading the model; None
            for a server, whose devices are not known.
        device: that the hours are of; None if unknown, or if training and generation ran on different ones.
        dialogues: that were summarized.
        prompts: of those, prompts that differ; dialogues that share one are asked once.
        prompt_tokens: of all prompts that differ.
        generated_tokens: of their outputs, thoughts included.
        currency: of the money, an ISO 4217 code.
        training_money: device-hours times their price; 0 for a prompted model.
        generation_money: of all outputs: device-hours times their price or, of a server, tokens times theirs.
        money: both together.
        charged_at_most: of a server: money of every request of the run that it may have charged for, those without an
            answer included. None for other systems.
        money_per_1000_dialogues: of generation.
        training_made_by: the run that trained, if this one reused its model.
        generation_made_by: the run that generated, if this one reused its outputs.
    """

    training_device_hours: _Amount | None
    devices: Count | None
    peak_memory_bytes: Count | None
    size_bytes: Count | None
    generation_device_hours: _Amount | None = None
    device: Literal["cuda", "cpu"] | None = None
    dialogues: Count | None = None
    prompts: Count | None = None
    prompt_tokens: Count | None = None
    generated_tokens: Count | None = None
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] | None = None
    training_money: _Amount | None = None
    generation_money: _Amount | None = None
    money: _Amount | None = None
    charged_at_most: _Amount | None = None
    money_per_1000_dialogues: _Amount | None = None
    training_made_by: str | None = None
    generation_made_by: str | None = None

    def per_1000(self, amount: float | None) -> float | None:
        """Return an amount of all dialogues for 1,000 of them; None if it or their number is unknown."""
        return _per_1000(amount, self.dialogues)


UNKNOWN_COST = Cost.model_validate(dict.fromkeys(Cost.model_fields))


def cost_of(folder: Path, plan: PlanView, stats: PredictionStats, training: Training | None) -> Cost:
    """Return what a run cost, under the prices of its plan.

    Args:
        folder: its run directory.
        plan: what is shown of ``plan.json``.
        stats: ``prediction_stats.json``.
        training: ``training.json``; None unless the run trained.

    Raises:
        RunDirectoryError: the plan has prices that no recipe can have, or a time is negative.
    """
    if plan.kind == "scored":
        return UNKNOWN_COST
    prices = parse_model(_Prices, plan.recipe, f"{folder / PLAN_FILE}, recipe")
    training_hours = 0.0 if training is None else training.device_seconds / 3600
    generation_hours = None if prices.endpoint is not None else _hours_of_generation(stats)
    to_train, to_generate, currency = prices.paid(training_hours, generation_hours, stats)
    values = {
        "training_device_hours": training_hours,
        "devices": None if training is None else training.processes,
        "peak_memory_bytes": stats.peak_memory_bytes if training is None else training.peak_memory_bytes,
        "size_bytes": None if prices.endpoint is not None else _size(folder) if training is not None else 0,
        "generation_device_hours": generation_hours,
        "device": next(iter(plan.devices)) if len(plan.devices) == 1 else None,
        "dialogues": stats.dialogues,
        "prompts": stats.unique_prompts,
        "prompt_tokens": stats.prompt_tokens,
        "generated_tokens": stats.generated_tokens,
        "currency": currency,
        "training_money": to_train,
        "generation_money": to_generate,
        "money": None if to_train is None or to_generate is None else to_train + to_generate,
        "charged_at_most": prices.charged_at_most(stats),
        "money_per_1000_dialogues": _per_1000(to_generate, stats.dialogues),
        "training_made_by": plan.reused["train"].shown if "train" in plan.reused else None,
        "generation_made_by": plan.reused["predict"].shown if "predict" in plan.reused else None,
    }
    return parse_model(Cost, values, f"{folder / STATS_FILE} or its training")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in (folder / "model").glob("*.safetensors"))


def _per_1000(amount: float | None, dialogues: int | None) -> float | None:
    return None if amount is None or not dialogues else 1000 * amount / dialogues


class _Price(BaseModel):
    """A part of a price or of the recipe that holds it; other keys are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


_Money = Annotated[float, Field(ge=0, le=1e6)]


class _DevicePrice(_Price):
    device_hour: _Money
    currency: str


class _TokenPrice(_Price):
    input: _Money
    output: _Money
    currency: str

    def money(self, prompt_tokens: int, generated_tokens: int) -> float:
        """Return what tokens cost, whose prices are for a million."""
        return (prompt_tokens * self.input + generated_tokens * self.output) / 1e6


class _Endpoint(_Price):
    price: _TokenPrice | None = None


class _Prices(_Price):
    """The prices in a resolved recipe."""

    price: _DevicePrice | None = None
    endpoint: _Endpoint | None = None

    def paid(
        self, training_hours: float, generation_hours: float | None, stats: PredictionStats
    ) -> tuple[float | None, float | None, str | None]:
        """Return the money of training, that of generation and their currency; None where it is unknown."""
        if self.endpoint is not None:
            tokens = self.endpoint.price
            if tokens is None:
                return None, None, None
            if stats.prompt_tokens is None or stats.generated_tokens is None:
                return 0.0, None, tokens.currency
            return 0.0, tokens.money(stats.prompt_tokens, stats.generated_tokens), tokens.currency
        if self.price is None:
            return None, None, None
        hourly = self.price.device_hour
        spent = None if generation_hours is None else generation_hours * hourly
        return training_hours * hourly, spent, self.price.currency

    def charged_at_most(self, stats: PredictionStats) -> float | None:
        """Return the money of every request that a server may have charged for; None without one or a price."""
        if self.endpoint is None or self.endpoint.price is None or stats.endpoint is None:
            return None
        return self.endpoint.price.money(stats.endpoint.charged_prompt_tokens, stats.endpoint.charged_new_tokens)


def _hours_of_generation(stats: PredictionStats) -> Measure | None:
    """Return device-hours; an older run, which has no record of them, those of its last attempt with loading."""
    if stats.device_seconds is not None:
        return stats.device_seconds / 3600
    if stats.seconds is None or stats.processes is None:
        return None
    return stats.seconds * stats.processes / 3600
