"""What a run would take, before anything is spent: `distill run RECIPE --dry-run`.

Every figure says what it is: `counted` from the recipe and its files, a `bound` that cannot be
passed, an `estimate` with its assumption, or `unknown`. Nothing is written and torch is not used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from distill.forecast_prompts import Questions, measure
from distill.harvest_stage import price_of
from distill.machine import Device, memory_bytes, nvidia_devices, processors
from distill.model_size import Shape, find_shape, training_bytes, training_flops
from distill.recipe import EndpointTeacher, Recipe
from distill.recipe_file import LoadedRecipe
from distill.score_stage import needs_scores
from traces.budget import MILLION
from traces.verify.judge import MAX_CHARS

Basis = Literal["counted", "bound", "estimate", "unknown"]
HFU = (0.34, 0.52)
CPU_TOKENS_PER_CORE_S = 95.0
CPU_PARAMETERS = 134.5e6
CPU_BATCH_S = 0.05
"""CPU time that a batch takes whatever the model's size: 100 batches of a model of 148,000
parameters took 5.8 s, imports and the other stages included (one EPYC core, 2026-11-22)."""
SCORE_TOP_K = 20  # what `distill score` keeps unless told otherwise
JUDGE_TOKENS = 250
"""What a judge is told beside question and answer: 611 characters of task and tags, which are about
150 tokens, and a reference of 100."""
REPLY_SHARE = 0.5
REPLY_NOTE = "assumes that replies use half of max_tokens"


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One figure. `high` differs from `low` where it is a range; both are None if unknown."""

    name: str
    basis: Basis
    low: float | None = None
    high: float | None = None
    unit: str = ""
    note: str = ""

    def text(self) -> str:
        """The figure for a reader: `<= 12,000 tokens`, `0.9 to 1.4 h`, `unknown`."""
        if self.low is None:
            return "unknown"
        low, high = _shown(self.low, self.unit), _shown(self.high or self.low, self.unit)
        sign = {"bound": "<= ", "estimate": "about "}.get(self.basis, "")
        return f"{sign}{low}" if low == high else f"{sign}{low} to {high}"


class Forecast(msgspec.Struct, frozen=True):
    """All figures in the order of the pipeline, and what looks wrong."""

    figures: list[Figure]
    warnings: list[str]


def forecast(loaded: LoadedRecipe) -> Forecast:
    """The figures of a run of `loaded`.

    Raises:
        UserError: a prompts file is broken, or a task is not known.
    """
    recipe = loaded.recipe
    prompts = measure(recipe.prompts, loaded, "train")
    problems = measure(recipe.evaluate.problems, loaded, "test")
    devices = nvidia_devices()
    found = find_shape(recipe.student.model, loaded.base)
    figures = [
        *_harvest(recipe, prompts),
        *_training_rows(recipe, prompts),
        *_teacher_signal(recipe, prompts.count),
        *_student_scores(recipe, prompts.count),
        *_training(recipe, found, devices, prompts.count),
        *_evaluation(recipe, problems),
        *_cost(recipe, prompts),
        *_judge(recipe, prompts),
    ]
    return Forecast(figures, list(_warnings(recipe, prompts, problems, figures, devices)))


def _harvest(recipe: Recipe, prompts: Questions) -> Iterator[Figure]:
    requests = prompts.count * recipe.harvest.samples
    yield Figure("prompts", "counted", prompts.count, note=prompts.note)
    yield Figure("teacher requests", "counted", requests, note="a resumed run asks only the rest")
    note = f"{prompts.tokens_note}; chat templates come on top"
    sent = (prompts.mean_tokens + prompts.context_tokens) * requests
    yield Figure("tokens to the teacher", "estimate", sent, unit="tokens", note=note)
    limit = requests * recipe.harvest.max_tokens
    yield Figure("tokens from the teacher", "bound", limit, unit="tokens", note="at max_tokens")
    expected = REPLY_SHARE * limit
    yield Figure("tokens from the teacher", "estimate", expected, unit="tokens", note=REPLY_NOTE)


def _rows(recipe: Recipe, prompts: int) -> int:
    per_prompt = min(recipe.harvest.samples, recipe.curate.per_prompt or recipe.harvest.samples)
    return prompts * per_prompt


def _steps(recipe: Recipe, prompts: int) -> int:
    train = recipe.train
    rows = math.ceil(_rows(recipe, prompts) * (1 - train.validation_share))
    steps = math.ceil(math.ceil(rows / (train.batch_size * train.accumulation)) * train.epochs)
    return min(steps, train.max_steps or steps)


