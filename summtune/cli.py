"""The commands of summtune: each reads its arguments and calls what does the work."""

from __future__ import annotations

import errno
import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from summtune import __version__
from summtune.errors import StageError, StopAsked, SummtuneError

app = typer.Typer(
    name="summtune",
    help="A YAML recipe in, a dialogue-summarization result that can be trusted out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML recipe.", show_default=False)]
_Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Lay a value over the recipe; dotted for sections.", show_default=False
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
_RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A run directory.", show_default=False)]


def main() -> None:
    """Run the command line: errors as one message, exit codes 0, 1, 2, 75, 130, and 143 upon SIGTERM."""
    debug = "--debug" in sys.argv
    signal.signal(signal.SIGINT, _interrupt)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _ask_to_stop)
    try:
        app(prog_name="summtune", args=[argument for argument in sys.argv[1:] if argument != "--debug"])
    except Interrupted:
        _say("interrupted; the same command goes on from here")
        sys.exit(130)
    except StopAsked as asked:
        _say("stopped; the same command goes on from here")
        sys.exit(128 + asked.number)
    except SummtuneError as error:
        if debug:
            raise
        _say(f"error: {error}")
        if isinstance(error, StageError) and error.log:
            _say(f"log: {error.log}")
        sys.exit(error.exit_code)
    except OSError as error:
        if debug:
            raise
        _say(f"error: {_os_error(error)}")
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,  # noqa: ARG001, read by main
) -> None:
    if version:
        typer.echo(f"summtune {__version__}")
        raise typer.Exit


@app.command()
def run(
    recipe: _Recipe,
    sets: _Set = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", help="Run directory instead of outputs/<name>-<hash>.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and start nothing.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew instead of going on.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Submit the Slurm job and return.")] = False,
) -> None:
    """Run a recipe; the same command goes on where it stopped."""
    from summtune import running

    if dry_run:
        running.show_plan(recipe, sets or [], output_dir)
    else:
        running.run_recipe(recipe, sets or [], output_dir, fresh, detach)


@app.command()
def validate(
    recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="YAML recipes.", show_default=False)],
) -> None:
    """Report every problem of every recipe; exit code 2 if there is one."""
    from summtune.checking import check

    wrong = 0
    for recipe in recipes:
        try:
            check(recipe)
        except SummtuneError as error:
            wrong += 1
            _say(str(error))
        else:
            _say(f"{recipe}: fine")
    if wrong:
        raise typer.Exit(2)


@app.command()
def evaluate(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Predictions: .jsonl, .json, .csv, .tsv, .parquet, .arrow, else one a line; - is standard input.",
        ),
    ],
    references: Annotated[
        str | None,
        typer.Option("--references", metavar="DATA", help="The data set with the references.", show_default=False),
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
    dialogue_field: Annotated[
        str | None, typer.Option("--dialogue-field", help="Column of the dialogues.", show_default="dialogue")
    ] = None,
    id_field: Annotated[
        str | None, typer.Option("--id-field", help="Column of the ids.", show_default="id, if there is one")
    ] = None,
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
        typer.Option(help="Take the evaluation section and the test data of this recipe.", show_default=False),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", help="Write what compare and report read here.", show_default=False),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="What tables call the system.", show_default="the file's name")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Score the outputs of any system."""
    from summtune import running
    from summtune.scoring import Call

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
    running.score_outputs(call, output_dir, as_json)


@app.command()
def compare(
    run_dirs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR RUN_DIR...", show_default=False)],
    as_json: _Json = False,
) -> None:
    """Compare finished runs; the first is the baseline."""
    from summtune import running

    running.compare_runs(run_dirs, as_json)


@app.command()
def report(
    run_dir: _RunDir,
    png: Annotated[
        Path | None, typer.Option("--png", help="Write the bar chart to this file too.", show_default=False)
    ] = None,
) -> None:
    """Write the report of a finished run or comparison again."""
    from summtune import running

    running.write_report(run_dir, png)


@app.command()
def summarize(
    model: Annotated[
        str, typer.Argument(metavar="MODEL_OR_RUN", help="A finished run, or a model.", show_default=False)
    ],
    file: Annotated[
        str,
        typer.Argument(
            metavar="[FILE|-]",
            help="One dialogue as plain text, or rows: .jsonl, .json, .csv, .tsv, .parquet, .arrow, JSON on a pipe.",
        ),
    ] = "-",
    dialogue_field: Annotated[
        str | None, typer.Option("--dialogue-field", help="Column of the dialogues.", show_default="dialogue")
    ] = None,
    id_field: Annotated[
        str | None, typer.Option("--id-field", help="Column of the ids.", show_default="id, if there is one")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Summarize dialogues from a file or a pipe; one summary a line on stdout."""
    from summtune import running

    running.summarize_input(model, file, as_json, dialogue_field, id_field)


@app.command()
def recipes() -> None:
    """List the recipes that come along."""
    from summtune.shipped import list_recipes

    for path, purpose in list_recipes():
        typer.echo(f"{path}\n    {purpose}")


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="A recipe that comes along: quickstart, lora, full_ft, …")] = "lora",
    to: Annotated[
        Path | None, typer.Option("--to", help="File to write; default: NAME.yaml here.", show_default=False)
    ] = None,
) -> None:
    """Copy a recipe here, to edit it."""
    from summtune.shipped import copy_recipe

    for path in copy_recipe(name, to):
        typer.echo(path)


@app.command()
def schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a table of every key instead.")] = False,
) -> None:
    """Print the JSON Schema of recipes, for editors."""
    from summtune.schema import recipe_markdown, recipe_schema

    typer.echo(recipe_markdown() if markdown else json.dumps(recipe_schema(), indent=2, ensure_ascii=False))


@app.command()
def doctor(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="[RECIPE]", help="A training recipe, to see what fits.", show_default=False)
    ] = None,
    gpu_memory: Annotated[
        float | None, typer.Option("--gpu-memory", metavar="GiB", help="Memory of one GPU, in GiB.", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="A model, instead of the recipe's.", show_default=False)
    ] = None,
    as_json: _Json = False,
) -> None:
    """Say what this machine has, and which DeepSpeed config would fit a GPU."""
    from summtune import running

    running.examine(recipe, gpu_memory, model, as_json)


def _say(text: str) -> None:
    typer.echo(text, err=True)


class Interrupted(BaseException):
    """Ctrl-C: not a KeyboardInterrupt, which the command line library would end with its own message."""


def _interrupt(*_: Any) -> None:
    raise Interrupted


def _ask_to_stop(number: int, _: Any) -> None:
    raise StopAsked(number)


def _os_error(error: OSError) -> str:
    where = f" (got {error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"no space is left on the disk{where}; free some, and give the same command again: it goes on from here"
    return f"{error.strerror or error}{where}"
