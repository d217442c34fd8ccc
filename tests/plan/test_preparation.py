"""Data is read, checked and split before anything is started."""

import csv
import hashlib

import pytest

from summtune.base.errors import DataError
from summtune.base.files import read_jsonl, write_jsonl
from summtune.plan.checking import check
from summtune.plan.preparation import count_pairs, find_leakage, prepare_data, split_validation
from summtune.runs.diagnostics import LeakedDialogues
from summtune.runs.records import Dialogue

DIALOGUES = [Dialogue(str(i), f"dialogue {i}", (f"summary {i}",)) for i in range(20)]


@pytest.fixture
def prepare(project):
    def of(*sets, name="train.yaml"):
        warnings = []
        return prepare_data(check(project / name, sets).recipe, project / "run", warnings.append), warnings

    return of


def ids(project, role):
    return [row["id"] for row in read_jsonl(project / "run" / "data" / f"{role}.jsonl")]


def test_each_role_has_a_file_and_a_count(prepare, project):
    summary, warnings = prepare("val_set_size=2", "datasets.0.id_field=id", "test_datasets.0.id_field=id")
    none = LeakedDialogues(count=0, of=6, examples=())
    assert summary.leakage == {"train": none, "validation": none}
    assert summary.overlap is None
    roles = {role: getattr(summary, role) for role in ("train", "validation", "test")}
    assert {role: (part.dialogues, part.pairs) for role, part in roles.items()} == {
        "train": (10, 10), "validation": (2, 2), "test": (6, 6),
    }  # fmt: skip
    assert ids(project, "test") == [f"test_{i}" for i in range(6)]
    assert sorted(ids(project, "train") + ids(project, "validation")) == sorted(f"train_{i}" for i in range(12))
    assert warnings == []
    for role, part in roles.items():
        content = (project / "run" / "data" / f"{role}.jsonl").read_bytes()
        assert part.sha256 == hashlib.sha256(content).hexdigest()
    assert summary.test.sources[0].path == str(project / "test.jsonl")


def test_separate_validation_data_leaves_the_training_data_whole(prepare, project, write_rows):
    write_rows(project / "talks" / "validation.jsonl", 4)
    write_rows(project / "talks" / "train.jsonl", 3)
    summary, warnings = prepare("val_datasets=[{path: ./talks}]")
    assert (summary.train.dialogues, summary.validation.dialogues) == (12, 4)
    assert ids(project, "validation") == [f"validation_{i}" for i in range(4)]
    assert summary.validation.sources[0].split == "validation"
    none = LeakedDialogues(count=0, of=6, examples=())
    assert summary.leakage == {"train": none, "validation": none}
    assert summary.overlap == LeakedDialogues(count=0, of=4, examples=())
    assert warnings == []


def test_validation_dialogues_that_are_trained_on_or_tested_are_reported(prepare, project):
    lines = (project / "train.jsonl").read_text().splitlines(keepends=True)[:3]
    (project / "dev.jsonl").write_text("".join([*lines, (project / "test.jsonl").read_text().splitlines()[0]]))
    summary, warnings = prepare("val_datasets=[{path: dev.jsonl, id_field: id}]")
    assert (summary.overlap.count, summary.overlap.of) == (3, 4)
    assert (summary.leakage["validation"].count, summary.leakage["validation"].of) == (1, 6)
    overlap, leakage = warnings
    assert overlap.startswith(
        "3 of 4 validation dialogues are also in the training data, exactly or nearly; the evaluation"
    )
    assert "for instance train_0 in train_0: 100 %" in overlap
    assert leakage.startswith("1 of 6 test dialogues are also in the validation data, exactly or nearly; do not trust")


def test_a_zero_shot_prompt_reads_only_the_test_data(prepare):
    summary, _ = prepare(name="prompt.yaml")
    assert summary.test.dialogues == 6
    assert (summary.exemplars, summary.leakage) == (None, {})


def test_exemplars_come_from_the_named_split(prepare, project, write_rows):
    write_rows(project / "talks" / "train.jsonl", 3)
    write_rows(project / "talks" / "dev.jsonl", 4)
    sets = ("datasets=[{path: ./talks}]", "shots=2", "exemplars.split=dev")
    summary, _ = prepare(*sets, name="prompt.yaml")
    assert summary.exemplars.dialogues == 4
    assert prepare(*sets[:2], name="prompt.yaml")[0].exemplars.dialogues == 3


