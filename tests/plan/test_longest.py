"""The pairs that need the most memory are chosen by the tokens that the model reads of them."""

import pytest
from made_up_recipes import train_recipe
from tiny_inputs import dialogues, write_tokenizer

from summtune.plan.longest import longest_pairs
from summtune.runs.records import Dialogue


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    write_tokenizer(folder)
    return folder


def made(*texts):
    return [Dialogue(f"d{number}", text, (summary,)) for number, (text, summary) in enumerate(texts)]


def ids(longest):
    return [each.id for each in longest.dialogues]


def test_the_longest_pairs_are_chosen_in_the_order_of_the_data(model):
    rows = [Dialogue(row["id"], row["dialogue"], (row["summary"],)) for row in dialogues(30)]
    longest = longest_pairs(rows, 4, train_recipe(), model)
    by_length = sorted(rows, key=lambda each: len(each.dialogue), reverse=True)
    assert set(ids(longest)) <= {each.id for each in by_length[:8]}
    assert ids(longest) == [each.id for each in rows if each.id in ids(longest)]
    assert longest.pairs == 4
    assert longest.ratio > 1.3


def test_tokens_count_and_not_characters(model):
    # One token for each letter of the second text, and one for each word of the first.
    words, letters = "costs too much " * 8, "xyz " * 25
    data = made((words, "x"), (letters, "x"))
    assert len(words) > len(letters)
    assert ids(longest_pairs(data, 1, train_recipe(), model)) == ["d1"]


def test_characters_count_without_a_tokenizer(tmp_path):
    data = made(("costs too much " * 8, "x"), ("xyz " * 25, "x"))
    assert ids(longest_pairs(data, 1, train_recipe(), tmp_path)) == ["d0"]


def test_of_prompts_that_are_cut_those_with_the_longest_summary_are_chosen(model):
    data = made(("x " * 600, "ab"), ("x " * 200, "ab " * 30), ("x", "ab " * 30))
    assert ids(longest_pairs(data, 1, train_recipe(sequence_len=64), model)) == ["d1"]


def test_a_dialogue_that_the_recipe_drops_is_not_chosen(model):
    recipe = train_recipe(sequence_len=64, long_dialogues="drop")
    data = made(*((f"{number} " + "x " * 100, "ab") for number in range(9)), ("x", "ab"), ("x x", "ab"))
    assert ids(longest_pairs(data, 1, recipe, model)) == ["d10"]
    # All are dropped: the training reports it.
    assert longest_pairs(data[:9], 1, recipe, model).pairs == 1


def test_each_summary_of_a_dialogue_is_a_pair(model):
    data = [Dialogue("a", "x " * 50, ("ab " * 20, "a", "ab " * 30)), Dialogue("b", "x", ("a",))]
    longest = longest_pairs(data, 2, train_recipe(), model)
    assert longest.dialogues == [Dialogue("a", "x " * 50, ("ab " * 20, "ab " * 30))]
    assert longest.pairs == 2


def test_all_pairs_are_taken_if_there_are_fewer(model):
    data = made(("x", "a"), ("y", "b"))
    longest = longest_pairs(data, 16, train_recipe(), model)
    assert (longest.dialogues, longest.pairs, longest.ratio) == (data, 2, 1.0)
