import pytest
import torch
from tiny_inputs import dialogues

from summtune.generation.resuming import World
from summtune.prompts.formats import TextFormat
from summtune.recipe.sections import Generation
from summtune.runs.records import Dialogue
from summtune.work.generation.decoding import generate, generation_config
from summtune.work.generation.local import LocalGenerator
from summtune.work.models.loading import load_model
from summtune.work.tokens.encoding import PromptEncoder


@pytest.fixture
def model(checkpoint):
    return load_model(checkpoint, torch.float32).eval()


@pytest.fixture
def prompts(tokenizer):
    asked = [Dialogue(row["id"], row["dialogue"], ()) for row in dialogues(7, seed=3)]
    return [prompt.ids for prompt in PromptEncoder(tokenizer, TextFormat(template="{dialogue}"), 512).encode(asked)]


@pytest.fixture
def generator(model, tokenizer):
    """Return a generator that draws at random, in batches of two."""

    def make(**given):
        config = generation_config(model, Generation(max_new_tokens=8, do_sample=True))
        return LocalGenerator(model, tokenizer, config, **({"batch_size": 2, "seed": 42} | given))

    return make


def test_every_prompt_gets_its_own_output(generator, prompts, model, tokenizer, batch_sizes):
    config = generation_config(model, Generation(max_new_tokens=8))
    outputs = dict(LocalGenerator(model, tokenizer, config, 2, 42).generate(prompts))
    assert batch_sizes == [2, 2, 2, 1]
    assert [outputs[index] for index in range(7)] == [generate(model, tokenizer, [ids], config)[0] for ids in prompts]
    assert len({output.text for output in outputs.values()}) > 1


def test_samples_are_the_same_on_any_number_of_ranks(generator, prompts, batch_sizes):
    alone = dict(generator().generate(prompts))
    batch_sizes.clear()
    of_ranks = [dict(generator(world=World(rank, 3)).generate(prompts)) for rank in range(3)]
    assert [len(outputs) for outputs in of_ranks] == [3, 2, 2]
    assert batch_sizes == [2, 1, 2, 2]
    assert of_ranks[0] | of_ranks[1] | of_ranks[2] == alone


def test_samples_of_a_resumed_run_are_those_of_an_undisturbed_one(generator, prompts, batch_sizes):
    whole = list(generator().generate(prompts))
    done = [index for index, _ in whole[:3]]  # the second batch is half done
    batch_sizes.clear()
    assert list(generator().generate(prompts, done)) == whole[2:]
    assert batch_sizes == [2, 2, 1]


def test_samples_depend_on_the_seed(generator, prompts):
    assert dict(generator(seed=1).generate(prompts)) != dict(generator(seed=2).generate(prompts))


def test_nothing_is_generated_where_everything_is_done(generator, prompts, batch_sizes):
    assert list(generator().generate(prompts, range(7))) == []
    assert batch_sizes == []
