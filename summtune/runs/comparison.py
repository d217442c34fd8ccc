"""What ``comparison.json`` holds: systems side by side, their paired differences, and the verdict."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from summtune.base.strict import Count, Measure, StrictModel
from summtune.runs.cost import UNKNOWN_COST, Cost
from summtune.runs.diagnostics import CheckResult, UnreadLetters
from summtune.runs.metrics import Anchor, ByReferences, Estimate, Protocol, RunMetrics, Text, check_ends

COMPARISON_FILE = "comparison.json"

SystemKind = Literal["prompt", "train", "scored"]
"""What can be compared: prompted and trained models, and external outputs that were scored here."""

PValue = Annotated[float, Field(ge=0, le=1)]


class ComparedSystem(StrictModel):
    """One system of a comparison.

    Args:
        name: shown to readers, unique within a comparison.
        run_dir: its run directory.
        kind: ``scored`` for external outputs.
        trainable_parameters: that training could change, 0 for a prompted model; None if unknown.
        total_parameters: all parameters, an adapter's included; None if unknown.
        metrics: its scores.
        by_references: its ROUGE under every aggregation of references.
        cost: of making and of using it.
    """

    name: Text
    run_dir: str
    kind: SystemKind
    trainable_parameters: Count | None
    total_parameters: Count | None
    metrics: Annotated[dict[str, Estimate], Field(min_length=1)]
    by_references: dict[str, ByReferences]
    cost: Cost

    @property
    def parameters(self) -> tuple[int, int] | None:
        """Trainable and total parameters; None if they are unknown."""
        if self.trainable_parameters is None or self.total_parameters is None:
            return None
        return self.trainable_parameters, self.total_parameters

    @classmethod
    def external(cls, name: str, run_dir: str, scores: RunMetrics) -> ComparedSystem:
        """Return outputs of which only the scores are known."""
        return cls(
            name=name,
            run_dir=run_dir,
            kind="scored",
            trainable_parameters=None,
            total_parameters=None,
            metrics=scores.metrics,
            by_references=scores.by_references,
            cost=UNKNOWN_COST,
        )


class ComparisonProtocol(Protocol):
    """How the scores, and the intervals and p-values of their differences, were made."""

    permutations: Annotated[int, Field(ge=1, lt=2**63)]
    correction: Literal["max_t"]


class Difference(StrictModel):
    """A paired difference on one metric.

    Args:
        a: the system whose score is the minuend.
        b: the other system.
        metric: its name.
        difference: the mean over dialogues of ``a`` minus ``b``.
        ci_low: lower end of its interval among those of all rows; None if there are too few dialogues to bound it.
        ci_high: likewise.
        p_value: of the paired permutation test.
        p_adjusted: of the same test among those of all rows.
    """

    a: str
    b: str
    metric: Text
    difference: Measure
    ci_low: Measure | None
    ci_high: Measure | None
    p_value: PValue
    p_adjusted: PValue

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends; None if there is no interval."""
        return None if self.ci_low is None or self.ci_high is None else (self.ci_low, self.ci_high)

    @property
    def is_real(self) -> bool:
        """Whether the interval excludes zero, and so whether the test finds a difference at this level."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    @model_validator(mode="after")
    def _has_both_ends(self) -> Self:
        check_ends(self.ci_low, self.ci_high)
        return self


class SharedOutputs(StrictModel):
    """For how many of the dialogues two systems wrote the same."""

    a: str
    b: str
    count: Count
    of: Count


class IdenticalOutputs(CheckResult):
    """Pairs of systems that wrote the same for every dialogue, and for every pair how often they did."""

    pairs: tuple[SharedOutputs, ...]


class ComparisonChecks(StrictModel):
    """The checks of a comparison; without ROUGE there are no letters that it cannot read."""

    identical_outputs: IdenticalOutputs
    unread_letters: UnreadLetters | None = None


class ComparisonDiagnostics(StrictModel):
    """``diagnostics`` of ``comparison.json``."""

    checks: ComparisonChecks


class Comparison(StrictModel):
    """``comparison.json``.

    Args:
        protocol: how the scores, and the intervals and p-values of differences, were made.
        n: dialogues.
        baseline: the system that the others are measured against, or None.
        systems: two or more, in the order in which they are shown.
        floor: what the first three turns of each dialogue score; None if dialogues are unknown.
        ceiling: what each reference scores against the others; None if no dialogue has two.
        differences: of every two systems and metric that both have.
        diagnostics: checks of the systems side by side.
        warnings: sentences that a reader of the scores must know.
        verdict: one sentence for each system but the baseline.
    """

    protocol: ComparisonProtocol
    n: Annotated[int, Field(ge=1, lt=2**63)]
    baseline: str | None
    systems: Annotated[tuple[ComparedSystem, ...], Field(min_length=2)]
    floor: Anchor | None
    ceiling: Anchor | None
    differences: tuple[Difference, ...]
    diagnostics: ComparisonDiagnostics
    warnings: tuple[str, ...]
    verdict: tuple[str, ...]

    @model_validator(mode="after")
    def _knows_its_baseline(self) -> Self:
        if self.baseline is not None and self.baseline not in (system.name for system in self.systems):
            raise ValueError(f"baseline is not one of the systems: {self.baseline!r}")
        return self

    @model_validator(mode="after")
    def _has_intervals_that_agree_with_the_test(self) -> Self:
        alpha = 1 - self.protocol.bootstrap.confidence
        for row in self.differences:
            if (row.p_adjusted < alpha) != row.is_real:
                raise ValueError(
                    f"interval and p_adjusted of {row.a} against {row.b} on {row.metric} disagree: {row.interval} and "
                    f"{row.p_adjusted:.4g}"
                )
        return self
