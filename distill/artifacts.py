"""The small files a run directory holds, typed: what one stage writes and later ones read."""

from __future__ import annotations

from typing import Any

import msgspec

from traces.licence import Finding
from traces.record import Outcome, TeacherRecord

STAGES = ("prompts", "harvest", "verify", "curate", "dataset", "train", "evaluate", "report")
"""In the order in which they are done."""


class StageRecord(msgspec.Struct, omit_defaults=True):
    """One finished stage in `manifest.json`. Times are UTC ISO 8601, `seconds` is wall time."""

    fingerprint: str
    finished: str
    seconds: float
    inputs: dict[str, str] = {}  # hash of each thing the stage depends on, by name
    counts: dict[str, Any] = {}


class Manifest(msgspec.Struct, omit_defaults=True):
    """`manifest.json`: what was run, on what, with what result."""

    name: str
    version: str
    recipe_sha: str
    created: str
    environment: dict[str, str] = {}
    teacher: TeacherRecord | None = None
    endpoints: list[dict[str, Any]] = []  # what the canary calls learnt
    licence: Finding | None = None  # whether its outputs may train a model, as acknowledged
    other_licences: list[Finding] = []  # of the teachers that wrote questions
    isolation: list[str] = []  # what programs of the teacher ran in, `none` where they did not
    stages: dict[str, StageRecord] = {}
    retried: int = 0  # how often the requests that had failed were asked for again
    retried_opinions: int = 0  # the same of the judge's
    begun: dict[str, str] = {}  # fingerprints of stages that have begun and not finished


class StudentScore(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of `annotate/student.jsonl`: the student on one trace, before it is trained.

    `row` names the tokens, `scorer` the model and the definitions (`distill.student_scores`), which
    say what the means over `tokens` are.
    """

    key: str
    row: str
    scorer: str
    tokens: int
    nll: float
    rank: float
    rsr: float
    natural: float | None = None  # only where it was asked for


class RowReport(msgspec.Struct, omit_defaults=True):
    """`dataset/report.json`: what became of the kept traces. Rows + dropped == kept traces."""

    traces: int
    rows: int
    dropped: dict[str, int]
    silent: int
    tokens: int
    trained_tokens: int
    zero_weight_tokens: int
    longest: int
    train_rows: int
    validation_rows: int
    teacher_ids_reused: int
    markers_written: int = 0  # rows whose thinking markers are the recipe's, not the teacher's
    teacher_tokens: int = 0  # trained tokens for which the teacher's distribution is stored
    without_teacher_tokens: int = 0  # those with cross-entropy alone, such as an end of turn
    without_teacher_rows: int = 0  # rows of which that is true throughout


class TrainPoint(msgspec.Struct, omit_defaults=True):
    """One line of `train/log.jsonl`. `loss` is the mean over trained tokens, in nats.

    With a divergence, `ce_loss` and `kd_loss` are its two parts without their factors. With
    `train.loss.compact_below`, `kept_columns` is the share of the vocabulary's columns in the
    gradients' products, and `dropped_mass` that of `|dl/dlogit|` in the others.
    """

    step: int
    loss: float | None = None
    validation_loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    trained_tokens: int | None = None
    seconds: float | None = None
    ce_loss: float | None = None
    kd_loss: float | None = None
    kept_columns: float | None = None
    dropped_mass: float | None = None


class TrainReport(msgspec.Struct, omit_defaults=True):
    """`train/report.json`: how the student was trained. `peak_bytes` is the process's."""

    mode: str
    loss_impl: str
    steps: int
    best_step: int
    best_validation_loss: float | None
    trained_tokens: int
    trainable_parameters: int
    parameters: int
    seconds: float
    peak_bytes: int


class Completion(msgspec.Struct, omit_defaults=True):
    """One line of `evaluate/<model>/completions.jsonl`: one answer to one held-out problem."""

    model: str
    prompt_id: str
    sample: int
    text: str
    tokens: int
    finish_reason: str
    closed: bool  # the thinking was closed, or none was opened
    strict: Outcome  # the answer where the instructions ask for it
    lenient: Outcome  # any sensible reading, the last number included
    steps: Outcome | None = None
    extracted_strict: str | None = None
    extracted_lenient: str | None = None


class Interval(msgspec.Struct):
    """An estimate with its 95 % interval over problems, all as shares in [-1, 1]."""

    value: float
    low: float
    high: float


class ModelScore(msgspec.Struct, omit_defaults=True):
    """The score of one model on all held-out problems."""

    problems: int
    samples: int
    strict: Interval
    lenient: Interval
    truncated_share: float
    unclosed_share: float
    unknown_share: float
    mean_tokens: float


class Gain(msgspec.Struct):
    """Paired difference of pass@1, `model` minus `over`, on the same problems and extraction."""

    model: str
    over: str
    extraction: str  # strict or lenient
    difference: Interval


class GateResult(msgspec.Struct):
    """One demand of the recipe's gate and whether it was met."""

    demand: str
    reached: str
    passed: bool


class EvaluationSummary(msgspec.Struct, omit_defaults=True):
    """`evaluate/summary.json`. All models in it ran with the same `settings`."""

    settings: dict[str, Any]
    models: dict[str, ModelScore]
    gains: list[Gain]
    gate: list[GateResult] = []
    notes: list[str] = []
