import pytest
import wrong_templates
from made_up_recipes import prompt_recipe, train_recipe
from tiny_decoders import write_tokenizer

from summtune.plan.prompt_format import problems_of_format


@pytest.fixture
def problems(tmp_path):
    """Return what a template would do wrong for a recipe of each kind."""

    def look(template):
        folder = write_tokenizer(tmp_path / "model", chat_template=template)
        (folder / "config.json").write_text('{"model_type": "llama"}')
        return [list(problems_of_format(recipe, folder)) for recipe in (train_recipe(), prompt_recipe())]

    return look


@pytest.mark.parametrize("name", ["CHAT", "OTHER_END", "EMPTY_THOUGHT"])
def test_a_template_that_teaches_what_is_asked_has_no_problem(problems, name):
    assert problems(getattr(wrong_templates, name)) == [[], []]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("REASONING", "changes the prompt once the answer follows it (got chat_template.jinja)"),
        ("REWRITING", "changes the prompt once the answer follows it (got chat_template.jinja)"),
        ("ENDLESS", "writes nothing after an answer (got chat_template.jinja)"),
    ],
)
def test_a_template_is_refused_for_training_alone(problems, name, problem):
    ((key, message),), of_prompt = problems(getattr(wrong_templates, name))
    assert key == "chat_template"
    assert problem in message
    assert of_prompt == []


def test_a_doubled_beginning_is_refused_for_prompts_too(problems):
    for found in problems(wrong_templates.BEGINS_TWICE):
        ((key, message),) = found
        assert key == "chat_template"
        assert "(got <|im_start|><|im_start|> from chat_template.jinja)" in message


def test_a_template_without_answers_is_refused(problems):
    for found in problems(wrong_templates.WITHOUT_ANSWERS):
        assert "does not write answers (got none from chat_template.jinja)" in found[0][1]
