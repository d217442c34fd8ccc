"""Python code for the model card, which generates summaries as in the evaluation, without summtune."""

from __future__ import annotations

from summtune.prompts.formats import PromptFormat
from summtune.recipe.adapters import PromptTuning, method_of, quantization
from summtune.recipe.families import Family, facts_about
from summtune.report.card_prompt import answer_code, day_code, may_think, stopping_code, tokens_code
from summtune.report.card_recipe import CardRecipe
from summtune.runs.statistics import Precision

_FULL = """\
model = {auto_class}.from_pretrained(folder, dtype=torch.{dtype}).eval()
model.generation_config = GenerationConfig.from_pretrained(folder)"""

_MERGED = """\
# The base model is loaded from the path in adapter_config.json; the adapter is merged in fp32, as in the evaluation.
model = {auto_class}.from_pretrained(folder, dtype=torch.float32).merge_and_unload().{cast}eval()
model.generation_config = GenerationConfig.from_pretrained(folder)"""

_APART = """\
# The base model is loaded from the path in adapter_config.json; the adapter precedes each prompt.
model = {auto_class}.from_pretrained(folder, dtype=torch.{dtype}).eval()
model.get_base_model().generation_config = GenerationConfig.from_pretrained(folder)"""

_QUANTIZED = """\
# The base model is loaded from the path in adapter_config.json, in four bits (bitsandbytes).
in_four_bits = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.{dtype},
)
model = {auto_class}.from_pretrained(folder, dtype=torch.{dtype}, quantization_config=in_four_bits).eval()
model.get_base_model().generation_config = GenerationConfig.from_pretrained(folder)"""

_REST = """\
{tokens}


def summarize(dialogue):
    ids = tokens(dialogue)
    places = tokenizer(dialogue, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    keep = len(places)
    while len(ids) > sequence_len:  # cut the {lost} of the dialogue, never the instruction
        keep -= len(ids) - sequence_len
        if keep < 1:
            raise ValueError("the prompt is longer than sequence_len without its dialogue")
        ids = tokens({kept})
    prompt = torch.tensor([ids], device=model.device)
{stopping}    with torch.inference_mode():
        written = model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt){more})
{answer}


print(summarize("#Person1#: Are you free at noon?\\n#Person2#: Yes, let's have lunch."))"""


def card_code(
    recipe: CardRecipe, form: PromptFormat, family: Family, precision: Precision, model_type: str | None
) -> str:
    """Return code that loads the model from the folder ``model``, and defines ``summarize``.

    Args:
        recipe: of the run.
        form: of the prompts.
        family: of the model.
        precision: of the predictions, ``bf16`` or ``fp32``.
        model_type: from the base model's config.json; None if unknown.
    """
    dtype = "bfloat16" if precision == "bf16" else "float32"
    method = method_of(recipe.adapter)
    about = facts_about(family)
    auto_class = about.auto_class()
    classes = {auto_class, "AutoTokenizer", "GenerationConfig"}
    loading = _FULL
    if method is not None:
        classes.remove(auto_class)
        auto_class = auto_class.replace("AutoModel", "AutoPeftModel")
        loading = _APART if method is PromptTuning else _MERGED
    if quantization(recipe.adapter, recipe.load_in_4bit) is not None:
        classes.add("BitsAndBytesConfig")
        loading = _QUANTIZED
    cast = "" if dtype == "float32" else f"to(torch.{dtype})."
    continued, stops = about.continues_prompt(), recipe.generation.stop or ()
    stopping, criteria = stopping_code(stops, continued)
    from_start = recipe.long_dialogues == "truncate_start"
    lines = [
        *(["import re", ""] if may_think(form) else []),
        "import torch",
        *([f"from peft import {auto_class}"] if method else []),
        f"from transformers import {', '.join(sorted(classes))}",
        "",
        'folder = "model"  # the path of this folder, or its id on the hub',
        f"template = {form.template!r}",
        f"sequence_len = {recipe.sequence_len}",
        *([f"stop = {list(stops)!r}"] if stops else []),
        "",
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        *day_code(form),
        loading.format(auto_class=auto_class, dtype=dtype, cast=cast),
        "",
        "",
        _REST.format(
            tokens=tokens_code(form, continued),
            stopping=stopping,
            answer=answer_code(form, continued, stops),
            lost="start" if from_start else "end",
            kept="dialogue[places[-keep][0] :]" if from_start else "dialogue[: places[keep - 1][1]]",
            more=about.generate_arguments(model_type) + criteria,
        ),
    ]
    return "\n".join(lines)
