"""What a server says of one answer: the model, why it ended, and the tokens that it counted."""

from __future__ import annotations

from summtune.base.strict import Count, Measure, StrictModel


class Usage(StrictModel):
    """The tokens of one answer as the server counted them, which is what it charges for.

    Args:
        prompt_tokens: of the prompt, what its template adds included.
        new_tokens: that the model generated, its thoughts included.
        cached_tokens: of the prompt, those that the server had in its cache, which many charge less for; None if it
            does not say.
        reasoning_tokens: of the new tokens, those of thoughts; None if it does not say.
    """

    prompt_tokens: Count
    new_tokens: Count
    cached_tokens: Count | None = None
    reasoning_tokens: Count | None = None


class Answer(StrictModel):
    """How a server answered one prompt.

    Args:
        model: that answered, by its own name; hosted APIs add a date. None if the server does not say, as below.
        fingerprint: ``system_fingerprint``, which changes when the server's software or settings do.
        created: when, in UTC, as ISO 8601.
        finish_reason: ``stop``, ``length``, ``content_filter``, or another word of the server.
        refusal: what the model wrote to refuse, which is not a summary; None if it did not.
        usage: the tokens; None if the server does not count them.
        choices: answers that came at once, of which the first was taken.
        requests: that were sent for this prompt, the one that was answered included.
        seconds: that the answered request took.
        key_replaced: whether the answer held the API key, which was replaced.
    """

    model: str | None = None
    fingerprint: str | None = None
    created: str | None = None
    finish_reason: str | None = None
    refusal: str | None = None
    usage: Usage | None = None
    choices: Count = 1
    requests: Count = 1
    seconds: Measure
    key_replaced: bool = False
