"""What `train.loss.kd` of a recipe needs: logprobs of the teacher's, stored with each trace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distill.losses.options import Divergence
from distill.recipe import EndpointTeacher, Kd, LocalTeacher, VllmTeacher
from distill.recipe_file import LoadedRecipe
from traces.errors import RecipeError
from traces.record import TeacherRecord
from traces.store import TraceStore

if TYPE_CHECKING:
    from distill.signal import Signal

WHERE = "or run `distill curate`, then `distill score` on the run, then this again"


def divergence(section: Kd | None) -> Divergence | None:
    """The recipe's divergence as the loss takes it."""
    return Divergence(**section.model_dump()) if section else None


def check_kd(loaded: LoadedRecipe, store: Path | None = None) -> None:
    """Fail before any work where the run cannot come to have what `train.loss.kd` needs.

    Scores that the run's `store` holds already will do, at the temperature of the loss.

    Raises:
        RecipeError: neither the harvest nor a score pass gives logprobs at that temperature.
    """
    kd, harvest = loaded.recipe.train.loss.kd, loaded.recipe.harvest
    if kd is None or (store and store.exists() and _scored_at(store, kd.temperature)):
        return
    where = f"{loaded.path}: train.loss.kd:"
    kind = loaded.recipe.teacher.kind
    if not isinstance(loaded.recipe.teacher, LocalTeacher | VllmTeacher | EndpointTeacher):
        raise RecipeError(f"{where} a teacher of kind {kind!r} gives no logprobs", WHERE[3:])
    if kd.temperature != 1.0:
        raise RecipeError(
            f"{where} temperature {kd.temperature:g} needs logprobs stored for it; a harvest "
            "stores those at 1",
            f"{WHERE[3:]}, with --temperatures 1,{kd.temperature:g}",
        )
    if not harvest.top_logprobs:
        raise RecipeError(
            f"{where} the harvest keeps no logprobs: harvest.top_logprobs is 0",
            f"set harvest.top_logprobs: 20, {WHERE}",
        )


def stored_signal(store: TraceStore, kd: Kd | None, tokenizer_sha: str) -> Signal | None:
    """Where the dataset takes the teacher's distributions from: traces, or the newest scorer.

    The scorer is one of the student's tokenizer that scored at the temperature of the loss.
    """
    if kd is None:
        return None
    from distill.signal import Signal

    teachers = store.teachers()
    fit = [
        name
        for name in store.scored()
        if scored_temperature(teachers[name], kd.temperature)
        and teachers[name].tokenizer_sha == tokenizer_sha
    ]
    if not fit:
        return Signal(kd.temperature)
    return Signal(kd.temperature, lambda key: store.score(key, fit[-1]))


def scored_temperature(scorer: TeacherRecord, temperature: float) -> bool:
    """Whether a scorer stored its logprobs for that temperature."""
    return temperature in scorer.settings.get("temperatures", ())


def scores_state(path: Path) -> dict[str, int]:
    """How many traces each scorer has scored: scores are only ever added."""
    with TraceStore.open(path, readonly=True) as store:
        return {scorer: len(keys) for scorer, keys in store.scored().items()}


def _scored_at(path: Path, temperature: float) -> bool:
    with TraceStore.open(path, readonly=True) as store:
        teachers = store.teachers()
        return any(scored_temperature(teachers[name], temperature) for name in store.scored())
