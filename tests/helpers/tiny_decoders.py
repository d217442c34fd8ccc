"""A very small decoder-only checkpoint with a chat template, and a random model of each architecture of that family."""

import json
from collections import Counter
from functools import lru_cache
from itertools import pairwise

from tiny_inputs import dialogues

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
UNKNOWN, START, END = range(3)
MERGES = 125
VOCABULARY = len(SPECIAL) + 256 + MERGES

# SmolLM2's, which adds a system turn where none is given. Its end of a turn also pads and ends a text.
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SETTINGS = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<|im_start|>",
    "eos_token": "<|im_end|>",
    "pad_token": "<|im_end|>",
    "unk_token": "<|endoftext|>",
    "clean_up_tokenization_spaces": False,
    "model_max_length": 2048,
}

_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.3,
    "pad_token_id": None,
    "bos_token_id": START,
    "eos_token_id": END,
}
_OWN_HEADS = {key: value for key, value in _SHAPE.items() if key != "num_key_value_heads"}
_GEMMA = _SHAPE | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16}
# By name: the class of its config, and what is set. The windows are shorter than the prompts of the tests.
ARCHITECTURES = {
    "llama": ("LlamaConfig", _SHAPE),
    "llama, tied": ("LlamaConfig", _SHAPE | {"tie_word_embeddings": True, "eos_token_id": [END, UNKNOWN]}),
    "qwen2": ("Qwen2Config", _SHAPE),
    "qwen3": ("Qwen3Config", _SHAPE | {"head_dim": 8, "tie_word_embeddings": True}),
    "mistral": ("MistralConfig", _SHAPE | {"sliding_window": 16}),
    "gemma": ("GemmaConfig", _SHAPE | {"head_dim": 8}),
    "gemma2": ("Gemma2Config", _GEMMA),
    "gemma3_text": ("Gemma3TextConfig", _GEMMA | {"layer_types": ["sliding_attention", "full_attention"]}),
    "phi": ("PhiConfig", _SHAPE),
    "phi3": ("Phi3Config", _SHAPE | {"sliding_window": 16}),
    "smollm3": ("SmolLM3Config", _SHAPE | {"no_rope_layers": [1, 0]}),
    "olmo": ("OlmoConfig", _SHAPE),
    "olmo2": ("Olmo2Config", _SHAPE),
    "gpt_neox": ("GPTNeoXConfig", _OWN_HEADS),
    "gpt2": (
        "GPT2Config",
        {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024}
        | {"initializer_range": 0.3, "bos_token_id": START, "eos_token_id": END}
        | dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0),
    ),
}


def made(architecture, seed=0, **changes):
    """Return a random model of an architecture, in fp32, which is not training."""
    import torch
    import transformers

    name, settings = ARCHITECTURES[architecture]
    config = getattr(transformers, name)(**(settings | changes))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():  # the ones of the norms and the zeros of biases would hide mistakes
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


@lru_cache(maxsize=1)
def _merges():
    """Return the merges of a byte-level BPE of the dialogues; written out, because a trainer breaks ties at random."""
    from tokenizers import pre_tokenizers

    text = "".join(f"{row['dialogue']}\n{row['summary']} " for row in dialogues(60))
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    words = Counter(tuple(piece) for piece, _ in pieces)
    merges = []
    while len(merges) < MERGES:
        pairs = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = Counter({_merged(word, best): count for word, count in words.items()})
    return merges


def _merged(word, pair):
    out = []
    for piece in word:
        if out and (out[-1], piece) == pair:
            out[-1] += piece
        else:
            out.append(piece)
    return tuple(out)


def backend():
    """Return a byte-level BPE tokenizer of the library, without anything that it adds to a text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*SPECIAL, *alphabet, *(first + second for first, second in _merges())]
    tokenizer = Tokenizer(models.BPE({piece: at for at, piece in enumerate(pieces)}, _merges()))
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def write_tokenizer(folder, chat_template=CHAT_TEMPLATE, post_processor=None, **settings):
    """Write the tokenizer as SmolLM2's is, unless changed; ``chat_template=None`` for that of a base model."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = backend()
    if post_processor is not None:
        tokenizer.post_processor = post_processor
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {key: value for key, value in (SETTINGS | settings).items() if value is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if chat_template is not None:
        (folder / "chat_template.jinja").write_text(chat_template)
    return folder


def write_decoder(folder, architecture="llama, tied", chat_template=CHAT_TEMPLATE, **changes):
    """Write a checkpoint as the hub has them, with its tokenizer; return the folder."""
    write_tokenizer(folder, chat_template)
    made(architecture, **changes).save_pretrained(folder)
    return folder
