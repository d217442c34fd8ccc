import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import wrong_templates
from prepared_runs import prepared_run
from tiny_decoders import END, START, UNKNOWN, write_decoder, write_tokenizer
from tiny_inputs import dialogues
from tokenizers import processors

from summtune.base.errors import DataError
from summtune.base.files import read_jsonl
from summtune.plan.prompt_format import special_tokens_of
from summtune.prompts.formats import ChatFormat, TextFormat
from summtune.work.models import decoder_only, encoder_decoder
from summtune.work.models.decoder_only import Collator
from summtune.work.models.loading import load_tokenizer
from summtune.work.supervision import proof as proof_module
from summtune.work.supervision.proof import Proof
from summtune.work.tokens.completions import all_ends
from summtune.work.tokens.planned import encoder_of

ROWS = dialogues(9)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return write_decoder(tmp_path_factory.mktemp("decoders") / "tiny")


@pytest.fixture
def prove(tmp_path, decoder):
    """Return the proof of a training on nine dialogues; ``template=None`` for prompts as plain text."""

    def start(template=wrong_templates.CHAT, change=None, rows=ROWS, folder=None, ends=(END,), **keys):
        folder = folder or write_tokenizer(tmp_path / "model")
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).exists():
                (folder / name).symlink_to(decoder / name)
        form = TextFormat(template=keys.pop("prompt_template", "{dialogue}\n\nSummary:"))
        plan = prepared_run(tmp_path, folder, rows=rows, target_len=256, **keys)
        if template is not None:
            special = special_tokens_of(folder)
            form = ChatFormat(
                template="{dialogue}",
                chat_template=template,
                source="chat_template.jinja",
                special_tokens=special,
                system_prompt=None,
                arguments={},
                exemplars_as="turns",
                date=None,
            )
        if change is not None:
            change(folder)
        run = SimpleNamespace(plan=plan.plan.model_copy(update={"prompt": form}), folder=plan.folder)
        tokenizer = load_tokenizer(folder)
        ends = all_ends(encoder_of(run.plan, tokenizer), ends)
        return Proof.of(run.plan, run.folder, tokenizer, ends, plan.events())

    return start


def batches(proof, family=decoder_only, pad=END, **changes):
    functions = SimpleNamespace(**({"example": family.example} | changes))
    return proof.problems_of_batches(functions, changes.get("collate", Collator(pad)))


def sentence(proof):
    """Return what is wrong, which is one thing."""
    (problem,) = proof.problems
    with pytest.raises(DataError) as error:
        proof.check()
    assert str(error.value) == problem
    return problem


@pytest.mark.parametrize(
    ("template", "problem", "shown", "advice"),
    [
        (wrong_templates.DOUBLED_BOS, "two beginning-of-sequence tokens", "<|im_start|>│<|im_start|>", "remove one"),
        (wrong_templates.BEGINS_TWICE, "two beginning-of-sequence tokens", "`<|im_start|>│<|im_start|>", "remove one"),
        (wrong_templates.REASONING, "changes the prompt", "without", "`enable_thinking: false`"),
        (wrong_templates.REWRITING, "changes the prompt", "with the answer", "chat_template_kwargs"),
        (wrong_templates.WITHOUT_ANSWERS, "does not write the summary as it is", "<|im_end|>", "another file"),
        (wrong_templates.SHOUTING, "does not write the summary as it is", "T│H", "another file"),
        (wrong_templates.WITHOUT_OPENING, "something else before the summary", "<|im_start|>", "add_generation_prompt"),
        (wrong_templates.ENDLESS, "no token ends the summary", "", "special token"),
    ],
)
def test_a_template_that_teaches_something_else_is_refused(prove, template, problem, shown, advice):
    found = sentence(prove(template))
    assert problem in found
    assert found.startswith("train: ")
    assert "in 9 of 9 examples" in found
    assert shown in found
    assert "for 'd0')" in found
    assert advice in found.rpartition(";")[2]


def test_only_the_examples_that_are_wrong_are_counted_and_the_first_is_named(prove):
    wrong = [row["id"] for row in ROWS if "agree" in row["summary"]]
    found = sentence(prove(wrong_templates.SOMETIMES_OTHER_END))
    assert f"in {len(wrong)} of 9 examples" in found
    assert f"for {wrong[0]!r})" in found
    assert "does not end a generated summary" in found
    assert "<|endoftext|>`" in found


def test_a_tokenizer_that_merges_prompt_and_summary_is_refused(prove):
    found = sentence(prove(change=wrong_templates.merge_across_turns))
    assert "merges the end of the prompt with the beginning of the summary" in found
    assert "⏎T│" in found


