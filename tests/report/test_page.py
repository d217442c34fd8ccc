import html
import re
from html.parser import HTMLParser

import pytest

from summtune.files import read_json
from summtune.report import write_compare_report, write_run_report
from summtune.report.contents import SHOWN_DIALOGUES

HOSTILE = "</script><script>alert('x')</script> \"quoted\" {{ 7 * 7 }} nul\x00 rtl\u202e & <img src=x onerror=y>"


class Elements(HTMLParser):
    """Collects what a browser would make of the page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes


def page(path):
    return path.read_text(encoding="utf-8")


def test_a_runs_page_holds_scores_chart_facts_recipe_and_reader(run_dir):
    folder = run_dir("lora", kind="train")
    path = write_run_report(folder)
    assert path == folder / "report.html"
    text = html.unescape(page(path))
    for part in (
        "google/flan-t5-base, fine-tuned (lora), scored on 6 dialogues",
        "1 of 6 predictions hit max_new_tokens",
        "ROUGE F-measure × 100 by rouge_score 0.1.2, with Porter stemmer, the mean over a dialogue's references",
        "3,538,944 (1.41 %)",
        "12 min 05 s",
        "1.5 GiB",
        "torch 2.13.0",
        "e1856dc",
        "prompt_template: |-\n  Summarize.\n  {dialogue}",
        "training loss",
        "they meet at noon on day 5",
        "ex_7",
        "cut at max_new_tokens",
    ):
        assert part in text
    assert Elements(text).tags.count("article") == 6


def test_a_prompted_runs_page_has_no_training(run_dir):
    text = page(write_run_report(run_dir()))
    assert "<h2>Training</h2>" not in text
    assert "Optimizer steps" not in text


def test_a_comparisons_page_holds_verdict_differences_and_every_systems_summary(compare_dir):
    folder = compare_dir()
    text = html.unescape(page(write_compare_report(folder)))
    comparison = read_json(folder / "comparison.json")
    for sentence in (*comparison["verdict"], *comparison["warnings"]):
        assert sentence in text
    assert "LoRA − Original" in text
    assert "not corrected for several comparisons" in text
    article = re.findall(r"<article.*?</article>", text, re.DOTALL)[2]
    for part in ("a meeting on day 2", ">Original<", ">they meet at<", ">LoRA<", ">they meet at noon on day 2<"):
        assert part in article


def test_the_page_needs_nothing_else(compare_dir):
    text = page(write_compare_report(compare_dir()))
    elements = Elements(text)
    assert "link" not in elements.tags
    assert not [value for name, value in elements.attributes if name in ("src", "action") or (name == "href")]
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text


def test_hostile_text_is_shown_as_text(compare_dir):
    folder = compare_dir(names=(HOSTILE, "LoRA"), dialogue=f"A: {HOSTILE}", prediction=HOSTILE, references=(HOSTILE,))
    text = page(write_compare_report(folder))
    elements = Elements(text)
    assert elements.tags.count("script") == 1
    assert "img" not in elements.tags
    assert not [name for name, _ in elements.attributes if name.startswith("on")]
    assert "\x00" not in text
    assert "\u202e" not in text
    shown = html.unescape(text)
    assert shown.count('"quoted" {{ 7 * 7 }} nul␀ rtl⟨U+202E⟩ & <img src=x onerror=y>') >= 5


def test_the_security_policy_allows_the_pages_own_script_alone(run_dir):
    import base64
    import hashlib

    text = page(write_run_report(run_dir()))
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_a_long_test_set_is_shown_in_part_and_the_page_says_so(run_dir):
    text = page(write_run_report(run_dir(n=SHOWN_DIALOGUES + 5, metrics=["rouge1"])))
    assert Elements(text).tags.count("article") == SHOWN_DIALOGUES
    assert "The first 200 of 205 dialogues; predictions.jsonl holds all." in text


def test_an_empty_prediction_is_said(run_dir):
    assert '<p class="empty">nothing</p>' in page(write_run_report(run_dir(prediction=" ")))


def test_the_same_run_gives_the_same_page(run_dir):
    folder = run_dir("lora", kind="train")
    first = write_run_report(folder).read_bytes()
    assert write_run_report(folder).read_bytes() == first


@pytest.mark.parametrize("metrics", [["rouge1"], ["rouge1", "rouge2", "rougeL", "rougeLsum"]])
def test_any_number_of_metrics_makes_a_page(run_dir, metrics):
    text = page(write_run_report(run_dir(metrics=metrics)))
    assert text.count('<th scope="row">ROUGE-') == len(metrics)
