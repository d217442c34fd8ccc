"""An answer's JSON as an output: the text, its thought, why it ended, and the tokens that the server counted.

Only the text is required. An answer is paid for, so nothing odd in the rest of it makes it unusable.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from summtune.generation.endpoint.faults import Asked, Fault, message_of, of_status
from summtune.generation.endpoint.secrecy import Secret
from summtune.generation.generator import Output
from summtune.generation.thinking import split_thinking
from summtune.runs.answers import Answer, Usage

_LONGEST_NAME = 200
CUT = ("length", "max_tokens")
"""Finish reasons of an answer that the limit of new tokens ended."""
_MOST_TOKENS = 10**9
"""A larger count is an error of the server, and sums of such counts could not be stored."""
_THOUGHTS = ("reasoning_content", "reasoning")
"""Where servers put a thought that they have taken out of the text."""


def output_of(body: str, *, opened: bool, requests: int, seconds: float, secret: Secret, asked: Asked) -> Output:
    """Return the output that the body of a successful answer holds.

    Args:
        body: as the server sent it.
        opened: whether the prompt ends inside a thought.
        requests: that were sent for the prompt.
        seconds: that this one took.
        secret: the key, which is replaced where the server echoes it.
        asked: what was asked.

    Raises:
        Fault: there is no text in it, though it may be paid for.
        StageError: it is an error in the form of a success, and asking again is in vain.
    """
    reply = _parsed(body, secret)
    if reply.get("error"):
        said, code = message_of(reply)
        given = reply["error"].get("code") if isinstance(reply["error"], dict) else None
        raise of_status(given if type(given) is int and given >= 400 else 500, {}, secret.hidden(said), code, asked)
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message", first) if isinstance(first, dict) else None
    if not isinstance(first, dict) or not isinstance(message, dict) or not first.keys() & {"message", "text"}:
        raise Fault("unusable answer", f"no text in {secret.hidden(body[:200])!r}", charged=True)
    texts = _Texts(secret)
    finish = texts.name(first.get("finish_reason"))
    said_text = texts.of(message.get("content", message.get("text")))
    refusal = texts.of(message.get("refusal")) or None
    cut = finish in CUT
    text, thinking = split_thinking(said_text, opened=opened and cut)
    if finish == "refusal" and refusal is None:
        text, refusal = "", text or "refusal"
    thoughts = [*(texts.of(message.get(name)).strip() for name in _THOUGHTS), texts.thought_of(message.get("content"))]
    given_thought = next(filter(None, thoughts), None)
    usage = _usage(reply.get("usage"))
    return Output(
        text=text,
        prompt_tokens=usage.prompt_tokens if usage else None,
        new_tokens=usage.new_tokens if usage else None,
        hit_length_cap=cut,
        thinking="\n\n".join(filter(None, (given_thought, thinking))) if given_thought else thinking,
        answer=Answer(
            model=texts.name(reply.get("model")),
            fingerprint=texts.name(reply.get("system_fingerprint")),
            created=_date(reply.get("created")),
            finish_reason=finish,
            refusal=refusal,
            usage=usage,
            choices=len(choices) if isinstance(choices, list) else 1,
            requests=requests,
            seconds=round(seconds, 3),
            key_replaced=texts.replaced,
        ),
    )


def filtered(reason: str, requests: int, seconds: float) -> Output:
    """Return the output of a prompt that the server's content filter withheld: no text, and nothing to charge for."""
    usage = Usage(prompt_tokens=0, new_tokens=0)
    answer = Answer(finish_reason=reason, usage=usage, requests=requests, seconds=round(seconds, 3))
    return Output(text="", prompt_tokens=0, new_tokens=0, hit_length_cap=False, answer=answer)


class _Texts:
    """Texts of an answer, in which the key is replaced.

    Args:
        secret: the key.
    """

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self.replaced = False

    def of(self, value: object) -> str:
        """Return a text, or the text parts of a list; "" for anything else."""
        if isinstance(value, list):
            return "".join(self.of(part.get("text")) for part in value if isinstance(part, dict))
        if not isinstance(value, str):
            return ""
        whole = value.encode("utf-8", "replace").decode()  # a lone surrogate cannot be written to a file
        text = self._secret.without(whole)
        self.replaced |= text != whole
        return text

    def thought_of(self, value: object) -> str:
        """Return the thinking parts of a list of parts; "" for anything else."""
        parts = value if isinstance(value, list) else []
        return "".join(self.of(part.get("thinking")) for part in parts if isinstance(part, dict)).strip()

    def name(self, value: object) -> str | None:
        """Return a name, or None."""
        return self.of(value)[:_LONGEST_NAME] if isinstance(value, str) else None


def _parsed(body: str, secret: Secret) -> dict[str, Any]:
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict):
        raise Fault("unusable answer", f"not a JSON object: {secret.hidden(body[:200])!r}", charged=True)
    return reply


def _usage(value: object) -> Usage | None:
    if not isinstance(value, dict):
        return None
    prompt, new = _count(value.get("prompt_tokens")), _count(value.get("completion_tokens"))
    if prompt is None or new is None:
        return None
    total = _count(value.get("total_tokens"))
    return Usage(
        prompt_tokens=prompt,
        new_tokens=new if total is None else max(new, total - prompt),  # some leave thoughts out of completion_tokens
        cached_tokens=_detail(value, "prompt_tokens_details", "cached_tokens"),
        reasoning_tokens=_detail(value, "completion_tokens_details", "reasoning_tokens"),
    )


def _detail(usage: dict[str, Any], group: str, name: str) -> int | None:
    details = usage.get(group)
    return _count(details.get(name)) if isinstance(details, dict) else None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None


def _date(value: object) -> str | None:
    if type(value) not in (int, float):
        return None
    try:
        return datetime.fromtimestamp(float(str(value)), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None
