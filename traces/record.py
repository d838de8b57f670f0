"""The records that travel from a prompt to a published student.

All are frozen and appended, never edited: a new verdict is a new row, a retried request is a new
attempt. Identifiers are hashes of content (`traces.keys`), so the same work has the same name
everywhere. Failures are records too: a request that got no answer is a `Trace` whose status says
so.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Status = Literal[
    "ok",  # the teacher ended its turn by itself
    "truncated",  # it ran into the token limit
    "refused",  # it declined (a refusal field, or a content filter)
    "empty",  # a reply without text
    "malformed",  # a reply that is not what the protocol promises
    "logprobs_missing",  # logprobs were asked for and did not come, or not for every token
    "http_error",  # the endpoint answered with an error status
    "timeout",  # no (complete) reply in time
    "cancelled",  # stopped by us: interrupt or budget
]
FINAL_STATUSES: frozenset[str] = frozenset(
    {"ok", "truncated", "refused", "empty", "logprobs_missing"}
)
"""Statuses that a resumed harvest does not ask for again."""

RESPLIT = "resplit"
"""Flag of an attempt that was not asked for: an older one, split again by `traces.resplit`."""

Outcome = Literal["right", "wrong", "unknown"]
Fidelity = Literal["full", "summary", "hidden"]


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn. `reasoning` is thinking that the source gave apart from `content`.

    `reasoning_details` is what the provider wants back of it, see `traces.signed`.
    """

    role: str
    content: str
    reasoning: str | None = None
    name: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None
    reasoning_details: tuple[dict[str, Any], ...] = ()


class Reference(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an answer is checked against.

    `kind` picks the verifier: `math`, `science`, `choice`, `text`, `code`, `legal`,
    `rubric`, `task`, `gym`. The answer of `code`, `legal` and `rubric` is JSON (tests; authorities;
    criteria). A `task` reference names a
    procedural family of `traces.tasks` and carries the `instance` its checkers need; a `gym` one a
    dataset of reasoning-gym and the entry that its scorer needs.
    """

    kind: str
    answer: str
    choices: dict[str, str] = {}
    task: str = ""
    instance: dict[str, Any] = {}


class Prompt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question as the student will see it. `source` is `file:line` or `task:seed`.

    `hidden` messages are shown to the teacher, before the others, and not to the student.
    `metadata` says more of where the question is from: a dataset's row, or a document and the
    passage in it.
    """

    id: str
    messages: tuple[Message, ...]
    reference: Reference | None = None
    domain: str = ""
    source: str = ""
    hidden: tuple[Message, ...] = ()
    metadata: dict[str, Any] = {}
    tools: tuple[dict[str, Any], ...] = ()  # what may be called, as chat-completions describes it


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the teacher samples. `temperature` 0 is greedy; `top_logprobs` 0 asks for none."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    top_logprobs: int = 0
    seed: int = 0
    extra: dict[str, Any] = {}


class TopLogprobs(msgspec.Struct, frozen=True, omit_defaults=True):
    """The k most likely tokens at each of n positions, as packed little-endian arrays.

    `ids` u32 [n, k], `logprobs` f16 [n, k] sorted downwards, `log_tail` f16 [n]: log of the
    probability outside the k, `sampled` f16 [n]: logprob of the emitted token. `mode` is `raw`
    (before temperature and truncation) or `processed`; `temperature` is the one they hold at.
    `traces.logprobs` packs and unpacks them.

    For each of m other `temperatures` T, with u the logits at temperature 1: `log_partition` f32
    [m, n], which is logsumexp(u / T) - logsumexp(u) / T, and `log_tails` f16 [m, n], the tail at T.
    The logprobs there are `logprobs / T - log_partition`. `layout` names how a store packed the
    arrays (`traces.compact`), empty for the plain form.
    """

    k: int
    n: int
    ids: bytes
    logprobs: bytes
    log_tail: bytes
    sampled: bytes
    mode: str = "raw"
    temperature: float = 1.0
    temperatures: tuple[float, ...] = ()
    log_partition: bytes = b""
    log_tails: bytes = b""
    layout: str = ""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Token counts. `source`: `server` (reported), `counted` (by our tokenizer), `estimated`."""

    prompt: int = 0
    completion: int = 0
    reasoning: int | None = None
    cached: int | None = None
    source: str = "server"


class TeacherRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who the teacher was. `id` is a hash of all other fields but `endpoint` and `server`."""

    id: str
    kind: str  # endpoint, local, file, solver
    model: str
    revision: str = ""
    made_of: str = ""  # in words: what the teacher is, for the report and the model card
    licence: str = ""
    template_sha: str = ""
    tokenizer_sha: str = ""
    context: tuple[Message, ...] = ()  # worked examples or system prompt the student does not see
    settings: dict[str, Any] = {}  # what every request carries besides messages and sampling
    endpoint: str = ""
    server: str = ""


class Trace(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt of one teacher at one prompt.

    `content` and `raw_reasoning` are the text exactly as received (`raw_reasoning` only where the
    endpoint has a field of its own for it). `reasoning` and `answer` are what `traces.split` made
    of them, `split` naming its method and version; `answer` is None where the thinking never
    closed. `token_ids` are the teacher's own, end-of-turn excluded, None where it gave none.
    `provider` is what came besides: its `id` and `system_fingerprint`, and `reasoning_details` that
    are signed or encrypted (`traces.signed`).
    """

    key: str
    prompt_id: str
    sample: int
    attempt: int
    status: Status
    teacher: str
    sampling: Sampling
    content: str = ""
    raw_reasoning: str | None = None
    reasoning: str | None = None
    answer: str | None = None
    split: str = ""
    flags: tuple[str, ...] = ()
    fidelity: Fidelity = "full"
    finish_reason: str = ""
    token_ids: tuple[int, ...] | None = None
    logprobs: TopLogprobs | None = None
    usage: Usage = Usage()
    tool_calls: tuple[dict[str, Any], ...] = ()
    provider: dict[str, Any] = {}
    origin: dict[str, Any] = {}  # of a logged turn: conversation, turn, and what comes after it
    cost_micro_usd: int | None = None
    returned_model: str = ""
    http_status: int = 0
    error: str = ""
    started_us: int = 0
    finished_us: int = 0


class Score(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one model says of each token of a trace that it need not have written.

    `scorer` is the id of its `TeacherRecord`. `token_ids` are the tokens it scored: the trace in
    the form a student is trained on, end of turn included, and `logprobs` has one position for
    each of them. The model saw the prompt and the tokens before.
    """

    key: str
    scorer: str
    token_ids: tuple[int, ...]
    logprobs: TopLogprobs


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one verifier says of one trace. `unknown` means it abstains, which is not wrong.

    `aspect` is `answer` or `steps`; `verifier` carries its version, as in `math@1`; `tier` is the
    cheapest test that decided; `extracted` the answer it read.
    """

    key: str
    aspect: Literal["answer", "steps"]
    verifier: str
    outcome: Outcome
    tier: str = ""
    reason: str = ""
    extracted: str | None = None


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """Kept or dropped, and why: the rule, the value that was measured and the threshold."""

    key: str
    prompt_id: str
    kept: bool
    rule: str = "kept"
    value: float | str | None = None
    threshold: float | str | None = None
