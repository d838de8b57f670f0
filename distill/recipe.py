"""The recipe: everything a run depends on, in one file.

Every section is closed (`extra="forbid"`), every default is written here once, and each field is
read by exactly one stage. `distill.recipe_file` reads YAML into it and names faults by line;
`distill recipes schema` exports its JSON Schema for editors.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)
from pydantic_core import PydanticCustomError

from distill.recipe_sources import DocumentSource as DocumentSource
from distill.recipe_sources import FileSource as FileSource
from distill.recipe_sources import GymSource as GymSource
from distill.recipe_sources import HubSource as HubSource
from distill.recipe_sources import Source as Source
from distill.recipe_sources import StoreSource as StoreSource
from distill.recipe_sources import TaskSource as TaskSource
from distill.recipe_teacher import EndpointTeacher as EndpointTeacher
from distill.recipe_teacher import Example as Example
from distill.recipe_teacher import FileTeacher as FileTeacher
from distill.recipe_teacher import Harvest as Harvest
from distill.recipe_teacher import LocalTeacher as LocalTeacher
from distill.recipe_teacher import Section as Section
from distill.recipe_teacher import Share as Share
from distill.recipe_teacher import SolverTeacher as SolverTeacher
from distill.recipe_teacher import StoreTeacher as StoreTeacher
from distill.recipe_teacher import Teacher as Teacher
from distill.recipe_teacher import VllmTeacher as VllmTeacher
from distill.recipe_verify import Verify as Verify
from traces.curate.select import By


class Reworded(Section):
    """Which training questions may be evaluation questions in other words; `verify.judge` says."""

    encoder: str = Field(
        description="A sentence-transformers model, or your own `package.module:function`."
    )
    top: PositiveInt = Field(5, description="Evaluation questions looked at per training question.")
    threshold: Share = Field(0.7, description="Cosine similarity from which a pair is flagged.")


class Overlap(Section):
    """When a training question counts as an evaluation question."""

    ngram: PositiveInt = Field(8, description="Words per n-gram; shorter questions use fewer.")
    coverage: Share = Field(
        0.5, description="Share of its n-grams found in an evaluation question."
    )
    semantic: Reworded | None = Field(
        None, description="Flag other words too; a judge's word drops. Off if unset."
    )


class Select(Section):
    """Which sound traces to train on where there are more than wanted."""

    tokens: PositiveInt | None = Field(None, description="Budget, in words and symbols.")
    by: By = Field(
        "random",
        description="Which come first; `hard`: low pass rate; `steady`: few doubts; `diverse`: "
        "unlike each other; to the student before training `likely`: low perplexity; `suited`: "
        "low rank-surprisal ratio; `natural`: high local naturalness.",
    )
    mix: dict[str, Share] = Field({}, description="Share of the tokens by `domain` of the prompts.")

    @model_validator(mode="after")
    def _the_mix_has_something(self) -> Select:
        if self.mix and not any(self.mix.values()):
            raise PydanticCustomError("mix", "all shares of the mix are 0: nothing would be kept")
        return self


class Semantic(Section):
    """Which questions ask the same in other words. Those with different numbers never do."""

    encoder: str = Field(
        description="A sentence-transformers model, or your own `package.module:function`."
    )
    threshold: Share = Field(0.95, description="Cosine similarity from which one of two goes.")


class Curate(Section):
    """Which traces are kept. Each rule can be switched off by null."""

    policy: Literal["prefer_right", "strict", "keep"] = Field(
        "prefer_right",
        description="`strict` keeps right only; `prefer_right` drops a wrong trace when its "
        "question has a right one; `keep` only records the verdict.",
    )
    wrong_steps: Literal["drop", "keep"] = "drop"
    keep_truncated: bool = False
    require_reasoning: bool = Field(False, description="Drop traces without separate reasoning.")
    phrases: list[Literal["refusal", "identity", "cutoff"]] = Field(
        ["refusal", "identity", "cutoff"],
        description="Drop traces that decline to help, claim to be some model, or tell of their "
        "knowledge cutoff. English only.",
    )
    min_tokens: NonNegativeInt = Field(1, description="Shortest trace, in words and symbols.")
    max_tokens: PositiveInt | None = None
    loop_tail_chars: PositiveInt | None = Field(400, description="Periodic tail of this length.")
    loop_ngram_share: Share | None = Field(0.2, description="Share of repeated word 10-grams.")
    loop_masked_share: Share | None = Field(
        None, description="The same with numbers masked; worked arithmetic repeats itself so."
    )
    max_compression: float | None = Field(
        None, gt=1, description="Bytes per byte of fast zstd: prose has 1.6, loops 50."
    )
    foreign_script: Share | None = Field(
        0.05, description="Share of letters neither Latin nor Greek nor in the question's scripts."
    )
    near_duplicate: Share | None = Field(0.8, description="Jaccard similarity of word 5-grams.")
    overlap: Overlap | None = Overlap()
    per_prompt: PositiveInt | None = 16
    surgery: list[
        Literal["secrets", "personal", "loops", "after_answer", "boilerplate", "identity"]
    ] = Field(
        ["secrets", "personal"],
        description="Edits of kept traces, each recorded: masks of secrets and of e-mail addresses "
        "and phone numbers; cuts of loops, of text after the boxed answer, of phrases.",
    )
    workers: PositiveInt = Field(1, description="Processes that measure the traces.")
    semantic: Semantic | None = Field(
        None, description="Drop questions that ask the same in other words; off if unset."
    )
    select: Select | None = Field(None, description="A budget and a mix; all is kept if unset.")


class Thinking(Section):
    """How the student writes its thinking."""

    open: str = "<think>\n"
    close: str = "\n</think>\n\n"


class Student(Section):
    """The model that learns."""

    model: str
    revision: str = ""
    thinking: Thinking = Thinking()
    end_of_turn: str | None = Field(None, description="Found from the chat template if unset.")
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"


class Lora(Section):
    """Low-rank adapters on all linear layers of the backbone."""

    rank: PositiveInt = 16
    alpha: PositiveInt = 32
    dropout: Share = 0.0
    target_modules: str | list[str] = "all-linear"


class Kd(Section):
    """Learning from the teacher's own distribution, stored as its k likeliest tokens and a tail.

    The teacher is q, the student S; see `distill.losses.Divergence` for the formulas.
    """

    kind: Literal["forward_kl", "reverse_kl", "jsd", "skew_kl", "skew_reverse_kl"] = "forward_kl"
    weight: float = Field(0.5, gt=0, description="Factor of the divergence, beside `ce`.")
    temperature: float = Field(
        1.0, gt=0, description="Other than 1 it needs `distill score --temperatures`."
    )
    mix: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        None, description="Share in the mixture: jsd (0.5 if unset) and the skew kinds (0.1)."
    )

    @model_validator(mode="after")
    def _mix_has_a_mixture(self) -> Kd:
        if self.mix is not None and self.kind in ("forward_kl", "reverse_kl"):
            raise PydanticCustomError("mix", f"mix means nothing to {self.kind}; leave it out")
        return self


class Loss(Section):
    """What is minimised: the mean over trained tokens."""

    ce: NonNegativeFloat = Field(1.0, description="Weight of cross-entropy on the trace.")
    kd: Kd | None = Field(None, description="Divergence from the teacher's stored logprobs.")
    impl: Literal["auto", "reference", "chunked", "triton", "cuda"] = "auto"
    compact_below: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="Approximate gradient: columns below it go by a rank-1 term; 0 is exact."
    )

    @model_validator(mode="after")
    def _something_is_minimised(self) -> Loss:
        if self.ce == 0 and self.kd is None:
            raise PydanticCustomError("loss", "ce is 0 and there is no kd: nothing to learn")
        if self.compact_below and self.impl == "reference":
            raise PydanticCustomError("loss", "compact_below means nothing to impl: reference")
        return self


class RowCheck(Section):
    """Limits of the row check; above one of them the run stops."""

    max_silent: NonNegativeInt = Field(0, description="Rows in which no token is trained.")
    max_dropped_share: Share = Field(0.2, description="Kept traces that give no training row.")


class Train(Section):
    """How the student learns."""

    mode: Literal["lora", "qlora", "full"] = "lora"
    lora: Lora = Lora()
    learning_rate: float = Field(2e-4, gt=0)
    epochs: float = Field(3.0, gt=0)
    max_steps: PositiveInt | None = None
    batch_size: PositiveInt = Field(1, description="Rows per device and step.")
    accumulation: PositiveInt = 8
    max_length: PositiveInt = Field(8192, description="Longer rows are dropped and counted.")
    warmup_share: Share = 0.05
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    order: Literal["random", "as_is", "short_first", "easy_first"] = Field(
        "random", description="Anew in each epoch, or one sequence in all; `easy`: high pass rate."
    )
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: float = Field(1.0, gt=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = True
    validation_share: Share = Field(0.05, description="Prompts held out to pick the best model.")
    save_steps: PositiveInt = 50
    loss: Loss = Loss()
    row_check: RowCheck = RowCheck()


class Gate(Section):
    """What the student must reach; below it `distill run` exits with 1."""

    min_pass_at_1: Share | None = None
    min_gain: Share | None = Field(None, description="Over the base, on the same extraction.")
    gain_excludes_zero: bool = Field(False, description="The gain's 95 % interval is above 0.")


class Evaluate(Section):
    """How base, teacher and student are compared: same problems, same settings."""

    problems: list[Source] = Field(min_length=1)
    models: list[Literal["base", "teacher", "student"]] = Field(["base", "teacher", "student"])
    samples: PositiveInt = 1
    temperature: NonNegativeFloat = 0.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    max_tokens: PositiveInt = 8192
    batch_size: PositiveInt = 64
    gate: Gate = Gate()


class Recipe(Section):
    """One run of the pipeline."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Of every random choice of the run.")
    prompts: list[Source] = Field(min_length=1)
    teacher: Teacher
    harvest: Harvest = Harvest()
    verify: Verify = Verify()
    curate: Curate = Curate()
    student: Student
    train: Train = Train()
    evaluate: Evaluate