def test_repeated_dialogues_add_references_and_repeated_rows_are_reported(prepare, project, write_rows):
    rows = [{"dialogue": "A: Hi.", "summary": summary} for summary in ("One.", "Two.", "Two.")]
    write_rows(project / "test.jsonl", rows)
    summary, warnings = prepare()
    assert (summary.test.dialogues, summary.test.pairs) == (1, 2)
    assert warnings == ["test: 1 repeated row (same dialogue and same summary); each counts once"]


def test_empty_rows_and_repeated_ids_are_reported_and_counted_in_the_plan(prepare, project):
    path = project / "test.jsonl"
    lines = [*path.read_text().splitlines(), '{"id": "empty", "dialogue": "", "summary": null}']
    path.write_text("\n".join([*lines, lines[0].replace('"test_0"', '"again"')]) + "\n")
    summary, warnings = prepare("test_datasets.0.id_field=id", "test_datasets.0.on_empty=skip", name="prompt.yaml")
    (source,) = summary.test.sources
    assert (source.skipped_rows, source.empty_references) == (1, 0)
    assert warnings[0] == f"test: skipped 1 empty row of {path} (on_empty: skip)"
    assert warnings[1] == (
        f"test: 1 row repeats a dialogue under another id (again of {path}, line 8 repeats test_0 of {path}, line 1); "
        "their summaries count as further references"
    )


def test_system_messages_of_the_data_are_reported_and_counted_in_the_plan(prepare, project, write_rows):
    chat = [{"role": role, "content": text} for role, text in (("system", "S"), ("user", "A: x"), ("assistant", "y"))]
    write_rows(project / "test.jsonl", [{"messages": chat}])
    summary, warnings = prepare("test_datasets.0.type=messages", name="prompt.yaml")
    assert summary.test.sources[0].system_messages == 1
    got = f"(got 1 row of {project / 'test.jsonl'})"
    assert warnings == [
        f"test: system messages are not part of the dialogue {got}; system_prompt gives a chat model one"
    ]


def test_test_dialogues_in_the_train_data_are_reported(prepare, project, write_rows):
    rows = [{"dialogue": f"A: {i}", "summary": f"Summary {i}."} for i in range(4)]
    write_rows(project / "train.jsonl", rows)
    write_rows(project / "test.jsonl", [*rows[:1], {"dialogue": "A: new", "summary": "New."}])
    summary, warnings = prepare("datasets.0.id_field=null", "test_datasets.0.id_field=null")
    found = {"id": ids(project, "test")[0], "found": f"{ids(project, 'train')[0]}: 100 % of its five-word runs"}
    assert summary.leakage["train"].model_dump(mode="json") == {"count": 1, "of": 2, "examples": [found]}
    assert warnings == [
        "1 of 2 test dialogues are also in the training data, exactly or nearly; do not trust the scores "
        f"(for instance {found['id']} in {found['found']})"
    ]


def test_references_that_rouge_cannot_read_are_reported_before_anything_starts(prepare, project):
    rows = [{"dialogue": f"A: {i}", "summary": f"Клиент номер {i}."} for i in range(3)]
    write_jsonl(project / "russian.jsonl", rows)
    russian = "test_datasets=[{path: ./russian.jsonl}]"
    (warning,) = prepare(russian, name="prompt.yaml")[1]
    assert "drops 100 % of the letters of the references (Cyrillic)" in warning
    assert prepare(russian, "evaluation.tokenizer=unicode", name="prompt.yaml")[1] == []
    assert prepare(russian, "evaluation.metrics=[bleu]", name="prompt.yaml")[1] == []


def test_a_near_copy_is_reported_with_the_dialogue_that_contains_most_of_it():
    words = [f"w{i}" for i in range(60)]
    changed = [*words[:30], "other", *words[31:]]
    training = [Dialogue(id_, f"A: {' '.join(text)}", ("s",)) for id_, text in (("far", words[20:]), ("near", changed))]
    tests = [
        Dialogue("new", "A: nothing of it at all, really", ("s",)),
        Dialogue("old", f"B: {' '.join(words)}", ("s",)),
    ]
    found = find_leakage(tests, training)
    (example,) = found.examples
    assert (found.count, found.of) == (1, 2)
    assert (example.id, example.found) == ("old", "near: 91 % of its five-word runs")
    assert find_leakage(tests[:1], training) == LeakedDialogues(count=0, of=1, examples=())


def test_test_dialogues_among_the_exemplars_are_reported(prepare, project, write_rows):
    rows = [{"id": f"same_{i}", "dialogue": f"A: {i}", "summary": f"Summary {i}."} for i in range(7)]
    other = {"id": "other", "dialogue": "A: How is the weather?", "summary": "A asks."}
    write_rows(project / "train.jsonl", [*rows, other])
    write_rows(project / "test.jsonl", rows)
    summary, warnings = prepare("datasets=[{path: ./train.jsonl}]", "shots=1", name="prompt.yaml")
    assert list(summary.leakage) == ["exemplars"]
    assert (summary.leakage["exemplars"].count, len(summary.leakage["exemplars"].examples)) == (7, 5)
    assert warnings[0].startswith("7 of 7 test dialogues are also among the exemplars, exactly or nearly; ")


