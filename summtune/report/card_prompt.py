"""The parts of the model card's code that depend on how a prompt is written and how its summary ends."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence

from typing_extensions import assert_never

from summtune.prompts.formats import ChatFormat, PromptFormat, TextFormat

_TEXT = """\
def tokens(dialogue):
    return tokenizer(template.replace("{dialogue}", dialogue))["input_ids"]"""

_CONTINUED_TEXT = """\
def tokens(dialogue):
    ids = tokenizer(template.replace("{dialogue}", dialogue))["input_ids"]
    return ids[:-1] if ids[-1] == tokenizer.eos_token_id else ids  # the summary follows"""

_CHAT = """\
def tokens(dialogue):
    turns = [{turns}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True{arguments})
    return tokenizer(text, add_special_tokens=False)["input_ids"]  # the template writes them"""

_USER = '{"role": "user", "content": template.replace("{dialogue}", dialogue)}'

_TODAY = re.compile(r"""(strftime_now\(\s*(["'])(.*?)\2\s*\))""")

_STOPPING = """
    def stops(rows, _scores, **_):
        texts = tokenizer.batch_decode(rows[:, {start}:])
        return torch.tensor([any(one in text for one in stop) for text in texts], device=rows.device)
"""


def tokens_code(form: PromptFormat, continued: bool) -> str:
    """Return the function ``tokens``, which encodes the prompt of a dialogue.

    Args:
        form: of the prompts.
        continued: whether the summary continues the prompt in one sequence.
    """
    match form:
        case TextFormat():
            return _CONTINUED_TEXT if continued else _TEXT
        case ChatFormat():
            return _CHAT.format(turns=_turns(form), arguments=_arguments(form))
        case _:
            assert_never(form)


def _turns(form: ChatFormat) -> str:
    if form.system_prompt is None:
        return _USER
    return f'\n        {{"role": "system", "content": {form.system_prompt!r}}},\n        {_USER},\n    '


def _arguments(form: ChatFormat) -> str:
    return f", **{form.arguments!r}" if form.arguments else ""


def day_code(form: PromptFormat) -> list[str]:
    """Return lines that let the chat template write the day of the run; none if it writes no date.

    transformers takes no function for a template's variables, so the calls in the text are replaced.
    """
    if not isinstance(form, ChatFormat) or form.date is None:
        return []
    day = datetime.date.fromisoformat(form.date)
    calls = {call: repr(day.strftime(text)) for call, _, text in _TODAY.findall(form.chat_template)}
    return [
        f"for call, day in {calls!r}.items():  # the day of the training, as its prompts had it",
        "    tokenizer.chat_template = tokenizer.chat_template.replace(call, day)",
    ]


def stopping_code(stops: Sequence[str], continued: bool) -> tuple[str, str]:
    """Return a function that ends the generation at the texts ``stop``, and the argument of `generate` that calls it.

    Args:
        stops: the texts; both are empty without any.
        continued: whether the summary continues the prompt in one sequence.
    """
    if not stops:
        return "", ""
    return _STOPPING.format(start="len(ids)" if continued else "1"), ", stopping_criteria=[stops]"


def answer_code(form: PromptFormat, continued: bool, stops: Sequence[str]) -> str:
    """Return the last lines of ``summarize``, which make a summary of what was generated.

    Args:
        form: of the prompts.
        continued: whether the summary continues the prompt in one sequence.
        stops: texts that end a summary.
    """
    decoded = f"tokenizer.decode(written[0{', len(ids) :' if continued else ''}], skip_special_tokens=True)"
    lines = []
    if stops:
        lines += ["    for one in stop:", "        text = text.split(one)[0]"]
    if may_think(form):
        lines.append('    text = re.sub("<think>.*?(</think>|$)", "", text, flags=re.DOTALL).split("</think>")[-1]')
    if not lines:
        return f"    return {decoded}.strip()"
    return "\n".join([f"    text = {decoded}", *lines, "    return text.strip()"])


def may_think(form: PromptFormat) -> bool:
    """Return whether a thought may precede the summary; then the code needs ``re``."""
    return isinstance(form, ChatFormat) and "<think>" in form.chat_template
