"""What a server did in a run, as counts and as sentences that a reader of the scores must know."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from summtune.base.numbers import counted
from summtune.generation.endpoint.ledger import Ledger
from summtune.generation.endpoint.parsing import CUT
from summtune.generation.endpoint.secrecy import REPLACEMENT
from summtune.generation.generator import Output
from summtune.recipe.endpoint import Endpoint
from summtune.runs.answers import Answer
from summtune.runs.statistics import EndpointStats

_CALLS = ("tool_calls", "function_call")
_ANY_MODEL = ("default", "tgi")
"""What servers of one model are asked for where its name does not matter; they answer with its real one."""
_REVISION = r"@.+|[-:@]\d{4}-?\d\d-?\d\d|[-:@]\d{3,8}"
"""A commit, a date, or a number such as 0613. Fewer digits are another model: gpt-4 and gpt-4.1, qwen3 and qwen3-8b."""


def is_filtered(answer: Answer) -> bool:
    """Return whether the server's content filter withheld or cut the text."""
    return answer.finish_reason is not None and answer.finish_reason.startswith("content_")


def is_empty(output: Output) -> bool:
    """Return whether there is no text, without a refusal, a filter or a thought that says why."""
    answer = output.answer
    explained = output.thinking is not None or (
        answer is not None and (answer.refusal is not None or is_filtered(answer))
    )
    return not output.text and not explained


def is_model(asked: str, answered: str) -> bool:
    """Return whether the name that a server answers with is that of the model that was asked for.

    Servers add a date or a revision, and leave out or add folders before the name, ``:latest`` or ``.gguf``. A name of
    `_ANY_MODEL` is that of every model.
    """
    wanted, found = (re.sub(r"(?:[-:]latest|\.gguf)$", "", name.casefold()) for name in (asked, answered))
    if "/" not in wanted or "/" not in found:
        wanted, found = wanted.rsplit("/", 1)[-1], found.rsplit("/", 1)[-1]
    same = re.fullmatch(rf"(?:.*/)?{re.escape(wanted)}(?:{_REVISION})?", found)
    return wanted in _ANY_MODEL or same is not None or wanted.endswith(f"/{found}")


def statistics_of(outputs: Sequence[Output], ledger: Ledger, endpoint: Endpoint) -> EndpointStats:
    """Return what the server did.

    Args:
        outputs: of all distinct prompts.
        ledger: the requests of every attempt.
        endpoint: the server.
    """
    answers = [output.answer for output in outputs if output.answer is not None]
    usages = [answer.usage for answer in answers if answer.usage is not None]
    return EndpointStats(
        model=endpoint.model,
        models=dict(Counter(answer.model or "" for answer in answers)),
        fingerprints=dict(Counter(answer.fingerprint for answer in answers if answer.fingerprint)),
        requests=ledger.sent,
        retries=dict(ledger.retries),
        unanswered=ledger.unanswered,
        refusals=sum(answer.refusal is not None for answer in answers),
        content_filters=sum(map(is_filtered, answers)),
        empty=sum(map(is_empty, outputs)),
        without_usage=len(answers) - len(usages),
        extra_choices=sum(answer.choices > 1 for answer in answers),
        keys_replaced=sum(answer.key_replaced for answer in answers),
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        new_tokens=sum(usage.new_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens or 0 for usage in usages),
        reasoning_tokens=sum(usage.reasoning_tokens or 0 for usage in usages),
        charged_prompt_tokens=ledger.charged.prompt,
        charged_new_tokens=ledger.charged.new,
    )


def _why_empty(outputs: Sequence[Output]) -> str:
    """Return the finish reasons of empty answers, and what to do."""
    reasons = Counter(
        (output.answer.finish_reason if output.answer else None) or "none" for output in outputs if is_empty(output)
    )
    listed = ", ".join(f"{reason} ({count:,})" for reason, count in sorted(reasons.items()))
    advice = "a model that thinks may need a higher generation.max_new_tokens"
    if reasons.keys() & set(_CALLS):
        advice = "the model called a tool instead: remove tools and functions from endpoint.extra_body"
    elif not reasons.keys() & set(CUT):
        advice = "look at such a prompt and its answer in predictions.jsonl, and change the prompt or the model"
    return f"their finish_reason is {listed}; {advice}"


def warnings_of(stats: EndpointStats, outputs: Sequence[Output]) -> list[str]:
    """Return sentences on the answers that a reader of the scores must know.

    Args:
        stats: what the server did.
        outputs: of all distinct prompts.
    """
    of = f"of {counted(len(outputs), 'answer')}"
    named = {name: count for name, count in stats.models.items() if name}
    others = {name: count for name, count in named.items() if not is_model(stats.model, name)}
    found = []
    if stats.refusals:
        found.append(f"test: the model refused {stats.refusals:,} {of}, so the prediction is empty")
    if stats.content_filters:
        found.append(
            f"test: the server's content filter withheld or cut {stats.content_filters:,} {of}; the predictions are "
            "scored as they are"
        )
    if stats.empty:
        found.append(f"test: {stats.empty:,} {of} had no text, so the prediction is empty; {_why_empty(outputs)}")
    if others:
        listed = ", ".join(f"{name} ({count:,})" for name, count in sorted(others.items()))
        found.append(f"test: another model than {stats.model} gave {sum(others.values()):,} {of}: {listed}")
    elif len(named) > 1:
        found.append(f"test: the answers are of several versions of the model: {', '.join(sorted(named))}")
    if len(stats.fingerprints) > 1:
        found.append(
            f"test: the server changed while it answered: {len(stats.fingerprints)} values of system_fingerprint"
        )
    if stats.without_usage:
        found.append(
            f"test: the server did not count the tokens of {stats.without_usage:,} {of}, so what they cost "
            "is not known; charged_at_most in cost.json is the most that it can be"
        )
    if stats.extra_choices:
        found.append(
            f"test: {stats.extra_choices:,} {of} had more than one choice, of which the first was taken; leave n out "
            "of endpoint.extra_body"
        )
    if stats.keys_replaced:
        found.append(f"test: {stats.keys_replaced:,} {of} contained the API key, which was replaced by {REPLACEMENT}")
    if stats.unanswered:
        found.append(
            f"test: {counted(stats.unanswered, 'request')} got no whole answer and had to be sent again, though the "
            "server may have charged for them"
        )
    return found
