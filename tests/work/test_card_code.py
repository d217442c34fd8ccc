"""The code of a model card, run unchanged in a process without summtune, writes the summaries that were scored."""

import re
import subprocess
import sys

import pytest
from accelerate.state import AcceleratorState
from tiny_decoders import write_decoder
from tiny_inputs import write_bart

from summtune.base.files import read_json, write_text
from summtune.report.model_card import model_card
from summtune.work.generation.prediction import predict

# peft asks by a name that transformers is about to drop, and warns of a head that is no embedding
pytestmark = [
    pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings(
        "ignore:(Model (has|with) `tie_word_embeddings|Input and output embeddings):UserWarning"
    ),
]
TEMPLATE = 'Say "briefly" what {"a"} people want:\n{dialogue}\n```'
ADAPTER = {"adapter": "lora", "lora_r": 4, "learning_rate": 0.05}
RUNS = {
    "t5": {"base": "t5"},
    "t5, beams": {"base": "t5", "generation": {"max_new_tokens": 9, "num_beams": 3, "length_penalty": 2.0}},
    "t5, adapter with lm_head": ADAPTER | {"base": "t5", "lora_target_modules": ["q", "lm_head"]},
    "bart": {"base": "bart", "generation": {"max_new_tokens": 9, "no_repeat_ngram_size": 2}},
    "bart, rsLoRA and DoRA": ADAPTER
    | {"base": "bart", "lora_target_modules": ["q_proj", "fc1"], "peft_use_dora": True, "peft_use_rslora": True},
    "t5, ia3": {"base": "t5", "adapter": "ia3", "learning_rate": 0.1},
    "bart, ia3": {"base": "bart", "adapter": "ia3", "learning_rate": 0.1},
    "t5, pissa and rsLoRA": ADAPTER | {"base": "t5", "peft_init_lora_weights": "pissa", "peft_use_rslora": True},
    "t5, prompt tuning": {"base": "t5", "adapter": "prompt_tuning", "num_virtual_tokens": 4, "learning_rate": 0.5},
    "bart, prompt tuning": {
        "base": "bart",
        "adapter": "prompt_tuning",
        "prompt_tuning_init_text": "train cake",
        "learning_rate": 0.5,
    },
    "llama": {
        "base": "llama",
        "system_prompt": 'Be "brief".',
        "generation": {"max_new_tokens": 9, "stop": ["e", "\n"]},
    },
    "llama, adapter": ADAPTER
    | {"base": "llama", "chat_template": "dated.jinja", "chat_template_kwargs": {"enable_thinking": False}}
    | {"long_dialogues": "truncate_start"},
    "llama, plain text": {
        "base": "llama",
        "chat_template": "none",
        "generation": {"max_new_tokens": 9, "num_beams": 2},
    },
    "llama, prompt tuning": {"base": "llama", "adapter": "prompt_tuning", "learning_rate": 0.1},
    "bundled, adapter": ADAPTER | {"base": "builtin/flan-t5-nano", "long_dialogues": "truncate_start"},
}
# A template that asks for the date and knows thoughts; a model that is trained on it learns to write an empty one.
DATED = """\
{{- bos_token }}system
Today is {{ strftime_now("%d %b %Y") }}.{{ eos_token }}
{%- for message in messages %}
{{ "<|im_start|>" + message.role }}
{% if message.role == "assistant" and enable_thinking is false %}
<think></think>
{% endif %}
{{- message.content + eos_token }}
{%- endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}"""
COMPARED = """
import json
rows = [json.loads(line) for line in open("predictions.jsonl", encoding="utf-8")]
written = [summarize(row["dialogue"]) for row in rows]
assert written == [row["prediction"] for row in rows], written
"""


def test_the_cards_code_writes_what_was_scored(trained, checkpoint, tmp_path):
    bases = {"t5": checkpoint, "bart": write_bart(tmp_path / "base"), "llama": write_decoder(tmp_path / "llama")}
    (tmp_path / "dated.jinja").write_text(DATED)
    code = ["import os, sys, warnings", "sys.modules['summtune'] = None", "warnings.simplefilter('ignore')"]
    for name, keys in RUNS.items():
        base = keys["base"]
        keys = {"max_steps": 4, "num_epochs": None, "prompt_template": TEMPLATE} | keys
        keys |= {"base_model": str(bases.get(base, base)), "sequence_len": 150 if base == "llama" else 80, "base": None}
        run = trained(name=re.sub(r"\W", "_", name), test=6, **keys)
        AcceleratorState._reset_state(reset_partial_state=True)
        predict(run.plan, run.folder, run.events("predict"))
        AcceleratorState._reset_state(reset_partial_state=True)
        assert 0 < read_json(run.folder / "prediction_stats.json")["truncated"] < 6
        card = model_card(run.folder)
        write_text(run.folder / "model" / "README.md", card)
        (block,) = re.findall(r"^(`{3,})python\n(.*?)\n\1$", card, re.DOTALL | re.MULTILINE)
        code += [f"os.chdir({str(run.folder)!r})", block[1], COMPARED]
    (tmp_path / "cards.py").write_text("\n".join(code), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", tmp_path / "cards.py"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
