import pytest
from made_up_diagnostics import put_scores
from made_up_results import extra_metric, protocol
from made_up_summaries import GOOD, POOR, REFERENCES

from summtune.base.errors import ComparisonError, RunDirectoryError
from summtune.base.files import read_json, read_jsonl, write_json, write_jsonl
from summtune.base.strict import read_model
from summtune.evaluator.comparison import compare
from summtune.evaluator.verdict import not_distinguishable_from_best
from summtune.runs.comparison import Comparison


def difference(comparison, a, b, metric="rouge1"):
    found = [row for row in comparison.differences if (row.a, row.b, row.metric) == (a, b, metric)]
    assert len(found) == 1
    return found[0]


def test_a_better_system_beats_a_worse_one(finished):
    comparison = compare([finished("Original", POOR), finished("LoRA", GOOD, kind="train")], "Original")
    row = difference(comparison, "LoRA", "Original")
    values = [system.metrics["rouge1"].value for system in comparison.systems]
    assert row.difference == pytest.approx(values[1] - values[0])
    assert 0 < row.ci_low < row.difference < row.ci_high
    assert row.p_value == pytest.approx(1 / 100_001)
    assert comparison.verdict[0].startswith("LoRA beats Original by ")
    assert len(comparison.warnings) == 1
    assert comparison.warnings[0] == "Far shorter or longer than the references: Original 40 of 40."
    assert (comparison.n, comparison.baseline) == (40, "Original")
    assert comparison.protocol.permutations == 100_000


def test_a_system_row_has_scores_parameters_and_cost(finished, tmp_path):
    comparison = compare([finished("Original", POOR), finished("LoRA", GOOD, kind="train")], None)
    row = comparison.systems[1]
    parameters = ["trainable_parameters", "total_parameters"]
    assert list(row.to_json()) == ["name", "run_dir", "kind", *parameters, "metrics", "by_references", "cost"]
    assert row.run_dir == str((tmp_path / "LoRA").resolve())
    write_json(tmp_path / "comparison.json", comparison.to_json())
    assert read_model(Comparison, tmp_path / "comparison.json") == comparison


def test_every_row_of_the_table_is_tested_with_all_the_others(finished):
    shortened = {"a": range(0), "b": range(10), "c": range(28, 40), "d": range(25, 29)}
    systems = [
        finished(name, [" ".join(text.split()[at in places :]) for at, text in enumerate(GOOD)])
        for name, places in shortened.items()
    ]
    comparison = compare(systems, "a")
    rows = comparison.differences
    assert len(rows) == 6 * 4
    assert comparison.protocol.correction == "max_t"
    assert all(row.p_value <= row.p_adjusted for row in rows)
    assert {row.is_real for row in rows} == {True, False}
    assert all(row.is_real == (row.p_adjusted < 1 - 0.95) for row in rows)
    among, alone = difference(comparison, "b", "a"), difference(compare(systems[:2], "a"), "b", "a")
    assert any(row.p_value < row.p_adjusted < 1 for row in rows)
    assert among.ci_high - among.ci_low > alone.ci_high - alone.ci_low


def test_two_dialogues_distinguish_nothing(finished):
    systems = [finished("a", POOR[:2], written=REFERENCES[:2]), finished("b", GOOD[:2], written=REFERENCES[:2])]
    comparison = compare(systems, "a")
    assert {(row.ci_low, row.ci_high) for row in comparison.differences} == {(None, None)}
    assert comparison.verdict == ("2 dialogues cannot tell b from a.",)


def test_a_comparison_includes_floor_and_ceiling(finished):
    both = [(text, text[::2] + " more") for text in REFERENCES]
    systems = [finished("a", GOOD, written=both), finished("b", POOR, written=both)]
    comparison = compare(systems, "a")
    assert comparison.floor.name == "lead-3"
    assert comparison.ceiling.name == "human agreement"
    assert comparison.ceiling.n == 40
    assert comparison.floor.metrics.keys() == comparison.systems[0].metrics.keys()


