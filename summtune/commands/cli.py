"""The commands of summtune: each reads its arguments and calls what does the work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from summtune.base.errors import InputError
from summtune.base.files import expanded
from summtune.base.printing import show
from summtune.base.version import __version__

app = typer.Typer(
    name="summtune",
    help="A YAML recipe in, a dialogue-summarization result that can be trusted out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _path(given: str | Path) -> Path:
    """Return the path of an argument or option; the shell leaves a ``~`` behind an equals sign to the command."""
    try:
        return expanded(str(given))
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


def _text_of_path(given: str) -> str:
    """Return a path, or what may be one, as it was given but for a ``~``; ``-`` and ids of the hub stay as they are."""
    return str(_path(given)) if given.startswith("~") else given


_Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", parser=_path, help="A YAML recipe.", show_default=False)]
_Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key of the recipe; dotted for sections.", show_default=False
    ),
]
_DialogueField = Annotated[
    str | None, typer.Option("--dialogue-field", help="Column of the dialogues.", show_default="dialogue")
]
_IdField = Annotated[
    str | None, typer.Option("--id-field", help="Column of the ids.", show_default="id, if there is one")
]
_Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
_RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", parser=_path, help="A run directory.", show_default=False)]


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,  # noqa: ARG001, read by main
) -> None:
    if version:
        show(f"summtune {__version__}")
        raise typer.Exit


@app.command()
def run(
    recipe: _Recipe,
    sets: _Set = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            metavar="PATH",
            parser=_path,
            help="Run directory instead of outputs/<name>-<hash>.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and start nothing.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew instead of going on.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Submit the Slurm job and return.")] = False,
) -> None:
    """Run a recipe; the same command goes on where it stopped."""
    from summtune.commands.run import run_recipe, show_plan

    if dry_run:
        show_plan(recipe, sets or [], output_dir)
    else:
        run_recipe(recipe, sets or [], output_dir, fresh, detach)


@app.command()
def validate(
    recipes: Annotated[
        list[Path], typer.Argument(metavar="RECIPE...", parser=_path, help="YAML recipes.", show_default=False)
    ],
    sets: _Set = None,
) -> None:
    """Report every problem of every recipe; exit code 2 if there is one."""
    from summtune.commands.validate import validate_recipes

    if not validate_recipes(recipes, sets or []):
        raise typer.Exit(2)


@app.command()
def evaluate(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            parser=_text_of_path,
            help="Predictions: .jsonl, .json, .csv, .tsv, .parquet, .arrow, else one a line; - is standard input.",
        ),
    ],
    references: Annotated[
        str | None,
        typer.Option(
            "--references",
            metavar="DATA",
            parser=_text_of_path,
            help="The data set with the references.",
            show_default=False,
        ),
    ] = None,
    prediction_field: Annotated[
        str | None, typer.Option("--prediction-field", help="Column of the predictions.", show_default="prediction")
    ] = None,
    summary_fields: Annotated[
        list[str] | None,
        typer.Option(
            "--summary-field",
            help="Column with references; may be repeated.",
            show_default="references, reference or summary",
        ),
    ] = None,
    dialogue_field: _DialogueField = None,
    id_field: _IdField = None,
    reference_id_field: Annotated[
        str | None,
        typer.Option("--reference-id-field", help="Column of the ids in --references.", show_default="as --id-field"),
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Split of the data set.", show_default="test")] = None,
    skip_empty: Annotated[
        bool, typer.Option("--skip-empty", help="Skip rows of --references without a dialogue or summary.")
    ] = False,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A key of a recipe's evaluation section.", show_default=False),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="RECIPE",
            parser=_path,
            help="Take the evaluation section and the test data of this recipe.",
            show_default=False,
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            metavar="PATH",
            parser=_path,
            help="Write what compare and report read here.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="What tables call the system.", show_default="the file's name")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Score the outputs of any system."""
    from summtune.commands.evaluate import score_outputs
    from summtune.commands.evaluate_terms import Call

    call = Call(
        file=file,
        references=references,
        prediction_field=prediction_field,
        summary_fields=tuple(summary_fields or ()),
        dialogue_field=dialogue_field,
        id_field=id_field,
        reference_id_field=reference_id_field,
        skip_empty=skip_empty,
        split=split,
        sets=sets or (),
        recipe=recipe,
        name=name,
    )
    score_outputs(call, output_dir, as_json)


@app.command()
def compare(
    run_dirs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR RUN_DIR...", parser=_path, show_default=False)],
    as_json: _Json = False,
) -> None:
    """Compare finished runs; the first is the baseline."""
    from summtune.commands.compare import compare_runs

    compare_runs(run_dirs, as_json)


@app.command()
def report(
    run_dir: _RunDir,
    png: Annotated[
        Path | None,
        typer.Option(
            "--png", metavar="PATH", parser=_path, help="Write the bar chart to this file too.", show_default=False
        ),
    ] = None,
) -> None:
    """Write the report of a finished run or comparison again."""
    from summtune.commands.report import write_report

    write_report(run_dir, png)


@app.command()
def summarize(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_RUN", parser=_text_of_path, help="A finished run, or a model.", show_default=False
        ),
    ],
    file: Annotated[
        str,
        typer.Argument(
            metavar="[FILE|-]",
            parser=_text_of_path,
            help="One dialogue as plain text, or rows: .jsonl, .json, .csv, .tsv, .parquet, .arrow, JSON on a pipe.",
        ),
    ] = "-",
    dialogue_field: _DialogueField = None,
    id_field: _IdField = None,
    as_json: _Json = False,
) -> None:
    """Summarize dialogues from a file or a pipe; one summary a line on stdout."""
    from summtune.commands.summarize import summarize_input

    summarize_input(model, file, as_json, dialogue_field, id_field)


@app.command()
def recipes() -> None:
    """List the recipes that come along."""
    from summtune.commands.bundled_recipes import list_recipes

    for path, purpose in list_recipes():
        show(f"{path}\n    {purpose}")


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="A recipe that comes along: quickstart, lora, full_ft, …")] = "lora",
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="PATH", parser=_path, help="File to write; default: NAME.yaml here.", show_default=False
        ),
    ] = None,
) -> None:
    """Copy a recipe here, to edit it."""
    from summtune.commands.bundled_recipes import copy_recipe

    for path in copy_recipe(name, to):
        show(str(path))


@app.command()
def schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a table of every key instead.")] = False,
) -> None:
    """Print the JSON Schema of recipes, for editors."""
    from summtune.recipe.json_schema import recipe_markdown, recipe_schema

    show(recipe_markdown() if markdown else json.dumps(recipe_schema(), indent=2, ensure_ascii=False))


@app.command()
def doctor(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RECIPE]", parser=_path, help="A training recipe, to see what fits.", show_default=False
        ),
    ] = None,
    gpu_memory: Annotated[
        float | None, typer.Option("--gpu-memory", metavar="GiB", help="Memory of one GPU, in GiB.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            parser=_text_of_path,
            help="A model, instead of the recipe's.",
            show_default=False,
        ),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Say what this machine has, and which DeepSpeed config would fit a GPU."""
    from summtune.base.console import SafeConsole
    from summtune.commands import doctor as examination

    examination.doctor(recipe, gpu_memory, model, as_json, SafeConsole())
