from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from distill.artifacts import Manifest
from distill.harvest_stage import budget_of, facts_of, hedge_of, licence_of, price_of
from distill.pipeline import run_pipeline
from distill.progress import Silent
from distill.recipe import EndpointTeacher
from distill.recipe_file import LoadedRecipe, load_recipe
from distill.run import read_struct
from tests.fault_server import Answer, Ask, FaultServer, error, good
from traces.budget import Price
from traces.errors import PartialError, TeacherError, UserError
from traces.store import TraceStore

RECIPE = """\
name: small
prompts:
  - {kind: task, task: largest-of-four, count: 6}
teacher: {kind: endpoint, base_url: "%s", model: "%s"}
harvest: {max_tokens: 100, temperature: 0.7, samples: 4}
student: {model: some/student}
evaluate:
  problems:
    - {kind: task, task: largest-of-four, count: 4}
"""
PRICED = "teacher.price={prompt: 1.0, completion: 10.0}"


def recipe(folder: Path, *overrides: str, url: str = "http://127.0.0.1:1/v1", model: str = "m",
           declared: str = "mit") -> LoadedRecipe:  # fmt: skip
    path = folder / "r.yaml"
    path.write_text(RECIPE % (url, model))
    return load_recipe(path, overrides=[f"teacher.licence={declared}", *overrides])


def harvest(loaded: LoadedRecipe, folder: Path) -> Manifest:
    run_pipeline(loaded, folder / "run", upto="harvest", stopping=lambda: False, say=Silent())
    return read_struct(folder / "run/manifest.json", Manifest)


def test_a_cap_stops_with_what_is_saved_and_raising_it_goes_on(tmp_path: Path) -> None:
    with FaultServer(lambda _: good("4")) as server:
        capped = recipe(tmp_path, "harvest.caps.requests=5", PRICED, url=server.url)
        with pytest.raises(PartialError, match="cap of 5 requests was reached with 5 of 24"):
            harvest(capped, tmp_path)
        more = recipe(tmp_path, "harvest.caps.requests=24", PRICED, url=server.url)
        manifest = harvest(more, tmp_path)
    assert sum(server.served.values()) - 2 == 24  # two canary calls
    counts = manifest.stages["harvest"].counts
    assert (counts["asked"], counts["reused"], counts["cost_micro_usd"]) == (19, 5, 19 * 27)


def test_enough_right_answers_are_enough_and_the_rest_adds_up(tmp_path: Path) -> None:
    with FaultServer(lambda _: good("no number at all")) as server:
        loaded = recipe(tmp_path, "harvest.until_right=3", "harvest.give_up=0.5", url=server.url)
        counts = harvest(loaded, tmp_path).stages["harvest"].counts
    keys = (tmp_path / "run/harvest/keys.jsonl").read_text().splitlines()
    assert counts["asked"] == len(keys) < 24
    assert counts["asked"] + counts["spared"] == counts["requested"] == 24


def test_the_manifest_keeps_what_the_canary_and_the_registry_say(tmp_path: Path) -> None:
    with FaultServer(lambda _: good("4")) as server:
        loaded = recipe(tmp_path, 'teacher.licence_ack="our lawyer, 3 May"', url=server.url)
        manifest = harvest(loaded, tmp_path)
    assert manifest.endpoints[0]["returned_model"] == "real-model"
    assert manifest.licence is not None
    assert manifest.licence.acknowledged == "our lawyer, 3 May"


def test_a_teacher_nobody_knows_is_not_harvested_without_a_word(tmp_path: Path) -> None:
    with FaultServer(lambda _: good("4")) as server:
        with pytest.raises(UserError, match="may not be allowed"):
            harvest(recipe(tmp_path, url=server.url, declared='""'), tmp_path)
        assert sum(server.asked.values()) == 1  # the canary call


def test_the_route_is_found_by_the_profile(tmp_path: Path) -> None:
    hosted: dict[str, Any] = {"url": "https://api.openai.com/v1", "model": "gpt-oss-120b"}
    with pytest.raises(UserError, match="is forbidden"):
        licence_of(recipe(tmp_path, **hosted).recipe.teacher)
    found = licence_of(recipe(tmp_path, "teacher.licence_ack=x", **hosted).recipe.teacher)
    assert found is not None
    assert (found.weights.output_training, found.route.route) == ("allowed", "openai-api")


