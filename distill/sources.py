"""From the recipe's sources and teacher to prompts and a teacher that answers."""

from __future__ import annotations

import os
from collections.abc import Sequence

from distill.recipe import (
    DocumentSource,
    EndpointTeacher,
    FileSource,
    FileTeacher,
    GymSource,
    HubSource,
    LocalTeacher,
    SolverTeacher,
    Source,
    StoreSource,
    StoreTeacher,
    TaskSource,
    Thinking,
    VllmTeacher,
)
from distill.recipe import Teacher as TeacherSection
from distill.recipe_file import LoadedRecipe
from distill.recipe_needs import is_path
from traces.errors import UserError
from traces.keys import content_hash
from traces.record import Message, Prompt
from traces.tasks.families import family, task_prompts
from traces.teachers.protocol import Teacher

EXAMPLE_SEED = 2**31 - 1
"""Worked examples are training problems of a seed that no recipe will choose."""


def load_prompts(loaded: LoadedRecipe, sources: Sequence[Source], split: str) -> list[Prompt]:
    """The prompts of all sources, one after the other. `split` is `train` or `test`.

    Raises:
        UserError: a source is unusable, or two prompts are the same.
    """
    return [prompt for found in load_each(loaded, sources, split) for prompt in found]


def load_each(loaded: LoadedRecipe, sources: Sequence[Source], split: str) -> list[list[Prompt]]:
    """The prompts of each source. Raises as `load_prompts`."""
    found = [_load(loaded, source, split) for source in sources]
    first: dict[str, str] = {}
    for prompt in (prompt for prompts in found for prompt in prompts):
        if prompt.id in first:
            raise UserError(f"{first[prompt.id]} and {prompt.source} are the same prompt")
        first[prompt.id] = prompt.source
    return found


def source_name(source: Source) -> str:
    """What to call a source: its file, dataset, task or documents."""
    if isinstance(source, FileSource | StoreSource):
        return source.path
    if isinstance(source, TaskSource):
        return source.task
    if isinstance(source, DocumentSource):
        return f"questions about {', '.join(source.paths)}"
    return f"gym/{source.dataset}" if isinstance(source, GymSource) else source.dataset


def _load(loaded: LoadedRecipe, source: Source, split: str) -> list[Prompt]:
    if isinstance(source, TaskSource):
        return task_prompts(source.task, source.count, source.seed, split)
    if isinstance(source, GymSource):
        from traces.gym import gym_prompts

        return gym_prompts(**source.model_dump(exclude={"kind"}), split=split)
    if isinstance(source, DocumentSource):
        from distill.questions import stored_questions

        return stored_questions(loaded, source, split)
    if isinstance(source, HubSource):
        return _from_hub(loaded, source)
    if isinstance(source, StoreSource):
        from traces.teachers.stored import stored_prompts

        return stored_prompts(loaded.resolve(source.path), source.limit)
    from traces.prompts import load_prompts as load_file

    return load_file(
        loaded.resolve(source.path),
        **source.model_dump(exclude={"kind", "path"}),
    )


def _from_hub(loaded: LoadedRecipe, source: HubSource) -> list[Prompt]:
    from traces.hub_rows import dataset_name, hub_rows, origin
    from traces.prompts import prompts_from

    config, revision = source.config, source.revision
    dataset = str(loaded.resolve(source.dataset)) if is_path(source.dataset) else source.dataset
    return prompts_from(
        hub_rows(dataset, config=config, split=source.split, revision=revision),
        dataset_name(dataset, revision),
        **source.model_dump(exclude={"kind", "dataset", "split", "config", "revision"}),
        metadata=origin(source.dataset, config, revision),
    )


def source_state(loaded: LoadedRecipe, sources: Sequence[Source]) -> str:
    """A hash that changes when what a source would give changes."""
    state: list[object] = []
    for source in sources:
        state.append(source.model_dump(mode="json"))
        if isinstance(source, FileSource | StoreSource):
            state.append(file_sha(loaded, source.path))
        elif isinstance(source, DocumentSource):
            from distill.questions import questions_state

            state.append(questions_state(loaded, source))
        elif isinstance(source, HubSource) and is_path(source.dataset):
            root = loaded.resolve(source.dataset)
            files = sorted(path for path in root.rglob("*") if path.is_file())
            state += [file_sha(loaded, str(path)) for path in files]
    return content_hash(state)