def test_unknown_values_are_null(finished):
    comparison = compare([finished("a", GOOD, dialogue=""), finished("b", POOR, dialogue="")], "a")
    assert comparison.floor is None
    assert comparison.ceiling is None


def test_every_two_systems_are_compared_with_the_baseline_second(finished):
    systems = [finished("a", GOOD), finished("b", POOR), finished("c", GOOD[::-1])]
    pairs = {(row.a, row.b) for row in compare(systems, "b").differences}
    assert pairs == {("a", "b"), ("c", "a"), ("c", "b")}
    assert len(compare(systems, None).differences) == 3 * 4


def test_scores_are_matched_by_id_and_not_by_line(finished, tmp_path):
    systems = [finished("a", POOR), finished("b", GOOD)]
    before = compare(systems, "a")
    path = tmp_path / "b" / "per_example.jsonl"
    write_jsonl(path, list(read_jsonl(path))[::-1])
    assert compare(systems, "a").differences == before.differences


def test_identical_outputs_give_a_warning(finished):
    comparison = compare([finished("Original", GOOD), finished("LoRA", GOOD, kind="train")], "Original")
    assert comparison.warnings == (
        "LoRA wrote exactly what Original wrote for every dialogue; its training may have changed nothing.",
    )
    assert "LoRA is not distinguishable from Original: 0.0 ± 0.0 ROUGE-1" in comparison.verdict[0]
    assert difference(comparison, "LoRA", "Original").p_value == 1.0


def test_identical_prompted_systems_give_a_warning_without_a_guess_at_training(finished):
    warnings = compare([finished("a", GOOD), finished("b", GOOD)], None).warnings
    assert warnings == ("b wrote exactly what a wrote for every dialogue.",)


def test_findings_of_checks_are_one_warning_for_all_systems(finished):
    warnings = compare([finished("mute", [""] * 40), finished("stuck", ["The same."] * 40)], None).warnings
    assert warnings == (
        "Empty outputs: mute 40 of 40.",
        "The same text again: stuck 40 of 40.",
        "Far shorter or longer than the references: stuck 40 of 40.",
        "No higher than lead-3, which scores 0.0 ROUGE-1: mute 0.0, stuck 0.0.",
    )


def test_a_metric_that_one_system_lacks_gives_a_warning(finished):
    comparison = compare([finished("a", GOOD, metrics=["rouge1", "rouge2"]), finished("b", POOR)], None)
    assert {row.metric for row in comparison.differences} == {"rouge1", "rouge2"}
    assert "rougeL was not computed for a, so it does not compare every system." in comparison.warnings


def test_systems_that_share_no_metric_are_refused(finished):
    systems = [finished("a", GOOD, metrics=["rouge1"]), finished("b", POOR, metrics=["rouge2"])]
    with pytest.raises(ComparisonError, match=r"have no metric in common \(got rouge1 and rouge2\)"):
        compare(systems, None)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"use_stemmer": False}, "stemmer True and False"),
        ({"references": "max"}, "references 'mean' and 'max'"),
        ({"confidence": 0.9}, "bootstrap.confidence 0.95 and 0.9"),
        ({"bootstrap_samples": 200}, "bootstrap.samples 300 and 200"),
        ({"bootstrap_seed": 1}, "bootstrap.seed 42 and 1"),
        ({"split_sentences": False}, "sentence_splitting 'sentencex 1.0.32' and 'newline'"),
    ],
)
def test_different_protocols_are_refused_with_the_field_and_both_values(finished, settings, field):
    systems = [finished("a", GOOD), finished("b", POOR, **settings)]
    with pytest.raises(ComparisonError, match=rf"a and b were scored under different protocols \(got {field}\)"):
        compare(systems, None)


