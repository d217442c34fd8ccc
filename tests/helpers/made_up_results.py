"""Builders of what a finished run holds, with every field that a test does not name made up."""

from summtune.runs.comparison import (
    ComparedSystem,
    Comparison,
    ComparisonChecks,
    ComparisonDiagnostics,
    ComparisonProtocol,
    Difference,
    IdenticalOutputs,
)
from summtune.runs.cost import UNKNOWN_COST
from summtune.runs.diagnostics import CheckResult, Diagnostics, Finding
from summtune.runs.metrics import Anchor, Bootstrap, Estimate, ExtraMetric, Protocol
from summtune.runs.statistics import PredictionStats, Training

PROTOCOL = {
    "implementation": "rouge_score",
    "version": "0.1.2",
    "tokenizer": "rouge",
    "stemmer": True,
    "sentence_splitting": "newline",
    "references": "mean",
    "bootstrap": Bootstrap(samples=1000, seed=42, confidence=0.95),
}


def estimate(value=0.4, low=None, high=None):
    return Estimate(value=value, ci_low=low, ci_high=high)


def protocol(**changes):
    return Protocol(**(PROTOCOL | changes))


def extra_metric(**changes):
    made = {"implementation": "evaluate", "version": "0.4.6", "arguments": {}, "references": "each", "details": {}}
    return ExtraMetric(**(made | changes))


def anchor(name, **values):
    return Anchor(name=name, n=6, metrics={metric: estimate(value) for metric, value in values.items()})


def check_result(title, count, examples=(), references=None, of=6):
    return CheckResult(
        title=title,
        meaning=f"What {title.lower()} means.",
        count=count,
        of=of,
        references=references,
        examples=tuple(Finding(id=id_, found=text) for id_, text in examples),
    )


def diagnostics(checks=None, means=None, notes=(), warnings=()):
    return Diagnostics(checks=checks or {}, means=means or {}, notes=notes, warnings=warnings)


def training(**changes):
    made = {
        "trainable_parameters": 10,
        "total_parameters": 1000,
        "pairs": 800,
        "steps": 100,
        "epochs": 2.0,
        "eval_loss": 1.1,
        "best_step": 100,
        "train_loss": 1.23456,
        "resumed_from_step": None,
        "seconds": 725.0,
        "device_seconds": 725.0,
        "peak_memory_bytes": 2**30,
        "processes": 1,
        "precision": "fp32",
        "unchanged_tensors": None,
        "compared_tensors": None,
        "lost_text": {},
        "warnings": (),
    }
    return Training(**(made | changes))


def prediction_stats(**changes):
    return PredictionStats(**({"trainable_parameters": 0, "total_parameters": 1000} | changes))


def compared_system(name, metrics=None, trainable=None, total=None, **cost):
    """Return a system of a comparison; one whose parameters are not named is of external outputs."""
    return ComparedSystem(
        name=name,
        run_dir=f"/runs/{name}",
        kind="scored" if trainable is None else "train" if trainable else "prompt",
        trainable_parameters=trainable,
        total_parameters=total,
        metrics=metrics or {"rouge1": estimate()},
        by_references={},
        cost=UNKNOWN_COST.model_copy(update=cost),
    )


def difference(a, b, value, low, high, p_adjusted, metric="rouge1", p_value=None):
    return Difference(
        a=a,
        b=b,
        metric=metric,
        difference=value,
        ci_low=low,
        ci_high=high,
        p_value=p_adjusted / 2 if p_value is None else p_value,
        p_adjusted=p_adjusted,
    )


def identical(*pairs):
    return IdenticalOutputs(title="Same", meaning="Same.", count=0, of=1, references=None, examples=(), pairs=pairs)


def comparison(systems, differences=(), baseline=None, confidence=0.95, verdict=()):
    bootstrap = Bootstrap(samples=1000, seed=42, confidence=confidence)
    made = PROTOCOL | {"bootstrap": bootstrap, "permutations": 1000, "correction": "max_t"}
    return Comparison(
        protocol=ComparisonProtocol(**made),
        n=6,
        baseline=baseline,
        systems=tuple(systems),
        floor=None,
        ceiling=None,
        differences=tuple(differences),
        diagnostics=ComparisonDiagnostics(checks=ComparisonChecks(identical_outputs=identical())),
        warnings=(),
        verdict=verdict,
    )
