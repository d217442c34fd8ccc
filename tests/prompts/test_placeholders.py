"""Placeholders of other tools in prompt templates, and braces in text."""

import pytest

from summtune.prompts.placeholders import foreign_placeholder


@pytest.mark.parametrize(
    "template",
    [
        "{{dialogue}}", "{{ dialogue }}", "{{- dialogue -}}", "{{{dialogue}}}", "{{ dialogue | trim }}",
        "{{ .Dialogue }}",
        "{{ item.dialogue }}", '{{ item["dialogue"] }}', "{dialogue!r}", "{dialogue:.100}", "{dialogue[0]}",
        "{row[dialogue]}", "{ dialogue }", "{Dialogue}", "{DIALOGUE}", "{dialog}", "{text}", "{input}", "{transcript}",
        "{0}", "{0!r}", "${dialogue}", "$dialogue", "#{dialogue}", "%(dialogue)s",
    ],
)  # fmt: skip
def test_a_foreign_placeholder_for_the_dialogue_is_reported_with_the_right_one(template):
    assert foreign_placeholder(f"Summarize: {template}") == (
        f"prompt_template has a placeholder that is not replaced (got {template}); write {{dialogue}}"
    )


@pytest.mark.parametrize(
    "template",
    ["{}", "%s", "<dialogue>", "<DIALOGUE>", "<|dialogue|>", "[dialogue]", "[[dialogue]]", "__dialogue__", "%text%"],
)
def test_a_tag_for_the_dialogue_is_reported_only_without_a_dialogue_placeholder(template):
    message = foreign_placeholder(f"Summarize: {template}")
    assert message is not None
    assert message.startswith(f"prompt_template has no {{dialogue}} (got {template} in ")
    assert foreign_placeholder(f"Summarize: {template} {{dialogue}}") is None


@pytest.mark.parametrize("other", ["{text}", "{{text}}", "{1}", "{customer_name}", "{{ speaker }}", "%(text)s"])
def test_other_placeholders_next_to_the_dialogue_are_reported(other):
    message = foreign_placeholder(f"{{dialogue}}{other}")
    assert message is not None
    assert f"(got {other}); only {{dialogue}} is replaced; remove {other}" in message


@pytest.mark.parametrize("other", ["{summary}", "{{summary}}", "{ summary }", "{Summary}", "${summary}", "{target}"])
def test_a_placeholder_for_the_summary_is_reported(other):
    message = foreign_placeholder(f"{{dialogue}} {other}")
    assert message is not None
    assert f"(got {other}); remove {other}: the model writes the summary" in message


@pytest.mark.parametrize("statement", ["{% for turn in turns %}", "{# note #}", "{{#each turns}}", "{{/each}}"])
def test_statements_of_template_languages_are_reported(statement):
    assert f"(got {statement})" in (foreign_placeholder(f"{statement}{{dialogue}}") or "")


@pytest.mark.parametrize(
    ("template", "escape", "meant"),
    [
        (r"Summarize:\n{dialogue}", r"\n", "line break"),
        (r"Summarize:\nDialogue: {dialogue}", r"\n", "line break"),
        (r"{dialogue}\n\nsummary:", r"\n", "line break"),
        (r"{dialogue}\r\n", r"\r", "line break"),
        (r"Summarize:\t{dialogue}", r"\t", "tab"),
    ],
)
def test_an_escape_sequence_that_yaml_did_not_interpret_is_reported(template, escape, meant):
    message = foreign_placeholder(template)
    assert message is not None
    assert f"instead of a {meant} (got {escape}); write the text in double quotes" in message


def test_a_file_name_instead_of_a_template_is_reported():
    assert "(got 'prompts/short.txt'); copy the text" in (foreign_placeholder("prompts/short.txt") or "")


@pytest.mark.parametrize(
    "template",
    [
        "{dialogue}",
        'Return JSON {"summary": "..."}: {dialogue}',
        '{"summary": str, "topics": [str]} {dialogue}',
        '{"dialogue": "{dialogue}"}',
        '{"a": {"b": {dialogue}}}',
        '{{"summary": "x"}} {dialogue}',
        "{summary: string} {dialogue}",
        "{key: value} {dialogue}",
        r"\textbf{{dialogue}}",
        r"\text{summary} \section*{text} {dialogue}",
        r"\frac{a}{text} $x^{10}$ $\nabla \neq \times \textrm{a}$ {dialogue}",
        r"\begin{itemize}{dialogue}\end{itemize}",
        "function f() { return x; } {dialogue}",
        "function f() {} {dialogue}",
        "a{color:red} struct { int x; } {dialogue}",
        "{x} in {a, b} {dialogue}",
        "{your summary here} {dialogue}",
        "<dialogue>{dialogue}</dialogue>",
        "[dialogue] {dialogue} [/dialogue]",
        "Costs of $5, 10 %s, 100 % {dialogue}",
        r"C:\new\tmp {dialogue}",
        r'Separate lines by "\n". {dialogue}',
        "Summarize:\n\t{dialogue}",
    ],
)
def test_braces_and_backslashes_that_are_text_are_accepted(template):
    assert foreign_placeholder(template) is None
