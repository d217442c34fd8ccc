"""The section of a recipe that names a server as the model: an OpenAI-compatible endpoint, its limits and its price."""

from __future__ import annotations

from pydantic import Field, JsonValue

from summtune.recipe.sections import CURRENCY, Section

ADDRESS = r"^https?://[^@?#\s]+$"
VARIABLE = "^[A-Za-z_][A-Za-z0-9_]*$"


class TokenPrice(Section):
    """What a server charges for tokens."""

    input: float = Field(ge=0, le=1e6, description="Money per million tokens of prompts.")
    output: float = Field(ge=0, le=1e6, description="Money per million generated tokens, thoughts included.")
    currency: str = Field(default="USD", pattern=CURRENCY, description="ISO 4217 code, such as USD or EUR.")


class Endpoint(Section):
    """An OpenAI-compatible server that answers the prompts, in place of `base_model`."""

    url: str = Field(
        pattern=ADDRESS,
        description="Address below which the server has /chat/completions, such as https://api.openai.com/v1 or "
        "http://localhost:8000/v1.",
    )
    model: str = Field(min_length=1, description="The model's name on the server.")
    api_key_env: str | None = Field(
        default=None,
        pattern=VARIABLE,
        description="Environment variable that holds the API key; the key itself is never written anywhere.",
    )
    concurrency: int = Field(default=8, ge=1, le=1024, description="Requests in flight at the same time.")
    requests_per_minute: int | None = Field(default=None, ge=1, description="Rate limit; default: none.")
    tokens_per_minute: int | None = Field(
        default=None, ge=1, description="Rate limit of prompt and generated tokens; default: none."
    )
    timeout: float = Field(default=120.0, gt=0, le=3600, description="Seconds until a request is given up.")
    max_retries: int = Field(
        default=5, ge=0, le=100, description="Retries of a request after 429, 5xx, a timeout or a broken connection."
    )
    price: TokenPrice | None = Field(default=None, description="What the server charges; default: not known.")
    max_cost: float | None = Field(
        default=None, gt=0, description="Stop before the run costs more than this, and keep all answers; needs price."
    )
    extra_body: dict[str, JsonValue] = Field(
        default={},
        description="Further fields of each request; they replace those of the same name, and null removes one.",
    )
