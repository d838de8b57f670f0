"""The part of a recipe that says how traces are checked."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from pydantic_core import PydanticCustomError

from distill.recipe_teacher import EndpointTeacher, LocalTeacher, Section, Share, VllmTeacher

JudgeTeacher = Annotated[LocalTeacher | VllmTeacher | EndpointTeacher, Field(discriminator="kind")]


class Judge(Section):
    """A model asked where the verifiers abstain, about rubrics, and where two tiers differ."""

    teacher: JudgeTeacher
    max_usd: NonNegativeFloat | None = Field(
        None, description="Spent on judging in this run at most; what is left stays unknown."
    )
    max_tokens: PositiveInt = Field(2048, description="Of each opinion.")
    rubric_threshold: Share = Field(
        0.7, description="Share of a rubric's weight from which an answer is right."
    )

    @model_validator(mode="after")
    def _sees_no_examples(self) -> Judge:
        if self.teacher.worked_examples:
            raise PydanticCustomError("worked_examples", "a judge is shown no worked_examples")
        return self

    @model_validator(mode="after")
    def _money_has_a_price(self) -> Judge:
        priced = isinstance(self.teacher, EndpointTeacher) and self.teacher.price is not None
        if self.max_usd is not None and not priced:
            raise PydanticCustomError("max_usd", "max_usd needs the price of a teacher's endpoint")
        return self


class Verify(Section):
    """How traces are checked."""

    steps: bool = Field(True, description="Check every step where the task offers a step checker.")
    timeout_s: float = Field(
        5.0, gt=0, description="CPU seconds per answer; past them the verdict is unknown."
    )
    workers: PositiveInt = 2
    judge: Judge | None = Field(None, description="No judge if unset.")
