"""The part of a train run's recipe that its model card speaks of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from summtune.recipe.keys import AdapterName


class _View(BaseModel):
    """A part of the recipe: what a card does not speak of is passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False, protected_namespaces=())


class SourceName(_View):
    """Where training dialogues came from."""

    path: str


class Sampling(_View):
    """How summaries were generated."""

    do_sample: bool
    stop: tuple[str, ...] | None = None


class CardRecipe(_View):
    """What a model card says of the recipe; the fields are its keys."""

    base_model: str = Field(min_length=1)
    adapter: AdapterName | None = None
    load_in_4bit: bool | None = None
    datasets: tuple[SourceName, ...] = ()
    prompt_template: str
    sequence_len: int
    long_dialogues: str = "truncate_end"
    generation: Sampling
