"""Reads YAML into plain values, with the position of each one.

The YAML 1.2 core schema avoids the traps of YAML 1.1: ``1e-4`` is a number, ``no`` and ``2026-01-01`` are strings,
``010`` is ten. Duplicate keys, tags, merge keys and several documents are problems; aliases are bounded, so that a few
lines cannot expand into gigabytes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from summtune.base.errors import InputError, Problem
from summtune.base.files import read_bounded
from summtune.base.visible import is_utf8, visible
from summtune.recipe.document import Document, KeyPath, Position

_MAX_BYTES = 100_000
_MAX_NODES = 20_000
_MAX_DEPTH = 20
_MAX_DIGITS = 100
# PyYAML passes on Python's errors about the code point of an escape in a quoted text, such as "\UFFFFFFFF".
_NOT_YAML = (yaml.YAMLError, ValueError, OverflowError)


class _CoreSchemaLoader(yaml.SafeLoader):
    """A SafeLoader whose plain scalars follow the YAML 1.2 core schema."""


_CoreSchemaLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("tag:yaml.org,2002:merge", r"<<", ["<"]),
):
    _CoreSchemaLoader.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), _first)


def read_yaml_file(path: Path) -> Document:
    """Return the document in ``path``.

    Raises:
        InputError: the file does not exist, is a folder or not regular, is not UTF-8, above 100 kB, empty, or not YAML.
    """
    file = str(path)
    try:
        content = read_bounded(path, _MAX_BYTES)
    except FileNotFoundError:
        raise InputError(f"no recipe at this path (got {file}); `summtune recipes` lists the bundled ones") from None
    except IsADirectoryError:
        raise InputError(f"a recipe is a YAML file (got the folder {file}); give the file in it") from None
    except OSError as error:
        raise InputError(f"the recipe cannot be read (got {file}: {error.strerror}); check its permissions") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{file}:{line}: a recipe is UTF-8 text (got byte 0x{content[error.start]:02x}); save it as UTF-8"
        ) from None
    document = read_yaml(text, file)
    document.text = content  # including the byte order mark that some editors write
    return document


def read_yaml(text: str, file: str) -> Document:
    """Return the document in ``text``; ``file`` is what its problems are reported under.

    Raises:
        InputError: the text is empty, not YAML, or holds several documents.
    """
    try:
        nodes = list(yaml.compose_all(text, _CoreSchemaLoader))
    except _NOT_YAML as error:
        raise InputError(_syntax_message(error, file)) from None
    except RecursionError:
        raise InputError(f"{file}: nested too deeply for a recipe; is it the right file?") from None
    if len(nodes) > 1:
        line = nodes[1].start_mark.line + 1
        raise InputError(
            f"{file}:{line}: a recipe is one YAML document (got {len(nodes)}); remove the `---` between them"
        )
    document = Document(file, text=text.encode())
    if nodes and nodes[0] is not None:
        _Builder(document).build(nodes[0], ())
    if document.value is None and not document.problems:
        raise InputError(f"{file}: the recipe is empty; `summtune init` writes one to start from")
    return document


def read_yaml_value(text: str) -> Any:
    """Return the value of one scalar or flow collection, as ``--set`` gives it.

    Raises:
        InputError: the text is not a YAML value.
    """
    if not text.strip():
        return ""
    document = Document("--set")
    try:
        node = yaml.compose(text, _CoreSchemaLoader)
    except _NOT_YAML as error:
        detail = getattr(error, "problem", None) or _first_line(error)
        raise InputError(f"not a YAML value (got {_shortened(text)}: {detail}); quote it") from None
    except RecursionError:
        raise InputError(f"not a YAML value (got {_shortened(text)}: nested too deeply); quote it") from None
    if node is not None:
        document.value = _Builder(document).build(node, ())
    if document.problems:
        raise InputError(document.problems[0].message)
    return document.value


def _shortened(text: str) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}…"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _syntax_message(error: Exception, file: str) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    position = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
    detail = getattr(error, "problem", None) or _first_line(error)
    return f"{position}: not YAML ({detail}); check the indentation, colons and quotes around here"


def _plain_tag(node: yaml.ScalarNode) -> str:
    """Return the tag of a scalar that is written without one: by its text if it is plain, else a string's."""
    if node.style is not None:
        return "tag:yaml.org,2002:str"
    for tag, pattern in _CoreSchemaLoader.yaml_implicit_resolvers.get(node.value[:1], ()):
        if pattern.match(node.value):
            return str(tag)
    return "tag:yaml.org,2002:str"


