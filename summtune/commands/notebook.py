"""Runs the commands for a program such as a notebook: returns their results as objects and raises errors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from summtune.base.console import SafeConsole
from summtune.base.errors import DataError, InputError
from summtune.base.files import expanded
from summtune.base.printing import say
from summtune.base.strict import read_model
from summtune.commands.compare import comparison_of
from summtune.commands.displaced import displaced_keys
from summtune.commands.display import TerminalDisplay, WarningsDisplay
from summtune.commands.evaluate import check_place, score, write_scored
from summtune.commands.evaluate_terms import Call
from summtune.commands.run import run_draft
from summtune.data.external_predictions import GivenRows
from summtune.plan.draft import machines_of
from summtune.plan.resolve import resolve
from summtune.recipe.document import Document
from summtune.recipe.given import document_of, settings_of
from summtune.runs.comparison import COMPARISON_FILE
from summtune.runs.comparison import Comparison as CompleteComparison
from summtune.runs.comparison import Difference as Difference
from summtune.runs.cost import UNKNOWN_COST, Cost
from summtune.runs.finished import FinishedRun, read_run
from summtune.runs.metrics import Estimate
from summtune.runs.records import Prediction

AnyPath: TypeAlias = "str | os.PathLike[str]"

REPORT = "report.html"


@dataclass(frozen=True)
class Result:
    """One system with its scores.

    Args:
        name: of the system in tables.
        metrics: for each metric, the mean over the dialogues (``value``) with its interval (``ci_low``, ``ci_high``);
            ROUGE as fractions from 0 to 1, other metrics on their own scale.
        warnings: what a reader of the scores must know, one sentence each.
        predictions: one for each dialogue, with its references.
        cost: of training and generation: tokens, device-hours, and money if the recipe has a price.
        run_dir: its run directory, absolute; None if nothing was written.
    """

    name: str
    metrics: dict[str, Estimate]
    warnings: tuple[str, ...]
    predictions: list[Prediction] = field(repr=False)
    cost: Cost = field(repr=False)
    run_dir: Path | None

    @property
    def report(self) -> Path | None:
        """The HTML report; None if nothing was written."""
        return None if self.run_dir is None else self.run_dir / REPORT


@dataclass(frozen=True)
class Comparison:
    """Systems that were scored on the same dialogues under one protocol.

    Args:
        systems: by name, in the order of the table.
        baseline: the system with which the others are compared; None without one.
        differences: for every pair of systems and every metric.
        verdict: which system is better, one sentence each.
        warnings: what a reader of the scores must know, one sentence each.
        run_dir: the absolute directory of a recipe of kind compare; None for other comparisons.
    """

    systems: dict[str, Result] = field(repr=False)
    baseline: str | None
    differences: tuple[Difference, ...] = field(repr=False)
    verdict: tuple[str, ...]
    warnings: tuple[str, ...]
    run_dir: Path | None = None

    @property
    def report(self) -> Path | None:
        """The HTML report of a recipe of kind compare; None for other comparisons."""
        return None if self.run_dir is None else self.run_dir / REPORT


def run(
    recipe: AnyPath | Mapping[str, Any],
    overrides: Mapping[str, Any],
    *,
    output_dir: AnyPath | None,
    fresh: bool,
    quiet: bool,
    name: str | None,
) -> Result | Comparison:
    """Run a recipe; see `summtune.run`."""
    path, document = _recipe(recipe, name)
    console = SafeConsole(stderr=True, force_jupyter=False)  # lines on stderr, even where rich could write HTML
    with WarningsDisplay(console) if quiet else TerminalDisplay(console) as display:
        display.wait("recipe", "reading and checking")
        draft = resolve(path, settings_of(overrides), _path(output_dir), document=document)
        for text in displaced_keys(draft):
            display.stage("recipe", text)
        if machines_of(draft) > 1:
            raise InputError(
                f"a program cannot start a run on several machines (got num_machines: {machines_of(draft)}); "
                "use `summtune run` on each of them, or launcher: slurm"
            )
        run_dir = run_draft(draft, display, fresh)
    assert run_dir is not None, "only a detached job returns without a finished run"
    return _read(run_dir)


def evaluate(
    predictions: AnyPath | Iterable[str] | Iterable[Mapping[str, Any]],
    references: AnyPath | Iterable[str] | Iterable[Iterable[str]] | None,
    dialogues: Iterable[str] | None,
    evaluation: Mapping[str, Any],
    *,
    summary_field: str | Iterable[str],
    recipe: AnyPath | None,
    output_dir: AnyPath | None,
    **options: Any,
) -> Result:
    """Score the outputs of a system; see `summtune.evaluate`.

    ``options`` are further fields of `summtune.commands.evaluate_terms.Call`.
    """
    into = _path(output_dir)
    if into is not None:
        check_place(into)
    dataset, texts = None, None
    if isinstance(references, (str, os.PathLike)):
        dataset = _given_path(references)
    elif references is not None:
        texts = _references(references)
    call = Call(
        file=_predictions(predictions),
        references=dataset,
        reference_texts=texts,
        dialogue_texts=None if dialogues is None else _texts("dialogues", dialogues),
        summary_fields=(summary_field,) if isinstance(summary_field, str) else tuple(summary_field),
        sets=settings_of({_evaluation_key(key): value for key, value in evaluation.items()}),
        recipe=_path(recipe),
        **options,
    )
    scored = score(call, say)
    if into is not None:
        write_scored(scored, into)
    return Result(
        name=scored.name,
        metrics=scored.evaluation.scores.metrics,
        warnings=scored.evaluation.scores.diagnostics.warnings,
        predictions=scored.predictions,
        cost=UNKNOWN_COST,
        run_dir=None if into is None else into.resolve(),
    )


def compare(runs: Sequence[AnyPath | Result] | Mapping[str, AnyPath | Result]) -> Comparison:
    """Compare finished runs; see `summtune.compare`."""
    if isinstance(runs, (str, os.PathLike)):
        raise InputError(
            f"a comparison needs a list or a mapping of runs (got {os.fspath(runs)!r}); put them in a list"
        )
    if isinstance(runs, Mapping) and (wrong := [name for name in runs if not isinstance(name, str)]):
        raise InputError(f"the name of a run must be text (got {wrong[0]!r:.60}); put it in quotes")
    named = runs.items() if isinstance(runs, Mapping) else [(None, each) for each in runs]
    directories = [(name, _run_dir(each)) for name, each in named]
    comparison = comparison_of(directories)
    return _comparison(comparison, None)


def _evaluation_key(key: str) -> str:
    """Return a key of the evaluation section as one of a recipe; ``evaluation`` itself is given as a mapping."""
    return key if key.partition(".")[0] == "evaluation" else f"evaluation.{key}"


def _recipe(recipe: AnyPath | Mapping[str, Any], name: str | None) -> tuple[Path, Document | None]:
    """Return the path of a recipe, and its document if it is passed as a mapping and so has no file."""
    if isinstance(recipe, Mapping):
        chosen = name or str(recipe.get("kind", "recipe"))
        if not chosen.strip(" .") or "/" in chosen:
            raise InputError(f"the name cannot be used in a folder's name (got {chosen!r}); use letters and digits")
        return Path.cwd() / f"{chosen}.yaml", document_of(recipe, chosen)
    if name is not None:
        raise InputError(f"a recipe in a file is named after the file (got name={name!r} for {recipe}); remove name")
    path = _path(recipe)
    assert path is not None
    return path, None


def _path(given: AnyPath | None) -> Path | None:
    return None if given is None else expanded(_given_path(given))


def _given_path(given: AnyPath) -> str:
    """Return a path, or what may be the id of a data set, with ``~`` expanded and otherwise unchanged."""
    text = os.fspath(given)
    return str(expanded(text)) if text.startswith("~") else text


def _predictions(given: AnyPath | Iterable[str] | Iterable[Mapping[str, Any]]) -> str | GivenRows:
    if isinstance(given, (str, os.PathLike)):
        return _given_path(given)
    items: list[object] = list(given)
    if not items:
        raise DataError("there is nothing to score (got no predictions); pass one for each dialogue")
    rows = [item for item in items if isinstance(item, Mapping)]
    if not rows:
        return GivenRows(tuple({"prediction": text} for text in _texts("predictions", items)), lines=True)
    if len(rows) < len(items):
        number, other = next((at, item) for at, item in enumerate(items, start=1) if not isinstance(item, Mapping))
        raise DataError(f"predictions, item {number}: not a row (got {_type(other)}); pass only rows, or only texts")
    return GivenRows(tuple(rows))


def _references(given: Iterable[str] | Iterable[Iterable[str]]) -> list[list[str]]:
    return [
        [item] if isinstance(item, str) else _texts(f"references, item {number}", item)
        for number, item in enumerate(given, start=1)
    ]


def _texts(what: str, given: object) -> list[str]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise DataError(f"{what}: not a list of texts (got {_type(given)}); put it in a list")
    texts: list[str] = []
    for number, text in enumerate(given, start=1):
        if not isinstance(text, str):
            raise DataError(f"{what}, item {number}: not a text (got {_type(text)}); correct or remove it")
        texts.append(text)
    return texts


def _type(value: object) -> str:
    return type(value).__name__


def _run_dir(given: AnyPath | Result) -> Path:
    if isinstance(given, Result):
        if given.run_dir is None:
            raise InputError(
                f"a result without a directory cannot be compared (got {given.name}); pass output_dir to evaluate"
            )
        return given.run_dir
    return expanded(os.fspath(given))


def _read(run_dir: Path) -> Result | Comparison:
    if (run_dir / COMPARISON_FILE).is_file():
        return _comparison(read_model(CompleteComparison, run_dir / COMPARISON_FILE), run_dir)
    return _result(read_run(run_dir), None)


def _comparison(comparison: CompleteComparison, run_dir: Path | None) -> Comparison:
    return Comparison(
        systems={each.name: _result(read_run(Path(each.run_dir)), each.name) for each in comparison.systems},
        baseline=comparison.baseline,
        differences=comparison.differences,
        verdict=comparison.verdict,
        warnings=comparison.warnings,
        run_dir=run_dir,
    )


def _result(run: FinishedRun, name: str | None) -> Result:
    return Result(
        name=name or run.name,
        metrics=run.scores.metrics,
        warnings=run.scores.diagnostics.warnings,
        predictions=list(run.predictions),
        cost=run.facts.cost,
        run_dir=run.folder,
    )
