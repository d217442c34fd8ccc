"""The predict stage of a model behind an API, which the command runs itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from summtune.base.errors import InputError
from summtune.base.files import read_jsonl
from summtune.commands.reuse import reusable
from summtune.generation.endpoint.estimate import Estimate, estimate
from summtune.generation.endpoint.requests import ChatRequests
from summtune.generation.endpoint.secrecy import read_key
from summtune.generation.endpoint.stage import predict
from summtune.launchers.local import Listener
from summtune.plan.draft import EndpointDraft, RunDraft, begin
from summtune.plan.plan import EndpointPlan
from summtune.plan.preparation import on_the_hub, prepare_data
from summtune.plan.shown_exemplars import shown_exemplars
from summtune.prompts.chat_template import Message
from summtune.prompts.rendering import messages
from summtune.runs.events import Events
from summtune.runs.records import Dialogue
from summtune.runs.run_directory import DATA_FILES, is_complete
from summtune.runs.statistics import PredictionStats


def check_key(draft: RunDraft, fresh: bool) -> None:
    """Check that the environment has the API key of a run that will need it.

    Args:
        draft: of the run.
        fresh: whether it reuses nothing, not even what it has completed.

    Raises:
        InputError: it has none.
    """
    if not isinstance(draft, EndpointDraft):
        return
    if fresh or not (is_complete(draft.run_dir, "predict") or "predict" in reusable(draft)):
        read_key(draft.recipe.endpoint.api_key_env, os.environ)


def asked_messages(plan: EndpointPlan, run_dir: Path) -> list[list[Message]]:
    """Return the prompt of each test dialogue, in their order.

    Args:
        plan: of the run.
        run_dir: with its data.
    """
    return _written(plan, run_dir, shown_exemplars(plan, run_dir))


def _written(plan: EndpointPlan, run_dir: Path, exemplars: Sequence[Sequence[Dialogue]] | None) -> list[list[Message]]:
    dialogues = [Dialogue.from_json(row) for row in read_jsonl(run_dir / DATA_FILES["test"])]
    shown = [()] * len(dialogues) if exemplars is None else exemplars
    return [messages(plan.prompt, each.dialogue, solved) for each, solved in zip(dialogues, shown, strict=True)]


def estimated(draft: EndpointDraft) -> Estimate | None:
    """Return what the answers of a run cost about; None if its data is on a hub that cannot be reached.

    Args:
        draft: of the run.

    Raises:
        InputError: the data cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="summtune-") as temporary:
        folder = Path(temporary)
        try:
            data = prepare_data(draft.recipe, folder, lambda _: None)
        except InputError:
            if on_the_hub(draft.recipe):
                return None
            raise
        plan = begin(draft, None, data)
        assert isinstance(plan, EndpointPlan), "an endpoint's draft has an endpoint's plan"
        prompts = asked_messages(plan, folder)
    return estimate(prompts, ChatRequests(), draft.recipe.endpoint, draft.recipe.generation)


def ask(plan: EndpointPlan, run_dir: Path, listener: Listener) -> None:
    """Run the predict stage: have the server answer the prompts that have no answer yet.

    Args:
        plan: of the run.
        run_dir: with its data.
        listener: receives events, as of a worker.

    Raises:
        InputError: the environment does not have the API key.
        StageError: the server does not answer, or max_cost is reached; answers are kept.
    """
    recipe = plan.recipe

    def tell(event: str, **fields: Any) -> None:
        listener({"event": event, "stage": "predict", "rank": 0, **fields})

    (run_dir / "logs").mkdir(exist_ok=True)
    events = Events(run_dir, "predict", 0)
    exemplars = shown_exemplars(plan, run_dir)
    ids = sorted({one.id for each in exemplars or () for one in each})
    stats = PredictionStats(trainable_parameters=None, total_parameters=None, exemplars=tuple(ids))
    with events.timed("generation"):
        predict(
            run_dir,
            _written(plan, run_dir, exemplars),
            ChatRequests(),
            recipe.endpoint,
            recipe.generation,
            seed=recipe.seed,
            key=read_key(recipe.endpoint.api_key_env, os.environ),
            stats=stats,
            progress=lambda done, total: tell("progress", done=done, total=total, text=""),
            warn=lambda text: tell("warning", text=text),
            stops=recipe.generation.stop or (),
        )
    tell("finished")