class _Builder:
    """Turns YAML nodes into values, and records positions and problems."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.nodes = 0

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self.nodes += 1
        mark = node.start_mark
        # An aliased node keeps the position of its anchor, which is where the user has to change it.
        self.document.positions.setdefault(path, Position(self.document.file, mark.line + 1, mark.column + 1))
        if self.nodes > _MAX_NODES or len(path) > _MAX_DEPTH:
            raise InputError(
                f"{self.document.file}:{mark.line + 1}: aliases or nesting expand to more than a recipe can hold "
                f"(limits: {_MAX_NODES:,} values, depth {_MAX_DEPTH}); write the values out"
            )
        if isinstance(node, yaml.MappingNode):
            value: Any = self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode):
            self._refuse_tag(node, path, "tag:yaml.org,2002:seq")
            value = [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        else:
            assert isinstance(node, yaml.ScalarNode)
            value = self._scalar(node, path)
        if not path:
            self.document.value = value
        return value

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        self._refuse_tag(node, path, "tag:yaml.org,2002:map")
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            mark = key_node.start_mark
            position = Position(self.document.file, mark.line + 1, mark.column + 1)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                shown = getattr(key_node, "value", "")
                shown = shown if isinstance(shown, str) else "a collection"
                braces = isinstance(key_node, yaml.MappingNode)  # {{dialogue}} without quotes
                advice = "quote text that is in braces" if braces else "write the keys out, without merging or nesting"
                self._note(position, f"a key must be a plain name (got {shown!r}); {advice}")
                continue
            key = self._text(key_node.value, position)
            key_path: KeyPath = (*path, key)
            if key in mapping:
                first = self.document.positions[key_path].line
                self._note(position, f"duplicate key {key!r} (first on line {first}); keep one of them")
                continue
            self.document.positions[key_path] = position
            mapping[key] = self.build(value_node, key_path)
        return mapping

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text = self._text(node.value, self.document.positions[path])
        if node.tag != _plain_tag(node):
            self._refuse_tag(node, path, "")
            return text
        match node.tag.removeprefix("tag:yaml.org,2002:"):
            case "null":
                return None
            case "bool":
                return node.value.lower() == "true"
            case "int" if len(node.value) > _MAX_DIGITS:
                message = f"a number has at most {_MAX_DIGITS} digits (got {len(node.value)}); shorten or quote it"
                self._note(self.document.positions[path], message)
                return node.value
            case "int":
                return int(node.value)
            case "float":
                return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))
            case _:
                return text

    def _text(self, text: str, position: Position) -> str:
        """Return the text; if no file, file name or process argument can hold it, report it and escape it."""
        if is_utf8(text) and "\0" not in text:
            return text
        shown = _shortened(text)
        self._note(position, f"text must not contain null characters or lone surrogates (got {shown}); remove them")
        return visible(text)

    def _refuse_tag(self, node: yaml.Node, path: KeyPath, plain: str) -> None:
        if node.tag != plain:
            shown = node.tag.replace("tag:yaml.org,2002:", "!!")
            self._note(self.document.positions[path], f"YAML tags are not allowed (got {shown}); write a plain value")

    def _note(self, position: Position, message: str) -> None:
        self.document.problems.append(Problem(message, position.file, position.line, position.column))
