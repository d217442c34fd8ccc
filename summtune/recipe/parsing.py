"""Parses the values of a recipe key by key, and describes the problem of each key in a sentence."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from summtune.base.hints import hint, hint_or_list, nearest
from summtune.base.numbers import counted
from summtune.recipe.document import KeyPath
from summtune.recipe.endpoint import ADDRESS, VARIABLE
from summtune.recipe.json_schema import recipe_schema
from summtune.recipe.keys import FORMS_OF, KIND_OF, RECIPES, Form, Kind, Recipe, form_of, required_keys
from summtune.recipe.sections import COLUMN_KEYS, CURRENCY, Section

_TYPE_NAMES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a section of keys",
    "model_attributes_type": "a section of keys",
    "finite_number": "a finite number",
    "union_tag_not_found": "text or a section of keys",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "above"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "below"),
}
_PATTERNS = {
    ADDRESS: "an address that begins with http:// or https://, without a user, a password or a query (got {shown})",
    CURRENCY: "three capital letters, such as USD (got {shown})",
    VARIABLE: "the name of an environment variable, such as OPENAI_API_KEY (got something else, which is not shown "
    "as it may be the key itself); export the variable, and write its name here",
}
# Names of keys in other tools, and the corresponding names here.
_OTHER_NAMES = {
    "fp16": "bf16",
    "batch_size": "micro_batch_size",
    "per_device_train_batch_size": "micro_batch_size",
    "epochs": "num_epochs",
    "num_train_epochs": "num_epochs",
    "lr": "learning_rate",
    "lr_scheduler_type": "lr_scheduler",
    "model": "base_model",
    "base_model_revision": "revision_of_model",
    "max_new_tokens": "generation.max_new_tokens",
    "num_beams": "generation.num_beams",
    "sequence_length": "sequence_len",
    "max_seq_length": "sequence_len",
}
_A_MODEL = "name a hub model such as google/flan-t5-base, a local folder, or builtin/flan-t5-nano"
# What to do about a required key that is missing.
_ADVICE: dict[Form, dict[str, str]] = {
    "prompt": {
        "base_model": f"{_A_MODEL}, or give the section endpoint for a model behind an API",
        "test_datasets": "list the dialogues to summarize",
    },
    "endpoint": {
        "endpoint.url": "give the server's address, such as http://localhost:8000/v1",
        "endpoint.model": "give the name that the server has for its model",
        "test_datasets": "list the dialogues to summarize",
    },
    "train": {
        "base_model": _A_MODEL,
        "datasets": "list the training data",
        "test_datasets": "list the dialogues to summarize and score",
        "learning_rate": "about 1e-4 suits full fine-tuning, 1e-3 suits LoRA, 3e-3 suits (IA)³",
    },
    "compare": {"recipes": "list the recipes to compare"},
}
# Why a key does not belong to an entry of `recipes` that another entry may have.
_OF_ANOTHER_SYSTEM = {
    "recipe": "a system is a recipe or a file of outputs (got both recipe and predictions); keep one of the two",
    "overrides": "overrides has no effect on outputs, which are scored as they are; remove it",
} | {
    key: f"{key} has no effect on a recipe; name a file of outputs with predictions, or remove it"
    for key in COLUMN_KEYS
}
_S = TypeVar("_S", bound=Section)
_KIND: TypeAdapter[Kind] = TypeAdapter(Kind)


@dataclass(frozen=True)
class Parsed:
    """The values of a recipe, checked key by key.

    Args:
        recipe: the values, defaults filled in; None if its kind is not known. An invalid or missing required key has
            the value of the example in the schema.
        wrong: the top-level keys that are invalid or missing, whose values in ``recipe`` mean nothing.
        problems: a sentence for each key path that has an error.
        unknown: the paths in ``problems`` that are not keys.
    """

    recipe: Recipe | None
    wrong: frozenset[str]
    problems: Mapping[KeyPath, str]
    unknown: frozenset[KeyPath]


def parse(values: Mapping[str, Any]) -> Parsed:
    """Return the valid part of the recipe in ``values``, and the problem of each other key."""
    form = form_of(values)
    details = _errors_of_kind(values)
    for each in RECIPES if form is None else [form]:
        details += _errors(each, values, alone=form is not None)
    groups = _by_path(details, values)
    unknown = frozenset(path for path, group in groups.items() if group[0]["type"] == "extra_forbidden")
    problems = {path: _describe(path, group, form) for path, group in groups.items()}
    # Do not report the intended key as missing, and do not check keys that depend on it.
    meant = {_meant(str(path[0])) for path in unknown if len(path) == 1} - set(values)
    inside = {(*path[:-1], nearest(str(path[-1]), known_keys(path[:-1]))) for path in unknown if len(path) > 1}
    problems = {
        path: text
        for path, text in problems.items()
        if not (len(path) == 1 and path[0] in meant) and not (path in inside and groups[path][0]["type"] == "missing")
    }
    wrong = {str(path[0]) for path in groups} | meant
    if form is None:
        return Parsed(None, frozenset(wrong), problems, unknown)
    valid = {key: value for key, value in values.items() if key not in wrong and form in FORMS_OF[key]}
    stand_ins = {key: example(form, key) for key in required_keys(form) if valid.get(key) is None}
    recipe = RECIPES[form].model_validate(valid | stand_ins)
    return Parsed(recipe, frozenset(wrong | set(stand_ins)), problems, unknown)


def parse_keys(model: type[_S], values: Mapping[str, Any]) -> tuple[_S | None, dict[KeyPath, str]]:
    """Return the object in ``values``, None if they are not valid, and a sentence for each path with an error.

    Args:
        model: with keys that recipes also have.
        values: of these keys.
    """
    try:
        return model.model_validate(values), {}
    except ValidationError as error:
        groups = _by_path(error.errors(include_url=False), values)
    return None, {path: _describe(path, group, None) for path, group in groups.items()}


def example(form: Form, key: str) -> Any:
    """Return the example of a required key in the schema."""
    examples = RECIPES[form].model_fields[key].examples
    assert examples, f"{key} is required and has no example"
    return examples[0]


def _errors_of_kind(values: Mapping[str, Any]) -> list[ErrorDetails]:
    if "kind" not in values:
        return [ErrorDetails(type="missing", loc=("kind",), msg="", input=values)]
    try:
        _KIND.validate_python(values["kind"])
    except ValidationError as error:
        return [{**detail, "loc": ("kind",)} for detail in error.errors(include_url=False)]
    return []


def _errors(form: Form, values: Mapping[str, Any], alone: bool) -> list[ErrorDetails]:
    """Return the errors of the keys that a form reads, and of keys that no form reads.

    Args:
        form: of the recipe, or a possible one.
        values: of the recipe; keys of other forms are ignored, and null is like a missing key.
        alone: whether the recipe is certainly of this form, so that missing keys are reported.
    """
    required = required_keys(form)
    own = {
        key: value
        for key, value in values.items()
        if form in FORMS_OF.get(key, (form,)) and not (value is None and key in required)
    }
    try:
        RECIPES[form].model_validate(own | {"kind": KIND_OF[form]})
    except ValidationError as error:
        details = error.errors(include_url=False)
        return [detail for detail in details if alone or detail["type"] != "missing" or len(detail["loc"]) > 1]
    return []


def _by_path(details: Sequence[ErrorDetails], values: Any) -> dict[KeyPath, list[ErrorDetails]]:
    """Group errors by the key they belong to: pydantic adds the member of a union to the path, which is not a key."""
    groups: dict[KeyPath, list[ErrorDetails]] = {}
    for detail in details:
        path: list[str | int] = []
        value = values
        for part in detail["loc"]:
            inside_mapping = isinstance(value, dict) and part in value
            inside_list = isinstance(value, list) and isinstance(part, int) and part < len(value)
            if not (inside_mapping or inside_list):
                continue
            path.append(part)
            value = value[part]
        if detail["type"] == "missing" and path[-1:] != [detail["loc"][-1]]:  # null is like a missing key
            path.append(detail["loc"][-1])
        groups.setdefault(tuple(path), []).append(detail)
    # If one member of a union accepts the value and finds an error inside it, errors of the other members are noise.
    return {
        path: group
        for path, group in groups.items()
        if not (group[0]["type"] in _TYPE_NAMES and any(path == longer[: len(path)] != longer for longer in groups))
    }


def _describe(path: KeyPath, group: Sequence[ErrorDetails], form: Form | None) -> str:
    """Return one message for all the errors that pydantic reports for one key."""
    detail = group[0]
    dotted = ".".join(str(part) for part in path)
    shown = _shown(detail.get("input"))
    expected = list(dict.fromkeys(_TYPE_NAMES[item["type"]] for item in group if item["type"] in _TYPE_NAMES))
    literals = [item for item in group if item["type"] == "literal_error"]
    match detail["type"]:
        case "extra_forbidden":
            return unknown_key(path)
        case "missing" if path[0] == "recipes" and path[-1] == "recipe":
            entry = dotted.removesuffix(".recipe")
            return f"{entry} names no system; give `recipe`, or `predictions` for a file of outputs"
        case "missing":
            advice = _ADVICE[form].get(dotted) if form else None
            if form is None or advice is None:
                return f"{dotted} is missing; add it"
            return f"{dotted} is missing, which `kind: {KIND_OF[form]}` needs; {advice}"
        case kind if kind in _BOUNDS:
            name, words = _BOUNDS[kind]
            return f"{dotted} must be {words} {detail['ctx'][name]} (got {shown})"
        case "string_too_short" | "too_short":
            least = detail["ctx"]["min_length"]
            if detail["type"] == "too_short":
                return f"{dotted} must have at least {counted(least, 'item')} (got {len(detail['input'])})"
            return f"{dotted} must have at least {counted(least, 'character')} (got {shown})"
        case "string_pattern_mismatch":
            return f"{dotted} must be {_PATTERNS[detail['ctx']['pattern']].format(shown=shown)}"
    if literals:
        known = [word.strip("'") for word in literals[0]["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        choices = [*expected, " or ".join(filter(None, (", ".join(known[:-1]), known[-1])))]
        meant = hint(detail["input"], known) if isinstance(detail["input"], str) else ""
        return f"{dotted} must be {' or '.join(choices)} (got {shown}){meant}"
    if expected:
        structure = isinstance(detail.get("input"), (dict, list)) and "text" in expected
        advice = "; quote text that contains braces, brackets or a colon" if structure else ""
        return f"{dotted} must be {' or '.join(expected)} (got {shown}){advice}"
    return f"{dotted}: {detail['msg']} (got {shown})"


def _meant(key: str) -> str:
    """Return the top-level key that an unknown one most likely means, or the unknown one if no key resembles it."""
    return _OTHER_NAMES.get(key, "").split(".", 1)[0] or nearest(key, FORMS_OF) or key


def unknown_key(path: KeyPath) -> str:
    """Return a sentence for a key that does not exist, with the nearest one that does."""
    key = str(path[-1])
    if len(path) == 1 and key in _OTHER_NAMES:
        return f"unknown key {key!r}; here it is called {_OTHER_NAMES[key]!r}"
    known = known_keys(path[:-1])
    section = ".".join(str(part) for part in path[:-1])
    if path[0] == "recipes" and key in _OF_ANOTHER_SYSTEM:
        return _OF_ANOTHER_SYSTEM[key]
    near = hint_or_list(key, known) if section else hint(key, known) or "; `summtune schema` lists every key"
    return f"unknown key {key!r}{f' in {section}' if section else ''}{near}"


_schema = functools.cache(recipe_schema)


def known_keys(path: KeyPath) -> list[str]:
    """Return the keys of the section at ``path``, found by walking the published schema."""
    schema = _schema()
    node: dict[str, Any] = schema
    for part in path:
        if isinstance(part, int):
            candidates = _sections(node, schema, wanted="items")
            node = candidates[0]["items"] if candidates else {}
        else:
            candidates = _sections(node, schema, wanted="properties")
            node = candidates[0]["properties"].get(part, {}) if candidates else {}
    sections = _sections(node, schema, wanted="properties")
    return list(dict.fromkeys(key for section in sections for key in section["properties"]))


def _sections(node: dict[str, Any], schema: dict[str, Any], wanted: str) -> list[dict[str, Any]]:
    """Return the alternatives of a schema node that have ``wanted`` (properties or items), references followed."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    found = [node] if wanted in node else []
    for alternative in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        found += _sections(alternative, schema, wanted)
    return found


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, (str, int, float, bool)) or value is None else type(value).__name__
    text = {"True": "true", "False": "false", "None": "null", "dict": "a section", "list": "a list"}.get(text, text)
    return text if len(text) <= 60 else text[:57] + "..."
