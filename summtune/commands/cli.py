"""Defines the commands of summtune: their arguments, options and help texts."""

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
    help="Turns a YAML recipe into dialogue-summarization results that you can trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _path(given: str | Path) -> Path:
    """Return the path of an argument or option, ``~`` expanded: the shell does not expand it after an equals sign."""
    try:
        return expanded(str(given))
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


def _text_of_path(given: str) -> str:
    """Return an argument that may be a path, with ``~`` expanded; ``-`` and hub ids are returned unchanged."""
    return str(_path(given)) if given.startswith("~") else given


_Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", parser=_path, help="The YAML recipe.", show_default=False)]
_Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key of the recipe (section.key in sections).", show_default=False
    ),
]
_DialogueField = Annotated[
    str | None, typer.Option("--dialogue-field", help="Column with the dialogues.", show_default="dialogue")
]
_IdField = Annotated[
    str | None, typer.Option("--id-field", help="Column with the ids.", show_default="id, if it exists")
]
_Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
_RunDir = Annotated[
    Path, typer.Argument(metavar="RUN_DIR", parser=_path, help="The run directory.", show_default=False)
]


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001, read by main
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
            help="Run directory; default: outputs/<name>-<hash>.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan without starting anything.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start from scratch: neither resume nor reuse other runs.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Submit the Slurm job and return.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Try the whole way with a few dialogues, and forecast the run.")
    ] = False,
) -> None:
    """Run a recipe; the same command resumes an interrupted run."""
    from summtune.commands.run import run_recipe, show_plan

    if smoke:
        from summtune.commands.smoke import check_options, smoke_recipe

        check_options(dry_run, detach, fresh)
        smoke_recipe(recipe, sets or [], output_dir)
    elif dry_run:
        show_plan(recipe, sets or [], output_dir, fresh)
    else:
        run_recipe(recipe, sets or [], output_dir, fresh, detach)


@app.command()
def validate(
    recipes: Annotated[
        list[Path], typer.Argument(metavar="RECIPE...", parser=_path, help="The YAML recipes.", show_default=False)
    ],
    sets: _Set = None,
) -> None:
    """Report all problems in recipes; exit with code 2 if there are any."""
    from summtune.commands.validate import validate_recipes

    if not validate_recipes(recipes, sets or []):
        raise typer.Exit(2)


@app.command()
def inspect(
    recipe: _Recipe,
    sets: _Set = None,
    examples: Annotated[
        int, typer.Option("--examples", min=0, max=1000, metavar="N", help="Examples of each role to show.")
    ] = 1,
    as_json: _Json = False,
) -> None:
    """Show what the model reads and is trained on, token by token; exit with code 2 if it is wrong."""
    from summtune.commands.inspect import inspect_recipe

    if not inspect_recipe(recipe, sets or [], examples, as_json):
        raise typer.Exit(2)


@app.command()
def evaluate(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            parser=_text_of_path,
            help="Predictions: .jsonl, .json, .csv, .tsv, .parquet, .arrow; else one per line; - reads standard input.",
        ),
    ],
    references: Annotated[
        str | None,
        typer.Option(
            "--references",
            metavar="DATA",
            parser=_text_of_path,
            help="Data set with the references.",
            show_default=False,
        ),
    ] = None,
    prediction_field: Annotated[
        str | None, typer.Option("--prediction-field", help="Column with the predictions.", show_default="prediction")
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
    messages_field: Annotated[
        str | None,
        typer.Option(
            "--messages-field",
            help="Column of --references with chat messages: dialogue and summary.",
            show_default=False,
        ),
    ] = None,
    id_field: _IdField = None,
    reference_id_field: Annotated[
        str | None,
        typer.Option(
            "--reference-id-field", help="Column with the ids in --references.", show_default="same as --id-field"
        ),
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="Split of the data set.", show_default="test")] = None,
    skip_empty: Annotated[
        bool, typer.Option("--skip-empty", help="Skip rows of --references without a dialogue or summary.")
    ] = False,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the evaluation section.", show_default=False),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="RECIPE",
            parser=_path,
            help="Use the evaluation section and the test data of this recipe.",
            show_default=False,
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            metavar="PATH",
            parser=_path,
            help="Write a directory that compare and report can read.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the system in tables.", show_default="the file's name")
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
        messages_field=messages_field,
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
    run_dirs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_DIR RUN_DIR...", parser=_path, help="Run directories, at least two.", show_default=False
        ),
    ],
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
            "--png", metavar="PATH", parser=_path, help="Also write the bar chart to this file.", show_default=False
        ),
    ] = None,
) -> None:
    """Regenerate the report of a finished run or comparison."""
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
            help="One dialogue as plain text, or rows: .jsonl, .json, .csv, .tsv, .parquet, .arrow, or JSON from a "
            "pipe.",
        ),
    ] = "-",
    dialogue_field: _DialogueField = None,
    messages_field: Annotated[
        str | None,
        typer.Option(
            "--messages-field",
            help="Column with chat messages, whose user messages are the dialogue.",
            show_default=False,
        ),
    ] = None,
    id_field: _IdField = None,
    as_json: _Json = False,
) -> None:
    """Summarize dialogues from a file or a pipe; print one summary per line."""
    from summtune.commands.summarize import summarize_input

    summarize_input(model, file, as_json, dialogue_field, id_field, messages_field)


@app.command()
def recipes() -> None:
    """List the bundled recipes."""
    from summtune.commands.bundled_recipes import list_recipes

    for path, purpose in list_recipes():
        show(f"{path}\n    {purpose}")


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="A bundled recipe: quickstart, lora, full_ft, …")] = "lora",
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="PATH",
            parser=_path,
            help="File to write; default: NAME.yaml in the current folder.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Copy a bundled recipe to the current folder for editing."""
    from summtune.commands.bundled_recipes import copy_recipe

    for path in copy_recipe(name, to):
        show(str(path))


@app.command()
def schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table of every key instead.")] = False,
) -> None:
    """Print the JSON Schema of recipes, for use in editors."""
    from summtune.recipe.json_schema import recipe_markdown, recipe_schema

    show(recipe_markdown() if markdown else json.dumps(recipe_schema(), indent=2, ensure_ascii=False))


@app.command()
def doctor(
    recipe: Annotated[
        Path | None,
        typer.Argument(metavar="[RECIPE]", parser=_path, help="The training recipe to estimate.", show_default=False),
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
            help="Estimate this model instead of the recipe's.",
            show_default=False,
        ),
    ] = None,
    sets: _Set = None,
    as_json: _Json = False,
) -> None:
    """Show what this machine has, and which DeepSpeed configs fit a GPU."""
    from summtune.base.console import SafeConsole
    from summtune.commands import doctor as examination

    examination.doctor(recipe, gpu_memory, model, as_json, SafeConsole(), sets or [])
