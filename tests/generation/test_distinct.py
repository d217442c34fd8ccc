import pytest

from summtune.generation.distinct import DistinctPrompts, key_of


def test_dialogues_with_the_same_prompt_share_it():
    asked = DistinctPrompts.of([[3, 1], [3, 4, 1], [3, 1], [2, 1]])
    assert asked.prompts == [[3, 1], [3, 4, 1], [2, 1]]
    assert asked.indices == [0, 1, 0, 2]
    assert asked.keys == [key_of([3, 1]), key_of([3, 4, 1]), key_of([2, 1])]


def test_the_key_of_token_ids_is_that_of_their_json():
    assert key_of([37, 9, 1]) == "e860445b1369a9a014cffd3a"


@pytest.mark.parametrize("ids", [(37, 9, 1), range(3), bytearray([37, 9, 1])])
def test_the_key_depends_on_the_ids_and_not_on_the_sequence_that_holds_them(ids):
    assert key_of(ids) == key_of(list(ids))


def test_texts_and_chat_messages_have_keys_too():
    prompts = [
        "Summarize: hi",
        "Summarize: ho",
        [{"role": "user", "content": "hi"}],
        [{"role": "user", "content": "ho"}],
    ]
    assert len({key_of(prompt) for prompt in prompts}) == 4
    assert all(len(key_of(prompt)) == 24 for prompt in prompts)
