"""The parts of a recipe that say where questions come from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from pydantic_core import PydanticCustomError

from distill.recipe_teacher import EndpointTeacher, LocalTeacher, Section, Share

Verifier = Literal["auto", "math", "science", "choice", "text", "code", "legal", "rubric", "none"]


class TaskSource(Section):
    """Problems from a procedural family, generated with worked solutions and checkers."""

    kind: Literal["task"]
    task: str = Field(description="A family of `traces.tasks`, such as `largest-of-four`.")
    count: PositiveInt = Field(description="How many problems.")
    seed: int = Field(0, description="Other seeds give other problems of the same split.")


class GymSource(Section):
    """Problems from a dataset of reasoning-gym, judged by its own scorer. Needs `[gym]`."""

    kind: Literal["gym"]
    dataset: str = Field(description="As reasoning-gym names it, such as `chain_sum`.")
    count: PositiveInt = Field(description="How many problems.")
    seed: int = Field(0, description="Other seeds give other problems.")
    config: dict[str, Any] = Field({}, description="What the dataset takes besides seed and size.")
    instruction: str = Field(
        "Give the final answer on the last line, after 'Answer:'.",
        description="Added after each question, for teacher and student.",
    )


class Columns(Section):
    """What rows of questions have in common, wherever they lie."""

    question: str | None = Field(None, description="Column of the question; detected if unset.")
    answer: str | None = Field(None, description="Column of the reference answer; detected.")
    choices: str | None = Field(None, description="Column of the choices (map or list).")
    verifier: Verifier = Field(
        "auto", description="How answers are checked; `none` keeps traces unverified."
    )
    instruction: str = Field("", description="Added after each question, for teacher and student.")
    system: str = Field("", description="System message of every prompt, seen by the student too.")
    domain: str = ""
    limit: PositiveInt | None = Field(None, description="Take only the first problems.")


class FileSource(Columns):
    """Problems from a JSON Lines or Parquet file of yours."""

    kind: Literal["file"]
    path: str = Field(description="Relative to the recipe.")


class HubSource(Columns):
    """Problems from a Hugging Face dataset: of the hub, pinned, or of a folder. Needs `datasets`.

    A folder begins with ./, ../, / or ~ and is relative to the recipe.
    """

    kind: Literal["hf"]
    dataset: str = Field(description="A hub id, or a folder.")
    revision: str = Field("", description="Commit of the hub; a hub id needs one.")
    config: str | None = Field(None, description="Configuration, where the dataset has several.")
    split: str = Field("train", description="As `datasets` names it; `train[:100]` works too.")

    @model_validator(mode="after")
    def _a_hub_id_is_pinned(self) -> HubSource:
        if not self.revision and not self.dataset.startswith(("./", "../", "/", "~")):
            raise PydanticCustomError(
                "revision",
                "a dataset of the hub needs a revision, so that the run can be repeated; a folder "
                "begins with ./, ../, / or ~",
            )
        return self


class StoreSource(Section):
    """The prompts of a trace store, such as one that logs of conversations were imported into."""

    kind: Literal["store"]
    path: str = Field(description="A traces.sqlite, relative to the recipe.")
    limit: PositiveInt | None = Field(None, description="Take only the first prompts.")


class DocumentSource(Section):
    """Questions that a teacher writes about your own documents, with the passage of each.

    They are written once, into a store beside the recipe; `distill questions` does it, and so does
    a run that needs them.
    """

    kind: Literal["documents"]
    paths: list[str] = Field(
        min_length=1,
        description="Files (.txt, .md, .jsonl, .parquet) or patterns as docs/*.md.",
    )
    text: str = Field("text", description="Column of the text, in files of rows.")
    store: str = Field("questions.sqlite", description="Where the questions are kept.")
    per_passage: PositiveInt = Field(3, description="Questions asked for about each passage.")
    passage_words: PositiveInt = Field(300, description="Longest passage; cut between paragraphs.")
    held_out_share: Share = Field(0.0, description="Passages kept for `evaluate.problems` alone.")
    teacher: LocalTeacher | EndpointTeacher | None = Field(
        None, discriminator="kind", description="Who writes them; the recipe's teacher if unset."
    )
    temperature: NonNegativeFloat = 0.7
    max_tokens: PositiveInt = 1500
    passage: Literal["hidden", "shown", "none"] = Field(
        "hidden", description="Who sees the passage: the teacher alone, the student too, nobody."
    )
    verifier: Literal["none", "auto", "text"] = Field(
        "none", description="`auto` and `text` check against the answer that was written along."
    )
    near_duplicate: Share = Field(0.8, description="Jaccard similarity of word 5-grams.")
    instruction: str = Field("", description="Added after each question, for teacher and student.")
    domain: str = ""
    limit: PositiveInt | None = Field(None, description="Take only the first questions.")


Source = Annotated[
    TaskSource | FileSource | HubSource | GymSource | DocumentSource | StoreSource,
    Field(discriminator="kind"),
]
