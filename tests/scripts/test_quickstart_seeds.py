"""The page of the quickstart has every number in its place; time and memory are those of all processes."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from summtune.base.errors import StageError
from summtune.base.files import read_json, write_json
from summtune.base.places import package_path
from summtune.plan.resolve import resolve

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "quickstart_seeds.py"))
NAMES = ("Original", "One-shot", "Few-shot", "Full fine-tuning", "LoRA")


def estimate(value):
    return {"value": value, "ci_low": value - 0.02, "ci_high": value + 0.02}


def comparison(shift=0.0):
    """A made-up comparison.json; of two systems the one that was named first is ``b``."""
    scores = {name: 0.2 + at / 10 + shift for at, name in enumerate(NAMES)}
    systems = [
        {
            "name": name,
            "trainable_parameters": {"Full fine-tuning": 1000, "LoRA": 23}.get(name, 0),
            "total_parameters": 1023 if name == "LoRA" else 1000,
            "metrics": {"rouge1": estimate(score), "rougeL": estimate(score - 0.1)},
        }
        for name, score in scores.items()
    ]
    differences = [
        {
            "a": a, "b": b, "metric": metric, "difference": scores[a] - scores[b],
            "ci_low": scores[a] - scores[b] - 0.01, "ci_high": scores[a] - scores[b] + 0.02, "p_adjusted": 0.0211,
        }
        for at, b in enumerate(NAMES)
        for a in NAMES[at + 1 :]
        for metric in ("rouge1", "rougeL")
    ]  # fmt: skip
    protocol = {"bootstrap": {"confidence": 0.95}, "permutations": 10_000}
    return {"n": 200, "protocol": protocol, "systems": systems, "differences": differences}


@pytest.fixture
def comparisons():
    return {1: comparison(), 7: comparison(0.011)}


MEASURED = {
    "command": "python scripts/quickstart_seeds.py --seeds 1 7",
    "sets": ["overrides.num_epochs=1"],
    "machine": "2 cores of a CPU",
    "python": "3.11.2",
    "runs": [
        {"seed": 1, "folder": "seed-1", "seconds": 125.04, "peak_bytes": 1_288_490_189},
        {"seed": 7, "folder": "seed-7", "seconds": 130.1, "peak_bytes": 2**31},
    ],
}


def test_scores_are_listed_by_system_metric_and_seed(comparisons):
    rows = SCRIPT["score_rows"](comparisons)
    assert rows[0] == ("Original", "20.0 ± 2.0", "21.1 ± 2.0", "10.0 ± 2.0", "11.1 ± 2.0")
    assert [row[0] for row in rows] == list(NAMES)


def test_differences_have_the_direction_that_the_page_shows(comparisons):
    rows = {row[0]: row[1:] for row in SCRIPT["difference_rows"](comparisons)}
    assert rows["One-shot − Original, ROUGE-L"][0] == "+10.0 (9.0 to 12.0), p = 0.021"
    # The comparison holds LoRA minus full fine-tuning.
    assert rows["Full fine-tuning − LoRA, ROUGE-1"] == ("−10.0 (−12.0 to −9.0), p = 0.021",) * 2
    assert len(rows) == 5


def test_a_difference_without_an_interval_has_the_direction_that_the_page_shows(comparisons):
    for row in comparisons[1]["differences"]:
        row |= {"ci_low": None, "ci_high": None}
    turned = SCRIPT["difference"](comparisons[1], "Full fine-tuning", "LoRA", "rouge1")
    assert (turned["difference"], turned["ci_low"]) == (pytest.approx(-0.1), None)


def test_the_page_has_command_machine_time_and_memory(comparisons):
    versions = {"torch": "2.13.0+cpu", "transformers": "5.23.0"}
    page = SCRIPT["page"](comparisons, MEASURED, versions)
    for said in (
        "`python scripts/quickstart_seeds.py --seeds 1 7`",
        "--set overrides.seed=N --set overrides.num_epochs=1 --output-dir",
        "LoRA trains 23 of 1,023 weights (2.25 %)",
        "200 test dialogues",
        "| wall time | 2 min 05 s | 2 min 10 s |\n| peak memory | 1.2 GiB | 2.0 GiB |",
        "2 cores of a CPU, Python 3.11.2, torch 2.13.0+cpu, transformers 5.23.0.",
        "**not FLAN-T5**",
    ):
        assert said in page, said
    tables = re.findall(r"(?:^\|.*\|\n)+", page, re.MULTILINE)
    assert [len({line.count("|") for line in table.splitlines()}) for table in tables] == [1, 1, 1]
    assert [len(table.splitlines()) for table in tables] == [2 + 5, 2 + 5, 2 + 2]
    assert page.endswith(".\n")


def test_the_chart_is_a_picture_and_the_same_scores_give_the_same_bytes(comparisons):
    comparisons[1]["systems"][0]["metrics"]["rouge1"] |= {"ci_low": None, "ci_high": None}
    picture = SCRIPT["seeds_png"](comparisons)
    assert picture.startswith(b"\x89PNG")
    assert picture == SCRIPT["seeds_png"](comparisons)
    assert picture != SCRIPT["seeds_png"]({1: comparisons[1]})


def test_a_seed_reaches_all_five_systems_and_gives_separate_runs():
    one, two = (resolve(package_path("recipes/quickstart.yaml"), [f"overrides.seed={seed}"]) for seed in (1, 2))
    assert [part.recipe.seed for _, part in one.parts] == [1] * 5
    runs = [resolved.run_dir for each in (one, two) for resolved in (each, *(part for _, part in each.parts))]
    assert len(set(runs)) == 12


def test_memory_is_that_of_all_processes_together():
    child = "held = bytearray(80_000_000); import time; time.sleep(1.2)"
    parent = f"import subprocess, sys; held = bytearray(40_000_000); subprocess.run([sys.executable, '-c', {child!r}])"
    seconds, peak = SCRIPT["run_measured"]([sys.executable, "-c", parent])
    assert 1.2 < seconds < 30
    assert 120e6 < peak < 240e6


def test_a_process_that_has_ended_takes_no_memory():
    assert SCRIPT["tree_memory"](2**22 + 1) == 0


def test_a_failed_command_is_an_error():
    with pytest.raises(StageError, match=r"the command failed \(got exit code 3 of .* 'raise"):
        SCRIPT["run_measured"]([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_machine_has_cores():
    assert re.match(r"[1-9]\d* cores? of \S", SCRIPT["machine"]())


def test_a_page_is_made_of_finished_runs(comparisons, tmp_path, monkeypatch, capsys):
    write_json(tmp_path / "runs" / "measured.json", MEASURED)
    for seed, content in comparisons.items():
        write_json(tmp_path / "runs" / f"seed-{seed}" / "comparison.json", content)
        write_json(tmp_path / "runs" / f"seed-{seed}" / "plan.json", {"versions": {"torch": "2", "transformers": "5"}})
    docs = tmp_path / "docs"
    monkeypatch.setattr(sys, "argv", ["x", "--page-of", str(tmp_path / "runs"), "--docs", str(docs)])
    SCRIPT["main"]()
    assert capsys.readouterr().out == f"{docs / 'quickstart.md'}\n"
    assert (docs / "quickstart_seeds.png").is_file()
    assert "# The quickstart, with 2 seeds" in (docs / "quickstart.md").read_text(encoding="utf-8")


def test_runs_need_a_new_folder(tmp_path):
    with pytest.raises(FileExistsError, match=re.escape(tmp_path.name)):
        SCRIPT["measure"]([1], [], tmp_path)


def test_measurements_are_recorded(tmp_path, monkeypatch):
    commands = []

    def run_measured(command):
        commands.append(command)
        return 1.234, 5

    monkeypatch.setitem(SCRIPT["measure"].__globals__, "run_measured", run_measured)
    SCRIPT["measure"]([3, 4], ["overrides.num_epochs=1"], tmp_path / "runs")
    assert commands[1][1:2] + commands[1][3:] == [
        *("run", "--set", "overrides.seed=4", "--set", "overrides.num_epochs=1"),
        *("--output-dir", str(tmp_path / "runs" / "seed-4")),
    ]
    kept = read_json(tmp_path / "runs" / "measured.json")
    assert kept["runs"][1] == {"seed": 4, "folder": "seed-4", "seconds": 1.2, "peak_bytes": 5}
    assert kept["sets"] == ["overrides.num_epochs=1"]


def test_the_page_has_the_held_out_scenarios_and_the_similarity_to_training():
    held_out = SCRIPT["held_out"]()
    assert held_out["scenarios"] == ["*vet*", "*tickets*", "*fine*", "*tutor*"]
    assert (held_out["names"], held_out["cities"]) == (20, 10)
    assert held_out["things"] > 80
    assert held_out["phrasings"] > 100
    nearest = {name: int(text.removesuffix(" %")) for name, text in SCRIPT["nearest"]().items()}
    assert 0 < nearest["median"] < nearest["highest"] < 70
