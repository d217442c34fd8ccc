"""What the commands do once their arguments are read: resolve, run, show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from summtune.base.console import SafeConsole
from summtune.base.errors import InputError, RunDirectoryError
from summtune.base.files import followed, read_json, write_bytes
from summtune.base.output import say, show, show_data, show_json
from summtune.base.places import model_folder
from summtune.base.visible import message_line
from summtune.commands.display import TerminalDisplay
from summtune.commands.pipeline import run, run_comparison
from summtune.launchers.local import MachineRank
from summtune.launchers.machines import OtherMachines, commands, join, this_machine
from summtune.plan.resolve import Resolved, resolve
from summtune.runs.run_directory import as_written, is_complete

if TYPE_CHECKING:
    from summtune.commands.evaluate import Call


def run_recipe(
    recipe: Path, sets: Sequence[str], output_dir: Path | None, fresh: bool = False, detach: bool = False
) -> None:
    """Run a recipe to its end and show the result; with ``detach`` only as far as a Slurm job is needed."""
    console = SafeConsole(stderr=True)
    with TerminalDisplay(console) as display:
        display.wait("recipe", "reading and checking")
        resolved = resolve(recipe, sets, output_dir)
        if detach and not any(part.plan.recipe.launcher == "slurm" for part in resolved.runs):
            raise InputError("--detach leaves a Slurm job alone (got a recipe without `launcher: slurm`); remove it")
        run_all = run_comparison if resolved.plan.kind == "compare" else run
        machine = _this_machine(resolved, _command(recipe, sets, output_dir, fresh))
        if machine is None:
            run_dir = run_all(resolved, display, fresh, detach)
        elif machine.rank == 0:
            with OtherMachines(machine, resolved.machines, resolved.plan.identity) as others:
                run_dir = run_all(resolved, display, fresh, detach, others)
        else:
            join(machine, resolved.plan.identity, display.listener, lambda: not fresh and _is_done(resolved))
            display.stage("machines", f"machine {machine.rank} is done; the result is in {resolved.run_dir}")
            return
    if run_dir is not None:
        with as_written(run_dir):
            _show_result(run_dir, console)
    else:
        console.print("the same command shows how it goes, and the result")


def _is_done(resolved: Resolved) -> bool:
    """Return whether no process has to be started any more."""
    launched = [(run.run_dir, stage) for run in resolved.runs for stage in run.plan.stages if stage.launch is not None]
    return all(is_complete(run_dir, stage.name) for run_dir, stage in launched)


def _this_machine(resolved: Resolved, command: Sequence[str]) -> MachineRank | None:
    """Return which machine this is; None when there is only one.

    Raises:
        InputError: there are several, and nothing says which one this is; the command for each is given.
    """
    if resolved.machines == 1:
        return None
    machine = this_machine(resolved.machines)
    if machine is None:
        lines = "\n".join(commands(resolved.machines, command))
        raise InputError(
            f"num_machines: {resolved.machines} needs the same command on each machine (got no MACHINE_RANK); these, "
            f"with the first machine's address where the others can reach it:\n{lines}"
        )
    return machine


def _command(recipe: Path, sets: Sequence[str], output_dir: Path | None, fresh: bool) -> list[str]:
    """Return the command that was given, as another machine needs it."""
    options = [text for setting in sets for text in ("--set", setting)]
    options += ["--output-dir", str(output_dir)] if output_dir is not None else []
    return ["summtune", "run", str(recipe), *options, *(["--fresh"] if fresh else [])]


def show_plan(recipe: Path, sets: Sequence[str], output_dir: Path | None) -> None:
    """Print what a recipe would do."""
    from summtune.commands.dry_run import print_commands, print_plan

    resolved = resolve(recipe, sets, output_dir)
    console = SafeConsole()
    print_plan(resolved, console)
    if resolved.machines > 1:
        print_commands(commands(resolved.machines, _command(recipe, sets, output_dir, fresh=False)), console)
    for _, part in resolved.parts:
        console.print()
        print_plan(part, console)


def examine(recipe: Path | None, gpu_memory: float | None, model: str | None, as_json: bool) -> None:
    """Print what this machine has, and what fits a GPU of ``gpu_memory`` GiB."""
    from summtune.commands.doctor import doctor

    doctor(recipe, gpu_memory, model, as_json, SafeConsole())


def score_outputs(call: Call, output_dir: Path | None, as_json: bool) -> None:
    """Score what a system wrote and print the scores; write them to a directory where one is named."""
    from summtune.commands.evaluate import check_place, score, write_scored

    if output_dir is not None:
        check_place(output_dir)
    scored = score(call, say)
    metrics = scored.evaluation.to_json()
    if output_dir is not None:
        write_scored(scored, output_dir)
    if as_json:
        show_json(metrics)
    else:
        _show_scores({"name": scored.name, "metrics": metrics["metrics"]}, metrics, SafeConsole())
    if output_dir is not None:
        say(f"report: {output_dir / 'report.html'}")


def _show_scores(system: dict[str, Any], metrics: dict[str, Any], console: SafeConsole) -> None:
    from summtune.report.contents import protocol_sentence
    from summtune.report.table import print_scores, print_sentence

    print_scores(console, [system], metrics["floor"], metrics["ceiling"])
    scored_on = f"{metrics['n']:,} dialogue{'s' if metrics['n'] > 1 else ''}"
    print_sentence(console, f"{scored_on}. {protocol_sentence(metrics['protocol'], metrics['metrics'])}")
    _show_warnings(metrics["diagnostics"]["warnings"])


def summarize_input(
    model: str, file: str, as_json: bool, dialogue_field: str | None = None, id_field: str | None = None
) -> None:
    """Summarize the dialogues of a file or of standard input and print the summaries."""
    from summtune.commands.summarize import summarize
    from summtune.data.inputs import read_inputs

    inputs = read_inputs(file, dialogue_field, id_field)
    with TerminalDisplay(SafeConsole(stderr=True)) as display:
        if (
            Path(model).is_dir() or model_folder(model) is not None
        ):  # a model of the hub is fetched first, and shows that itself
            display.wait("predict", "starting 1 process")
        summaries = summarize(model, [each.dialogue for each in inputs], display.listener)
    for each, summary in zip(inputs, summaries, strict=True):
        identity = {} if each.id is None else {"id": each.id}
        row = {**identity, "dialogue": each.dialogue, "summary": summary}
        show_json(row, indent=None) if as_json else show_data(summary)


def compare_runs(run_dirs: Sequence[Path], as_json: bool) -> None:
    """Compare finished runs and print scores, differences and the verdict."""
    from summtune.evaluator.comparison import compare
    from summtune.evaluator.systems import read_system

    if len(run_dirs) < 2:
        raise InputError(f"a comparison needs at least two runs (got {len(run_dirs)}); name their directories")
    with as_written(*run_dirs):
        systems = [read_system(None, followed(path)) for path in run_dirs]
        comparison = compare(systems, systems[0].name)
        if as_json:
            show_json(comparison)
        else:
            _show_comparison(comparison, SafeConsole())


def write_report(run_dir: Path, png: Path | None) -> None:
    """Write the report of a run or a comparison again, and its chart as a picture, and print where they are."""
    from summtune.report import write_compare_report, write_run_report
    from summtune.report.chart import scores_png

    if not (run_dir / "plan.json").is_file():
        raise RunDirectoryError(f"not a run directory (got {run_dir}); it has no plan.json")
    with as_written(run_dir):
        compared = (run_dir / "comparison.json").is_file()
        show(str(write_compare_report(run_dir) if compared else write_run_report(run_dir)))
        if png is not None:
            scored = read_json(run_dir / ("comparison.json" if compared else "metrics.json"))
            write_bytes(png, scores_png(_systems(run_dir), floor=scored.get("floor"), ceiling=scored.get("ceiling")))
            show(str(png))


def _show_result(run_dir: Path, console: SafeConsole) -> None:
    from summtune.report.table import print_scores

    if (run_dir / "comparison.json").is_file():
        _show_comparison(read_json(run_dir / "comparison.json"), console)
    else:
        metrics = read_json(run_dir / "metrics.json")
        print_scores(console, _systems(run_dir), metrics["floor"], metrics["ceiling"])
        _show_warnings(metrics["diagnostics"].get("warnings", ()))
    console.print(f"\nreport: {run_dir / 'report.html'}", soft_wrap=True)


def _systems(run_dir: Path) -> list[dict[str, Any]]:
    """Return the systems of a comparison, or a run as the only one, as tables and charts read them."""
    if (run_dir / "comparison.json").is_file():
        systems: list[dict[str, Any]] = read_json(run_dir / "comparison.json")["systems"]
        return systems
    plan, metrics = read_json(run_dir / "plan.json"), read_json(run_dir / "metrics.json")
    stats = read_json(run_dir / "prediction_stats.json")
    return [{"name": plan["name"], "metrics": metrics["metrics"], **stats}]


def _show_comparison(comparison: dict[str, Any], console: SafeConsole) -> None:
    from summtune.report.table import print_scores, print_sentence

    print_scores(console, comparison["systems"], comparison["floor"], comparison["ceiling"])
    for sentence in comparison["verdict"]:
        print_sentence(console, f"- {message_line(sentence)}")
    _show_warnings(comparison["warnings"])


def _show_warnings(warnings: Sequence[str]) -> None:
    """Print what a reader of the scores must know: the sentences that the report has on top."""
    for warning in warnings:
        say(f"warning: {warning}")
