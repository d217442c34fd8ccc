"""The command ``inspect``: shows what the model of a recipe reads and is trained on, token by token."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from summtune.base.console import SafeConsole
from summtune.base.errors import StageError
from summtune.base.files import read_jsonl, write_json
from summtune.base.printing import say_lines, show_json
from summtune.base.safe_python import python_command, safe_environment
from summtune.base.strict import parse_model
from summtune.commands.display import TerminalDisplay
from summtune.commands.endpoint import asked_messages
from summtune.commands.inspection_display import print_inspection, print_messages
from summtune.commands.pipeline import fetched_model
from summtune.plan.draft import CompareDraft, EndpointDraft, LocalDraft, ScoredDraft, begin
from summtune.plan.plan import EndpointPlan
from summtune.plan.preparation import on_the_hub, prepare_data
from summtune.plan.resolve import resolve
from summtune.runs.inspection import AskedMessages, Inspection, MessagesInspection
from summtune.runs.run_directory import DATA_FILES


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
        found = {
            name: _asked(part, display, examples)
            if isinstance(part, EndpointDraft)
            else _inspected(part, display, examples)
            for name, part in parts
            if not isinstance(part, ScoredDraft)
        }
    if as_json:
        shown = {name: each.to_json() for name, each in found.items()}
        show_json({"systems": shown} if isinstance(draft, CompareDraft) else shown[draft.name])
    else:
        console = SafeConsole()
        for name, each in found.items():
            if isinstance(each, Inspection):
                print_inspection(name, each, console)
            else:
                print_messages(name, each, console)
    problems = [f"error: {problem}" for each in found.values() for problem in each.problems]
    say_lines(dict.fromkeys(problems))
    return not problems


def _asked(draft: EndpointDraft, display: TerminalDisplay, examples: int) -> MessagesInspection:
    """Return the first messages that the server of a recipe is sent, which writes them as its model reads them."""
    with tempfile.TemporaryDirectory(prefix="summtune-") as temporary:
        folder = Path(temporary)
        if on_the_hub(draft.recipe):
            display.stage("data", "reading and checking", shows_itself=True)
        plan = begin(draft, None, prepare_data(draft.recipe, folder, display.warn), fresh=True)
        assert isinstance(plan, EndpointPlan), "an endpoint's draft has an endpoint's plan"
        prompts = asked_messages(plan, folder)
        ids = [row["id"] for row in read_jsonl(folder / DATA_FILES["test"])]
    recipe = draft.recipe
    return MessagesInspection(
        recipe=draft.name,
        model=recipe.endpoint.model,
        url=recipe.endpoint.url,
        dialogues=len(ids),
        stops=tuple(recipe.generation.stop or ()),
        max_new_tokens=recipe.generation.max_new_tokens,
        shown=tuple(
            AskedMessages(id=id_, messages=tuple(prompt))
            for id_, prompt in zip(ids[:examples], prompts[:examples], strict=True)
        ),
    )


def _inspected(draft: LocalDraft, display: TerminalDisplay, examples: int) -> Inspection:
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
