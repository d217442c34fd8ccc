"""What the model of a recipe is shown and trained on, token by token, as ``summtune inspect`` prints it."""

from __future__ import annotations

from summtune.base.strict import Count, StrictModel
from summtune.runs.supervision import EndToken, Supervision


class ShownToken(StrictModel):
    """A token.

    Args:
        id: of the vocabulary.
        text: that it adds to the tokens before it.
        trained: whether the loss counts it.
    """

    id: Count
    text: str
    trained: bool


class ShownExample(StrictModel):
    """A prompt, and the completion that is trained on.

    Args:
        id: of the dialogue.
        prompt: tokens that the model reads first.
        completion: tokens that it is trained to write; empty for a dialogue that is only answered.
        exemplars: ids of the dialogues that the prompt shows.
        cut: whether the dialogue did not fit and was cut.
        cut_before: the place in ``prompt`` of the first token after the cut; None without a cut, or if it is unknown.
    """

    id: str
    prompt: tuple[ShownToken, ...]
    completion: tuple[ShownToken, ...]
    exemplars: tuple[str, ...]
    cut: bool
    cut_before: Count | None


class ShownRole(StrictModel):
    """The dialogues of a role.

    Args:
        dialogues: of the role.
        examples: prompts that are answered, or pairs that are trained on.
        cut: dialogues that do not fit ``sequence_len`` and are cut.
        left_out: dialogues that do not fit and are not trained on.
        longest_prompt: most tokens of a prompt.
        longest_completion: most tokens of a completion; None for a role that is only answered.
        shown: the first examples, and the first one that is cut.
    """

    dialogues: Count
    examples: Count
    cut: Count
    left_out: Count
    longest_prompt: Count
    longest_completion: Count | None
    shown: tuple[ShownExample, ...]


class Inspection(StrictModel):
    """What ``summtune inspect`` found.

    Args:
        recipe: its name.
        model: as the recipe names it.
        template: what writes the prompts: the file of a chat template, or ``plain text``.
        template_sha256: of the text of the template.
        ends: the tokens that end a generated summary.
        stops: the texts that end one.
        max_new_tokens: that a summary may have.
        sequence_len: that a prompt may have.
        target_len: that a completion may have; None for a recipe that does not train.
        roles: by name.
        supervision: what was checked of the training examples; None if the recipe does not train, or they are wrong.
        problems: what is wrong.
    """

    recipe: str
    model: str
    template: str
    template_sha256: str
    ends: tuple[EndToken, ...]
    stops: tuple[str, ...]
    max_new_tokens: Count
    sequence_len: Count
    target_len: Count | None
    roles: dict[str, ShownRole]
    supervision: Supervision | None
    problems: tuple[str, ...]


class AskedMessages(StrictModel):
    """The messages of a prompt, each with a role and a content.

    Args:
        id: of the dialogue.
        messages: in their order.
    """

    id: str
    messages: tuple[dict[str, str], ...]


class MessagesInspection(StrictModel):
    """What ``summtune inspect`` found of a model behind an API.

    Args:
        recipe: its name.
        model: the server's name for it.
        url: of the server.
        dialogues: that are summarized.
        stops: the texts that end a summary.
        max_new_tokens: that a summary may have.
        shown: the prompts of the first dialogues.
        problems: what is wrong, which is nothing.
    """

    recipe: str
    model: str
    url: str
    dialogues: Count
    stops: tuple[str, ...]
    max_new_tokens: Count
    shown: tuple[AskedMessages, ...]
    problems: tuple[str, ...] = ()
