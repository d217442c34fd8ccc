"""Finds the placeholders of other tools in a prompt template, and tells them from braces that are text."""

from __future__ import annotations

import re
from collections.abc import Iterator

PLACE = "{dialogue}"

_DIALOGUE = re.compile(
    r"dialog(ue)?s?|(input|user)?_?texts?|inputs?|user_input|contents?|articles?|documents?|docs?|source|src|data|body|"
    r"transcripts?|transcription|conversations?|chats?|messages?|history|context|passage|prompt|query|question|user|"
    r"sample|example|item|row",
    re.IGNORECASE,
)
_SUMMARY = re.compile(
    r"summar(y|ies)|targets?|tgt|labels?|outputs?|response|answer|completion|highlights|references?", re.IGNORECASE
)

# A name, and what formatting languages let follow it: row["text"], item.text, text!r, text:.100, text | trim
_REST = r"(?:[.\[(!:|][^{}\n]*)?"
_JINJA = re.compile(r"\{\{\{?[-~]?\s*[.$]?([A-Za-z_]\w*)\s*" + _REST + r"\s*[-~]?\}?\}\}")
_STATEMENT = re.compile(r"\{%[^{}\n]*%\}|\{#[^{}\n]*#\}|\{\{\s*[#/>^!][^{}\n]*\}\}")
_SHELL = re.compile(r"[$#]\{\s*([A-Za-z_]\w*)\s*\}|\$([A-Za-z_]\w*)")
_PERCENT = re.compile(r"%\(\s*([A-Za-z_]\w*)\s*\)[sdr]")
_BRACES = re.compile(r"\{(\s*)([A-Za-z_]\w*)(\s*)(" + _REST + r")\s*\}")
_NUMBER = re.compile(r"\{\d{1,2}(?:![rsa])?(?::[^{}\n]*)?\}")
# Only where no {dialogue} is written: beside it, these are the tags and signs of an instruction.
_ALONE = re.compile(
    r"\{\s*\}|(?<!\w)%s|<[<|]?/?\s*([A-Za-z_]\w*)\s*/?[|>]?>|\[\[?\s*([A-Za-z_]\w*)\s*\]\]?|"
    r"__([A-Za-z]+)__|%([A-Za-z]+)%|｛\s*([A-Za-z_]\w*)\s*｝"
)
# What an argument of LaTeX follows.
_BEFORE_ARGUMENT = re.compile(r"(?:\\[A-Za-z]+\*?(?:\[[^\]]*\]|\{[^{}]*\})*|[\^_])$")

_ESCAPE = re.compile(r"\\([nrt])([a-z]*)")
_DRIVE = re.compile(r"\b[A-Za-z]:\\\S*")
_QUOTED = re.compile(r"([\"'`])(?:\\[nrt])+\1")
_LATEX = re.compile(
    r"n(abla|eq?|eg|geq|leq|ot|otin|mid|u|ewline|ewpage|ewcommand|oindent|ormalsize|ormalfont)|"
    r"t(au|ext[a-z]*|heta|frac|ilde|imes|itle|iny|o|oday|op|riangle|t|able|ag|anh?|herefore)|"
    r"r(ho|angle|ceil|ef|enewcommand|floor|ight|ightarrow|m|ule)"
)
_FILE = re.compile(r"@?\S*\.(?:txt|md|j2|jinja2?|prompt|tmpl|tpl|yaml|yml|json)")


def foreign_placeholder(template: str) -> str | None:
    """Return what is wrong with a template's placeholders and what to write, or None.

    JSON, LaTeX and code in the template are text, and so is every brace that does not hold a name alone.

    Args:
        template: a text, not a name of one.
    """
    found = next(_found(template), None)
    if found is not None:
        return f"prompt_template has a placeholder that is not replaced (got {found[0]}); {_advice(*found, template)}"
    escape = _escape(template)
    if escape is not None:
        return (
            f"prompt_template holds a backslash and a letter in place of a {_MEANT[escape[1]]} (got {escape}); write "
            "the text in double quotes, or as a block scalar (`prompt_template: |`)"
        )
    if PLACE not in template:
        for match in _ALONE.finditer(template):
            name = next((group for group in match.groups() if group), None)
            if name is None or _is_usual(name):
                return f"prompt_template has no {PLACE} (got {match.group()} in {template!r}); write {PLACE} there"
        if _FILE.fullmatch(template):
            return f"prompt_template is the text itself, not a file (got {template!r}); copy the text into the recipe"
    return None


_MEANT = {"n": "line break", "r": "line break", "t": "tab"}


def _found(template: str) -> Iterator[tuple[str, str]]:
    """Yield the placeholders of other tools, each with its name, or nothing where it has none."""
    for match in _JINJA.finditer(template):
        if not _is_argument(template, match.start()):
            yield match.group(), match[1]
    for match in _STATEMENT.finditer(template):
        yield match.group(), ""
    for match in _SHELL.finditer(template):
        name = match[1] or match[2]
        if match[1] or _is_usual(name):
            yield match.group(), name
    for match in _PERCENT.finditer(template):
        yield match.group(), match[1]
    for match in _BRACES.finditer(template):
        if match.group() != PLACE and _is_placeholder(template, match):
            yield match.group(), match[2]
    for match in _NUMBER.finditer(template):
        if not _is_argument(template, match.start()):
            yield match.group(), ""


def _is_placeholder(template: str, match: re.Match[str]) -> bool:
    """Whether braces around a name stand for a value: ``{text}`` and ``{customer_name}``, not ``{x}`` of a formula."""
    if _is_argument(template, match.start()) or template[match.start() - 1 : match.start()] == "{":
        return False
    before, name, after, rest = match.groups()
    if _is_usual(name):
        return not rest.startswith(":") or not rest[1:2].isspace()  # {text: string} is a type or a mapping
    return len(name) > 1 and not before and not after and not rest


def _is_usual(name: str) -> bool:
    """Whether templates of other tools call the dialogue or the summary so."""
    return bool(_DIALOGUE.fullmatch(name) or _SUMMARY.fullmatch(name))


def _is_argument(template: str, start: int) -> bool:
    return _BEFORE_ARGUMENT.search(template[:start]) is not None


def _advice(placeholder: str, name: str, template: str) -> str:
    if _SUMMARY.fullmatch(name):
        return f"remove {placeholder}: the model writes the summary behind the prompt"
    own = template.replace(placeholder, "", 1)
    if PLACE in own:
        without = f", or write {name} without braces" if name else ""
        return f"only {PLACE} is replaced; remove {placeholder}{without}"
    return f"write {PLACE}"


def _escape(template: str) -> str | None:
    """Return an escape sequence that YAML left as it is, such as those in single quotes."""
    for match in _ESCAPE.finditer(_QUOTED.sub("", _DRIVE.sub("", template))):
        if not _LATEX.fullmatch(match[1] + match[2]):
            return f"\\{match[1]}"
    return None
