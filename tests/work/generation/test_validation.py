from types import SimpleNamespace

import pytest
from made_up_outputs import output
from tiny_inputs import dialogues

from summtune.generation.resuming import ALONE
from summtune.runs.stopping import Stopping
from summtune.work.generation.validation import stopping_in_validation


@pytest.fixture
def stopping(prepare, tokenizer):
    """Return a trained run, how many of its outputs were cut, and what is found of its validation dialogues."""

    def look(cut, pause_after=None, **keys):
        run = prepare(**({"train": 40, "val_set_size": 10} | keys))
        asked = []

        def generate(prompts, done):
            asked.extend(prompts)
            for at in range(len(prompts)):
                yield at, output("They greet.").model_copy(update={"hit_length_cap": at < cut})

        plan = run.plan.model_copy(update={"pause_after": pause_after})
        generator = SimpleNamespace(generate=generate, world=ALONE)
        found = stopping_in_validation(plan, run.folder, tokenizer, generator, run.events("predict"))
        return found, asked, run

    return look


def test_a_model_that_stops_on_nine_of_ten_is_no_warning(stopping):
    found, asked, run = stopping(cut=1)
    assert found == Stopping(role="validation", dialogues=10, ended=9)
    assert len(asked) == 10
    assert run.texts("warning") == []


def test_a_model_that_seldom_stops_is_a_warning(stopping):
    found, _, run = stopping(cut=2)
    (warning,) = run.texts("warning")
    assert warning == found.warning
    assert "8 of 10 validation dialogues" in warning


def test_at_most_sixty_four_dialogues_are_summarized(stopping):
    rows = dialogues(180)
    found, asked, _ = stopping(cut=0, rows=rows, val_set_size=150)
    assert found.dialogues == len(asked) == 64


@pytest.mark.parametrize("keys", [{"val_set_size": None}, {"pause_after": 1}], ids=["no validation", "smoke"])
def test_nothing_is_measured_without_validation_data_or_training(stopping, keys):
    found, asked, _ = stopping(cut=0, **keys)
    assert (found, asked) == (None, [])
