"""What goes wrong with a request: faults, after which it is sent again, and errors, which end the run."""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urljoin

from summtune.base.errors import StageError
from summtune.base.numbers import duration

Cause = Literal["rate limit", "server error", "conflict", "timeout", "connection", "unusable answer"]
LONGEST_WAIT = 3600.0
"""Seconds; a server that asks for a longer pause ends the run, which resumes whenever the command is given again."""

_FILTERED = ("content_filter", "content_policy_violation")
_NO_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_CONTEXT = re.compile(
    r"context[ _-]*(?:length|window|size)|maximum (?:prompt |input |sequence )?length|max_model_len|too (?:long|many) "
    r"(?:tokens|input|prompt)|(?:prompt|input)\b.{0,40}\btoo long|n_ctx|max_total_tokens|max_input_(?:tokens|length)",
    re.IGNORECASE,
)
_SHOWN = 300
"""Characters of a server's message that are shown."""


class Fault(Exception):  # noqa: N818, the request is sent again
    """A request without a usable answer, which may get one when it is sent again.

    Args:
        cause: of what kind.
        message: what the server or the network said, without the key.
        charged: whether the server may charge for it.
        wait: seconds that the server asks to wait; None if it does not.
    """

    def __init__(self, cause: Cause, message: str, *, charged: bool = False, wait: float | None = None) -> None:
        self.cause = cause
        self.message = message
        self.charged = charged
        self.wait = wait
        super().__init__(f"{cause}: {message}")


