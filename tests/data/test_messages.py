"""Chat messages as a dialogue with its summary."""

import json
from typing import Any

import pytest

from summtune.base.errors import DataError
from summtune.data.columns import Columns, EmptyRow, Record, checked
from summtune.data.messages import Conversation, conversation_of
from summtune.data.rows import BadRow, Row, RowPosition
from summtune.recipe.sections import DatasetSource

USER, ANSWER = {"role": "user", "content": "A: Hi.\nB: Bye."}, {"role": "assistant", "content": "They greet."}
SYSTEM = {"role": "system", "content": "Summarize."}


def row(value: object) -> Row:
    return Row(RowPosition("a.jsonl", "line", 1), {"messages": value, "id": "x"})


def columns(**keys: Any) -> Columns:
    return Columns.of(DatasetSource(path="x", type="messages", **keys))


def read(value: object) -> Record:
    (record,) = checked(iter([row(value)]), columns().record)
    return record


@pytest.mark.parametrize(
    "messages",
    [
        [USER, ANSWER],
        json.dumps([USER, ANSWER]),
        [{"from": "human", "value": USER["content"]}, {"from": "gpt", "value": "They greet."}],
        [
            {"role": "User", "content": [{"type": "text", "text": "A: Hi."}, {"type": "text", "text": "B: Bye."}]},
            ANSWER,
        ],
        [
            {"role": "user", "content": "A: Hi."},
            {"role": "user", "content": " "},
            USER | {"content": "B: Bye."},
            ANSWER,
        ],
        [USER | {"name": None, "weight": 1}, {"role": "model", "content": "They greet.", "tool_calls": None}],
    ],
)
def test_the_user_messages_are_the_dialogue_and_the_last_one_is_the_summary(messages: object) -> None:
    record = read(messages)
    assert (record.dialogue, record.references, record.id) == ("A: Hi.\nB: Bye.", ("They greet.",), None)
    assert not record.has_system


@pytest.mark.parametrize("role", ["system", "developer"])
def test_system_messages_are_not_part_of_the_dialogue(role: str) -> None:
    record = read([SYSTEM | {"role": role}, USER, ANSWER])
    assert (record.dialogue, record.references, record.has_system) == (USER["content"], ("They greet.",), True)


def test_columns_name_the_messages_and_the_id() -> None:
    named = columns(messages_field="conversations", id_field="nr")
    assert named.wanted == {"conversations", "nr"}


@pytest.mark.parametrize(
    ("messages", "got"),
    [
        ([USER, ANSWER, USER, ANSWER], "user, assistant, user, assistant"),
        ([USER], "user"),
        ([ANSWER], "assistant"),
        ([SYSTEM, ANSWER], "system, assistant"),
        ([USER, SYSTEM, ANSWER], "user, system, assistant"),
        ([USER, ANSWER, USER], "user, assistant, user"),
        ([USER] * 9 + [ANSWER] * 2, ", ".join(["user"] * 8) + ", …"),
    ],
)
def test_a_chat_of_another_shape_is_refused_with_its_roles(messages: object, got: str) -> None:
    with pytest.raises(DataError) as caught:
        read(messages)
    assert "line 1: messages must be one dialogue with its summary" in str(caught.value)
    assert f"(got {got}); rewrite the row" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("A: Hi.", r"messages must be a list of messages \(got a string\)"),
        ({"role": "user"}, r"messages must be a list of messages \(got an object\)"),
        (["A: Hi."], r"message 1 of messages must be {role, content} \(got a string\)"),
        ([{"role": "user", "text": "x"}], r"message 1 of messages has no content \(got keys: role, text\)"),
        ([USER, {"content": "x"}], r"the role of message 2 of messages must be system, user or assistant \(got null\)"),
        ([USER | {"role": 1}, ANSWER], r"the role of message 1 of messages must be .* \(got a number\)"),
        ([USER | {"role": "tool"}, ANSWER], r"must be system, user or assistant \(got 'tool'\)"),
        ([USER | {"role": "asistant"}], r"\(got 'asistant'\), did you mean assistant\?"),
        ([USER | {"from": "human"}, ANSWER], r"has several keys for its role \(got role and from\)"),
        ([USER | {"content": 3}, ANSWER], r"the text of message 1 of messages must be a string \(got a number\)"),
        (
            [USER | {"content": [{"type": "image"}]}, ANSWER],
            r"part 1 of message 1 of messages is not text \(got image\); remove it",
        ),
        (
            [USER, ANSWER | {"content": "<think>\n\n</think>\n\nThey greet."}],
            r"the summary, message 2 of messages, begins with a thought \(got '<think>",
        ),
        ("[{'role': 'user'}]", r"messages is a list written as text that is not JSON"),
    ],
)
def test_messages_that_cannot_be_used_are_refused_with_their_place(value: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(value)


def test_a_missing_column_of_messages_is_named() -> None:
    with pytest.raises(DataError, match=r"no column messages, did you mean message\? \(got columns: message\)"):
        list(checked(iter([Row(RowPosition("a", "row", 1), {"message": []})]), columns().record))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "messages must be a list of messages (got null)"),
        ("[]", "messages must be a list of messages (got an empty list)"),
        ([USER | {"content": None}, ANSWER], "messages has no dialogue (got empty user messages)"),
        ([USER, ANSWER | {"content": " "}], "the summary, message 2 of messages, is empty (got '')"),
    ],
)
def test_an_empty_conversation_may_be_skipped(value: object, problem: str) -> None:
    skipped = columns(on_empty="skip").record(row(value))
    assert isinstance(skipped, EmptyRow)
    assert skipped.problem.startswith(problem)
    strict = columns().record(row(value))
    assert isinstance(strict, BadRow)
    assert strict.problem.endswith("or skip such rows with `on_empty: skip`")


def test_to_summarize_no_answer_is_needed_and_none_is_read() -> None:
    expected = Conversation(USER["content"], None, has_system=True)
    assert conversation_of(row([SYSTEM, USER]), "messages", answered=False) == expected
    assert (
        conversation_of(row([USER, ANSWER | {"content": ""}]), "messages", answered=False).dialogue == USER["content"]
    )
