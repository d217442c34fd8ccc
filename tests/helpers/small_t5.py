"""A very small T5 with weights that hide no mistake, a batch for its loss, and prompts of many lengths."""

import torch
from transformers import AutoModelForSeq2SeqLM, T5Config

SHAPE = {
    "vocab_size": 60,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 3,
    "dropout_rate": 0.0,
    "decoder_start_token_id": 0,
}
BATCH = {
    "input_ids": torch.tensor([[5, 6, 7, 8, 9, 1], [7, 9, 1, 0, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]),
    "decoder_input_ids": torch.tensor([[0, 8, 9, 12], [0, 4, 1, 0]]),
    "labels": torch.tensor([[8, 9, 12, 1], [4, 1, -100, -100]]),
}


def made(act="gated-gelu", dropout=0.0, dtype=torch.float32):
    torch.manual_seed(0)
    config = T5Config(**(SHAPE | {"dropout_rate": dropout}), feed_forward_proj=act)
    model = AutoModelForSeq2SeqLM.from_config(config, attn_implementation="eager", dtype=dtype)
    for parameter in model.parameters():  # the ones of the norms and the small numbers elsewhere would hide mistakes
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return model.train()


def ragged_prompts(rows=21):
    lengths = torch.randint(1, 40, (rows,), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(40) < lengths[:, None]).long()
    ids = torch.randint(3, 60, (rows, 40), generator=torch.Generator().manual_seed(2)) * mask
    return {"input_ids": ids, "attention_mask": mask}
