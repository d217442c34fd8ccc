"""Chat templates are rendered as transformers renders them, and those that cannot be are errors with a reason."""

import datetime
import json
import threading
import time

import pytest
from tiny_decoders import CHAT_TEMPLATE, write_tokenizer
from transformers import AutoTokenizer

from summtune.base.errors import InputError
from summtune.prompts import chat_template
from summtune.prompts.chat_template import (
    ChatTemplateError,
    own_template,
    render_chat,
    special_tokens_of,
    variables_of,
)

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Summarize: <b>é</b> {{ x }}\n"}
ANSWER = {"role": "assistant", "content": "Fine."}

# Shaped like the templates of models that many people use.
LLAMA = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start|>system<|end|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot|>" }}
{%- for message in messages %}
    {{- '<|start|>' + message['role'] + '<|end|>\\n\\n'+ message['content'] | trim + '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|end|>\\n\\n' }}
{%- endif %}
"""
QWEN = """\
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in message.content %}
            {%- set reasoning_content = message.content.split('</think>')[0].split('<think>')[-1] %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' }}
            {{- reasoning_content.strip('\\n') + '\\n</think>\\n\\n' }}
            {{- message.content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + message.content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
    "{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
MISTRAL = """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('After the optional system message, conversation roles must alternate user/assistant') }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.first and system_message is defined %}
            {{- " [INST] " + system_message + "\\n\\n" + message["content"] + " [/INST]" }}
        {%- else %}
            {{- " [INST] " + message["content"] + " [/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] + eos_token}}
    {%- endif %}
{%- endfor %}
"""
GENERATION = """\
{% for message in messages %}
{% if message.role == "assistant" %}
{% generation %}{{ message.content }}{% set leaked = "leaked" %}<|im_end|>{% endgeneration %}
{% elif loop.index > 9 %}{% break %}
{% else %}
{{ message | tojson }}{{ "é<" | tojson }}
{% endif %}{{ leaked }}
{% endfor %}"""
TEMPLATES = {
    "smollm2": CHAT_TEMPLATE,
    "llama": LLAMA,
    "qwen": QWEN,
    "gemma": GEMMA,
    "mistral": MISTRAL,
    "generation": GENERATION,
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return AutoTokenizer.from_pretrained(write_tokenizer(tmp_path_factory.mktemp("tokenizer")))


def rendered(template, messages, opens_answer=True, date=None, **variables):
    return render_chat(template, "chat_template.jinja", messages, variables, date, opens_answer)


@pytest.mark.parametrize("opens_answer", [True, False])
@pytest.mark.parametrize("variables", [{}, {"enable_thinking": False}])
@pytest.mark.parametrize(
    ("name", "messages"),
    [
        (name, messages)
        for name in TEMPLATES
        for messages in ([USER], [SYSTEM, USER], [USER, ANSWER, USER], [USER, ANSWER])
        if (name, messages[0]) != ("gemma", SYSTEM)
    ],
)
def test_a_chat_is_rendered_as_by_transformers(tokenizer, name, messages, variables, opens_answer):
    own = rendered(
        TEMPLATES[name],
        messages,
        opens_answer,
        datetime.date.today().isoformat(),
        **tokenizer.special_tokens_map,
        **variables,
    )
    assert own == tokenizer.apply_chat_template(
        messages, chat_template=TEMPLATES[name], tokenize=False, add_generation_prompt=opens_answer, **variables
    )


def test_the_date_is_the_one_that_is_given():
    assert "Today Date: 07 Mar 2024" in rendered(LLAMA, [USER], date="2024-03-07", bos_token="")


@pytest.mark.parametrize(
    ("template", "messages", "reason", "advice"),
    [
        (GEMMA, [SYSTEM, USER], "System role not supported", "remove system_prompt, or use another template"),
        (GEMMA, [USER, USER], "roles must alternate", "correct it"),
        ("{{ messages[7].content }}", [USER], "list object has no element 7", "correct it"),
        ("{{ 1 / 0 }}", [USER], "ZeroDivisionError", "correct it"),
        ("{{ messages + 1 }}", [USER], "TypeError", "correct it"),
        ("{% for %}", [USER], "Expected an expression", "correct it"),
        ("{% include 'x' %}", [USER], "no loader", "correct it"),
    ],
)
def test_a_template_that_raises_is_named_with_its_reason(template, messages, reason, advice):
    with pytest.raises(ChatTemplateError) as caught:
        rendered(template, messages, bos_token="")
    said = str(caught.value)
    assert said.startswith("the chat template fails (got ")
    assert reason in said
    assert "from chat_template.jinja" in said
    assert said.endswith(advice)


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ dict.__class__.__mro__ }}",
        "{{ strftime_now.__self__.__class__ }}",
        "{{ namespace(__init__=1) }}",
        "{% set ns = namespace() %}{% set ns._x = 1 %}{{ ns._x }}",
        "{{ cycler.__init__.__globals__.os.popen('true').read() }}",
        "{{ ''|attr('__class__') }}{{ messages.append(1) }}",
        "{{ messages.append({}) }}",
        "{% for i in range(999999999) %}x{% endfor %}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(template):
    with pytest.raises(ChatTemplateError, match=r"the chat template (fails|writes nothing)"):
        rendered(template, [dict(USER)])


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(text='x') %}{% for a in range(99999) %}{% for b in range(99999) %}"
        "{% set ns.text = 'y' %}{% endfor %}{% endfor %}",
    ],
)
def test_a_template_that_does_not_end_is_stopped(template, monkeypatch):
    monkeypatch.setattr(chat_template, "_SECONDS", 0.2)
    started = time.monotonic()
    with pytest.raises(ChatTemplateError, match=r"does not end \(got chat_template.jinja, stopped after"):
        rendered(template, [USER])
    assert time.monotonic() - started < 4