def test_a_tokenizer_that_adds_the_beginning_that_plain_text_already_has_is_refused(prove, tmp_path):
    adds = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", START)])
    folder = write_tokenizer(tmp_path / "adds", post_processor=adds)
    found = sentence(prove(None, folder=folder, prompt_template="<|im_start|>{dialogue}\n\nSummary:"))
    assert "two beginning-of-sequence tokens" in found
    assert "`<|im_start|>│<|im_start|>│#" in found


def test_a_tokenizer_that_adds_its_beginning_does_not_double_that_of_a_chat(prove, tmp_path):
    adds = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", START)])
    proof = prove(folder=write_tokenizer(tmp_path / "adds", post_processor=adds))
    assert proof.problems == batches(proof) == ()
    assert list(proof.examples["train"].pairs[0]["input_ids"])[:2].count(START) == 1


def test_an_end_of_turn_that_the_files_do_not_name_is_trained_on_and_ends_generation(prove):
    proof = prove(wrong_templates.OTHER_END)
    assert proof.problems == batches(proof) == ()
    assert proof.lesson.ends == (END, UNKNOWN)
    assert {pair["labels"][-1] for pair in proof.examples["train"].pairs} == {UNKNOWN}


def test_a_thought_without_content_is_part_of_a_completion(prove):
    proof = prove(wrong_templates.EMPTY_THOUGHT)
    assert proof.problems == ()


def test_an_end_that_is_also_the_padding_is_trained_on(prove):
    proof = prove()
    assert load_tokenizer(proof.run_dir.parent / "model").pad_token_id == END
    assert proof.problems == batches(proof, pad=END) == ()
    assert {pair["labels"][-1] for pair in proof.examples["train"].pairs} == {END}


def masks_padding(pairs):
    batch = Collator(END)(pairs)
    return batch | {"labels": batch["labels"].masked_fill(batch["labels"] == END, -100)}


def trains_the_prompt(pair):
    whole = [*pair["input_ids"], *pair["labels"]]
    return {"input_ids": whole[:-1], "labels": whole[1:]}


def is_not_shifted(pair):
    whole = [*pair["input_ids"], *pair["labels"]]
    return {"input_ids": whole, "labels": [*[-100] * len(pair["input_ids"]), *pair["labels"]]}


def loses_the_first_token(pairs):
    batch = Collator(END)(pairs)
    return batch | {"input_ids": torch.cat([batch["input_ids"][:, 1:], batch["input_ids"][:, :1]], 1)}


@pytest.mark.parametrize(
    "changes",
    [
        {"collate": masks_padding},
        {"collate": loses_the_first_token},
        {"example": trains_the_prompt},
        {"example": is_not_shifted},
    ],
)
def test_batches_that_score_anything_but_the_completions_are_refused(prove, changes):
    (found,) = batches(prove(), **changes)
    assert "the tokens that are scored are not the completion alone, in 9 of 9 examples" in found


def test_one_wrong_example_of_a_batch_is_found(prove):
    proof = prove()
    wrong = list(proof.examples["train"].pairs[4]["labels"])

    def example(pair):
        made = decoder_only.example(pair)
        return made | {"labels": [-100, *made["labels"][1:-1], 7]} if pair["labels"] == wrong else made

    (found,) = batches(proof, example=example)
    assert "in 1 of 9 examples" in found
    assert "for 'd4')" in found


def test_a_summary_beyond_target_len_is_named_with_the_longest(prove):
    proof = prove()
    lengths = sorted(len(pair["labels"]) for pair in proof.examples["train"].pairs)
    shorter = replace(proof, lesson=replace(proof.lesson, target_len=lengths[-1] - 1))
    found = sentence(shorter)
    count = lengths.count(lengths[-1])
    assert f"exceeds target_len {lengths[-1] - 1} (the longest has {lengths[-1]} tokens), in {count} of 9" in found
    assert f"set target_len to {lengths[-1]} or more" in found


def test_a_summary_without_tokens_is_refused(prove):
    rows = [row | {"summary": "~~~"} if row["id"] == "d3" else row for row in ROWS]
    found = sentence(prove(rows=rows, change=wrong_templates.drop_tildes))
    assert "has no token that can be trained on, in 1 of 9 examples" in found
    assert "for 'd3')" in found


def test_a_prompt_that_generation_would_write_otherwise_is_refused(prove):
    proof = prove()
    other = replace(proof.lesson.generating, form=TextFormat(template="{dialogue}"))
    found = sentence(replace(proof, lesson=replace(proof.lesson, generating=other)))
    assert "the prompt is not the one that the model is asked with, in 9 of 9 examples" in found
    assert "asked with for 'd0')" in found


def test_each_role_and_check_has_a_line(prove):
    proof = prove(wrong_templates.SHOUTING, val_set_size=2)
    train, validation = proof.problems
    assert (train[:7], validation[:12]) == ("train: ", "validation: ")
    assert "in 2 of 2 examples" in validation