def _training_rows(recipe: Recipe, prompts: Questions) -> Iterator[Figure]:
    rows = _rows(recipe, prompts.count)
    yield Figure("training rows", "bound", rows, note="before verification and curation drop any")
    yield Figure("training steps", "bound", _steps(recipe, prompts.count), note="on one device")


def _teacher_signal(recipe: Recipe, prompts: int) -> Iterator[Figure]:
    """What the stored distributions take where `train.loss.kd` wants them."""
    if recipe.train.loss.kd is None:
        return
    k = recipe.harvest.top_logprobs or SCORE_TOP_K
    length = min(REPLY_SHARE * recipe.harvest.max_tokens, recipe.train.max_length)
    tokens = _rows(recipe, prompts) * length
    size = tokens * (6 * k + 2)  # u32 id and f16 logprob each, f16 tail
    note = f"dataset/teacher.arrow at k = {k}, read as it is needed; {REPLY_NOTE}"
    yield Figure("teacher's distributions", "estimate", size, unit="bytes", note=note)
    batch = recipe.train.batch_size * recipe.train.max_length
    note = f"of rows of max_length at k = {k}; ids and logprobs in 32 bits"
    yield Figure("of them in a batch", "bound", batch * (8 * k + 4), unit="bytes", note=note)
    if not recipe.harvest.top_logprobs:
        note = f"by `distill score`, one forward pass each; {REPLY_NOTE}"
        yield Figure("tokens to score", "estimate", tokens, unit="tokens", note=note)


def _student_scores(recipe: Recipe, prompts: int) -> Iterator[Figure]:
    if needs_scores(recipe):
        tokens = _rows(recipe, prompts) * REPLY_SHARE * recipe.harvest.max_tokens
        note = f"of replies, one forward pass each before curation; {REPLY_NOTE}"
        if needs_scores(recipe, "natural"):
            note = f"of replies, and each sentence once more behind its window; {REPLY_NOTE}"
        yield Figure("tokens for the student", "estimate", tokens, unit="tokens", note=note)


def _training(
    recipe: Recipe, found: tuple[Shape, str] | None, devices: list[Device], prompts: int
) -> Iterator[Figure]:
    if found is None:
        note = f"the size of {recipe.student.model} is not known here; download it first"
        for name in ("student parameters", "training memory", "training time"):
            yield Figure(name, "unknown", note=note)
        return
    shape, source = found
    train = recipe.train
    yield Figure("student parameters", "counted", shape.parameters, note=f"from {source}")
    half = train.precision == "bf16" or (train.precision == "auto" and bool(devices))
    peak = training_bytes(
        shape,
        mode=train.mode,
        rank=train.lora.rank,
        tokens=train.batch_size * train.max_length,
        element_bytes=2 if half else 4,
        gradient_checkpointing=train.gradient_checkpointing,
        full_logits=train.loss.impl == "reference",
    )
    known = "bf16: within 8 % of published runs" if half else "fp32: formula not checked there"
    note = f"rows of max_length; {known}"
    yield Figure("training memory", "estimate", peak, unit="bytes", note=note)
    yield _time(recipe, shape, devices, prompts)


def _time(recipe: Recipe, shape: Shape, devices: list[Device], prompts: int) -> Figure:
    train = recipe.train
    rows = _steps(recipe, prompts) * train.batch_size * train.accumulation
    length = min(REPLY_SHARE * recipe.harvest.max_tokens, train.max_length)
    tokens = rows * length
    if not devices:
        rate = processors() * CPU_TOKENS_PER_CORE_S * CPU_PARAMETERS / shape.parameters
        note = f"{processors()} processors, scaled from a 135M model in fp32; {REPLY_NOTE}"
        batches = _steps(recipe, prompts) * train.accumulation
        seconds = tokens / rate + batches * CPU_BATCH_S
        return Figure("training time", "estimate", seconds, unit="s", note=note)
    peak = devices[0].peak_flops
    if peak is None:
        note = f"the peak of {devices[0].name} is not in the table"
        return Figure("training time", "unknown", unit="s", note=note)
    flops = training_flops(shape, train.mode, tokens)
    note = f"one {devices[0].name} at {HFU[0]:.0%} to {HFU[1]:.0%} of its peak; {REPLY_NOTE}"
    low, high = (flops / (peak * share) for share in reversed(HFU))
    return Figure("training time", "estimate", low, high, "s", note)


def _evaluation(recipe: Recipe, problems: Questions) -> Iterator[Figure]:
    evaluate = recipe.evaluate
    answers = problems.count * evaluate.samples * len(evaluate.models)
    limit = answers * evaluate.max_tokens
    yield Figure("held-out problems", "counted", problems.count, note=problems.note)
    yield Figure("answers to score", "counted", answers, note=", ".join(evaluate.models))
    yield Figure("tokens of answers", "bound", limit, unit="tokens", note="at max_tokens")


