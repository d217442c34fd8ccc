"""Random models of one layer, of each decoder-only architecture, without a tokenizer."""

SIZES = {
    "vocab_size": 71,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
OTHER_SIZES = {
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text"), SIZES | {"head_dim": 8}),
    "gpt_neox": {key: value for key, value in SIZES.items() if key != "num_key_value_heads"},
    "gpt2": {"vocab_size": 71, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 64, "initializer_range": 0.3},
}
ARCHITECTURES = (
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "smollm3", "olmo", "olmo2",
    "gpt_neox", "gpt2",
)  # fmt: skip


def write_untrained(folder, architecture="llama", **changes):
    """Write a model of an architecture with random weights; return the folder."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    sizes = OTHER_SIZES.get(architecture, SIZES)
    config = CONFIG_MAPPING[architecture](**sizes | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2} | changes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def write_text_model(folder, architecture="llama", **changes):
    """Write an untrained model with a tokenizer without chat template or special tokens; return the folder."""
    import json

    from tiny_inputs import VOCABULARY, write_tokenizer

    write_tokenizer(folder)
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(json.dumps(json.loads(tokenizer.read_text()) | {"post_processor": None}))
    return write_untrained(folder, architecture, vocab_size=VOCABULARY, eos_token_id=1, bos_token_id=None, **changes)