class Filtered(Exception):  # noqa: N818, it is an answer
    """The server's content filter withheld the prompt from the model: an answer without a text.

    Args:
        reason: the server's word for it.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Asked:
    """What was asked of which server: what messages say of a request.

    Args:
        url: the full address.
        model: the model's name on the server.
        api_key_env: environment variable of the key; None without a key.
        max_tokens: the most that the server may generate.
    """

    def __init__(self, url: str, model: str, api_key_env: str | None, max_tokens: int) -> None:
        self.url = url
        self.model = model
        self.api_key_env = api_key_env
        self.max_tokens = max_tokens


def of_status(status: int, headers: Mapping[str, str], said: str, code: str, asked: Asked) -> Exception:
    """Return what a status other than success means: a `Fault`, `Filtered`, or a `StageError`.

    Args:
        status: HTTP status.
        headers: of the answer, names in lower case.
        said: the server's message, without the key.
        code: its word for the error; "" without one.
        asked: what was asked.
    """
    if code in _FILTERED:
        return Filtered(code)
    if status == 429 and code not in _NO_QUOTA:
        return _again("rate limit", status, headers, said)
    if status >= 500:
        return _again("server error", status, headers, said)
    if status == 408:
        return _again("timeout", status, headers, said)
    if status == 409:
        return _again("conflict", status, headers, said)
    if 300 <= status < 400:
        return StageError(_redirected(status, headers.get("location", ""), asked))
    return StageError(_fatal(status, said, code, asked))


def of_connection(kind: str, said: str, asked: Asked) -> Exception:
    """Return what a connection without an answer means: a `Fault`, or a `StageError` where trying again is in vain.

    Args:
        kind: name of the exception, such as ``ConnectError``.
        said: its message, without the key.
        asked: what was asked.
    """
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return StageError(
            f"the certificate of the server is not trusted (got {said} from {asked.url}); correct endpoint.url, or set "
            "SSL_CERT_FILE to the certificates of your organization"
        )
    if kind in ("InvalidURL", "UnsupportedProtocol", "LocalProtocolError", "ProxyError"):
        return StageError(
            f"the request cannot be sent (got {kind}: {said} for {asked.url}); correct endpoint.url, and look at the "
            "proxies that the environment names (HTTPS_PROXY, NO_PROXY)"
        )
    before = kind in ("ConnectError", "ConnectTimeout", "PoolTimeout")  # nothing reached the server
    return Fault("timeout" if "Timeout" in kind else "connection", f"{kind}: {said}", charged=not before)


def message_of(body: object) -> tuple[str, str]:
    """Return the message and the code of an error's body, which servers write in several ways.

    Args:
        body: parsed JSON, or a text.
    """
    inner = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(inner, dict):
        message = inner.get("message") or inner.get("detail") or json.dumps(inner, ensure_ascii=False)
        details = inner.get("innererror")
        codes = [inner.get("code"), inner.get("type"), *([details.get("code")] if isinstance(details, dict) else [])]
        named = [code for code in codes if isinstance(code, str)]
        known = [code for code in named if code in (*_FILTERED, *_NO_QUOTA)]
        return _one_line(str(message)), next(iter([*known, *named]), "")
    return _one_line(inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False)), ""


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a server asks to wait: ``Retry-After`` as seconds or as a date; None if it does not.

    Args:
        headers: of the answer, names in lower case.
        now: seconds since the epoch.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        given = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,12}(\.\d*)?", given):
            return float(given) * unit
        if name == "retry-after" and (date := _seconds_of(given)) is not None:
            return max(0.0, date - now)
    return None


def _seconds_of(date: str) -> float | None:
    """Return a date in seconds since the epoch; None if it is not a date of the calendar."""
    try:
        parsed = email.utils.parsedate_tz(date)
        return None if parsed is None else float(email.utils.mktime_tz(parsed))
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _again(cause: Cause, status: int, headers: Mapping[str, str], said: str) -> Exception:
    wait = retry_after(headers, time.time())
    if wait is not None and wait > LONGEST_WAIT:
        return StageError(
            f"the server asks to wait {duration(wait)} before the next request (got HTTP {status}: {said}); give the "
            "command again then"
        )
    return Fault(cause, f"HTTP {status}: {said}", wait=wait)


def _fatal(status: int, said: str, code: str, asked: Asked) -> str:
    """Return why the server will never answer such a request, and what to do."""
    got = f"got HTTP {status} from {asked.url}: {said}"
    key = f"the key in {asked.api_key_env}" if asked.api_key_env else "a request without a key"
    if code in _NO_QUOTA or status == 402:
        return f"there is nothing left to spend for {key} ({got}); add credit, or raise the limit, at the provider"
    if status == 401:
        set_key = (
            f"set {asked.api_key_env} to a key of this server"
            if asked.api_key_env
            else "set endpoint.api_key_env to the name of the environment variable that holds the key"
        )
        return f"the server does not accept {key} ({got}); {set_key}"
    if status == 403:
        return (
            f"the server forbids {key} to use the model {asked.model} ({got}); give the key the right to use it at "
            "the provider, or set endpoint.model to one that it may use"
        )
    if status == 404:
        return f"the server has no such model or address (got HTTP 404 for model {asked.model} at {asked.url}: {said})"
    if status in (400, 422):
        return _wrong_request(said, code, got, asked)
    if status == 413:
        return f"the server does not take prompts of this size ({got}); show fewer exemplars (shots)"
    return f"the server refuses the request ({got}); correct the section endpoint"


def _redirected(status: int, location: str, asked: Asked) -> str:
    target = urljoin(asked.url, location).partition("?")[0]
    address = re.sub("/(chat/)?completions/?$", "", target)
    return (
        f"the server redirects to another address, to which nothing is sent (got HTTP {status} from {asked.url} to "
        f"{_one_line(target)}); set endpoint.url to {_one_line(address)} if you trust it"
    )


def _wrong_request(said: str, code: str, got: str, asked: Asked) -> str:
    if "max_tokens" in said and ("max_completion_tokens" in said or "unsupported" in said.lower()):
        return (
            f"the server does not take max_tokens ({got}); set `extra_body: {{max_completion_tokens: "
            f"{asked.max_tokens}}}` in the section endpoint, with room for the model's thoughts"
        )
    if "context" in code or _CONTEXT.search(said):
        return (
            f"a prompt and {asked.max_tokens} new tokens do not fit into the model's context ({got}); show fewer "
            "exemplars (shots), lower generation.max_new_tokens, or start the server with a longer context"
        )
    for name in ("temperature", "top_p", "seed", "stop"):
        if re.search(rf"\b{name}\b", said):
            return (
                f"the server does not take this value of {name} ({got}); set `extra_body: {{{name}: null}}` in the "
                "section endpoint, which leaves the field out"
            )
    return f"the server refuses the request ({got}); correct endpoint.model, endpoint.extra_body or the prompt"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return f"{line[:_SHOWN]}…" if len(line) > _SHOWN else line or "no message"
