"""What the recipe asks of a harvest beyond traces: its caps, its target, its licence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec

from distill.recipe import (
    DocumentSource,
    EndpointTeacher,
    FileTeacher,
    Recipe,
    SolverTeacher,
    StoreTeacher,
)
from distill.recipe import Teacher as TeacherSection
from distill.recipe_file import LoadedRecipe
from distill.recipe_needs import is_path
from traces.budget import Budget, Caps, Price
from traces.errors import DataError, TeacherError
from traces.harvest import HarvestCounts
from traces.licence import STRICTNESS, Finding, accept, find_licence
from traces.record import Prompt, TeacherRecord, Trace
from traces.store import TraceStore
from traces.teachers.batch import half
from traces.teachers.profile import find_profile
from traces.teachers.protocol import Teacher
from traces.teachers.saved import writers
from traces.waves import Target

UNKNOWN = "unknown"
"""The model of logs of which nobody said who wrote them."""


def price_of(teacher: TeacherSection) -> Price | None:
    """What the teacher's tokens cost; None where the recipe does not say."""
    if not isinstance(teacher, EndpointTeacher) or teacher.price is None:
        return None
    price = Price.of_dollars(**teacher.price.model_dump())
    return half(price) if teacher.batch else price


HEDGE = 0.02
"""The share of requests that are sent twice where a reply costs nothing."""


def hedge_of(recipe: Recipe, teacher: EndpointTeacher) -> float:
    """The share of requests that may be sent twice.

    Without a word of the recipe none where a price or a key says that replies are paid for; none
    under caps of requests, tokens or money, its own of a judge, which a second copy could pass.
    """
    caps, share, judge = recipe.harvest.caps, recipe.harvest.hedge, recipe.verify.judge
    if not (caps.usd is caps.tokens is caps.requests is None):
        return 0.0
    if judge is not None and teacher is judge.teacher and judge.max_usd is not None:
        return 0.0
    if share is not None:
        return share
    return 0.0 if teacher.price or teacher.api_key_env else HEDGE


def budget_of(recipe: Recipe) -> Budget | None:
    """The budget of a harvest, None where nothing is capped.

    Raises:
        UserError: a cap in money without a price.
    """
    caps = Caps(**recipe.harvest.caps.model_dump())
    return Budget(caps, price_of(recipe.teacher)) if caps.any() else None


@contextmanager
def target_of(recipe: Recipe, prompts: Sequence[Prompt]) -> Iterator[Target | None]:
    """When a prompt has enough, None where all samples are asked for.

    Raises:
        DataError: prompts without a reference, of which no answer can be right.
    """
    section, verify = recipe.harvest, recipe.verify
    if section.until_right is None:
        yield None
        return
    bare = [prompt for prompt in prompts if prompt.reference is None]
    if bare:
        raise DataError(
            f"harvest.until_right: {len(bare)} prompts have no reference, such as {bare[0].source}",
            "give them reference answers, or leave until_right out",
        )
    from traces.verify.pool import Pool
    from traces.verify.run import verify_trace

    with Pool(verify.workers, verify.timeout_s) as pool:

        def judge(prompt: Prompt, trace: Trace) -> bool:
            verdicts = verify_trace(prompt, trace, steps=verify.steps, pool=pool)
            return bool(verdicts) and all(v.outcome == "right" for v in verdicts)

        yield Target(section.until_right, judge, section.give_up, verify.workers)


def writers_of(loaded: LoadedRecipe) -> list[TeacherRecord]:
    """Who made the traces of a store, or of an export of one, as it says; else none."""
    section = loaded.recipe.teacher
    if not isinstance(section, StoreTeacher | FileTeacher):
        return []
    path = loaded.resolve(section.path)
    if not path.is_file():
        return []
    if isinstance(section, FileTeacher):
        return writers(path)
    with TraceStore.open(path, readonly=True) as store:
        return list(store.teachers().values())


def finding_of(teacher: TeacherSection, written_by: Sequence[TeacherRecord] = ()) -> Finding | None:
    """What the registry says of a teacher; None where no model is asked.

    `written_by` made the traces of a store, whatever the recipe calls them; of several models the
    strictest finding holds.
    """
    if isinstance(teacher, SolverTeacher):
        return None
    hosts: tuple[str, ...] = ()
    route = ""
    if isinstance(teacher, EndpointTeacher):
        urls = [teacher.base_url] if isinstance(teacher.base_url, str) else teacher.base_url
        hosts = tuple(dict.fromkeys(urlsplit(url).hostname or "" for url in urls))
        route = find_profile(teacher.profile, hosts[0]).licence_route
    models = {one.model: one.licence for one in written_by if one.model != UNKNOWN}
    if teacher.model != UNKNOWN or not models:
        models.setdefault(teacher.model, "")
    found = [
        find_licence(
            model,
            declared=teacher.licence or declared,
            pinned=teacher.licence_sha256,
            hosts=hosts,
            route=route,
        )
        for model, declared in models.items()
    ]
    return max(found, key=lambda finding: STRICTNESS.index(finding.outputs))


def licence_of(teacher: TeacherSection, written_by: Sequence[TeacherRecord] = ()) -> Finding | None:
    """What the registry says of a teacher, acknowledged; None where no model is asked.

    A model in a folder of the user's, and completions that somebody saved, are the user's word
    unless the registry knows them.

    Raises:
        UserError: its outputs may not train a model, or nobody knows, and nothing was said to that.
    """
    found = finding_of(teacher, written_by)
    if found is None or isinstance(teacher, SolverTeacher):
        return None
    own = isinstance(teacher, FileTeacher | StoreTeacher) or is_path(teacher.model)
    if found.outputs == "unknown" and own and not isinstance(teacher, EndpointTeacher):
        return found
    return accept(found, teacher.licence_ack)


def writers_licences(recipe: Recipe) -> list[Finding]:
    """The same of the teachers that write questions about documents."""
    writers = [s.teacher for s in recipe.prompts if isinstance(s, DocumentSource) and s.teacher]
    return [found for writer in writers if (found := licence_of(writer)) is not None]


def facts_of(teacher: Teacher, top_logprobs: int) -> list[dict[str, Any]]:
    """What the canary calls learnt, for the manifest.

    Raises:
        TeacherError: logprobs are wanted and the endpoint showed that it gives none.
    """
    canaries = getattr(teacher, "canaries", ())
    for canary in canaries:
        if top_logprobs and not canary.logprobs:
            raise TeacherError(
                f"the endpoint {canary.endpoint} gives no logprobs",
                "set harvest.top_logprobs to 0, or serve the model with vLLM or SGLang",
            )
    return [msgspec.to_builtins(canary) for canary in canaries]


def cap_hint(counts: HarvestCounts) -> str:
    """What to do after a cap ended the harvest."""
    spent = (
        f"{counts.cost_micro_usd / 1e6:.2f} dollars spent now; " if counts.cost_micro_usd else ""
    )
    return f"{spent}raise harvest.caps and run again, or ask for fewer samples or prompts"