def test_the_reference_that_is_wrong_is_shown_among_several(prove):
    rows = [{**row, "summary": [row["summary"], "They will agree."]} for row in ROWS[:3]]
    rows[0]["summary"][0] = rows[2]["summary"][0] = rows[1]["summary"][0] = "They talk."
    found = sentence(prove(wrong_templates.SOMETIMES_OTHER_END, rows=rows))
    assert "in 3 of 6 examples" in found
    assert "<|endoftext|>`" in found


def test_dialogues_that_are_left_out_do_not_confuse_the_places(prove):
    rows = [{**row, "dialogue": 30 * row["dialogue"]} if row["id"] in ("d0", "d2") else row for row in ROWS]
    proof = prove(wrong_templates.SHOUTING, rows=rows, long_dialogues="drop", sequence_len=600)
    assert "in 7 of 7 examples" in sentence(proof)
    assert "for 'd1')" in sentence(proof)


def test_what_was_checked_is_recorded(prove):
    proof = prove(val_set_size=2)
    found = proof.supervision
    pairs = proof.examples["train"].pairs
    assert found.template == "chat_template.jinja"
    assert [(end.id, end.text) for end in found.ends] == [(END, "<|im_end|>")]
    assert found.roles["train"].trained_tokens == sum(len(pair["labels"]) for pair in pairs)
    assert found.roles["train"].longest_prompt == max(len(pair["input_ids"]) for pair in pairs)
    assert found.roles["validation"].prompts_encoded_again == 2


class TestEncoderDecoder:
    def test_a_tokenizer_that_writes_no_end_is_refused(self, prepare, checkpoint, tmp_path):
        folder = tmp_path / "endless"
        folder.mkdir()
        for file in checkpoint.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        state = json.loads((folder / "tokenizer.json").read_text())
        state["post_processor"] = None
        (folder / "tokenizer.json").write_text(json.dumps(state))
        run = prepare(base_model=str(folder))
        proof = Proof.of(run.plan, run.folder, load_tokenizer(folder), (1,), run.events())
        found = sentence(proof)
        assert "the last token that is trained on does not end a generated summary" in found
        assert "post-processor in tokenizer.json" in found

    def test_examples_of_both_families_are_as_meant(self, prepare, checkpoint):
        run = prepare(val_set_size=2)
        proof = Proof.of(run.plan, run.folder, load_tokenizer(checkpoint), (1,), run.events())
        assert proof.problems == ()
        assert proof.problems_of_batches(encoder_decoder, encoder_decoder.Collator(0, 0)) == ()

    def test_a_decoder_that_reads_its_own_answer_is_refused(self, prepare, checkpoint):
        run = prepare()
        proof = Proof.of(run.plan, run.folder, load_tokenizer(checkpoint), (1,), run.events())

        def collate(pairs):
            batch = encoder_decoder.Collator(0, 0)(pairs)
            return batch | {"decoder_input_ids": batch["labels"].clamp(min=0)}

        assert len(proof.problems_of_batches(encoder_decoder, collate)) == 1


@pytest.mark.real
class TestRealTokenizers:
    @pytest.fixture
    def rows(self, test_data):
        rows = read_jsonl(test_data / "data" / "dialogsum" / "validation.jsonl")
        return [{"id": row["fname"], "dialogue": row["dialogue"], "summary": row["summary"]} for row in rows]

    @pytest.mark.slow
    def test_smollm2_learns_what_it_is_asked(self, smollm2, rows, tmp_path):
        run = prepared_run(tmp_path, smollm2, rows=rows, val_set_size=50, sequence_len=512)
        tokenizer = load_tokenizer(smollm2)
        proof = Proof.of(run.plan, run.folder, tokenizer, (tokenizer.eos_token_id,), run.events())
        assert proof.problems == batches(proof, pad=tokenizer.pad_token_id) == ()
        assert tokenizer.pad_token_id == tokenizer.eos_token_id == proof.lesson.ends[0]
        assert proof.supervision.roles["train"].examples == 450

    def test_t5_learns_what_it_is_asked(self, test_data, rows, tmp_path, checkpoint, monkeypatch):
        run = prepared_run(tmp_path, checkpoint, rows=rows[:100], sequence_len=512)
        tokenizer = load_tokenizer(test_data / "tokenizers" / "t5")
        monkeypatch.setattr(proof_module, "load_tokenizer", lambda _: tokenizer)
        proof = Proof.of(run.plan, run.folder, tokenizer, (1,), run.events())
        assert proof.problems == proof.problems_of_batches(encoder_decoder, encoder_decoder.Collator(0, 0)) == ()