def test_a_cap_in_money_asks_for_a_price(tmp_path: Path) -> None:
    capped = recipe(tmp_path, "harvest.caps.usd=3")
    with pytest.raises(UserError, match="needs the price"):
        budget_of(capped.recipe)
    assert budget_of(recipe(tmp_path).recipe) is None
    assert price_of(recipe(tmp_path, PRICED).recipe.teacher) == Price(1_000_000, 10_000_000)


def test_logprobs_that_the_canary_did_not_get_stop_the_run_early(tmp_path: Path) -> None:
    from traces.teachers.endpoint import EndpointTeacher

    with FaultServer(lambda _: good("4")) as server:
        one = EndpointTeacher(base_url=server.url, model="m")
        one.check()
        assert facts_of(one, 0)[0]["logprobs"] is False
        with pytest.raises(TeacherError, match="gives no logprobs"):
            facts_of(one, 5)


def test_failed_requests_of_a_finished_harvest_are_asked_again(tmp_path: Path) -> None:
    seen: list[str] = []

    def behave(ask: Ask) -> Answer:
        if ask.body["max_tokens"] == 1:  # the canary call
            return good("4")
        seen.append(ask.text)
        return error(413, "too large") if len(seen) in (3, 7) else good("4")

    with FaultServer(behave) as server:
        loaded = recipe(tmp_path, "teacher.concurrency=1", url=server.url)
        first = harvest(loaded, tmp_path).stages["harvest"].counts
        again = harvest(loaded, tmp_path).stages["harvest"].counts
        assert (first["failed"], again, len(seen)) == (2, first, 24)
        options: Any = {"upto": "harvest", "stopping": lambda: False, "say": Silent()}
        run_pipeline(loaded, tmp_path / "run", retry_failed=True, **options)
        manifest = read_struct(tmp_path / "run/manifest.json", Manifest)
        counts = manifest.stages["harvest"].counts
        assert (counts["asked"], counts["reused"], counts["failed"]) == (2, 22, 0)
        run_pipeline(loaded, tmp_path / "run", retry_failed=True, **options)
        assert len(seen) == 26
    with TraceStore.open(tmp_path / "run/harvest/traces.sqlite", readonly=True) as store:
        assert Counter(trace.attempt for trace in store.traces()) == {1: 22, 2: 2}


@pytest.mark.parametrize(
    ("overrides", "share"),
    [
        ((), 0.02),
        ((PRICED,), 0.0),
        (("teacher.api_key_env=KEY",), 0.0),
        ((PRICED, "harvest.hedge=0.1"), 0.1),
        (("harvest.hedge=0.1", "harvest.caps.requests=5"), 0.0),
        (("harvest.caps.hours=5",), 0.02),
        (("harvest.hedge=0",), 0.0),
    ],
)
def test_second_copies_are_for_what_costs_nothing_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], share: float
) -> None:
    monkeypatch.setenv("KEY", "x")
    loaded = recipe(tmp_path, *overrides)
    assert isinstance(loaded.recipe.teacher, EndpointTeacher)
    assert hedge_of(loaded.recipe, loaded.recipe.teacher) == share


@pytest.mark.parametrize(("cap", "share"), [(", max_usd: 1", 0.0), ("", 0.1)])
def test_a_judge_under_a_cap_of_its_own_is_sent_no_second_copies(
    tmp_path: Path, cap: str, share: float
) -> None:
    teacher = (
        "{kind: endpoint, base_url: 'http://j/v1', model: j, price: {prompt: 1, completion: 1}}"
    )
    loaded = recipe(tmp_path, "harvest.hedge=0.1", f"verify.judge={{teacher: {teacher}{cap}}}")
    judge = loaded.recipe.verify.judge
    assert judge is not None
    assert isinstance(judge.teacher, EndpointTeacher)
    assert hedge_of(loaded.recipe, judge.teacher) == share
