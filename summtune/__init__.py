"""summtune turns a YAML recipe into dialogue-summarization results that you can trust.

The functions ``run``, ``evaluate`` and ``compare`` do in a notebook or a program what the commands with the same names
do on the command line. Importing them is cheap: a function imports what it needs when it is called.
"""

from __future__ import annotations

from summtune.base.version import __version__

TYPE_CHECKING = False  # not typing's, which would have to be imported
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from summtune.commands.notebook import Comparison, Difference, Result

__all__ = ["Comparison", "Difference", "Result", "__version__", "compare", "evaluate", "run"]


def run(
    recipe: str | os.PathLike[str] | Mapping[str, Any],
    *,
    output_dir: str | os.PathLike[str] | None = None,
    fresh: bool = False,
    quiet: bool = False,
    name: str | None = None,
    **overrides: Any,
) -> Result | Comparison:
    """Run a recipe and return its result; complete stages of an earlier run are not run again.

    Progress and warnings are printed to stderr; as plain lines if it is not a terminal.

    Args:
        recipe: path of a recipe, or its keys as a mapping. Relative paths in a mapping start from the current folder.
        output_dir: run directory; default: ``outputs/<name>-<hash>``.
        fresh: start from scratch: neither resume nor reuse other runs.
        quiet: show warnings only.
        name: of a recipe that is a mapping, used for its run directory; default: its kind.
        overrides: keys of the recipe to override, like ``--set``. Pass keys of a section as a mapping,
            ``generation={"num_beams": 4}``; the other keys of the section do not change. Relative paths in them start
            from the current folder.

    Returns:
        A `Result`, or a `Comparison` for a recipe of kind compare.

    Raises:
        summtune.base.errors.InputError: the recipe, the data or an argument is wrong; nothing was started.
        summtune.base.errors.StageError: a stage failed; the same call resumes.
    """
    from summtune.commands import notebook

    return notebook.run(recipe, overrides, output_dir=output_dir, fresh=fresh, quiet=quiet, name=name)


def evaluate(
    predictions: str | os.PathLike[str] | Iterable[str] | Iterable[Mapping[str, Any]],
    references: str | os.PathLike[str] | Iterable[str] | Iterable[Iterable[str]] | None = None,
    *,
    dialogues: Iterable[str] | None = None,
    prediction_field: str | None = None,
    summary_field: str | Iterable[str] = (),
    dialogue_field: str | None = None,
    messages_field: str | None = None,
    id_field: str | None = None,
    reference_id_field: str | None = None,
    split: str | None = None,
    skip_empty: bool = False,
    recipe: str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    name: str | None = None,
    **evaluation: Any,
) -> Result:
    """Score the outputs of any system and return them with their scores.

    Args:
        predictions: texts; rows with a column ``prediction``; or a path, as for ``summtune evaluate``.
        references: one or several references for each prediction, in the same order; or the path or hub id of a data
            set with references. Default: the columns of the predictions with references.
        dialogues: the dialogue of each prediction, in the same order, for the floor and for checks that need it.
        prediction_field: column with the predictions.
        summary_field: one or several columns with references.
        dialogue_field: column with the dialogues.
        messages_field: column of the data set of references with chat messages, which hold dialogue and summary.
        id_field: column with the ids, by which predictions and data set are matched.
        reference_id_field: column with the ids in the data set of references, if it has another name there.
        split: of that data set; default: test.
        skip_empty: skip its rows without a dialogue or summary.
        recipe: path of a recipe whose evaluation section and test data are used.
        output_dir: directory to write, which ``compare`` can read; default: nothing is written.
        name: of the system in tables.
        evaluation: keys of the evaluation section, such as ``metrics`` or ``use_stemmer``. Pass its key ``references``
            as ``evaluation={"references": "max"}``.

    Raises:
        summtune.base.errors.InputError: predictions, references or a key cannot be used, or do not fit together.
        summtune.base.errors.StageError: a metric failed.
    """
    from summtune.commands import notebook

    return notebook.evaluate(
        predictions,
        references,
        dialogues,
        evaluation,
        summary_field=summary_field,
        recipe=recipe,
        output_dir=output_dir,
        prediction_field=prediction_field,
        dialogue_field=dialogue_field,
        messages_field=messages_field,
        id_field=id_field,
        reference_id_field=reference_id_field,
        split=split,
        skip_empty=skip_empty,
        name=name,
    )


def compare(
    runs: Sequence[str | os.PathLike[str] | Result] | Mapping[str, str | os.PathLike[str] | Result],
) -> Comparison:
    """Compare finished runs and return scores, differences and the verdict; the first run is the baseline.

    Args:
        runs: two or more run directories or results; as a mapping, by the names that tables call them.

    Raises:
        summtune.base.errors.ComparisonError: they were scored under different protocols or on different dialogues.
        summtune.base.errors.InputError: there are fewer than two, or one is not a finished run.
    """
    from summtune.commands import notebook

    return notebook.compare(runs)


def __getattr__(name: str) -> type:
    """Return a type of results, for annotations; its module is imported when somebody asks."""
    if name in ("Comparison", "Difference", "Result"):
        from summtune.commands import notebook

        found: type = getattr(notebook, name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
