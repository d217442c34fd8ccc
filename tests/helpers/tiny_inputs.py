"""A very small FLAN-T5-shaped checkpoint, its tokenizer and a few dialogues, made on the spot from a seed."""

import json
import random
import string
from collections import Counter
from pathlib import Path

PAD, EOS, UNK = 0, 1, 2
VOCABULARY = 256
CONFIG = {
    "architectures": ["T5ForConditionalGeneration"],
    "model_type": "t5",
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_decoder_layers": 1,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 32,
    "dropout_rate": 0.0,
    "feed_forward_proj": "gated-gelu",
    "is_encoder_decoder": True,
    "pad_token_id": PAD,
    "eos_token_id": EOS,
    "decoder_start_token_id": PAD,
    "tie_word_embeddings": False,
}

_TOPICS = (
    "the train to Leeds",
    "a birthday cake",
    "the broken printer",
    "their tennis lesson",
    "the rent",
    "a new dog",
)
_SAYINGS = (
    "When do we meet?",
    "I am not sure yet.",
    "That costs too much.",
    "Let me ask my sister.",
    "Fine, at noon then.",
)


def dialogues(count, seed=0):
    """Return ``count`` rows with id, dialogue and summary; dialogues of two to fourteen turns."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        topic = rng.choice(_TOPICS)
        turns = [f"#Person1#: Shall we talk about {topic} number {number}?"]
        turns += [f"#Person{1 + turn % 2}#: {rng.choice(_SAYINGS)}" for turn in range(1, rng.randint(2, 14))]
        ending = rng.choice(
            ("and agree.", "and cannot agree on when and where to meet.", "but it costs too much for them.")
        )
        rows.append({"id": f"d{number}", "dialogue": "\n".join(turns), "summary": f"They talk about {topic} {ending}"})
    return rows


def write_rows(path, rows):
    """Write one JSON object a line and return the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_tokenizer(folder):
    """Write a Unigram tokenizer with T5's special tokens and spaces that belong to the word after them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    # Written out rather than trained: the trainer gives other pieces each time.
    text = "".join(row["dialogue"] + " " + row["summary"] + " " for row in dialogues(60))
    words = Counter("▁" + word for word in text.split())
    pieces = [word for word, _ in sorted(words.items(), key=lambda item: (-item[1], item[0]))][:120]
    letters = sorted({"▁", "\n", *string.printable[:94]} - set(pieces))
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary += [(piece, -1.0) for piece in pieces] + [(letter, -5.0) for letter in letters]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", EOS)]
    )
    assert tokenizer.get_vocab_size() <= VOCABULARY
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def overflow(folder: Path):
    """Make a checkpoint's logits overflow: its loss is not a number from the first step on; return the folder."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] *= 1e38
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_checkpoint(folder: Path, seed=0, **changes):
    """Write the checkpoint as FLAN-T5's are: lm_head stored apart from the embedding; return the folder."""
    import torch
    from safetensors.torch import save_file
    from transformers import T5Config, T5ForConditionalGeneration

    config = CONFIG | changes
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration(T5Config(**config))
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        weights["lm_head.weight"] = torch.randn(config["vocab_size"], config["d_model"]) * config["d_model"] ** -0.5
    for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"):
        weights.pop(name, None)
    write_tokenizer(folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    special = {"decoder_start_token_id": PAD, "eos_token_id": EOS, "pad_token_id": PAD}
    (folder / "generation_config.json").write_text(json.dumps(special))
    return folder


def write_bart(folder: Path, **changes):
    """Write a checkpoint as BART's are: lm_head is the embedding, the end of sequence is forced; return the folder."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    sizes = dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2)
    tokens = {"pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": None, "decoder_start_token_id": PAD}
    config = BartConfig(
        **({"vocab_size": VOCABULARY, "d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16} | sizes | tokens),
        **({"forced_eos_token_id": EOS, "init_std": 0.5, "dropout": 0.0, "max_position_embeddings": 512} | changes),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BartForConditionalGeneration(config)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder
