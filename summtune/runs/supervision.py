"""What a training recorded about its examples before the first step."""

from __future__ import annotations

from typing import Literal

from summtune.base import numbers
from summtune.base.strict import Count, StrictModel

SUPERVISION_FILE = "supervision.json"

Check = Literal[
    "one_bos",
    "stable_template",
    "prompt_kept",
    "summary_unchanged",
    "nothing_added",
    "end_written",
    "end_stops_generation",
    "not_cut",
    "not_empty",
    "prompt_as_generated_from",
    "completion_alone_is_trained",
]
"""A property that every example has; docs/supervision.md says what each one means."""


class EndToken(StrictModel):
    """A token that ends a generated summary, by its id, as the vocabulary writes it."""

    id: Count
    text: str


class SupervisedRole(StrictModel):
    """The examples of a role.

    Args:
        examples: pairs of a prompt and a completion that were checked.
        trained_tokens: of all completions, ends included.
        longest_prompt: most tokens of a prompt.
        longest_completion: most tokens of a completion, its end included.
        cut_dialogues: dialogues that were cut to fit ``sequence_len``, or left out.
        prompts_encoded_again: prompts that were encoded a second time, as for generation, and compared.
    """

    examples: Count
    trained_tokens: Count
    longest_prompt: Count
    longest_completion: Count
    cut_dialogues: Count
    prompts_encoded_again: Count


class Supervision(StrictModel):
    """``supervision.json``.

    Args:
        template: what writes the prompts: the file of a chat template, or ``plain text``.
        template_sha256: of the text of the template.
        ends: the tokens that end a generated summary.
        checks: that all examples passed.
        roles: by name.
    """

    template: str
    template_sha256: str
    ends: tuple[EndToken, ...]
    checks: tuple[Check, ...]
    roles: dict[str, SupervisedRole]


def described(supervision: Supervision) -> str:
    """Return one line: what was checked, and on how many examples."""
    roles = supervision.roles.items()
    examples = " and ".join(f"{numbers.count(each.examples)} {role}" for role, each in roles)
    trained = numbers.count(sum(each.trained_tokens for role, each in roles if role == "train"))
    again = numbers.count(sum(each.prompts_encoded_again for _, each in roles))
    ends = " or ".join(one.text for one in supervision.ends)
    return (
        f"{examples} examples passed {len(supervision.checks)} checks ({again} prompts were encoded twice): prompts by "
        f"{supervision.template}, {trained} tokens trained on, summaries end with {ends}"
    )
