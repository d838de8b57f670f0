"""Questions about the recipe's own documents: written by a teacher once, read from their store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from distill.harvest_stage import licence_of
from distill.progress import Progress, Silent
from distill.recipe import DocumentSource
from distill.recipe_file import LoadedRecipe
from traces.documents import Passage, cut, find_files, read_documents
from traces.errors import DataError, Interrupted, PartialError, UserError
from traces.harvest import harvest
from traces.keys import content_hash
from traces.questions import QuestionCounts, read_questions, request_prompts
from traces.record import Prompt, Sampling, Trace
from traces.store import TraceStore
from traces.teachers.protocol import Teacher


class Written(NamedTuple):
    """The questions of one source, and what became of all that was written."""

    source: DocumentSource
    prompts: list[Prompt]
    counts: QuestionCounts


def document_sources(loaded: LoadedRecipe) -> list[DocumentSource]:
    """The sources of the recipe that are written by a teacher, equal ones once."""
    every = (*loaded.recipe.prompts, *loaded.recipe.evaluate.problems)
    found = [source for source in every if isinstance(source, DocumentSource)]
    return list({content_hash(_asked(source)): source for source in found}.values())


def _asked(source: DocumentSource) -> dict[str, Any]:
    """What of a source decides what the teacher is asked."""
    kept = {"paths", "text", "store", "per_passage", "passage_words", "teacher", "temperature"}
    return source.model_dump(mode="json", include={*kept, "max_tokens"})


def write_questions(
    loaded: LoadedRecipe,
    *,
    stopping: Callable[[], bool] = lambda: False,
    say: Progress | None = None,
) -> list[Written]:
    """Have the teacher write what the stores lack; returns what they hold then.

    Raises:
        UserError: documents, teacher or licence are unfit; nothing was asked.
        Interrupted: the user asked to stop; what came is kept.
        PartialError: some requests failed that may succeed later.
    """
    found = []
    for source in document_sources(loaded):
        passages = passages_of(loaded, source)
        wanted = request_prompts(passages, source.per_passage)
        if len(_replies(store_path(loaded, source), wanted)) < len(wanted):
            _ask(loaded, source, passages, stopping, say or Silent())
        found.append(_read(loaded, source, passages))
    return found


def stored_questions(loaded: LoadedRecipe, source: DocumentSource, split: str) -> list[Prompt]:
    """The prompts of one source from its store; `split` is `train` or `test`.

    Raises:
        DataError: a document is unfit, or nothing is held out for a test.
        UserError: the teacher has not written all questions yet.
    """
    passages = passages_of(loaded, source)
    missing, wanted = missing_questions(loaded, source)
    if missing > 0:
        raise UserError(
            f"{loaded.resolve(source.store)}: {missing} of {wanted} passages have no questions yet",
            f"run `distill questions {loaded.path}`; `distill run` does it too",
        )
    held = [held_out(passage, source.held_out_share) for passage in passages]
    part = [p for p, test in zip(passages, held, strict=True) if test == (split == "test")]
    prompts = _read(loaded, source, part).prompts
    if not prompts:
        why = "set held_out_share" if split == "test" else "ask a stronger teacher, or others"
        raise DataError(f"{loaded.resolve(source.store)}: no {split} questions", why)
    return prompts


def missing_questions(loaded: LoadedRecipe, source: DocumentSource) -> tuple[int, int]:
    """How many passages have no questions yet, and how many passages there are."""
    wanted = request_prompts(passages_of(loaded, source), source.per_passage)
    return len(wanted) - len(_replies(store_path(loaded, source), wanted)), len(wanted)


def questions_state(loaded: LoadedRecipe, source: DocumentSource) -> list[str]:
    """What changes when the questions of a source do: the names of all its prompts."""
    return [prompt.id for prompt in _read(loaded, source, passages_of(loaded, source)).prompts]


def passages_of(loaded: LoadedRecipe, source: DocumentSource) -> list[Passage]:
    """All passages of a source's documents, in order, equal ones once."""
    files = find_files(source.paths, loaded.base)
    documents = read_documents(files, base=loaded.base, text=source.text)
    found: dict[str, Passage] = {}
    for document in documents:
        for passage in cut(document, source.passage_words):
            found.setdefault(passage.id, passage)
    return list(found.values())


def held_out(passage: Passage, share: float) -> bool:
    """Whether a passage is kept for the evaluation: a share of all, by content."""
    digest = hashlib.blake2b(passage.text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def writer_of(loaded: LoadedRecipe, source: DocumentSource) -> Teacher:
    """The teacher that writes the questions of a source, ready to answer.

    Raises:
        UserError: it cannot write, or its licence does not allow it.
        TeacherError: it does not answer.
    """
    from distill.sources import make_teacher

    section = source.teacher or loaded.recipe.teacher
    if section.kind not in ("local", "vllm", "endpoint"):
        raise UserError(
            f"a teacher of kind {section.kind!r} cannot write questions",
            "give the source of kind `documents` a teacher of its own",
        )
    licence_of(section)
    teacher = make_teacher(loaded, section)
    teacher.check()
    return teacher


def _ask(
    loaded: LoadedRecipe,
    source: DocumentSource,
    passages: list[Passage],
    stopping: Callable[[], bool],
    say: Progress,
) -> None:
    teacher = writer_of(loaded, source)
    prompts = request_prompts(passages, source.per_passage)
    say.stage("questions", why=f"{len(passages)} passages")
    say.start("passages", len(prompts))
    with TraceStore.open(store_path(loaded, source), stopping=stopping) as store:
        counts = harvest(
            prompts,
            teacher,
            store,
            samples=1,
            sampling=Sampling(source.temperature, max_tokens=source.max_tokens),
            seed=loaded.recipe.seed,
            stopping=stopping,
            on_trace=lambda trace: say.advance(1),
        )
    if counts.not_asked or stopping():
        raise Interrupted("writing questions stopped; what came is saved", "run it again")
    if counts.failed:
        raise PartialError(
            f"{counts.failed} of {counts.requested} requests for questions failed: "
            f"{counts.by_status}",
            "the same command asks for them again",
        )


def _read(loaded: LoadedRecipe, source: DocumentSource, passages: list[Passage]) -> Written:
    asked = request_prompts(passages, source.per_passage)
    replies = _replies(store_path(loaded, source), asked)
    prompts, counts = read_questions(
        [(p, replies.get(a.id)) for p, a in zip(passages, asked, strict=True)],
        passage=source.passage,
        verifier=source.verifier,
        near_duplicate=source.near_duplicate,
        instruction=source.instruction,
        domain=source.domain,
        limit=source.limit,
    )
    return Written(source, prompts, counts)


def _replies(path: Path, asked: list[Prompt]) -> dict[str, Trace]:
    """The trace that answers each request for questions, by the request's prompt."""
    if not path.exists():
        return {}
    wanted = {prompt.id for prompt in asked}
    with TraceStore.open(path, readonly=True) as store:
        final = store.final_keys()
        traces = (t for t in store.traces() if t.key in final and t.prompt_id in wanted)
        return {trace.prompt_id: trace for trace in traces}


def store_path(loaded: LoadedRecipe, source: DocumentSource) -> Path:
    """Where the questions of a source are kept."""
    return loaded.resolve(source.store)
