import io

import pytest
from made_up_results import compared_system, comparison, difference, estimate
from rich.cells import cell_len

from summtune.base.console import SafeConsole
from summtune.report.table import (
    Table,
    difference_table,
    escape_markdown,
    print_scores,
    print_sentence,
    score_table,
    to_markdown,
)
from summtune.runs.metrics import Anchor

ROUGE = {"rouge1": estimate(0.473, 0.451, 0.495)}


def system(name, metrics, trainable=0):
    return compared_system(name, metrics, trainable, 251_116_800)


def test_the_score_table_shows_half_intervals_and_parameters():
    corpus = ROUGE | {"bleu": estimate(0.25)}
    table = score_table([system("Original", ROUGE), system("LoRA", corpus, trainable=3_538_944)])
    assert table.header == ("System", "ROUGE-1", "bleu", "Trainable parameters", "Parameters")
    assert table.rows == (
        ("Original", "47.3 ± 2.2", "–", "0", "251,116,800"),
        ("LoRA", "47.3 ± 2.2", "0.250", "3,538,944 (1.41 %)", "251,116,800"),
    )


def test_external_predictions_have_no_parameters_in_the_table():
    unknown = compared_system("theirs", ROUGE)
    assert score_table([unknown]).header == ("System", "ROUGE-1")
    assert score_table([unknown, system("Original", ROUGE)]).rows[0] == ("theirs", "47.3 ± 2.2", "–", "–")


def test_the_floor_and_the_ceiling_are_the_last_rows():
    floor, ceiling = (Anchor(name=name, n=6, metrics=ROUGE) for name in ("lead-3", "human agreement"))
    rows = score_table([system("LoRA", ROUGE | {"bleu": estimate(0.25)})], floor, ceiling).rows
    assert [row[0] for row in rows] == ["LoRA", "lead-3 (floor)", "human agreement (ceiling)"]
    assert rows[1][1:] == ("47.3 ± 2.2", "–", "–", "–")


def test_the_difference_table_shows_intervals_and_p_values():
    systems = [compared_system("LoRA"), compared_system("Original")]
    row = difference("LoRA", "Original", 0.175, 0.156, 0.194, 0.0124, p_value=0.0001)
    table = difference_table(comparison(systems, [row], confidence=0.9))
    assert table.header[3:] == ("90% interval", "p (alone)", "p (all rows)")
    assert table.rows == (("LoRA − Original", "ROUGE-1", "+17.5", "15.6 to 19.4", "< 0.001", "0.012"),)


def test_the_terminal_shows_five_columns_of_scores_in_eighty_characters():
    console = SafeConsole(file=io.StringIO(), width=80)
    metrics = dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), ROUGE["rouge1"])
    print_scores(console, [system("Original", metrics), system("Full fine-tuning", metrics, trainable=251_116_800)])
    shown = console.file.getvalue()
    assert [line.split() for line in shown.splitlines()[-3:-1]] == [
        ["Original", *(["47.3", "±", "2.2"] * 4), "0", "%"],
        ["Full", "fine-tuning", *(["47.3", "±", "2.2"] * 4), "100", "%"],
    ]


def test_the_terminal_shows_money_where_it_is_known():
    console = SafeConsole(file=io.StringIO(), width=120)
    money = {"training_money": 1.25, "money_per_1000_dialogues": 0.0417, "currency": "USD"}
    priced = compared_system("LoRA", ROUGE, 3_538_944, 251_116_800, **money)
    floor = Anchor(name="lead-3", n=6, metrics=ROUGE)
    print_scores(console, [priced, compared_system("theirs", ROUGE)], floor)
    lines = [line.split() for line in console.file.getvalue().splitlines() if line.strip(" ─")]
    assert [line[-4:] for line in lines[:2]] == [
        ["Trained", "Training", "1,000", "dialogues"], ["1.25", "USD", "0.0417", "USD"],
    ]  # fmt: skip
    assert [line[-3:] for line in lines[2:]] == [["–", "–", "–"]] * 2


def test_the_terminal_shows_names_without_interpreting_markup():
    console = SafeConsole(file=io.StringIO(), width=120)
    print_scores(console, [system("[red]x[/]\x1b", ROUGE)])
    printed = console.file.getvalue()
    assert "[red]x[/]␛" in printed
    assert "47.3 ± 2.2" in printed


def test_a_markdown_table_aligns_numbers_right_and_escapes_cells():
    assert to_markdown(Table(("System", "ROUGE-1"), (("a|b\nc", "1.0"),))) == (
        "| System | ROUGE-1 |\n| --- | ---: |\n| a\\|b c | 1.0 |\n"
    )


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<script>&amp;", "\\<script\\>&amp;amp;"),
        ("*a* `b` [c](d) $e$", "\\*a\\* \\`b\\` \\[c\\](d) \\$e\\$"),
        ("max_new_tokens _x_", "max_new_tokens \\_x\\_"),
        ("#Person1#", "\\#Person1#"),
    ],
)
def test_markdown_marks_are_shown_as_text(text, escaped):
    assert escape_markdown(text) == escaped


LONG = "my-long-run-directory-8f3e2a11"
CHINESE = "客服系统比较"


@pytest.mark.parametrize("width", [40, 50, 60, 80, 200])
def test_names_values_and_intervals_are_not_broken_on_any_terminal_width(width):
    metrics = dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum", "bertscore.precision"), ROUGE["rouge1"])
    floor, ceiling = (Anchor(name=name, n=6, metrics=metrics) for name in ("lead-3", "human agreement"))
    console = SafeConsole(file=io.StringIO(), width=width)
    print_scores(console, [system(LONG, metrics), system(CHINESE, metrics, 3_538_944)], floor, ceiling)
    shown = console.file.getvalue()
    for text in (LONG, CHINESE, "lead-3 (floor)", "bertscore.precision", "1.41 %"):
        assert text in shown
    assert shown.count("47.3 ± 2.2") == 4 * 4
    assert shown.count("0.473 ± 0.022") == 4
    assert max(map(cell_len, shown.splitlines())) <= width
    assert not any(line.rstrip().endswith("±") for line in shown.splitlines())


def test_wide_characters_keep_the_columns_aligned():
    console = SafeConsole(file=io.StringIO(), width=80)
    print_scores(console, [system(CHINESE, ROUGE), system("LoRA", ROUGE)])
    ends = {cell_len(line[: line.index("±")]) for line in console.file.getvalue().splitlines() if "±" in line}
    assert len(ends) == 1


@pytest.mark.parametrize("width", [40, 50, 60])
def test_a_verdict_keeps_a_value_with_its_interval_and_fits_the_terminal(width):
    console = SafeConsole(file=io.StringIO(), width=width)
    text = (
        f"- {CHINESE} beats Original by 17.5 ± 1.9 ROUGE-1 (p < 0.001); it is not distinguishable from a: −0.9 ± 1.1."
    )
    print_sentence(console, text)
    lines = console.file.getvalue().splitlines()
    assert " ".join(lines) == text
    assert max(map(cell_len, lines)) <= width
    assert all(any(whole in line for line in lines) for whole in ("17.5 ± 1.9", "p < 0.001", "−0.9 ± 1.1"))