def test_another_version_of_the_implementation_is_refused(finished, tmp_path):
    systems = [finished("a", GOOD), finished("b", POOR)]
    metrics = read_json(tmp_path / "b" / "metrics.json")
    metrics["protocol"]["version"] = "0.0.1"
    write_json(tmp_path / "b" / "metrics.json", metrics)
    with pytest.raises(ComparisonError, match=r"\(got version '0.1.2' and '0.0.1'\)"):
        compare(systems, None)


def test_different_numbers_of_dialogues_are_refused(finished):
    systems = [finished("a", GOOD), finished("b", POOR[:39], written=REFERENCES[:39])]
    with pytest.raises(
        ComparisonError, match=r"different dialogues or references \(got n 40 and 39; only a has '39'\)"
    ):
        compare(systems, None)


def test_different_ids_are_refused_with_an_example_of_each(finished):
    systems = [finished("a", GOOD), finished("b", POOR, ids=[f"x{i}" for i in range(40)])]
    with pytest.raises(ComparisonError, match=r"ids_sha256 \w{64} and \w{64}; only a has '0', only b has 'x0'\)"):
        compare(systems, None)


def test_other_references_of_the_same_ids_are_refused(finished):
    systems = [finished("a", GOOD), finished("b", POOR, written=REFERENCES[::-1])]
    with pytest.raises(
        ComparisonError, match=r"different dialogues or references \(got ids_sha256 \w{64} and \w{64}\)"
    ):
        compare(systems, None)


def test_a_single_system_cannot_be_compared(finished):
    with pytest.raises(ComparisonError, match=r"needs two systems \(got 1: a\)"):
        compare([finished("a", GOOD)], None)


def test_a_duplicate_name_is_refused(finished):
    system = finished("a", GOOD)
    with pytest.raises(ComparisonError, match="two systems have the same name \\(got 'a' for "):
        compare([system, system], None)


def test_an_unknown_baseline_is_refused(finished):
    with pytest.raises(ComparisonError, match=r"the baseline .*\(got 'c'\); use one of a, b"):
        compare([finished("a", GOOD), finished("b", POOR)], "c")


def test_missing_scores_are_refused_with_the_command_that_resumes(finished, tmp_path):
    systems = [finished("a", GOOD), finished("b", POOR)]
    (tmp_path / "b" / "metrics.json").unlink()
    (tmp_path / "b" / "recipe.yaml").touch()
    with pytest.raises(RunDirectoryError, match=r"got no metrics.json\); give its `summtune run` command again"):
        compare(systems, None)


def test_other_dialogues_of_the_same_ids_are_refused_where_both_are_known(finished):
    systems = [finished("a", GOOD), finished("b", POOR, dialogue="B: Bye."), finished("c", POOR, dialogue="")]
    with pytest.raises(ComparisonError, match=r"got dialogues_sha256 \w{64} and \w{64}\)"):
        compare(systems[:2], None)
    assert compare(systems[::2], None).verdict


def test_other_arguments_of_a_metric_are_refused(finished):
    systems = [finished("a", GOOD), finished("b", POOR)]
    for system, layers in zip(systems, (9, 10), strict=True):
        made = extra_metric(script="bertscore", arguments={"num_layers": layers})
        put_scores(system.run_dir, protocol=protocol(extra_metrics={"bertscore": made}))
    with pytest.raises(
        ComparisonError,
        match=r"different protocols \(got bertscore.arguments \{'num_layers': 9\} and \{'num_layers': 10\}\)",
    ):
        compare(systems, None)


def test_the_verdict_uses_a_metric_that_all_systems_have(finished):
    systems = [finished("a", GOOD), finished("b", POOR), finished("c", POOR[::-1], metrics=["rouge2"])]
    for baseline in ("a", "c"):
        sentences = compare(systems, baseline).verdict
        assert len(sentences) == 2
        assert all("ROUGE-2" in sentence for sentence in sentences)


