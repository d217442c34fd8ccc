"""The command ``inspect``: shows what the model of a recipe reads and is trained on, token by token."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from summtune.base.console import SafeConsole
from summtune.base.errors import StageError
from summtune.base.files import write_json
from summtune.base.printing import say_lines, show_json
from summtune.base.safe_python import python_command, safe_environment
from summtune.base.strict import parse_model
from summtune.commands.display import TerminalDisplay
from summtune.commands.inspection_display import print_inspection
from summtune.commands.pipeline import fetched_model, on_the_hub
from summtune.plan.draft import CompareDraft, RunDraft, ScoredDraft, begin
from summtune.plan.preparation import prepare_data
from summtune.plan.resolve import resolve
from summtune.runs.inspection import Inspection


def inspect_recipe(recipe: Path, sets: Sequence[str], examples: int, as_json: bool) -> bool:
    """Show what a recipe's model reads and is trained on; return whether nothing is wrong with it.

    Args:
        recipe: the file; of a comparison, each system that a recipe describes is shown.
        sets: ``--set`` assignments.
        examples: how many of each role to show.
        as_json: print JSON.

    Raises:
        InputError: the recipe, its data or its model cannot be used.
        StageError: the process that reads the tokenizer failed.
    """
    draft = resolve(recipe, sets, weights=False)
    parts = draft.parts if isinstance(draft, CompareDraft) else ((draft.name, draft),)
    with TerminalDisplay(SafeConsole(stderr=True)) as display:
        found = {name: _inspected(part, display, examples) for name, part in parts if not isinstance(part, ScoredDraft)}
    if as_json:
        shown = {name: each.to_json() for name, each in found.items()}
        show_json({"systems": shown} if isinstance(draft, CompareDraft) else shown[draft.name])
    else:
        console = SafeConsole()
        for name, each in found.items():
            print_inspection(name, each, console)
    problems = [f"error: {problem}" for each in found.values() for problem in each.problems]
    say_lines(dict.fromkeys(problems))
    return not problems


def _inspected(draft: RunDraft, display: TerminalDisplay, examples: int) -> Inspection:
    """Return what a separate process finds, as the libraries of the tokenizer are slow to import."""
    with tempfile.TemporaryDirectory(prefix="summtune-") as temporary:
        folder = Path(temporary)
        if on_the_hub(draft.recipe):
            display.stage("data", "reading and checking", shows_itself=True)
        data = prepare_data(draft.recipe, folder, display.warn)
        model = fetched_model(draft, display, weights=False)
        write_json(folder / "plan.json", begin(draft, model, data, fresh=True).to_json())
        (folder / "logs").mkdir()
        display.wait("inspect", "reading the tokens")
        done = subprocess.run(
            python_command("summtune.work.supervision.inspection", str(folder), str(examples)),
            env=safe_environment() | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"},
            capture_output=True,
            check=False,
        )
    if done.returncode != 0:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise StageError(f"the process that reads the tokens died (got {last}); try again, or report this fault")
    return parse_model(Inspection, json.loads(done.stdout), "the answer of the inspection")
