"""``summtune inspect``: what it prints for people and for programs, with and without something wrong."""

import io
import json

import pytest
from in_process import call
from tiny_decoders import write_decoder
from tiny_inputs import dialogues, write_rows

from summtune.base.console import SafeConsole
from summtune.base.errors import StageError
from summtune.commands import inspect as command
from summtune.commands.inspection_display import print_inspection
from summtune.runs.inspection import Inspection, ShownExample, ShownRole, ShownToken
from summtune.runs.supervision import EndToken


def tokens(*texts, trained=False):
    return tuple(ShownToken(id=at, text=text, trained=trained) for at, text in enumerate(texts))


def inspection(**changes):
    shown = ShownExample(
        id="d\x1b[31m7",
        prompt=tokens("<s>", "Ann", ":\t", " hi", "\n", "\x1b[2J", "Summary", ":"),
        completion=tokens(" They", " greet", ".", "</s>", trained=True),
        exemplars=("p1", "p2"),
        cut=True,
        cut_before=4,
    )
    role = ShownRole(
        dialogues=9, examples=12, cut=1, left_out=0, longest_prompt=1040, longest_completion=4, shown=(shown,)
    )
    made = {
        "recipe": "lora",
        "model": "acme/tiny",
        "template": "chat_template.jinja",
        "template_sha256": "0123456789abcdef" * 4,
        "ends": (EndToken(id=2, text="</s>"), EndToken(id=7, text="<end>")),
        "stops": ("\n\n",),
        "max_new_tokens": 128,
        "sequence_len": 512,
        "target_len": 64,
        "roles": {"train": role},
        "supervision": None,
        "problems": (),
    }
    return Inspection(**(made | changes))


def printed(found, **options):
    file = io.StringIO()
    print_inspection("lora", found, SafeConsole(file=file, **options))
    return file.getvalue()


def test_trained_tokens_and_the_cut_are_marked_without_colour():
    text = printed(inspection())
    assert "⟦ They│ greet│.│</s>⟧" in text
    assert "<s>│Ann│:⇥│ hi✂⏎│" in text
    assert "\x1b" not in text
    assert "8 prompt tokens, 4 trained tokens, exemplars p1, p2, cut (✂)" in text


def test_counts_template_and_ends_are_printed():
    text = printed(inspection())
    assert "written by chat_template.jinja (01234567), at most 512 tokens" in text
    assert r"end with </s> (2) or <end> (7), or before '\n\n', or after 128 tokens" in text
    assert (
        "9 dialogues, 12 examples, prompts of up to 1,040 tokens, completions of up to 4 (target_len 64), 1 cut" in text
    )


def test_trained_tokens_are_green_on_a_terminal_and_underlined_without_colour():
    assert "\x1b[4;32m They" in printed(inspection(), force_terminal=True, color_system="standard")
    assert "\x1b[4m They" in printed(inspection(), force_terminal=True, color_system="standard", no_color=True)


@pytest.fixture
def found(monkeypatch):
    """Answer for the process that reads the tokens; return the recipes that were inspected."""
    asked = []

    def inspected(draft, _, examples):
        asked.append((draft.name, examples))
        wrong = ("train: wrong",) if draft.name == "train" else ()
        return inspection(recipe=draft.name, problems=wrong)

    monkeypatch.setattr(command, "_inspected", inspected)
    return asked


def test_each_system_of_a_comparison_is_shown(project, found):
    done = call("inspect", "both.yaml", "--json", "--examples", "3")
    assert found == [("prompt", 3), ("train", 3)]
    assert json.loads(done.stdout)["systems"].keys() == {"prompt", "train"}
    assert (done.code, done.stderr) == (2, "error: train: wrong\n")


def test_outputs_of_other_systems_have_nothing_to_inspect(project, found):
    (project / "theirs.txt").write_text("A free room.\n" * 6)
    (project / "both.yaml").write_text("kind: compare\nrecipes: [{predictions: theirs.txt}, prompt.yaml]\n")
    done = call("inspect", "both.yaml", "--json")
    assert json.loads(done.stdout)["systems"].keys() == {"prompt"}
    assert done.code == 0


def test_a_recipe_without_problems_is_done(project, found):
    done = call("inspect", "prompt.yaml", "--set", "seed=3")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith("prompt  acme/tiny")


def test_a_wrong_recipe_is_refused_before_anything_is_read(project, found):
    done = call("inspect", "train.yaml", "--set", "seed=yes")
    assert (done.code, found) == (2, [])
    assert "seed must be a whole number (got 'yes')" in done.stderr


def test_a_process_that_dies_is_an_error_with_its_last_line(project, monkeypatch):
    dies = ["sh", "-c", "echo first >&2; echo out of memory >&2; exit 3"]
    monkeypatch.setattr(command, "python_command", lambda *_: dies)
    with pytest.raises(StageError, match=r"the process that reads the tokens died \(got out of memory\)"):
        command.inspect_recipe(project / "prompt.yaml", (), 1, True)


def test_a_folder_without_weights_is_enough(tmp_path, monkeypatch):
    """The real process, and a summary that is too long."""
    model = write_decoder(tmp_path / "model")
    (model / "model.safetensors").unlink()
    rows = write_rows(tmp_path / "rows.jsonl", dialogues(4))
    recipe = {"kind": "train", "base_model": "./model", "learning_rate": 1e-3, "target_len": 8, "adapter": "lora"}
    recipe |= {"datasets": [{"path": str(rows), "limit": 3}], "test_datasets": [{"path": str(rows), "limit": 1}]}
    (tmp_path / "wrong.yaml").write_text(json.dumps(recipe))
    monkeypatch.chdir(tmp_path)
    done = call("inspect", "wrong.yaml", "--json")
    answer = json.loads(done.stdout)
    assert done.code == 2
    assert answer["supervision"] is None
    assert "exceeds target_len 8" in answer["problems"][0]
    assert f"error: {answer['problems'][0]}" in done.stderr
    assert [token["trained"] for token in answer["roles"]["train"]["shown"][0]["completion"]][-1]
    refused = call("validate", "wrong.yaml")
    assert "the model has no safetensors" in refused.stderr
