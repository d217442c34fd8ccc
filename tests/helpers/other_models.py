"""Very small random models of families other than T5, with their tokenizers."""

import torch
import transformers
from tiny_inputs import dialogues
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
START, PAD, END = 0, 1, 2
SIZES = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "pad_token_id": PAD,
    "bos_token_id": START,
    "eos_token_id": END,
    "decoder_start_token_id": END,
}


def byte_tokenizer(ends_with="</s>"):
    """Return a tokenizer of words and bytes that writes ``<s> text </s>``, as BART's does."""
    words = sorted({f"Ġ{word}" for row in dialogues(20) for word in row["summary"].split() if word.isalpha()})
    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *pre_tokenizers.ByteLevel.alphabet(), *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    ids = [(token, vocabulary[token]) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"<s> $A {ends_with}", special_tokens=ids)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


def write_model(folder, family, tokenizer=None, **changes):
    """Write a BART or LED, its tokenizer and its configs; return the folder."""
    tokenizer = tokenizer or byte_tokenizer()
    positions = {"bart": {"max_position_embeddings": 64}, "led": {"max_encoder_position_embeddings": 64}}[family]
    named = {
        "bart": ("BartConfig", "BartForConditionalGeneration"),
        "led": ("LEDConfig", "LEDForConditionalGeneration"),
    }
    config_class, model_class = (getattr(transformers, name) for name in named[family])
    window = {"max_decoder_position_embeddings": 64, "attention_window": 8} if family == "led" else {}
    config = config_class(**{"vocab_size": len(tokenizer)} | SIZES | positions | window | {"init_std": 0.3} | changes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model_class(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
