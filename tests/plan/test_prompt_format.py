"""How the prompts of a run are written follows from its recipe and its model's files, and misfits are found early."""

import json

import pytest
import wrong_templates
from made_up_recipes import prompt_recipe, train_recipe
from tiny_decoders import CHAT_TEMPLATE, SETTINGS, write_tokenizer

from summtune.base.errors import InputError
from summtune.plan.prompt_format import problems_of_format, prompt_format
from summtune.prompts.formats import TextFormat

DAY = "2026-03-04"
LLAMA = {"model_type": "llama", "hidden_size": 16}


@pytest.fixture
def folder(tmp_path):
    """The files of a model that name a chat template, as far as they are read here."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(SETTINGS))
    (tmp_path / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return tmp_path


@pytest.fixture
def base(folder):
    """The same without a chat template."""
    (folder / "chat_template.jinja").unlink()
    return folder


def few_shot(**keys):
    return prompt_recipe(shots=2, datasets=[{"path": "owner/talks"}], **keys)


def problems(recipe, folder):
    return list(problems_of_format(recipe, folder))


def test_a_chat_is_written_by_the_template_of_the_model(folder):
    recipe = few_shot(system_prompt="Be brief.", exemplars={"show_as": "text"}, prompt_template="x {dialogue}")
    form = prompt_format(recipe, folder, DAY)
    assert (form.kind, form.template, form.chat_template) == ("chat", "x {dialogue}", CHAT_TEMPLATE)
    assert (form.source, form.system_prompt, form.exemplars_as) == ("chat_template.jinja", "Be brief.", "text")
    assert form.special_tokens["eos_token"] == form.special_tokens["pad_token"] == "<|im_end|>"
    assert (form.date, form.arguments) == (None, {})
    assert problems(recipe, folder) == []


@pytest.mark.parametrize("make", [prompt_recipe, train_recipe])
def test_a_model_without_a_chat_template_gets_plain_text(base, make):
    form = prompt_format(make(prompt_template="x {dialogue}"), base, DAY)
    assert form == TextFormat(template="x {dialogue}")
    assert problems(make(), base) == []


def test_plain_text_can_be_asked_for(folder):
    assert prompt_format(train_recipe(chat_template="none"), folder, DAY).kind == "text"
    assert problems(train_recipe(chat_template="none"), folder) == []


def test_a_template_of_ones_own_is_read_with_the_special_tokens_of_the_model(base, tmp_path):
    own = tmp_path / "own.jinja"
    own.write_text("{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}{% endfor %}")
    form = prompt_format(train_recipe(chat_template=str(own)), base, DAY)
    assert (form.chat_template, form.source, form.date) == (own.read_text(), "own.jinja", DAY)
    assert form.special_tokens["bos_token"] == "<|im_start|>"


def test_a_template_that_the_model_lacks_is_an_error(base):
    recipe = train_recipe(chat_template="tokenizer")
    ((key, message),) = problems(recipe, base)
    assert key == "chat_template"
    assert (
        f"the model has no chat template (got `chat_template: tokenizer` for {base}); use `auto` or `none`" in message
    )
    with pytest.raises(InputError, match="the model has no chat template"):
        prompt_format(recipe, base, DAY)


WITHOUT_EFFECT = [
    ("system_prompt", {"system_prompt": "x"}),
    ("chat_template_kwargs", {"chat_template_kwargs": {"x": 1}}),
    ("exemplars.show_as", {"exemplars": {"show_as": "text"}}),
]


@pytest.mark.parametrize(("key", "keys"), WITHOUT_EFFECT)
def test_a_key_of_chats_without_a_template_is_an_error(base, key, keys):
    ((found, message),) = problems(few_shot(**keys), base)
    assert found == key
    assert f"has no effect without a chat template (got none in {base}); remove it, or name a Jinja file" in message


@pytest.mark.parametrize(("key", "keys"), [*WITHOUT_EFFECT, ("chat_template", {"chat_template": "tokenizer"})])
def test_a_key_of_chats_for_an_encoder_decoder_is_an_error(folder, key, keys):
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "is_encoder_decoder": True}))
    ((found, message),) = problems(few_shot(**keys), folder)
    assert found == key
    assert "has no effect for an encoder-decoder model, whose prompts are plain text; remove it" in message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("enable_thinkin", "is not read by the chat template, did you mean enable_thinking?"),
        ("messages", "is set by summtune"),
        ("add_generation_prompt", "is set by summtune"),
    ],
)
def test_an_argument_that_the_template_does_not_read_is_an_error(folder, name, said):
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE + "{% if enable_thinking %}{% endif %}")
    ((key, message),) = problems(train_recipe(chat_template_kwargs={name: False}), folder)
    assert key == f"chat_template_kwargs.{name}"
    assert said in message
    assert "(got it in chat_template_kwargs)" in message
    assert problems(train_recipe(chat_template_kwargs={"enable_thinking": False}), folder) == []


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
LAST_ONLY = "{{ messages[-1].content if messages[-1].role == 'user' else messages[-2].content + messages[-1].content }}"


@pytest.mark.parametrize(
    ("template", "keys", "key", "said"),
    [
        ("{{ raise_exception('no system role') }}", {"system_prompt": "x"}, "chat_template", "remove system_prompt"),
        ("{% for %}", {}, "chat_template", "the chat template fails (got"),
        (ENDLESS, {}, "chat_template", "does not end"),
        ("{% set x = messages %}", {}, "chat_template", "the chat template writes nothing"),
        ("{{ messages[0].role }}", {}, "chat_template", "does not write the dialogue"),
        (LAST_ONLY, {}, "chat_template", "does not write the exemplars"),
        (LAST_ONLY, {"shots": 0, "datasets": None, "system_prompt": "Be brief."}, "system_prompt", "the system turn"),
        (
            "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
            {"shots": 0, "datasets": None},
            "chat_template",
            "does not write answers",
        ),
    ],
)
def test_a_template_that_cannot_write_the_prompts_is_found_by_trying_it(folder, monkeypatch, template, keys, key, said):
    monkeypatch.setattr("summtune.prompts.chat_template._SECONDS", 0.2)
    (folder / "chat_template.jinja").write_text(template)
    recipe = prompt_recipe(**({"shots": 2, "datasets": [{"path": "owner/talks"}]} | keys))
    ((found, message),) = problems(recipe, folder)
    assert found == key
    assert said in message
    assert "chat_template.jinja" in message


@pytest.fixture
def answering(tmp_path):
    """Return what a template would do wrong for a recipe of each kind."""

    def look(template):
        folder = write_tokenizer(tmp_path / "model", chat_template=template)
        (folder / "config.json").write_text('{"model_type": "llama"}')
        return [problems(recipe, folder) for recipe in (train_recipe(), prompt_recipe())]

    return look


@pytest.mark.parametrize("name", ["CHAT", "OTHER_END", "EMPTY_THOUGHT"])
def test_a_template_that_teaches_what_is_asked_has_no_problem(answering, name):
    assert answering(getattr(wrong_templates, name)) == [[], []]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("REASONING", "changes the prompt once the answer follows it (got chat_template.jinja)"),
        ("REWRITING", "changes the prompt once the answer follows it (got chat_template.jinja)"),
        ("ENDLESS", "writes nothing after an answer (got chat_template.jinja)"),
    ],
)
def test_a_template_is_refused_for_training_alone(answering, name, problem):
    ((key, message),), of_prompt = answering(getattr(wrong_templates, name))
    assert key == "chat_template"
    assert problem in message
    assert of_prompt == []


def test_a_doubled_beginning_is_refused_for_prompts_too(answering):
    for found in answering(wrong_templates.BEGINS_TWICE):
        ((key, message),) = found
        assert key == "chat_template"
        assert "(got <|im_start|><|im_start|> from chat_template.jinja)" in message


def test_a_template_without_answers_is_refused(answering):
    for found in answering(wrong_templates.WITHOUT_ANSWERS):
        assert "does not write answers (got none from chat_template.jinja)" in found[0][1]


def test_a_reasoning_model_answers_at_once_unless_it_is_asked_to_think(folder):
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE + "{% if enable_thinking is defined %}{% endif %}")
    assert prompt_format(few_shot(), folder, DAY).arguments == {"enable_thinking": False}
    asked = few_shot(chat_template_kwargs={"enable_thinking": True})
    assert prompt_format(asked, folder, DAY).arguments == {"enable_thinking": True}
    assert problems(asked, folder) == []


def test_a_template_that_is_not_jinja_is_named_before_its_arguments(folder):
    (folder / "chat_template.jinja").write_text("{% for message in %}")
    ((key, said),) = problems(few_shot(chat_template_kwargs={"a": 1}), folder)
    assert key == "chat_template"
    assert "from chat_template.jinja" in said


def test_a_template_that_is_not_utf8_is_named_with_its_byte(folder):
    (folder / "chat_template.jinja").write_bytes(b"{{ messages }}\xff")
    ((key, said),) = problems(few_shot(), folder)
    assert (key, "got byte 0xff at 14 of" in said) == ("chat_template", True)


def test_a_template_may_raise_anything(folder):
    (folder / "chat_template.jinja").write_text("{{ 'x' * 1000000000000000 }}")
    ((key, said),) = problems(few_shot(), folder)
    assert (key, "MemoryError" in said) == ("chat_template", True)
