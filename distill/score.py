"""The score pass: what a local model says of each token of traces that came as text alone.

A teacher that gave no logprobs, or whose tokens are other ones, can so be distilled from disk, by
way of a model with the student's tokenizer. Scores are added to the store; no trace is edited.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch

from distill.logits import logit_options
from distill.losses.scoring import Scores, score
from distill.losses.teachers import SparseTeacher, tempered
from distill.rows import Row, RowFormat, build_row, row_format
from distill.teacher_rows import span_start
from traces.errors import DataError
from traces.keys import teacher_id
from traces.logprobs import Tempered, TopArrays, holds_at, pack
from traces.record import Prompt, Score, TeacherRecord, TopLogprobs, Trace
from traces.store import TraceStore
from traces.teachers.local import LocalTeacher

BATCH_TOKENS = 4096


class ScoreCounts(msgspec.Struct, frozen=True):
    """What became of the `traces` looked at; they add up.

    `own` have logprobs that will do, `already` were scored before, `scored` now, `no_row` give no
    training row (by reason), and `not_scored` were left when it was told to stop.
    """

    scorer: str
    traces: int
    own: int
    already: int
    scored: int
    no_row: dict[str, int]
    not_scored: int
    tokens: int


class Form(NamedTuple):
    """The form of the student's rows, as the sections `student` and `train` of a recipe say it."""

    end_of_turn: str | None = None
    thinking_open: str = "<think>\n"
    thinking_close: str = "\n</think>\n\n"
    max_length: int = 8192


