"""Reads and renders chat templates: Jinja texts that come with a model, run in a sandbox as transformers runs them."""

from __future__ import annotations

import contextlib
import datetime
import json
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from summtune.base.errors import InputError
from summtune.base.files import CONFIG_BYTES, read_bounded

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import ImmutableSandboxedEnvironment

FILE = "chat_template.jinja"
_SETTINGS = "tokenizer_config.json"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_SECONDS = 5.0
"""A template that has not finished by then counts as one that never ends; a usual one takes less than 0.001."""

Message = dict[str, str]
"""A turn of a chat: its ``role`` (system, user or assistant) and its ``content``."""


class ChatTemplateError(InputError):
    """A chat template cannot be used."""


class ChatTemplate(NamedTuple):
    """The chat template of a model.

    Args:
        text: Jinja.
        source: name of its file.
        special_tokens: the texts of the tokenizer's special tokens, by name.
    """

    text: str
    source: str
    special_tokens: dict[str, str]


def special_tokens_of(folder: Path) -> dict[str, str]:
    """Return the texts of a tokenizer's special tokens, by name, as far as its files name them."""
    named = {**_object(folder / "special_tokens_map.json"), **_object(folder / _SETTINGS)}
    found: dict[str, str] = {}
    for name in _SPECIAL:
        token = named.get(name)
        text = token.get("content") if isinstance(token, Mapping) else token
        if isinstance(text, str):
            found[name] = text
    return found


def read_template(path: Path) -> str:
    """Return the text of a Jinja file.

    Raises:
        InputError: it is far too large.
        ChatTemplateError: it is not UTF-8.
    """
    content = read_bounded(path, CONFIG_BYTES)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ChatTemplateError(
            f"the chat template is not UTF-8 (got byte {content[error.start]:#04x} at {error.start} of {path}); "
            "save it as UTF-8"
        ) from None


def own_template(folder: Path) -> ChatTemplate | None:
    """Return the chat template in a model's folder; None without one.

    Args:
        folder: with ``chat_template.jinja``, or a ``chat_template`` in tokenizer_config.json: a text, or several with
            names, of which ``default`` is taken.

    Raises:
        InputError: a file is far too large.
        ChatTemplateError: it is not UTF-8, or none of several is named ``default``.
    """
    path = folder / FILE
    if path.is_file():
        return ChatTemplate(read_template(path), FILE, special_tokens_of(folder))
    stored = _object(folder / _SETTINGS).get("chat_template")
    if isinstance(stored, list):
        named = {one.get("name"): one.get("template") for one in stored if isinstance(one, Mapping)}
        if "default" not in named:
            raise ChatTemplateError(
                f"none of the tokenizer's chat templates is named default (got {', '.join(map(str, named))} in "
                f"{folder / _SETTINGS}); write one of them to a file and name it in chat_template"
            )
        stored = named["default"]
    return ChatTemplate(stored, _SETTINGS, special_tokens_of(folder)) if isinstance(stored, str) and stored else None


def render_chat(
    template: str,
    source: str,
    messages: Sequence[Message],
    variables: Mapping[str, Any],
    date: str | None,
    opens_answer: bool,
) -> str:
    """Return the text of a chat.

    Args:
        template: Jinja.
        source: its name in messages.
        messages: the turns.
        variables: special tokens and further arguments of the template.
        date: that the template takes for today, YYYY-MM-DD.
        opens_answer: whether the text ends where the model writes the next assistant turn (add_generation_prompt).

    Raises:
        ChatTemplateError: the template raises, does not end, or writes nothing.
    """
    from jinja2 import TemplateError

    day = datetime.datetime.fromisoformat(date) if date else datetime.datetime.now()
    try:
        with _limited():
            text = _compiled(template).render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=opens_answer,
                tools=None,
                documents=None,
                strftime_now=day.strftime,
                **variables,
            )
    except TimeoutError:
        raise ChatTemplateError(
            f"the chat template does not end (got {source}, stopped after {_SECONDS:.0f} s); correct its loops"
        ) from None
    except TemplateError as error:
        raise ChatTemplateError(_raised(source, str(error.message or type(error).__name__), messages)) from None
    except Exception as error:  # code of others, which may raise anything
        raise ChatTemplateError(_raised(source, f"{type(error).__name__}: {error}", messages)) from None
    if not text.strip():
        raise ChatTemplateError(
            f"the chat template writes nothing (got {source}); correct it, or use `chat_template: none`"
        )
    return text


def _raised(source: str, reason: str, messages: Sequence[Message]) -> str:
    system = any(message["role"] == "system" for message in messages)
    advice = "remove system_prompt, or use another template" if system and "system" in reason.lower() else "correct it"
    return f"the chat template fails (got {reason!r} from {source}); {advice}"


def variables_of(template: str, source: str) -> set[str]:
    """Return the names of the variables that a chat template reads.

    Raises:
        ChatTemplateError: it is not Jinja.
    """
    from jinja2 import TemplateError, meta

    environment = _environment()
    try:
        return meta.find_undeclared_variables(environment.parse(template))
    except TemplateError as error:
        raise ChatTemplateError(_raised(source, str(error.message or type(error).__name__), ())) from None


@lru_cache(maxsize=8)
def _compiled(template: str) -> Template:
    return _environment().from_string(template)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    """Return the environment of chat templates.

    It is that of transformers (`transformers.utils.chat_template_utils`), so that a served model gets the
    same prompts; `tests/prompts` compares them.
    """
    from jinja2 import TemplateError, nodes
    from jinja2.exceptions import SecurityError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Generation(Extension):
        """The block ``{% generation %}``, which marks what an assistant writes: its content alone is rendered."""

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    Generation.tags = {"generation"}

    class PlainDict:
        """The function ``dict``, without access to the type."""

        def __call__(self, *values: Any, **named: Any) -> dict[Any, Any]:
            return dict(*values, **named)

        def fromkeys(self, *values: Any) -> dict[Any, Any]:
            return dict.fromkeys(*values)

    class PlainNamespace(Namespace):
        """The function ``namespace``, which keeps nothing under a name that may mean something to Python."""

        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise SecurityError(f"a namespace keeps no name with an underscore in front (got {name!r})")
            super().__setitem__(name, value)

    def namespace(*values: Any, **named: Any) -> PlainNamespace:
        made = PlainNamespace()
        for name, value in dict(*values, **named).items():
            made[name] = value
        return made

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, **options: Any) -> str:
        return json.dumps(value, **{"ensure_ascii": False, **options})

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {"raise_exception": raise_exception, "dict": PlainDict(), "namespace": namespace}
    return environment


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Raise TimeoutError in a block that takes too long; only the main thread can be interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise TimeoutError

    before: Any = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(read_bounded(path, CONFIG_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
