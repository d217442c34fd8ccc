"""Fixed diagnostics for tests of the report, independent of what the evaluator finds in their few dialogues."""

from summtune.base.files import read_json, write_json


def check(title, count, examples=(), references=None, of=6):
    found = [{"id": id_, "found": text} for id_, text in examples]
    shown = {"title": title, "meaning": f"What {title.lower()} means."}
    return shown | {"count": count, "of": of, "references": references, "examples": found}


def put_diagnostics(folder):
    """Put them into the ``metrics.json`` of a run."""
    checks = {
        "empty": check("Empty outputs", 0, references=0.0),
        "length_cap": check("Outputs at the length cap", 2, [("test_1", "6 tokens"), ("test_3", "64 tokens")]),
        "names": check("Names that the dialogue lacks", 1, [("test_2", "Otto")], references=0.0125),
    }
    means = {"prompt_tokens": 20.0, "new_tokens": None, "prediction_words": 5.5, "reference_words": 6.25}
    means |= {"novel_2_grams": 0.125, "reference_novel_2_grams": 0.75}
    warning = "1 of 6 predictions hit max_new_tokens and may be cut short (for instance test_1)."
    metrics = read_json(folder / "metrics.json")
    metrics["diagnostics"] = {"checks": checks, "means": means, "warnings": [warning]}
    write_json(folder / "metrics.json", metrics)