def test_a_template_is_rendered_in_another_thread_than_the_main_one():
    texts = []
    thread = threading.Thread(target=lambda: texts.append(rendered(CHAT_TEMPLATE, [USER])))
    thread.start()
    thread.join()
    assert texts == [rendered(CHAT_TEMPLATE, [USER])]


@pytest.mark.parametrize("template", ["", "{% if false %}x{% endif %}", "  \n{# nothing #}"])
def test_a_template_that_writes_nothing_is_refused(template):
    with pytest.raises(
        ChatTemplateError, match=r"writes nothing \(got chat_template.jinja\); correct it, or use `chat"
    ):
        rendered(template, [USER])


def test_the_variables_of_a_template_are_those_that_it_reads():
    assert {"enable_thinking", "messages", "add_generation_prompt"} <= variables_of(QWEN, "a")
    assert "date_string" in variables_of(LLAMA, "a")
    assert "system_message" not in variables_of(MISTRAL.split("{%- for")[0].replace("system_message =", "x ="), "a")
    with pytest.raises(ChatTemplateError, match=r"from a\.jinja"):
        variables_of("{% for %}", "a.jinja")


def test_the_template_of_a_model_is_in_its_own_file_or_in_the_settings_of_its_tokenizer(tmp_path):
    settings = tmp_path / "tokenizer_config.json"
    assert own_template(tmp_path) is None
    settings.write_text(json.dumps({"chat_template": "in settings", "eos_token": {"content": "</s>"}}))
    assert own_template(tmp_path) == ("in settings", "tokenizer_config.json", {"eos_token": "</s>"})
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    settings.write_text(json.dumps({"chat_template": named}))
    assert own_template(tmp_path).text == "plain"
    settings.write_text(json.dumps({"chat_template": named[:1]}))
    with pytest.raises(ChatTemplateError, match=r"none of the tokenizer's .* is named default \(got tool_use in"):
        own_template(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("é in a file", encoding="utf-8")
    assert own_template(tmp_path)[:2] == ("é in a file", "chat_template.jinja")


@pytest.mark.parametrize("content", ["", "[", "[]", '"x"', '{"chat_template": 7}', "[" * 100_000])
def test_damaged_settings_of_a_tokenizer_have_no_template(tmp_path, content):
    (tmp_path / "tokenizer_config.json").write_text(content)
    assert own_template(tmp_path) is None


def test_a_template_file_that_is_far_too_large_is_refused(tmp_path):
    with (tmp_path / "chat_template.jinja").open("wb") as file:
        file.truncate(2**34)
    with pytest.raises(InputError, match=r"chat_template\.jinja"):
        own_template(tmp_path)


def test_special_tokens_are_those_of_transformers(tmp_path, tokenizer):
    folder = write_tokenizer(tmp_path / "a")
    assert special_tokens_of(folder) == tokenizer.special_tokens_map
    (folder / "special_tokens_map.json").write_text(json.dumps({"sep_token": "<sep>", "bos_token": "other"}))
    assert special_tokens_of(folder) == {**tokenizer.special_tokens_map, "sep_token": "<sep>"}
