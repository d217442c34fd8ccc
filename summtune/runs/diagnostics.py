"""What the checks of a system's outputs found, as ``metrics.json`` and ``comparison.json`` hold it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from summtune.base.strict import Count, Measure, StrictModel

Tokenizer = Literal["rouge", "unicode", "character"]
Share = Annotated[float, Field(ge=0, le=1)]

UNREAD_LETTERS = "unread_letters"


class Finding(StrictModel):
    """One dialogue in which a check found something, and what."""

    id: str
    found: str


class LeakedDialogues(StrictModel):
    """Test dialogues that are also in the data of another role.

    Args:
        count: so many.
        of: test dialogues.
        examples: a few of them, with where they are.
    """

    count: Count
    of: Count
    examples: tuple[Finding, ...]


class CheckResult(StrictModel):
    """What one check found.

    Args:
        title: what it looks for, in a few words.
        meaning: one sentence on what exactly counts.
        count: texts in which it was found.
        of: texts that were looked at.
        references: share of the references in which the check finds something; None if it cannot be made of them.
        examples: a few findings.
    """

    title: str
    meaning: str
    count: Count
    of: Count
    references: Share | None
    examples: tuple[Finding, ...]


class UnreadLetters(CheckResult):
    """What ROUGE's tokenizer cannot read of the references.

    Args:
        share: mean over dialogues of the share of letters that are not read.
        scripts: to which most of these letters belong.
        tokenizer: that the scores were made with.
        recommended: the tokenizer that reads them.
    """

    share: Share
    scripts: tuple[str, ...]
    tokenizer: Tokenizer
    recommended: Literal["unicode", "character"]


def _which(value: object) -> str:
    has_share = "share" in value if isinstance(value, dict) else isinstance(value, UnreadLetters)
    return "letters" if has_share else "check"


AnyCheckResult = Annotated[
    Annotated[UnreadLetters, Tag("letters")] | Annotated[CheckResult, Tag("check")], Discriminator(_which)
]


class Diagnostics(StrictModel):
    """``diagnostics`` of ``metrics.json``.

    Args:
        checks: by name; a check that cannot be made is absent.
        means: numbers of an average output and of an average reference; None if they are unknown.
        notes: sentences on what the checks do not see in such writing.
        warnings: one sentence for each finding that a reader of the scores must know.
    """

    checks: dict[str, AnyCheckResult]
    means: dict[str, Measure | None]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def unread_letters(self) -> UnreadLetters | None:
        """What ROUGE cannot read; None if no ROUGE was computed."""
        found = self.checks.get(UNREAD_LETTERS)
        return found if isinstance(found, UnreadLetters) else None
