"""The teacher whose completions somebody saved in a file: nothing is asked, texts are matched.

A completion belongs to the prompt that asks the same question, up to white space and Unicode
composition; system messages are not compared. The n-th completion of a question in the file is its
sample n - 1.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from traces.columns import ANSWER, columns_of, pick
from traces.errors import DataError
from traces.jsonio import Faults, read_rows
from traces.keys import teacher_id
from traces.prompts import load_prompts
from traces.record import Fidelity, Message, Prompt, Status, TeacherRecord, Trace, Usage
from traces.teachers.protocol import Request
from traces.teachers.saved_formats import Completion, find_format, read_completions
from traces.teachers.saved_matching import Wanted, names_of, question_name
from traces.transfer import parse_export

log = logging.getLogger(__name__)

_CUT = frozenset({"length", "max_tokens"})
_FILTERED = frozenset({"content_filter", "refusal"})


class Matching(msgspec.Struct, frozen=True):
    """How a file and prompts fit: matched + unmatched == completions.

    `unmatched_places` are the first three completions whose question no prompt asks;
    `unusable_rows` hold no completion at all.
    """

    prompts: int
    prompts_without: int
    completions: int
    matched: int
    unmatched: int
    unmatched_places: tuple[str, ...]
    unusable_rows: int


class SavedTeacher:
    """Reads completions from a file; see the module for what matches what."""

    def __init__(
        self,
        path: Path,
        *,
        model: str = "unknown",
        revision: str = "",
        licence: str = "",
        fidelity: Fidelity = "full",
        instructions: Sequence[str] = (),
        context: Sequence[Message] = (),
    ) -> None:
        """`instructions` are ends of questions that the prompts have and the file may not.

        `context` is what the teacher saw besides the question; it goes into the record.

        Raises:
            DataError: the file is missing, empty, or of no known format.
        """
        self.path = path
        self.form = find_format(path)
        self._fidelity = fidelity
        self._instructions = tuple(instructions)
        record = TeacherRecord(
            id="",
            kind="file",
            model=model,
            revision=revision,
            made_of=f"completions saved in {path.name} ({_digest(path)})",
            licence=licence,
            context=tuple(context),
        )
        self.record = msgspec.structs.replace(record, id=teacher_id(record))

    def check(self) -> None:
        """Read the whole file, so that a broken line is named before anything is written.

        Raises:
            DataError: lines are broken, or no row holds a completion: the first faults are named.
        """
        faults = Faults()
        if not sum(1 for _ in read_completions(self.path, faults)):
            faults.raise_if_any("rows like that", "each row must hold a question and a completion")
            raise DataError(f"{self.path}: holds no completions")
        if faults.count:
            named = "; ".join(faults.named)
            log.warning("%d rows hold no completion and are passed over: %s", faults.count, named)

    def answer(
        self,
        requests: Iterable[Request],
        emit: Callable[[Trace], None],
        stopping: Callable[[], bool],
    ) -> None:
        """Emit one trace for each request, in the order of the file; `empty` where it has none.

        All requests are held in memory while the file is read once.
        """
        wanted = Wanted(requests, self._instructions)
        for completion in read_completions(self.path):
            if stopping():
                return
            for request in wanted.take(completion):
                emit(self._trace(request, completion))
        for request, held in wanted.left():
            if stopping():
                return
            emit(self._missing(request, held))

    def match(self, prompts: Iterable[Prompt]) -> Matching:
        """Count which completions belong to which of `prompts`. Reads the whole file."""
        wanted = {p.id: names_of(p.messages, self._instructions) for p in prompts}
        known = {name for names in wanted.values() for name in names}
        faults = Faults()
        found: set[bytes] = set()
        places: list[str] = []
        completions = unmatched = 0
        for completion in read_completions(self.path, faults):
            completions += 1
            name = question_name(completion.messages)
            found.add(name)
            if name not in known:
                unmatched += 1
                places += [completion.place] * (len(places) < 3)
        without = sum(found.isdisjoint(names) for names in wanted.values())
        return Matching(
            prompts=len(wanted),
            prompts_without=without,
            completions=completions,
            matched=completions - unmatched,
            unmatched=unmatched,
            unmatched_places=tuple(places),
            unusable_rows=faults.count,
        )

    def _trace(self, request: Request, completion: Completion) -> Trace:
        own = self._blank(request, _status(completion))
        if completion.trace:
            names = ("key", "prompt_id", "sample", "attempt", "teacher", "sampling", "fidelity")
            changes = {name: getattr(own, name) for name in names}
            return msgspec.structs.replace(completion.trace, **changes)
        from traces.split import split

        parts = split(completion.content, completion.reasoning, completion.finish_reason)
        characters = len(completion.content) + len(completion.reasoning or "")
        return msgspec.structs.replace(
            own,
            content=completion.content,
            raw_reasoning=completion.reasoning,
            reasoning=parts.reasoning,
            answer=parts.answer,
            split=parts.method,
            flags=parts.flags,
            finish_reason=completion.finish_reason,
            usage=Usage(completion=-(-characters // 4), source="estimated"),
        )

    def _missing(self, request: Request, held: int) -> Trace:
        error = f"{self.path.name} holds {held} completions of this question"
        return msgspec.structs.replace(self._blank(request, "empty"), error=error)

    def _blank(self, request: Request, status: Status) -> Trace:
        return Trace(
            key=request.key,
            prompt_id=request.prompt.id,
            sample=request.sample,
            attempt=request.attempt,
            status=status,
            teacher=self.record.id,
            sampling=request.sampling,
            fidelity=self._fidelity,
        )


def prompts_from(
    path: Path,
    *,
    verifier: str = "auto",
    instruction: str = "",
    system: str = "",
    domain: str = "",
    limit: int | None = None,
) -> list[Prompt]:
    """The prompts that the completions of a file answer; references where a column holds them.

    An export gives its own prompts, as they were. Otherwise as `traces.prompts.load_prompts`, but
    a file without reference answers gives prompts without reference.

    Raises:
        DataError: as `load_prompts`.
    """
    form = find_format(path)
    if form.name == "export":
        parsed = (parse_export(row.value).prompt for row in read_rows(path))
        return list({prompt.id: prompt for prompt in parsed if prompt}.values())[:limit]
    columns = set(columns_of([next(read_rows(path)).value])) - {form.text, form.question}
    answer = pick(ANSWER, columns, "answer", path)
    if answer is None and verifier == "auto":
        verifier = "none"
    return load_prompts(
        path,
        question=form.question,
        answer=answer,
        verifier=verifier,
        instruction=instruction,
        system=system,
        domain=domain,
        limit=limit,
    )


def writers(path: Path) -> list[TeacherRecord]:
    """Who wrote the traces of an export, as its rows have it; none for a file of another form.

    Raises:
        DataError: as `find_format`.
    """
    if find_format(path).name != "export":
        return []
    found: dict[str, TeacherRecord] = {}
    for row in read_rows(path):
        with suppress(ValueError):  # a broken row is the business of `SavedTeacher.check`
            record = parse_export(row.value).teacher_record
            if record is not None:
                found[record.id] = record
    return list(found.values())


def _status(completion: Completion) -> Status:
    if completion.finish_reason in _CUT:
        return "truncated"
    if completion.finish_reason in _FILTERED:
        return "refused"
    if not completion.content.strip() and not (completion.reasoning or "").strip():
        return "empty"
    return "ok"


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=6)
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
