"""Finds the placeholders of other tools in a prompt template, and distinguishes them from braces in text."""

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

# What may follow a name in formatting languages: row["text"], item.text, text!r, text:.100, text | trim
_REST = r"(?:[.\[(!:|][^{}\n]*)?"
_JINJA = re.compile(r"\{\{\{?[-~]?\s*[.$]?([A-Za-z_]\w*)\s*" + _REST + r"\s*[-~]?\}?\}\}")
_STATEMENT = re.compile(r"\{%[^{}\n]*%\}|\{#[^{}\n]*#\}|\{\{\s*[#/>^!][^{}\n]*\}\}")
_SHELL = re.compile(r"[$#]\{\s*([A-Za-z_]\w*)\s*\}|\$([A-Za-z_]\w*)")
_PERCENT = re.compile(r"%\(\s*([A-Za-z_]\w*)\s*\)[sdr]")
_BRACES = re.compile(r"\{(\s*)([A-Za-z_]\w*)(\s*)(" + _REST + r")\s*\}")
_NUMBER = re.compile(r"\{\d{1,2}(?:![rsa])?(?::[^{}\n]*)?\}")
# Only if the template has no {dialogue}; with it, these are the tags and signs of an instruction.
_ALONE = re.compile(
    r"\{\s*\}|(?<!\w)%s|<[<|]?/?\s*([A-Za-z_]\w*)\s*/?[|>]?>|\[\[?\s*([A-Za-z_]\w*)\s*\]\]?|"
    r"__([A-Za-z]+)__|%([A-Za-z]+)%|｛\s*([A-Za-z_]\w*)\s*｝"
)
# What precedes an argument in LaTeX.
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
    """Return what is wrong with a template's placeholders and what to write instead, or None.

    JSON, LaTeX and code in the template are text, as are all braces that contain more than a name.

    Args:
        template: the text, not the name of a template.
    """
    found = next(_found(template), None)
    if found is not None:
        return f"prompt_template has a placeholder that is not replaced (got {found[0]}); {_advice(*found, template)}"
    escape = _escape(template)
    if escape is not None:
        return (
            f"prompt_template contains a backslash and a letter instead of a {_MEANT[escape[1]]} (got {escape}); write "
            "the text in double quotes, or as a block scalar (`prompt_template: |`)"
        )
    if PLACE not in template:
        for match in _ALONE.finditer(template):
            name = next((group for group in match.groups() if group), None)
            if name is None or _is_usual(name):
                return f"prompt_template has no {PLACE} (got {match.group()} in {template!r}); write {PLACE} there"
        if _FILE.fullmatch(template):
            return f"prompt_template is a text, not a file (got {template!r}); copy the text into the recipe"
    return None


_MEANT = {"n": "line break", "r": "line break", "t": "tab"}


def _found(template: str) -> Iterator[tuple[str, str]]:
    """Yield the placeholders of other tools, each with its name, which may be empty."""
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
    """Return whether braces around a name are a placeholder: ``{text}``, ``{customer_name}``; not ``{x}`` in math."""
    if _is_argument(template, match.start()) or template[match.start() - 1 : match.start()] == "{":
        return False
    before, name, after, rest = match.groups()
    if _is_usual(name):
        return not rest.startswith(":") or not rest[1:2].isspace()  # {text: string} is a type or a mapping
    return len(name) > 1 and not before and not after and not rest


def _is_usual(name: str) -> bool:
    """Return whether templates of other tools use this name for the dialogue or the summary."""
    return bool(_DIALOGUE.fullmatch(name) or _SUMMARY.fullmatch(name))


def _is_argument(template: str, start: int) -> bool:
    return _BEFORE_ARGUMENT.search(template[:start]) is not None


def _advice(placeholder: str, name: str, template: str) -> str:
    if _SUMMARY.fullmatch(name):
        return f"remove {placeholder}: the model writes the summary after the prompt"
    own = template.replace(placeholder, "", 1)
    if PLACE in own:
        without = f", or write {name} without braces" if name else ""
        return f"only {PLACE} is replaced; remove {placeholder}{without}"
    return f"write {PLACE}"


def _escape(template: str) -> str | None:
    """Return an escape sequence that YAML did not interpret, such as in single quotes."""
    for match in _ESCAPE.finditer(_QUOTED.sub("", _DRIVE.sub("", template))):
        if not _LATEX.fullmatch(match[1] + match[2]):
            return f"\\{match[1]}"
    return None
