import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser

import pytest
from made_up_diagnostics import put_scores
from made_up_results import diagnostics, prediction_stats

from summtune.base.files import read_json, read_jsonl, write_json, write_jsonl
from summtune.evaluator.comparison import compare
from summtune.evaluator.systems import read_system
from summtune.report import write_compare_report, write_run_report
from summtune.report.contents import run_contents
from summtune.report.page import to_html
from summtune.runs.finished import read_run

HOSTILE = "</script><script>alert('x')</script> \"quoted\" {{ 7 * 7 }} nul\x00 rtl\u202e & <!-- <img src=x onerror=y>"
HARMLESS = HOSTILE.replace("\x00", "␀").replace("\u202e", "⟨U+202E⟩")


class Elements(HTMLParser):
    """Collects tags, attributes, and the texts of scripts by their ids, as a browser would see them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.scripts = [], [], {}
        self.script = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.script = dict(attributes).get("id", "") if tag == "script" else None

    def handle_endtag(self, tag):
        self.script = None

    def handle_data(self, data):
        if self.script is not None:
            self.scripts[self.script] = self.scripts.get(self.script, "") + data

    def parsed(self, name):
        return json.loads(self.scripts[name])


def page(path):
    return path.read_text(encoding="utf-8")


def change(path, **changes):
    write_json(path, read_json(path) | changes)


def test_the_page_of_a_run_has_scores_chart_details_recipes_and_dialogues(run_dir):
    folder = run_dir("lora", kind="train")
    path = write_run_report(folder)
    assert path == folder / "report.html"
    text = html.unescape(page(path))
    for part in (
        "google/flan-t5-base, fine-tuned (lora), scored on 6 dialogues",
        "1 of 6 predictions hit max_new_tokens",
        "ROUGE F-measure × 100 by rouge_score 0.1.2, with Porter stemmer, the mean over a dialogue's references",
        "Lead-3 (floor)",
        "Human agreement (ceiling)",
        "Against each reference",
        "3,538,944 (1.41 %)",
        "12 min 05 s",
        "1.5 GiB",
        "torch 2.13.0",
        "e1856dc",
        "# <what a person wrote>",
        "prompt_template: |-\n  Summarize.\n  {dialogue}",
        "training loss",
        "ex_7",
    ):
        assert part in text
    elements = Elements(page(path))
    rows = elements.parsed("dialogues-0")
    assert len(rows) == 6
    assert rows[5][2:] == [
        ["they meet at noon on day 5", "a meeting on day 5"],
        [["they meet at"]],
    ]
    assert rows[1][3] == [["they meet at", "cut at max_new_tokens"]]


def test_the_page_of_a_prompted_run_has_no_training_or_comparison(run_dir):
    text = page(write_run_report(run_dir()))
    for heading in ("Training", "Differences", "Quality and cost"):
        assert f">{heading}</h2>" not in text
    assert "Optimizer steps" not in text
    assert 'class="verdict"' not in text
    assert "biggest win" not in text
    assert "highest score first" in text


def test_the_page_of_a_comparison_starts_with_the_verdict_and_ends_with_the_reader(compare_dir):
    folder = compare_dir()
    text = html.unescape(page(write_compare_report(folder)))
    comparison = read_json(folder / "comparison.json")
    for sentence in (*comparison["verdict"], *comparison["warnings"]):
        assert sentence in text
    order = [
        comparison["verdict"][0],
        "What to know before",
        *(f'id="{part}"' for part in ("scores", "differences", "costs", "training", "diagnostics", "recipe", "reader")),
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "adjusted for all rows by step-down max-T, and 95% intervals for all rows at once" in text
    assert "LoRA − Original" in text


def test_the_page_of_a_comparison_shows_costs_floor_and_ceiling_as_rows(compare_dir):
    text = page(write_compare_report(compare_dir()))
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr[^>]*>.*?</tr>", text, re.DOTALL)]
    anchors = [row for row in rows if row[-2:] == ["–", "–"] and "±" in row]
    assert [row[: -2 - 9] for row in anchors] == [["lead-3", "(floor)"], ["human", "agreement", "(ceiling)"]]
    assert ["LoRA", "0.2", "1.5", "GiB", "2", "KiB"] in rows
    assert ["Original", "0", "768", "MiB", "0"] in rows


@pytest.fixture
def priced(compare_dir):
    """Give the systems of a comparison prices, and return its directory: 6 dialogues of 100 and 10 tokens each."""
    folder = compare_dir()
    prices = {"zero_shot": {"endpoint": {"url": "http://x/v1", "model": "m", "price": SERVER}}, "lora": {"price": GPU}}
    tokens = {"dialogues": 6, "unique_prompts": 6, "prompt_tokens": 600, "generated_tokens": 60}
    for name, price in prices.items():
        run = folder.parent / name
        change(run / "plan.json", recipe=read_json(run / "plan.json")["recipe"] | price)
        change(run / "prediction_stats.json", **tokens, device_seconds=3.6)
    compared = [read_system(name, folder.parent / run) for name, run in (("Original", "zero_shot"), ("LoRA", "lora"))]
    write_json(folder / "comparison.json", compare(compared, "Original").to_json())
    return folder


SERVER = {"input": 1000.0, "output": 5000.0, "currency": "USD"}
GPU = {"device_hour": 3.6, "currency": "USD"}


def test_the_page_of_a_comparison_with_prices_shows_the_break_even(priced):
    text = html.unescape(page(write_compare_report(priced)))
    # 725 s of training and 3.6 s of generation at 0.001 USD a second; 600 and 60 tokens are 0.60 + 0.30 USD.
    sentence = (
        "From about 5 dialogues on, LoRA costs less than Original: 1,000 dialogues cost 0.600 USD instead of "
        "150.00 USD, and training 0.725 USD."
    )
    assert f"<li>{sentence}</li>" in text
    assert "Total cost of each system in USD against the number of dialogues" in text
    assert 'id="money-USD-' in text
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr[^>]*>.*?</tr>", text, re.DOTALL)]
    assert ["Original", "0", "USD", "150.00", "USD", "100,000", "10,000", "–"] in rows
    assert ["LoRA", "0.725", "USD", "0.600", "USD", "100,000", "10,000", "0.167"] in rows
    markdown = (priced / "report.md").read_text(encoding="utf-8")
    assert f"- {sentence}\n" in markdown
    assert "| LoRA | 0.725 USD | 0.600 USD | 100,000 | 10,000 | 0.167 |" in markdown
    assert "- Cost: training 0.725 USD, generation 0.00360 USD, 1,000 dialogues 0.600 USD" in markdown
    assert "- Tokens: 600 in 6 prompts, 60 generated" in markdown


def test_currencies_that_differ_are_not_drawn(priced):
    comparison = read_json(priced / "comparison.json")
    comparison["systems"][1]["cost"]["currency"] = "EUR"
    write_json(priced / "comparison.json", comparison)
    text = html.unescape(page(write_compare_report(priced)))
    assert "Money in USD and EUR is neither added nor compared; give all prices in one currency." in text
    assert "Total cost of each system" not in text


def test_many_break_evens_are_folded_after_the_first(priced):
    comparison = read_json(priced / "comparison.json")
    prompted, trained = comparison["systems"]
    run_dir = str(priced.parent / "lora")
    more = [trained | {"name": f"LoRA {number}", "run_dir": run_dir} for number in range(8)]
    write_json(priced / "comparison.json", comparison | {"systems": [prompted, trained, *more]})
    text = page(write_compare_report(priced))
    assert "<summary>3 more</summary>" in text
    assert text.count("dialogues on, LoRA") == 9


def test_a_check_on_the_page_has_counts_references_and_links_to_the_reader(compare_dir):
    text = page(write_compare_report(compare_dir()))
    row = re.search(r'<tr>\s*<th scope="row"><button[^>]*>Names that.*?</tbody>', text, re.DOTALL).group()
    assert row.count("16.7 %") == 2
    assert "1.25 %" in row
    assert row.count('<a href="#id=test_2">test_2</a> Otto') == 2
    assert "What names that the dialogue lacks means." in row
    assert "No two systems wrote the same for any dialogue." in text


def test_the_reader_has_every_summary_and_score(compare_dir):
    elements = Elements(page(write_compare_report(compare_dir())))
    index = elements.parsed("reader-index")
    assert index["systems"] == ["Original", "LoRA"]
    assert index["pair"] == [1, 0]
    assert index["ids"] == [f"test_{i}" for i in range(6)]
    assert [metric["title"] for metric in index["metrics"]] == ["ROUGE-1", "ROUGE-2", "ROUGE-L"]
    assert [len(column) for column in index["scores"][0]] == [6, 6]
    assert elements.parsed("dialogues-0")[2][3] == [["they meet at"], ["they meet at noon on day 2"]]


def test_the_page_of_external_predictions_shows_what_is_known(run_dir):
    folder = run_dir("theirs")
    unknown = dict.fromkeys(("prompt_tokens", "new_tokens", "truncated", "hit_length_cap")) | {"dialogue": ""}
    write_jsonl(folder / "predictions.jsonl", [row | unknown for row in read_jsonl(folder / "predictions.jsonl")])
    plan = {"format": 2, "kind": "scored", "name": "theirs", "identity": "3fa9", "versions": {"summtune": "0.1.0"}}
    write_json(folder / "plan.json", plan | {"recipe": {"predictions": "theirs.csv", "references": None}})
    stats = prediction_stats(trainable_parameters=None, total_parameters=None)
    write_json(folder / "prediction_stats.json", stats.to_json())
    (folder / "recipe.yaml").unlink()
    put_scores(folder, floor=None, ceiling=None, diagnostics=diagnostics())
    text = page(write_run_report(folder))
    assert "External predictions, scored on 6 dialogues" in text
    assert ">Diagnostics</h2>" not in text
    assert "predictions: theirs.csv" in text
    assert Elements(text).parsed("dialogues-0")[0][1] == ""


def test_the_page_is_self_contained(compare_dir):
    text = page(write_compare_report(compare_dir()))
    elements = Elements(text)
    assert "link" not in elements.tags
    assert "img" not in elements.tags
    addresses = [value for name, value in elements.attributes if name in ("src", "href", "action", "xlink:href")]
    assert addresses
    assert all(value.startswith("#") for value in addresses)
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text


def test_hostile_text_on_the_page_is_escaped(compare_dir):
    folder = compare_dir(
        names=(HOSTILE, "LoRA"), id="__proto__", dialogue=f"A: {HOSTILE}", prediction=HOSTILE, references=(HOSTILE,)
    )
    change(folder / "comparison.json", verdict=[HOSTILE], warnings=[HOSTILE])
    metrics = read_json(folder.parent / "zero_shot" / "metrics.json")
    metrics["diagnostics"]["checks"]["names"] |= {"title": HOSTILE, "meaning": HOSTILE}
    metrics["diagnostics"]["checks"]["names"]["examples"] = [{"id": "__proto__", "found": HOSTILE}]
    write_json(folder.parent / "zero_shot" / "metrics.json", metrics)
    (folder.parent / "zero_shot" / "recipe.yaml").write_text(HOSTILE, encoding="utf-8")
    text = page(write_compare_report(folder))
    elements = Elements(text)
    assert sorted(elements.scripts) == ["", "dialogues-0", "reader-index"]
    assert elements.tags.count("script") == 3
    assert "img" not in elements.tags
    assert not [name for name, _ in elements.attributes if name.startswith("on")]
    assert "\x00" not in text
    assert "\u202e" not in text
    assert html.unescape(text).count(HARMLESS) >= 6
    first = elements.parsed("dialogues-0")[0]
    assert first[0] == "__proto__"
    assert first[1] == f"A: {HARMLESS}"
    assert first[2] == [HARMLESS]
    assert first[3][0][0] == HARMLESS


def test_the_security_policy_allows_only_the_script_of_the_page(run_dir):
    text = page(write_run_report(run_dir()))
    script = Elements(text).scripts[""]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_a_page_over_budget_says_which_dialogues_it_contains(run_dir):
    text = to_html(run_contents(read_run(run_dir())), budget=700).decode()
    held = len(Elements(text).parsed("dialogues-0"))
    assert 1 < held < 6
    assert f"This page contains the first {held} of 6 dialogues" in text


def test_every_dialogue_is_in_one_chunk(run_dir):
    elements = Elements(page(write_run_report(run_dir(n=205, metrics=["rouge1"]))))
    assert [len(elements.parsed(f"dialogues-{part}")) for part in range(3)] == [100, 100, 5]
    assert "dialogues-3" not in elements.scripts


def test_the_page_of_the_same_run_has_the_same_bytes(run_dir):
    folder = run_dir("lora", kind="train")
    first = write_run_report(folder).read_bytes()
    assert write_run_report(folder).read_bytes() == first


@pytest.mark.parametrize("metrics", [["rouge1"], ["rouge1", "rouge2", "rougeL", "rougeLsum"]])
def test_the_page_supports_any_number_of_metrics(run_dir, metrics):
    text = page(write_run_report(run_dir(metrics=metrics)))
    assert text.count('<th scope="row">ROUGE-') == len(metrics)


def test_many_differences_are_folded_after_those_of_the_first_metric(compare_dir):
    folder = compare_dir()
    comparison = read_json(folder / "comparison.json")
    comparison["differences"] *= 6
    write_json(folder / "comparison.json", comparison)
    text = page(write_compare_report(folder))
    assert "Every metric (18 rows)" in text
    assert text.index("Every metric") < text.index("<td>ROUGE-2</td>", text.index('id="differences"'))


def test_many_warnings_are_folded_after_the_first(compare_dir):
    folder = compare_dir()
    change(folder / "comparison.json", warnings=[f"warning {place}." for place in range(9)])
    text = page(write_compare_report(folder))
    assert "<summary>3 more</summary>" in text
    assert "warning 8." in text


def test_warnings_of_training_and_prediction_are_in_the_report(run_dir):
    folder = run_dir("lora", kind="train")
    change(folder / "training.json", warnings=["train: the tokenizer loses line breaks."])
    change(folder / "prediction_stats.json", warnings=["test: the tokenizer loses accents."])
    text = page(write_run_report(folder))
    assert "train: the tokenizer loses line breaks." in text
    assert "test: the tokenizer loses accents." in text


def test_a_trained_model_that_seldom_stops_is_a_warning_before_others(run_dir):
    folder = run_dir("lora", kind="train")
    seldom = {"role": "validation", "dialogues": 64, "ended": 20}
    change(folder / "prediction_stats.json", stopping=seldom, warnings=["test: the tokenizer loses accents."])
    text = page(write_run_report(folder))
    assert text.index("20 of 64 validation dialogues") < text.index("test: the tokenizer loses accents.")


def test_a_trained_model_without_validation_data_is_judged_by_its_predictions(run_dir):
    folder = run_dir("lora", kind="train")
    change(folder / "prediction_stats.json", stopping=None)
    assert "the summaries of 5 of 6 test dialogues ended before" in page(write_run_report(folder))
    assert "seldom stops" not in page(write_run_report(run_dir("prompted")))


def test_a_shared_warning_is_shown_once_with_the_names_of_its_systems(compare_dir):
    folder = compare_dir()
    for name in ("zero_shot", "lora"):
        change(folder.parent / name / "prediction_stats.json", warnings=["test: the tokenizer loses accents."])
    text = page(write_compare_report(folder))
    assert text.count("test: the tokenizer loses accents.") == 1
    assert "Original, LoRA: test: the tokenizer loses accents." in text