def score_store(
    path: Path,
    model: str,
    *,
    revision: str = "",
    adapter: str = "",
    top_k: int = 20,
    temperatures: Sequence[float] = (1.0,),
    form: Form,
    keys: frozenset[str] | None = None,
    batch_tokens: int = BATCH_TOKENS,
    stopping: Callable[[], bool] = lambda: False,
    on_scored: Callable[[int], None] = lambda done: None,
) -> ScoreCounts:
    """Score the traces of the store at `path` (those of `keys`, if given) that need it.

    Each batch is on disk before the next one begins, so the same call goes on where one stopped.
    `temperatures` are those at which a loss may want the distribution; 1 is always among them.

    Raises:
        UserError: no such store, or a model that cannot be loaded or render the prompts.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file", "give a run directory, or a traces.sqlite")
    teacher = LocalTeacher(model, revision=revision, adapter=adapter)
    layout = row_format(teacher.tokenizer, **form._asdict())
    others = tuple(sorted({float(t) for t in temperatures} - {1.0}))
    record = scorer_record(teacher.record, top_k, others, form)
    with TraceStore.open(path, stopping=stopping) as store:
        store.add_teacher(record)
        plan = _Plan(store, record.id, layout, (1.0, *others), keys)
        tokens = done = 0
        scorer: Scorer | None = None
        for batch in batches(plan.rows(), batch_tokens):
            if stopping():
                break
            scorer = scorer or Scorer(teacher, layout.vocabulary, record.id, top_k, others)
            scores = scorer(batch)
            store.add_scores(scores)
            done += len(scores)
            tokens += sum(each.logprobs.n for each in scores)
            on_scored(len(scores))
        return plan.counts(done, tokens)


def scorer_record(
    teacher: TeacherRecord, top_k: int, others: tuple[float, ...], form: Form
) -> TeacherRecord:
    """Who scores: the model with all that its scores depend on."""
    settings = {"top_k": top_k, "temperatures": [1.0, *others], "form": form._asdict()}
    record = msgspec.structs.replace(teacher, id="", kind="scorer", settings=settings)
    return msgspec.structs.replace(record, id=teacher_id(record))


class _Plan:
    """The traces of a store that are to be scored, and what becomes of the others."""

    def __init__(
        self,
        store: TraceStore,
        scorer: str,
        layout: RowFormat,
        temperatures: Sequence[float],
        keys: frozenset[str] | None,
    ) -> None:
        self._store, self._scorer, self._layout = store, scorer, layout
        self._temperatures, self._keys = temperatures, keys
        self._done = store.scored().get(scorer, set())
        self._shas = {name: each.tokenizer_sha for name, each in store.teachers().items()}
        self._prompts: dict[str, Prompt] = {prompt.id: prompt for prompt in store.prompts()}
        self._own = self._already = 0
        self._reasons: Counter[str] = Counter()

    def rows(self) -> Iterator[Row]:
        """The rows to score; consumed to the end also where scoring stops."""
        for trace in self._store.traces():
            if self._keys is not None and trace.key not in self._keys:
                continue
            row = self._row(trace)
            if row is not None:
                yield row

    def _row(self, trace: Trace) -> Row | None:
        if trace.key in self._done:
            self._already += 1
            return None
        if trace.status not in ("ok", "truncated") or trace.prompt_id not in self._prompts:
            self._reasons[trace.status if trace.prompt_id in self._prompts else "no_prompt"] += 1
            return None
        sha = self._shas.get(trace.teacher, "")
        built = build_row(self._prompts[trace.prompt_id], trace, self._layout, sha)
        own = trace.logprobs
        held = own is not None and all(holds_at(own, t) for t in self._temperatures)
        if held and built.reused_ids:
            self._own += 1
            return None
        if built.row is None:
            self._reasons[built.reason] += 1
        return built.row

    def counts(self, scored: int, tokens: int) -> ScoreCounts:
        """The account, with what was never looked at as `not_scored`."""
        total = self._total()
        settled = self._own + self._already + scored + self._reasons.total()
        return ScoreCounts(
            scorer=self._scorer,
            traces=total,
            own=self._own,
            already=self._already,
            scored=scored,
            no_row=dict(sorted(self._reasons.items())),
            not_scored=total - settled,
            tokens=tokens,
        )

    def _total(self) -> int:
        keys = self._store.attempts().keys()
        return len(keys if self._keys is None else keys & self._keys)


def batches(rows: Iterator[Row], batch_tokens: int) -> Iterator[list[Row]]:
    """Rows in their order, as many at a time as `batch_tokens` allow with their padding."""
    batch: list[Row] = []
    for row in rows:
        longest = max(len(each.input_ids) for each in (*batch, row))
        if batch and longest * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


@torch.inference_mode()
def score_rows(model: Any, vocabulary: int, rows: Sequence[Row], **options: Any) -> list[Scores]:
    """What `model` says of the trained tokens of each row, given all before them; on the CPU.

    Over the first `vocabulary` ids: padding of the head is cut off before the softmax. `options`
    are those of `distill.losses.score`.
    """
    width = max(len(row.input_ids) for row in rows)
    ids_BT = torch.zeros(len(rows), width, dtype=torch.int64)
    mask_BT = torch.zeros(len(rows), width, dtype=torch.int64)
    for number, row in enumerate(rows):
        ids_BT[number, : len(row.input_ids)] = torch.tensor(row.input_ids)
        mask_BT[number, : len(row.input_ids)] = 1
    ids_BT, mask_BT = ids_BT.to(model.device), mask_BT.to(model.device)
    states = model.get_decoder()(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False)
    spans = [slice(span_start(row), len(row.input_ids)) for row in rows]
    hidden_NH = torch.cat(
        [
            states.last_hidden_state[number, span.start - 1 : span.stop - 1]
            for number, span in enumerate(spans)
        ]
    )
    targets_N = torch.cat([ids_BT[number, span] for number, span in enumerate(spans)])
    head = model.get_output_embeddings()
    bias = getattr(head, "bias", None)
    found = score(
        hidden_NH,
        head.weight[:vocabulary],
        targets_N,
        bias=None if bias is None else bias[:vocabulary],
        **logit_options(model.config)._asdict(),
        **options,
    )
    lengths = [span.stop - span.start for span in spans]
    parts = zip(*(torch.split(part.cpu(), lengths) for part in found), strict=True)
    return [Scores._make(own) for own in parts]


class Scorer:
    """A loaded model that scores batches of rows."""

    def __init__(
        self,
        teacher: LocalTeacher,
        vocabulary: int,
        name: str,
        top_k: int,
        others: tuple[float, ...],
    ) -> None:
        self.model = teacher.loaded()
        self.name, self.top_k, self.others = name, top_k, others
        self.vocabulary = vocabulary

    def __call__(self, rows: Sequence[Row]) -> list[Score]:
        """One score for each row: of its trained tokens, given all that is before them."""
        options = {"k": min(self.top_k, self.vocabulary), "temperatures": (1.0, *self.others)}
        return [
            Score(row.key, self.name, tuple(row.input_ids[span_start(row) :]), self._packed(own))
            for row, own in zip(
                rows, score_rows(self.model, self.vocabulary, rows, **options), strict=True
            )
        ]

    def _packed(self, own: Scores) -> TopLogprobs:
        teacher = SparseTeacher(own.ids, own.logprobs, own.log_tail)
        others = []
        for place, temperature in enumerate(self.others, 1):
            log_partition = own.lse[:, place] - own.lse[:, 0] / temperature
            at = tempered(teacher, temperature, log_partition)
            others.append(Tempered(temperature, log_partition.numpy(), at.log_tail.numpy()))
        arrays = TopArrays(
            own.ids.numpy().astype(np.uint32),
            own.logprobs.float().numpy(),
            own.log_tail.float().numpy(),
            own.target.float().numpy(),
        )
        return pack(arrays, others=others)
