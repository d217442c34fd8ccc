import json

import pytest
from prepared_runs import prepared_run
from tiny_decoders import END, write_decoder
from tiny_inputs import dialogues, write_rows

from summtune.work.supervision.inspection import inspection


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return write_decoder(tmp_path_factory.mktemp("decoders") / "tiny")


@pytest.fixture
def inspected(tmp_path, decoder):
    def look(count=2, **keys):
        folder = keys.pop("folder", decoder)
        run = prepared_run(tmp_path, folder, **({"train": 9, "target_len": 256, "val_set_size": 2} | keys))
        return inspection(run.plan, run.folder, count)

    return look


def text(tokens):
    return "".join(token.text for token in tokens)


def test_the_first_examples_of_each_role_are_shown_as_tokens(inspected):
    found = inspected()
    assert found.problems == ()
    assert (found.template, found.ends[0].text) == ("chat_template.jinja", "<|im_end|>")
    assert {role: len(each.shown) for role, each in found.roles.items()} == {"train": 2, "validation": 2, "test": 2}
    train = found.roles["train"]
    assert (train.dialogues, train.examples, train.cut, train.left_out) == (7, 7, 0, 0)
    for example in train.shown:
        assert text(example.prompt).endswith("\n\nSummary:<|im_end|>\n<|im_start|>assistant\n")
        assert text(example.completion).endswith(".<|im_end|>")
        assert example.completion[-1].id == END
        assert {token.trained for token in example.prompt} == {False}
        assert {token.trained for token in example.completion} == {True}
    (first, _) = found.roles["test"].shown
    assert (first.id, first.completion) == ("d0", ())
    assert text(first.prompt).startswith("<|im_start|>system\n")


def test_what_was_checked_is_part_of_it(inspected):
    found = inspected()
    assert found.supervision is not None
    assert found.supervision.roles["train"].longest_completion == found.roles["train"].longest_completion


def test_the_first_dialogue_that_is_cut_is_shown_with_its_place(inspected):
    found = inspected(count=1, sequence_len=220)
    cut = [example for example in found.roles["train"].shown if example.cut]
    assert len(found.roles["train"].shown) <= 2
    example = cut[0]
    after = text(example.prompt[example.cut_before :])
    assert after == "\n\nSummary:<|im_end|>\n<|im_start|>assistant\n"


def test_a_dialogue_that_loses_its_start_is_cut_before_what_remains(inspected):
    found = inspected(count=1, sequence_len=220, long_dialogues="truncate_start")
    example = next(example for example in found.roles["train"].shown if example.cut)
    before = text(example.prompt[: example.cut_before])
    assert before.endswith("conversation.\n\n")


def test_dialogues_that_are_left_out_are_counted_and_not_shown(inspected):
    found = inspected(count=9, sequence_len=220, long_dialogues="drop", val_set_size=None)
    train = found.roles["train"]
    assert train.cut == 0
    assert 0 < train.left_out == train.dialogues - train.examples
    assert not any(example.cut for example in train.shown)


def test_nothing_is_shown_if_nothing_is_asked_for(inspected):
    assert {len(each.shown) for each in inspected(count=0, sequence_len=220).roles.values()} == {0}


def test_what_is_wrong_is_shown_with_the_tokens(inspected):
    found = inspected(target_len=5)
    assert found.supervision is None
    assert [problem.split(":")[0] for problem in found.problems] == ["train", "validation"]
    assert found.roles["train"].shown


def test_a_role_without_dialogues_is_a_problem(inspected):
    found = inspected(sequence_len=40, long_dialogues="drop")
    assert found.roles == {}
    assert "train: no dialogue is left" in found.problems[0]


def test_exemplars_of_a_prompt_are_named(inspected, tmp_path):
    pool = write_rows(tmp_path / "pool.jsonl", [row | {"id": f"p{row['id']}"} for row in dialogues(4, seed=3)])
    keys = dict.fromkeys(("learning_rate", "num_epochs", "logging_steps", "target_len", "val_set_size"))
    found = inspected(
        kind="prompt", shots=2, datasets=[{"path": str(pool), "id_field": "id"}], sequence_len=1000, **keys
    )
    assert (found.supervision, found.target_len) == (None, None)
    (example, _) = found.roles["test"].shown
    assert len(example.exemplars) == 2
    assert set(example.exemplars) <= {"pd0", "pd1", "pd2", "pd3"}
    assert text(example.prompt).count("<|im_start|>assistant\n") == 3


def test_an_encoder_decoder_is_shown_too(inspected, checkpoint):
    found = inspected(folder=checkpoint, sequence_len=200)
    train = found.roles["train"]
    assert found.template == "plain text"
    assert text(train.shown[0].completion).endswith("</s>")
    assert text(train.shown[0].prompt).endswith("</s>")
    cut = next(example for example in train.shown if example.cut)
    assert text(cut.prompt[cut.cut_before :]).replace(" ", "") == "\n\nSummary:</s>"


def test_the_answer_is_json(inspected):
    json.dumps(inspected().to_json(), allow_nan=False)
