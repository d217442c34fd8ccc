"""Chat templates and tokenizers with which a model would learn something else than what it is asked later."""

import json

_TURN = "{{ '<|im_start|>' + message['role'] + '\n' }}"
_OPEN = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"


def template(turn=_TURN + "{{ message['content'] + '<|im_end|>\n' }}", opened=_OPEN, before=""):
    """Return a chat template: what it writes first, each turn, and where the answer begins."""
    return before + "{% for message in messages %}" + turn + "{% endfor %}" + opened


def answering(answer):
    """Return a template that writes ``answer`` for the content of an assistant's turn, with what ends it."""
    ends = "{{ message['content'] + '<|im_end|>\n' }}"
    return template(_TURN + "{% if message['role'] == 'assistant' %}" + answer + "{% else %}" + ends + "{% endif %}")


CHAT = template()
DOUBLED_BOS = CHAT.replace("'<|im_start|>", "bos_token + '<|im_start|>")
BEGINS_TWICE = template(before="{{ bos_token + bos_token }}")
# What DeepSeek's do: the prompt opens a thought, and an answer in the conversation has none.
REASONING = template(opened="{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}")
# Another prompt once the last turn is an answer.
REWRITING = template(before="{{ 'answered\n' if messages[-1]['role'] == 'assistant' else 'asked\n' }}")
WITHOUT_ANSWERS = answering("{{ '<|im_end|>\n' }}")
SHOUTING = answering("{{ message['content'] | upper + '<|im_end|>\n' }}")
# It does not know add_generation_prompt, so the model would be trained to write the role of its turn.
WITHOUT_OPENING = template(opened="")
ENDLESS = answering("{{ message['content'] }}")
# Answers end with a token that the model's files do not name, as Gemma's <end_of_turn>.
OTHER_END = answering("{{ message['content'] + '<|endoftext|>\n' }}")
# Some answers end with a token that does not end generation.
SOMETIMES_OTHER_END = answering(
    "{{ message['content'] + ('<|endoftext|>' if 'agree' in message['content'] else '<|im_end|>') }}"
)
# Qwen 3's: a thought without content before the answer, which is not part of a prediction.
EMPTY_THOUGHT = answering("{{ '<think>\n\n</think>\n\n' + message['content'] + '<|im_end|>\n' }}")


def merge_across_turns(folder):
    """Have the tokenizer in ``folder`` merge the line end before an answer with the T that begins it."""
    path = folder / "tokenizer.json"
    state = json.loads(path.read_text())
    state["pre_tokenizer"]["use_regex"] = False
    model = state["model"]
    *kept, last = model["merges"]
    model["merges"] = [["Ċ", "T"], *kept]
    model["vocab"]["ĊT"] = model["vocab"].pop("".join(last))
    path.write_text(json.dumps(state))


def drop_tildes(folder):
    """Have the tokenizer in ``folder`` drop every tilde."""
    path = folder / "tokenizer.json"
    state = json.loads(path.read_text())
    state["normalizer"] = {"type": "Replace", "pattern": {"String": "~"}, "content": ""}
    path.write_text(json.dumps(state))
