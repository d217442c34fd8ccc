"""The predict stage of a model behind an API, which the command runs itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from summtune.base.errors import InputError
from summtune.base.files import read_jsonl
from summtune.plan.draft import EndpointDraft, RunDraft
from summtune.plan.plan import EndpointPlan
from summtune.plan.shown_exemplars import shown_exemplars
from summtune.prompts.chat_template import Message
from summtune.prompts.rendering import messages
from summtune.recipe.endpoint import Endpoint
from summtune.runs.records import Dialogue
from summtune.runs.run_directory import DATA_FILES, is_complete

if TYPE_CHECKING:
    from summtune.launchers.local import Listener


def check_key(draft: RunDraft) -> None:
    """Check that the environment has the API key of a run that will need it.

    Raises:
        InputError: it has none.
    """
    if isinstance(draft, EndpointDraft) and not is_complete(draft.run_dir, "predict"):
        key_of(draft.recipe.endpoint)


def key_of(endpoint: Endpoint) -> str | None:
    """Return the API key of an endpoint; None if it needs none.

    Raises:
        InputError: the environment does not have the variable.
    """
    if endpoint.api_key_env is None:
        return None
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise InputError(
            f"endpoint.api_key_env names a variable without a value (got {endpoint.api_key_env}); export it with the "
            f"key of {endpoint.url}"
        )
    return key


def asked_messages(plan: EndpointPlan, run_dir: Path) -> list[list[Message]]:
    """Return the prompt of each test dialogue, in their order.

    Args:
        plan: of the run.
        run_dir: with its data.
    """
    dialogues = [Dialogue.from_json(row) for row in read_jsonl(run_dir / DATA_FILES["test"])]
    exemplars = shown_exemplars(plan, run_dir) or [()] * len(dialogues)
    return [messages(plan.prompt, each.dialogue, shown) for each, shown in zip(dialogues, exemplars, strict=True)]


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
    raise NotImplementedError