def test_a_metric_of_the_whole_corpus_is_not_tested(finished):
    systems = [finished("a", GOOD), finished("b", POOR), finished("c", POOR)]
    for system in systems:
        metrics = read_json(system.run_dir / "metrics.json")
        metrics["metrics"]["bleu"] = {"value": 0.1, "ci_low": None, "ci_high": None}
        if system.name == "a":
            metrics["metrics"] = {"bleu": metrics["metrics"]["bleu"]}
        write_json(system.run_dir / "metrics.json", metrics)
    comparison = compare(systems, "a")
    assert {(row.a, row.b) for row in comparison.differences} == {("c", "b")}
    assert comparison.verdict == ("Nothing can be tested: the systems share no score of single dialogues.",)


def test_another_version_in_a_metrics_details_is_refused(finished):
    systems = [finished("a", GOOD), finished("b", POOR)]
    for system, code in zip(systems, ("0.3.12", "0.3.13"), strict=True):
        made = extra_metric(details={"hashcode": code})
        put_scores(system.run_dir, protocol=protocol(extra_metrics={"bertscore": made}))
    with pytest.raises(ComparisonError, match=r"got bertscore.details.hashcode '0.3.12' and '0.3.13'"):
        compare(systems, None)


RUSSIAN = [f"Клиент {i} просит вернуть деньги." for i in range(40)]
RUSSIAN_GOOD = [f"Клиент {i} хочет вернуть деньги." for i in range(40)]
RUSSIAN_POOR = [f"Разговор номер {i}." for i in range(40)]


def test_no_verdict_is_drawn_from_rouge_of_letters_that_it_drops(finished):
    systems = [finished("a", RUSSIAN_POOR, written=RUSSIAN), finished("b", RUSSIAN_GOOD, written=RUSSIAN)]
    comparison = compare(systems, "a")
    assert comparison.verdict == ("No verdict is drawn from ROUGE, which cannot read 100 % of the letters.",)
    assert not_distinguishable_from_best(comparison) == ()
    assert "use `evaluation.tokenizer: unicode`" in comparison.warnings[0]
    assert comparison.diagnostics.checks.unread_letters.share == 1
    assert not any("lead-3" in warning for warning in comparison.warnings)


def test_a_verdict_is_drawn_with_a_tokenizer_that_reads_the_letters(finished):
    written = {"written": RUSSIAN, "tokenizer": "unicode"}
    comparison = compare([finished("a", RUSSIAN_POOR, **written), finished("b", RUSSIAN_GOOD, **written)], "a")
    assert comparison.verdict[0].startswith("b beats a by ")
    assert not any("tokenizer" in warning for warning in comparison.warnings)


def test_another_metric_decides_where_rouge_cannot_read(finished, tmp_path):
    systems = [finished("a", RUSSIAN_POOR, written=RUSSIAN), finished("b", RUSSIAN_GOOD, written=RUSSIAN)]
    for system, value in zip(systems, (0.2, 0.7), strict=True):
        folder = tmp_path / system.name
        metrics = read_json(folder / "metrics.json")
        metrics["metrics"]["bertscore"] = {"value": value, "ci_low": value, "ci_high": value}
        write_json(folder / "metrics.json", metrics)
        rows = read_jsonl(folder / "per_example.jsonl")
        write_jsonl(folder / "per_example.jsonl", [row | {"bertscore": value} for row in rows])
    comparison = compare(systems, "a")
    assert not_distinguishable_from_best(comparison) == ("b",)
    without, verdict = comparison.verdict
    assert without.startswith("No verdict is drawn from ROUGE")
    assert verdict == "b beats a by 0.500 ± 0.000 bertscore (p < 0.001)."


def test_different_tokenizers_are_not_in_one_table(finished):
    with pytest.raises(ComparisonError, match=r"different protocols \(got tokenizer 'rouge' and 'unicode'\)"):
        compare([finished("a", GOOD), finished("b", GOOD, tokenizer="unicode")], "a")
