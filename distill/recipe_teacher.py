"""The parts of a recipe that say who writes the traces, and how it is asked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)
from pydantic_core import PydanticCustomError

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Example(Section):
    """One worked example shown to the teacher, not to the student."""

    question: str
    response: str


Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class Prompted(Section):
    """A teacher that is asked: what it sees besides the prompt (context distillation)."""

    worked_examples: NonNegativeInt | list[Example] = Field(
        0, description="Solved problems shown to the teacher: a number (task sources) or a list."
    )
    system: str = Field("", description="System prompt for the teacher alone.")
    licence: str = Field("", description="Licence of the teacher's outputs, kept with each trace.")
    licence_sha256: Sha256 = Field("", description="Of the licence's text: `distill licence hash`.")
    licence_ack: str = Field("", description="Why you may train on its outputs all the same.")


class Price(Section):
    """Dollars per million tokens, as providers print them."""

    prompt: NonNegativeFloat
    completion: NonNegativeFloat
    cached: NonNegativeFloat | None = Field(None, description="Prompt tokens read from a cache.")


Fidelity = Annotated[
    Literal["full", "summary", "hidden"],
    Field(description="Whether the reasoning that arrives is the model's own, whole."),
]


class LocalTeacher(Prompted):
    """A transformers model in this process. Keeps token ids and top-k logprobs."""

    kind: Literal["local"]
    model: str = Field(description="A folder, a hub id, or `smollm2-135m-instruct`.")
    revision: str = ""
    adapter: str = Field("", description="A PEFT adapter folder, relative to the recipe.")
    made_of: str = Field("", description="What this teacher is, in words; printed by the run.")
    batch_size: PositiveInt = 64


class VllmTeacher(Prompted):
    """A model in vLLM's offline engine, in this process. The same teacher as `kind: local`."""

    kind: Literal["vllm"]
    model: str = Field(description="A folder or a hub id.")
    revision: str = ""
    made_of: str = Field("", description="What this teacher is, in words; printed by the run.")
    batch_size: PositiveInt = Field(256, description="Requests handed to the engine at a time.")
    engine: dict[str, object] = Field({}, description="Options of `vllm.LLM`.")


class EndpointTeacher(Prompted):
    """Any server that speaks the OpenAI chat-completions protocol."""

    kind: Literal["endpoint"]
    base_url: str | list[str] = Field(description="Up to `/v1`; a list for several servers.")
    model: str
    revision: str = ""
    api_key_env: str = Field("", description="Environment variable that holds the key.")
    concurrency: PositiveInt = 32
    retries: NonNegativeInt = 5
    timeout_s: float = Field(600.0, gt=0)
    idle_s: float = Field(300.0, gt=0, description="Between two events of a streamed reply.")
    profile: str = Field("auto", description="A provider by name; found by address and server.")
    stream: bool | None = Field(None, description="Stream replies; the profile knows if unset.")
    batch: bool = Field(False, description="Ask by the provider's batch interface, at half price.")
    batch_poll_s: float = Field(30.0, gt=0, description="Between two looks at a batch.")
    price: Price | None = Field(
        None, description="Of single requests; needed for caps and forecasts of money."
    )
    extra_body: dict[str, object] = Field({}, description="Sent with each request as it is.")
    fidelity: Fidelity = "full"


class FileTeacher(Prompted):
    """Completions that somebody saved, matched to the prompts by question.

    `system` and `worked_examples` say what that teacher saw, for the record.
    """

    kind: Literal["file"]
    path: str
    model: str = Field("unknown", description="The model that wrote them, for the record.")
    revision: str = ""
    fidelity: Fidelity = "full"


class StoreTeacher(Section):
    """The traces of a store, such as imported logs; goes with prompts of `kind: store`."""

    kind: Literal["store"]
    path: str = Field(description="A traces.sqlite, relative to the recipe.")
    model: str = Field("unknown", description="Who wrote them, as the licence registry knows it.")
    licence: str = Field("", description="Licence of the outputs, kept with each trace.")
    licence_sha256: Sha256 = Field("", description="Of the licence's text: `distill licence hash`.")
    licence_ack: str = Field("", description="Why you may train on its outputs all the same.")


class SolverTeacher(Section):
    """The exact solver of a task family: right by construction, not a language model."""

    kind: Literal["solver"]


Teacher = Annotated[
    LocalTeacher | VllmTeacher | EndpointTeacher | FileTeacher | StoreTeacher | SolverTeacher,
    Field(discriminator="kind"),
]


class Caps(Section):
    """What a harvest may take; at a cap, what is in flight is finished and nothing new is asked."""

    usd: NonNegativeFloat | None = None
    tokens: NonNegativeInt | None = Field(None, description="Prompt and completion tokens.")
    requests: NonNegativeInt | None = None
    hours: NonNegativeFloat | None = Field(None, description="Of one run; the others are of all.")


class Workers(Section):
    """Engines on several machines, as actors of Ray; for teachers of kind local and vllm."""

    count: PositiveInt = Field(description="Engines at a time.")
    cpus: NonNegativeFloat = 1.0
    gpus: NonNegativeFloat = 0.0
    shards: PositiveInt | None = Field(None, description="Store files; four for each if unset.")


class Harvest(Section):
    """How the teacher is asked."""

    samples: PositiveInt = Field(1, description="Traces per prompt, at most with `until_right`.")
    until_right: PositiveInt | None = Field(None, description="Right answers that are enough.")
    give_up: Share = Field(0.02, description="Chance of enough below which a prompt is left.")
    caps: Caps = Caps()
    workers: Workers | None = None
    hedge: Share | None = Field(
        None, description="Requests that may be sent twice at the end; 0.02 where nothing is paid."
    )
    temperature: NonNegativeFloat = 0.6
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    max_tokens: PositiveInt = 8192
    top_logprobs: Annotated[int, Field(ge=0, le=128)] = Field(
        0, description="Keep the k most likely tokens at each position."
    )

    @model_validator(mode="after")
    def _enough_can_be_reached(self) -> Harvest:
        if self.until_right is not None and self.until_right > self.samples:
            problem = f"until_right {self.until_right} cannot be reached with samples "
            raise PydanticCustomError("until_right", f"{problem}{self.samples}; raise samples")
        return self
