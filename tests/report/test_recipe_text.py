import yaml

from summtune.report.recipe_text import recipe_text


def test_multiline_texts_are_block_scalars_and_read_back_unchanged():
    recipe = {
        "kind": "train",
        "prompt_template": "Summarize.\n\n{dialogue}\nSummary:",
        "learning_rate": 1e-4,
        "no": "é",
    }
    text = recipe_text(recipe)
    assert "prompt_template: |-\n  Summarize.\n\n  {dialogue}\n" in text
    assert yaml.safe_load(text) == recipe
    assert list(yaml.safe_load(text)) == list(recipe)
