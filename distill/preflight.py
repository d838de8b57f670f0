"""What can be proved of a recipe before anything is written or paid for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from distill.harvest_stage import budget_of, facts_of, licence_of, writers_of
from distill.recipe_file import LoadedRecipe
from distill.rows import RowFormat, row_format
from distill.sources import load_each, make_teacher, source_name
from traces.curate.overlap import exact_overlap
from traces.errors import DataError, TeacherError
from traces.licence import Finding
from traces.record import Message, Prompt
from traces.teachers.protocol import Teacher
from traces.teachers.saved import Matching
from traces.verify.gold import check_gold, refuse_rubrics

Turns = tuple[Message, ...]
Tools = tuple[dict[str, Any], ...]


class Preflight:
    """Proofs of one recipe. Each is made when it is first asked for, and once.

    They read files, ask an endpoint for one token and load tokenizers; they write nothing. Each
    raises a UserError where it fails.
    """

    def __init__(self, loaded: LoadedRecipe) -> None:
        self.loaded = loaded
        self.counts: list[tuple[str, str, int]] = []
        """Name, kind and number of prompts of each source, once `prompts` was asked for."""
        self._kinds: list[tuple[Turns, Tools]] = [((Message("user", "?"),), ())]

    @cached_property
    def prompts(self) -> tuple[Sequence[Prompt], Sequence[Prompt]]:
        """Training prompts and held-out problems: references pass their verifiers, none in both."""
        recipe = self.loaded.recipe
        found = [
            load_each(self.loaded, recipe.prompts, "train"),
            load_each(self.loaded, recipe.evaluate.problems, "test"),
        ]
        training, held_out = ([prompt for each in part for prompt in each] for part in found)
        self.counts = [
            (source_name(source), source.kind, len(each))
            for source, each in zip(recipe.prompts, found[0], strict=True)
        ]
        check_gold(training)
        check_gold(held_out, need_reference=True)
        exact_overlap(training, held_out)
        if recipe.verify.judge is None:
            refuse_rubrics(training, "training prompts", "set verify.judge")
        refuse_rubrics(held_out, "evaluation problems", "evaluate on references of another kind")
        kinds = {
            (bool(p.tools), *((m.role, bool(m.tool_calls)) for m in p.messages)): p
            for p in (*training, *held_out)
        }
        self._kinds = [(prompt.messages, prompt.tools) for prompt in kinds.values()]
        return training, held_out

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher, ready to answer, with what the recipe asks of it and a licence to use it."""
        recipe = self.loaded.recipe
        budget_of(recipe)
        teacher = make_teacher(self.loaded)
        teacher.check()
        facts_of(teacher, recipe.harvest.top_logprobs)
        _ = self.licence
        return teacher

    @cached_property
    def fit(self) -> str:
        """How many training prompts saved answers are for; empty for a teacher that is asked."""
        match = getattr(self.teacher, "match", None)
        if match is None:
            return ""
        found: Matching = match(self.prompts[0])
        name = self.teacher.record.made_of
        answered = found.prompts - found.prompts_without
        if not answered:
            first = ", ".join(found.unmatched_places)
            raise DataError(
                f"{name}: none of its {found.completions} answers is to one of the "
                f"{found.prompts} training prompts",
                "a question must be the same but for white space and the `instruction` of its "
                f"source; the first without a prompt: {first}",
            )
        return f"{name}: answers to {answered} of {found.prompts} training prompts"

    @cached_property
    def judge(self) -> Teacher | None:
        """The model that judges where verifiers abstain, None where the recipe has none."""
        section = self.loaded.recipe.verify.judge
        if section is None:
            return None
        teacher = make_teacher(self.loaded, section.teacher)
        try:
            teacher.check()
        except TeacherError as error:
            hint = error.hint.replace("teacher.", "verify.judge.teacher.")
            raise TeacherError(f"the judge: {error.message}", hint) from error
        return teacher

    @cached_property
    def licence(self) -> Finding | None:
        """Whether the teacher's outputs may train a model, as the user acknowledged."""
        return licence_of(self.loaded.recipe.teacher, writers_of(self.loaded))

    @cached_property
    def row_format(self) -> RowFormat:
        """How the student's rows are written; its template renders every kind of prompt so far."""
        from traces.models.load import load_tokenizer, render_prompt

        recipe = self.loaded.recipe
        student = recipe.student
        tokenizer = load_tokenizer(self.loaded.model(student.model), student.revision)
        for messages, tools in self._kinds:
            render_prompt(tokenizer, messages, tools)
        return row_format(
            tokenizer,
            end_of_turn=student.end_of_turn,
            thinking_open=student.thinking.open,
            thinking_close=student.thinking.close,
            max_length=recipe.train.max_length,
        )