@pytest.mark.real
def test_the_leakage_of_dialogsum_is_found(test_data):
    def dialogues(split):
        rows = read_jsonl(test_data / "data" / "dialogsum" / f"{split}.jsonl")
        return [Dialogue(row["fname"], row["dialogue"], ("s",)) for row in rows]

    found = find_leakage(dialogues("test"), dialogues("validation"))
    assert (found.count, found.of) == (11, 500)
    assert (found.examples[0].id, found.examples[0].found) == ("test_59", "dev_87: 100 % of its five-word runs")


@pytest.mark.real
def test_the_leakage_of_mts_dialog_is_found(test_data):
    def dialogues(split):
        with (test_data / "data" / "mts-dialog" / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            return [Dialogue(f"{split}_{row['ID']}", row["dialogue"], ("s",)) for row in csv.DictReader(file)]

    found = find_leakage(dialogues("test"), dialogues("train"))
    assert [each.id for each in found.examples] == ["test_96", "test_106", "test_140"]
    assert found.examples[2].found == "train_481: 83 % of its five-word runs"
    assert find_leakage(dialogues("test"), dialogues("validation")).count == 0


def test_the_count_of_pairs_excludes_the_validation_data(project):
    recipe = check(project / "train.yaml", ["val_set_size=2", "datasets.0.limit=10"]).recipe
    assert count_pairs(recipe) == 8
    recipe = check(project / "train.yaml", ["datasets.0.path=owner/on_the_hub"]).recipe
    assert count_pairs(recipe) is None


@pytest.mark.parametrize(("size", "held_out"), [(0, 0), (5, 5), (0.25, 5), (19, 19), (5.0, 5)])
def test_val_set_size_is_a_number_or_a_share_of_dialogues(size, held_out):
    train, validation = split_validation(DIALOGUES, size, seed=1)
    assert len(validation) == held_out
    assert sorted([*train, *validation], key=DIALOGUES.index) == DIALOGUES
    assert train == sorted(train, key=DIALOGUES.index)
    assert validation == sorted(validation, key=DIALOGUES.index)


def test_the_seed_determines_which_dialogues_are_held_out():
    assert split_validation(DIALOGUES, 5, seed=1) == split_validation(DIALOGUES, 5, seed=1)
    assert split_validation(DIALOGUES, 5, seed=1) != split_validation(DIALOGUES, 5, seed=2)


@pytest.mark.parametrize(
    ("size", "left", "advice"),
    [(20, "training", "lower"), (500, "training", "lower"), (0.99, "training", "lower"), (0.01, "validation", "raise")],
)
def test_a_split_without_training_or_validation_dialogues_is_refused(size, left, advice):
    with pytest.raises(DataError, match=rf"leaves no {left} data \(got {size} of 20 dialogues\); {advice} it"):
        split_validation(DIALOGUES, size, seed=1)


def test_a_single_dialogue_cannot_be_split():
    with pytest.raises(DataError, match=r"got 0.5 of 1 dialogue\); add dialogues, or remove it"):
        split_validation(DIALOGUES[:1], 0.5, seed=1)


@pytest.mark.parametrize("choose", ["first", "random", "similar"])
def test_too_few_exemplars_are_an_error_before_anything_is_started(prepare, project, write_rows, choose):
    rows = [{"id": f"same_{i}", "dialogue": f"A: {i}", "summary": f"Summary {i}."} for i in range(2)]
    write_rows(project / "train.jsonl", rows)
    write_rows(project / "test.jsonl", rows[:1])
    with pytest.raises(DataError, match=r"too few exemplars for shots: 2 \(got 1 to choose from without the 1"):
        prepare("datasets=[{path: ./train.jsonl}]", "shots=2", f"exemplars.choose={choose}", name="prompt.yaml")


def test_an_unknown_exemplar_id_is_an_error_before_anything_is_started(prepare, project, write_rows):
    write_rows(project / "train.jsonl", [{"id": "a", "dialogue": "A: 1", "summary": "One."}])
    sets = ("datasets=[{path: ./train.jsonl, id_field: id}]", "shots=1", "exemplars={choose: ids, ids: [b]}")
    with pytest.raises(DataError, match=r"no such exemplar among the 1 dialogues of the split \(got b"):
        prepare(*sets, name="prompt.yaml")
