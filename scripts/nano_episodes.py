"""Make the prompts and targets of the miniature model's pretraining."""

from __future__ import annotations

from random import Random

from nano_styles import Style, draw_style

from summtune.dialogue_generator.scenes import Scene, draw_scene

# summtune's default template; the shipped model is good with this one alone.
TEMPLATE = "Summarize the following conversation.\n\n{dialogue}\n\nSummary:"


def render_prompt(exemplars: list[tuple[str, str]], dialogue: str) -> str:
    """Return the prompt: every exemplar with its summary, then the dialogue without one."""
    shown = [f"{TEMPLATE.format(dialogue=text)} {summary}\n\n" for text, summary in exemplars]
    return "".join(shown) + TEMPLATE.format(dialogue=dialogue)


def draw_episode(rng: Random, shots: int, style: Style | None = None, max_turns: int = 16) -> tuple[str, str]:
    """Return a prompt with ``shots`` exemplars and its target, all in one style.

    Three in ten scenes hold made-up words; scenes of more than ``max_turns`` turns are passed over.
    """
    style = style or draw_style(rng, shots)
    scenes = [_draw_short_scene(rng, max_turns) for _ in range(shots + 1)]
    shown = [(scene.dialogue(), style.summary(scene, rng)) for scene in scenes[:-1]]
    return render_prompt(shown, scenes[-1].dialogue()), style.summary(scenes[-1], rng)


def _draw_short_scene(rng: Random, max_turns: int) -> Scene:
    while True:
        scene = draw_scene(rng, invented=0.3)
        if len(scene.turns) <= max_turns:
            return scene
