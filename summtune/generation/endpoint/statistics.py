"""What a server did in a run, as counts and as sentences that a reader of the scores must know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from summtune.base.numbers import counted
from summtune.generation.endpoint.ledger import Ledger
from summtune.generation.endpoint.secrecy import REPLACEMENT
from summtune.generation.generator import Output
from summtune.recipe.endpoint import Endpoint
from summtune.runs.answers import Answer
from summtune.runs.statistics import EndpointStats


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

    Servers add a date or a revision, and leave out or add the folders before the name.
    """
    wanted, found = asked.casefold(), answered.casefold()
    return found.startswith(wanted) or found.rsplit("/", 1)[-1].startswith(wanted.rsplit("/", 1)[-1])


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


def warnings_of(stats: EndpointStats, outputs: int) -> list[str]:
    """Return sentences on the answers that a reader of the scores must know.

    Args:
        stats: what the server did.
        outputs: how many distinct prompts there are.
    """
    of = f"of {counted(outputs, 'answer')}"
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
        found.append(
            f"test: {stats.empty:,} {of} had no text, so the prediction is empty; a model that thinks may need a "
            "higher generation.max_new_tokens"
        )
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