def _cost(recipe: Recipe, prompts: Questions) -> Iterator[Figure]:
    teacher, name = recipe.teacher, "cost of the teacher"
    if not isinstance(teacher, EndpointTeacher):
        yield Figure(name, "counted", 0, note="the teacher is no endpoint")
        return
    if teacher.price is None:
        url = teacher.base_url if isinstance(teacher.base_url, str) else teacher.base_url[0]
        note = (
            f"no price of {teacher.model} at {urlsplit(url).hostname or url} is known; "
            "multiply the tokens by yours, or write teacher.price"
        )
        yield Figure(name, "unknown", note=note)
        return
    requests = prompts.count * recipe.harvest.samples
    sent = prompts.mean_tokens * requests * teacher.price.prompt / 1e6
    most = requests * recipe.harvest.max_tokens * teacher.price.completion / 1e6
    yield Figure(name, "bound", sent + most, unit="dollars", note="at max_tokens")
    yield Figure(name, "estimate", sent + REPLY_SHARE * most, unit="dollars", note=REPLY_NOTE)
    if recipe.harvest.caps.usd is not None:
        yield Figure("cap of the cost", "bound", recipe.harvest.caps.usd, unit="dollars")


def _judge(recipe: Recipe, prompts: Questions) -> Iterator[Figure]:
    """What `verify.judge` takes where it is asked about every trace and every flagged question."""
    section, overlap = recipe.verify.judge, recipe.curate.overlap
    if section is None:
        return
    opinions = 2 * prompts.count * recipe.harvest.samples
    answer = min(recipe.harvest.max_tokens, MAX_CHARS)
    sent = opinions * (JUDGE_TOKENS + prompts.mean_tokens + answer)
    if overlap is not None and overlap.semantic is not None:
        pairs = 2 * prompts.count * overlap.semantic.top
        opinions, sent = opinions + pairs, sent + pairs * (JUDGE_TOKENS + 2 * prompts.mean_tokens)
    note = "two for each answer without a verdict, one for each answer to a rubric"
    yield Figure("opinions of the judge", "bound", opinions, note=note)
    note = "answers at harvest.max_tokens; rubrics and references over 100 tokens come on top"
    yield Figure("tokens to the judge", "estimate", sent, unit="tokens", note=note)
    limit = opinions * section.max_tokens
    yield Figure("tokens from the judge", "bound", limit, unit="tokens", note="at max_tokens")
    price = price_of(section.teacher)
    if price is not None:
        most = (sent * price.prompt + limit * price.completion) / MILLION**2
        yield Figure("cost of the judge", "estimate", most, unit="dollars", note="of all of that")
    elif isinstance(section.teacher, EndpointTeacher):
        note = "write its price and verify.judge.max_usd to cap it"
        yield Figure("cost of the judge", "unknown", note=note)
    if section.max_usd is not None:
        yield Figure("cap of the judge", "bound", section.max_usd, unit="dollars")


def _warnings(
    recipe: Recipe,
    prompts: Questions,
    problems: Questions,
    figures: list[Figure],
    devices: list[Device],
) -> Iterator[str]:
    asked, kept = recipe.harvest.max_tokens, recipe.train.max_length
    longest = math.ceil(prompts.longest_tokens)
    if longest + asked > kept:
        yield (
            f"a reply of harvest.max_tokens {asked} after a prompt of {longest} tokens passes "
            f"train.max_length {kept}: such rows are dropped"
        )
    if recipe.evaluate.max_tokens < asked:
        yield (
            f"evaluate.max_tokens {recipe.evaluate.max_tokens} is below harvest.max_tokens "
            f"{asked}: a student that writes as long as its teacher is cut off"
        )
    if problems.count < 30:
        what = "problem gives" if problems.count == 1 else "problems give"
        yield f"{problems.count} held-out {what} an interval too wide to show a gain"
    room = devices[0].memory_bytes if devices else memory_bytes()
    for figure in figures:
        if figure.name == "training memory" and (figure.low or 0) > room:
            have = _shown(room, "bytes")
            yield f"training needs {figure.text()} and this machine has {have}"


def _shown(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1e9:.1f} GB"
    if unit == "s":
        if value >= 3600:
            return f"{value / 3600:.1f} h"
        return f"{value / 60:.0f} min" if value >= 120 else f"{value:.0f} s"
    text = f"{value:,.2f}" if unit == "dollars" else f"{value:,.0f}"
    return f"{text} {unit}" if unit else text