def file_sha(loaded: LoadedRecipe, path: str) -> str:
    """A hash of a file of the recipe."""
    from hashlib import blake2b

    digest = blake2b(digest_size=16)
    with loaded.resolve(path).open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def make_teacher(loaded: LoadedRecipe, section: TeacherSection | None = None) -> Teacher:
    """The recipe's teacher, not yet asked anything; of another `section` with its system prompt.

    Raises:
        UserError: it is set up wrongly.
    """
    context = teacher_context(loaded) if section is None else _system(section)
    section = section or loaded.recipe.teacher
    if isinstance(section, LocalTeacher):
        from traces.teachers.local import LocalTeacher as Local

        return Local(
            loaded.model(section.model),
            name=section.model,
            revision=section.revision,
            adapter=str(loaded.resolve(section.adapter)) if section.adapter else "",
            made_of=section.made_of,
            batch_size=section.batch_size,
            context=context,
            licence=section.licence,
        )
    if isinstance(section, VllmTeacher):
        from traces.teachers.vllm_engine import VllmTeacher as Vllm

        return Vllm(
            loaded.model(section.model),
            name=section.model,
            **section.model_dump(include={"revision", "made_of", "batch_size", "engine"}),
            context=context,
            licence=section.licence,
        )
    if isinstance(section, EndpointTeacher) and section.batch:
        return _batch_teacher(section, context)
    if isinstance(section, EndpointTeacher):
        from distill.harvest_stage import hedge_of, price_of
        from traces.teachers.endpoint import EndpointTeacher as Endpoint

        return Endpoint(
            base_url=section.base_url,
            model=section.model,
            revision=section.revision,
            api_key=os.environ[section.api_key_env] if section.api_key_env else None,
            **section.model_dump(include={"concurrency", "retries", "timeout_s", "idle_s"}),
            profile=section.profile,
            stream=section.stream,
            price=price_of(section),
            hedge=hedge_of(loaded.recipe, section),
            extra_body=section.extra_body,
            context=context,
            licence=section.licence,
            fidelity=section.fidelity,
        )
    if isinstance(section, FileTeacher):
        from traces.teachers.saved import SavedTeacher

        return SavedTeacher(
            loaded.resolve(section.path),
            model=section.model,
            revision=section.revision,
            licence=section.licence,
            fidelity=section.fidelity,
            context=context,
            instructions=[
                source.instruction
                for source in loaded.recipe.prompts
                if isinstance(source, FileSource) and source.instruction
            ],
        )
    if isinstance(section, StoreTeacher):
        from traces.teachers.stored import StoredTeacher

        return StoredTeacher(loaded.resolve(section.path), licence=section.licence)
    from traces.teachers.solver import SolverTeacher as Solver

    thinking = loaded.recipe.student.thinking
    return Solver(thinking_open=thinking.open, thinking_close=thinking.close)


def _batch_teacher(section: EndpointTeacher, context: tuple[Message, ...]) -> Teacher:
    from distill.harvest_stage import price_of
    from traces.teachers.batch import BatchTeacher

    if not isinstance(section.base_url, str):
        raise UserError("teacher.base_url: batches are asked of one server", "name one")
    return BatchTeacher(
        base_url=section.base_url,
        model=section.model,
        revision=section.revision,
        api_key=os.environ[section.api_key_env] if section.api_key_env else None,
        profile=section.profile,
        extra_body=section.extra_body,
        context=context,
        licence=section.licence,
        fidelity=section.fidelity,
        price=price_of(section),
        timeout_s=section.timeout_s,
        poll_s=section.batch_poll_s,
    )


def _system(section: TeacherSection) -> tuple[Message, ...]:
    text = "" if isinstance(section, SolverTeacher | StoreTeacher) else section.system
    return (Message("system", text),) if text else ()


def teacher_context(loaded: LoadedRecipe) -> tuple[Message, ...]:
    """What the teacher sees and the student does not: a system prompt and worked examples."""
    section = loaded.recipe.teacher
    if isinstance(section, SolverTeacher | StoreTeacher):
        return ()
    context = list(_system(section))
    if isinstance(section.worked_examples, int):
        return (*context, *_task_examples(loaded, section.worked_examples))
    for example in section.worked_examples:
        context.append(Message("user", example.question))
        context.append(Message("assistant", example.response))
    return tuple(context)


def _task_examples(loaded: LoadedRecipe, count: int) -> tuple[Message, ...]:
    """`count` solved problems of the recipe's task sources, none of them among its prompts."""
    if not count:
        return ()
    tasks = [source for source in loaded.recipe.prompts if isinstance(source, TaskSource)]
    if not tasks:
        raise UserError(
            f"teacher.worked_examples: {count} examples can only be made for task prompts",
            "give the examples as a list of question and response",
        )
    taken = {prompt.id for prompt in load_prompts(loaded, tasks, "train")}
    turns: list[Message] = []
    for number in range(count):
        task = tasks[number % len(tasks)].task
        spare = task_prompts(task, count + len(taken), EXAMPLE_SEED, "train")
        free = [prompt for prompt in spare if prompt.id not in taken]
        turns += _solved(task, free[number], loaded.recipe.student.thinking)
    return tuple(turns)


def _solved(task: str, prompt: Prompt, thinking: Thinking) -> tuple[Message, Message]:
    assert prompt.reference is not None
    solution = family(task).solve(prompt.reference.instance)
    text = f"{thinking.open}{solution.reasoning}{thinking.close}{solution.answer}"
    return prompt.messages[0], Message("assistant", text)


_NOT_IN_TRACES = {
    "batch_size", "engine", "concurrency", "retries", "timeout_s", "idle_s", "api_key_env",
    "base_url", "profile", "stream", "batch", "batch_poll_s", "price", "licence_ack",
    "licence_sha256",
}  # fmt: skip


def teacher_state(loaded: LoadedRecipe) -> list[object]:
    """What the teacher's traces depend on: its section without speed settings, and its files."""
    section = loaded.recipe.teacher
    state: list[object] = [section.model_dump(mode="json", exclude=_NOT_IN_TRACES)]
    if isinstance(section, FileTeacher | StoreTeacher):
        state.append(file_sha(loaded, section.path))
    if isinstance(section, LocalTeacher) and section.adapter:
        adapter = f"{section.adapter}/adapter_model.safetensors"
        state.append(file_sha(loaded, adapter))
    return state
