import pytest

from summtune.report import write_compare_report, write_run_report
from summtune.report.markdown import fenced


def test_the_markdown_of_a_run_has_scores_details_and_five_dialogues(run_dir):
    text = (write_run_report(run_dir("lora", kind="train")).parent / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# lora\n")
    assert "| ROUGE-1 | " in text
    assert "- Trainable parameters: 3,538,944 (1.41 %)" in text
    assert "- Versions: torch 2.13.0" in text
    assert "## The first 5 of 6 dialogues" in text
    assert text.count("### test_") == 5


def test_the_markdown_of_a_comparison_has_verdict_scores_and_differences(compare_dir):
    text = (write_compare_report(compare_dir()).parent / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# compare: Original vs LoRA\n")
    assert "- LoRA beats Original by " in text or "- LoRA is not distinguishable from Original" in text
    assert "| LoRA − Original | ROUGE-1 | " in text
    assert "## How LoRA was made" in text
    assert "- **LoRA** [" in text


def test_hostile_text_in_markdown_opens_no_tag_and_closes_no_block(run_dir):
    hostile = "```\n<script>x</script>"
    folder = run_dir(dialogue=hostile, prediction=hostile, references=(hostile,))
    text = (write_run_report(folder).parent / "report.md").read_text(encoding="utf-8")
    assert "````\n```\n<script>x</script>\n````" in text
    assert "**Reference**: \\`\\`\\` \\<script\\>x\\</script\\>" in text


@pytest.mark.parametrize("text", ["plain", "```", "a ````` b", "nul\x00"])
def test_a_code_block_is_closed_only_by_its_fence(text):
    block = fenced(text, "yaml")
    fence = block.split("yaml")[0]
    assert block.count(fence) == 2
    assert "\x00" not in block
