import pytest
from families import write_tiny
from prepared_runs import prepared_run

from summtune.base.errors import ModelError
from summtune.work.models.loading import load_tokenizer
from summtune.work.tokens.planned import encoder_of


def test_a_special_token_that_the_files_name_in_another_way_is_an_error(tmp_path):
    folder = tmp_path / "model"
    write_tiny("decoder_only", folder)
    template = folder / "chat_template.jinja"
    template.write_text("{# {{ eos_token }} #}{% if not eos_token %}{% endif %}" + template.read_text())
    tokenizer = load_tokenizer(folder)
    run = prepared_run(tmp_path, folder)
    encoder_of(run.plan, tokenizer)
    tokenizer.eos_token = "<|im_start|>"
    with pytest.raises(ModelError, match=r"writes eos_token, .*'<\|im_start\|>' in transformers\); add it to"):
        encoder_of(run.plan, tokenizer)
