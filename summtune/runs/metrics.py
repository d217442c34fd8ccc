"""What ``metrics.json`` and ``per_example.jsonl`` hold: the scores of one system, and how they were made."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from typing_extensions import Self

from summtune.base.strict import Count, Measure, StrictModel
from summtune.runs.diagnostics import Diagnostics, Tokenizer

METRICS_FILE = "metrics.json"
PER_EXAMPLE_FILE: Final = "per_example.jsonl"

Text = Annotated[str, Field(min_length=1)]
References = Literal["mean", "max"]


def check_ends(low: float | None, high: float | None) -> None:
    """Check that both ends of an interval are known, or neither.

    Raises:
        ValueError: only one is known.
    """
    if (low is None) != (high is None):
        raise ValueError("an interval has both ends or neither")


class Estimate(StrictModel):
    """A mean over dialogues with its percentile interval, in the unit of the scores.

    Args:
        value: the mean of the dialogues as they are.
        ci_low: lower end; None if there is only one dialogue, or the metric has no scores per dialogue.
        ci_high: upper end; None in the same cases.
    """

    value: Measure
    ci_low: Measure | None
    ci_high: Measure | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends; None if there is no interval."""
        return None if self.ci_low is None or self.ci_high is None else (self.ci_low, self.ci_high)

    @model_validator(mode="after")
    def _has_both_ends(self) -> Self:
        check_ends(self.ci_low, self.ci_high)
        return self


class ByReferences(StrictModel):
    """One metric under every aggregation of a dialogue's references.

    Args:
        mean: over dialogues of the mean over references.
        max: over dialogues of the best of the references.
        each: against the first references, against the second ones, and so on; None if dialogues have different
            numbers of references.
    """

    mean: Measure
    max: Measure
    each: tuple[Measure, ...] | None


class Anchor(StrictModel):
    """The floor or the ceiling between which scores are read.

    Args:
        name: ``lead-3`` or ``human agreement``.
        n: dialogues that it was computed on.
        metrics: its scores.
    """

    name: Text
    n: Count
    metrics: dict[str, Estimate]


class Bootstrap(StrictModel):
    """How intervals were resampled."""

    samples: Annotated[int, Field(ge=1, lt=2**31)]
    seed: Count
    confidence: Annotated[float, Field(gt=0, lt=1)]


class ExtraMetric(StrictModel):
    """How a metric of the evaluate library was computed.

    Args:
        implementation: ``evaluate``.
        version: of that library.
        script: of a local metric, its name and the hash of its content.
        arguments: that it was given.
        references: ``each``, or ``all at once``.
        details: what the metric reports of itself, such as BERTScore's hash code.
    """

    implementation: str
    version: str
    script: str | None = None
    arguments: dict[str, JsonValue]
    references: str
    details: dict[str, str]


class Protocol(StrictModel):
    """How scores were made; systems are compared under equal protocols only.

    Args:
        implementation: of ROUGE.
        version: of that implementation.
        tokenizer: of ROUGE.
        stemmer: whether ROUGE stems words.
        sentence_splitting: what splits texts for ROUGE-Lsum.
        references: how a dialogue's references are aggregated.
        bootstrap: how intervals are resampled.
        extra_metrics: by name the metrics of the evaluate library.
    """

    implementation: str
    version: str
    tokenizer: Tokenizer
    stemmer: bool
    sentence_splitting: str
    references: References
    bootstrap: Bootstrap
    extra_metrics: dict[str, ExtraMetric] = Field(default={})


class RunMetrics(StrictModel):
    """``metrics.json``.

    Args:
        protocol: how the scores were made.
        n: dialogues.
        metrics: the mean over dialogues with its interval; ROUGE as fractions from 0 to 1, others on their own scale.
        by_references: by ROUGE variant its mean under every aggregation of references.
        floor: what the first three turns of each dialogue score; None if dialogues are unknown.
        ceiling: what each reference scores against the others; None if no dialogue has two.
        per_example: the file with the scores of each dialogue.
        ids_sha256: hash of all ids with their references in any order: what the system was scored on.
        dialogues_sha256: hash of all ids with their dialogues; None if dialogues are unknown.
        outputs_sha256: hash of all ids with their predictions: equal for two systems that wrote the same.
        diagnostics: what makes the scores misleading.
    """

    protocol: Protocol
    n: Annotated[int, Field(ge=1, lt=2**63)]
    metrics: Annotated[dict[str, Estimate], Field(min_length=1)]
    by_references: dict[str, ByReferences]
    floor: Anchor | None
    ceiling: Anchor | None
    per_example: Literal["per_example.jsonl"]
    ids_sha256: str
    dialogues_sha256: str | None
    outputs_sha256: str
    diagnostics: Diagnostics


class ExampleScores(BaseModel):
    """One line of ``per_example.jsonl``: a dialogue's id, and one key a metric with the dialogue's score."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, Measure]

    id: str

    @property
    def scores(self) -> dict[str, float]:
        """The dialogue's score by metric."""
        return self.__pydantic_extra__
