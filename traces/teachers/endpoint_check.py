"""Ask an endpoint, before anything is paid for, whether it will do what the recipe wants."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from traces.errors import TeacherError
from traces.record import Message, Sampling
from traces.teachers.chat_client import ChatClient
from traces.teachers.chat_reply import Reply
from traces.teachers.model_list import Listed
from traces.teachers.profile import from_server
from traces.teachers.retry import Failure

HINTS = {
    0: "is the server running, and is teacher.base_url its address?",
    400: "the endpoint does not accept these settings; see teacher.extra_body",
    401: "check the key in the environment variable that teacher.api_key_env names",
    402: "the account behind the key has no credit left",
    403: "the key may not use this model or endpoint",
    404: "check teacher.base_url (up to and including /v1) and teacher.model; does `profile` name "
    "the interface that is there?",
    429: "the endpoint is busy; try again later",
}

CANARY = Sampling(temperature=0.0, top_p=1.0, max_tokens=1, top_logprobs=1)


class Canary(msgspec.Struct, frozen=True):
    """What one small request showed of an endpoint, for the manifest.

    `weights` is what its list of models tells of the weights, `owner` who it says owns the model.
    """

    returned_model: str
    server: str
    models: tuple[str, ...]
    reasoning_field: str
    usage: bool
    logprobs: bool
    token_ids: bool
    owner: str = ""
    weights: str = ""
    fingerprint: str = ""
    endpoint: str = ""


async def run_canary(
    client: ChatClient,
    model: str,
    body_of: Callable[[Sequence[Message], Sampling], bytes],
    ask: Callable[[bytes, int], Awaitable[Reply | Failure | None]],
) -> Canary:
    """Ask for the list of models and for one token.

    Args:
        client: The open connections, for the list.
        model: The model that is wanted.
        body_of: Makes a request body, with everything that a harvest would send.
        ask: Sends it, asking again where that can help.

    Raises:
        TeacherError: the endpoint cannot be reached, refuses, or does not have the model.
    """
    models = await client.models()
    if isinstance(models, Failure):
        raise refusal(client, models)
    names = tuple(listed.name for listed in models)
    found = listed_as(model, models)
    if models and found is None:
        raise TeacherError(_not_served(client, model, names), "write one of these in teacher.model")
    mine = found or Listed(model)
    client.profile = from_server(client.profile, client.server, mine.owner)
    greeting = (Message("user", "Say yes."),)
    reply = await ask(body_of(greeting, CANARY), CANARY.top_logprobs)
    if isinstance(reply, Failure) and reply.http_status in (400, 422, 500, 501):
        without = msgspec.structs.replace(CANARY, top_logprobs=0)  # some refuse logprobs
        reply = await ask(body_of(greeting, without), 0)
    if not isinstance(reply, Reply):
        raise refusal(client, reply or Failure("broken", "cancelled", "the check was stopped"))
    return Canary(
        returned_model=reply.returned_model,
        server=client.server,
        models=names[:50],
        reasoning_field=reply.reasoning_field,
        usage=reply.usage.source == "server",
        logprobs=reply.logprobs is not None or "logprobs_without_ids" in reply.flags,
        token_ids=reply.token_ids is not None,
        owner=mine.owner,
        weights=mine.weights,
        fingerprint=reply.fingerprint,
        endpoint=str(client.base_url),
    )


def listed_as(model: str, models: Sequence[Listed]) -> Listed | None:
    """What an endpoint's list says of `model`, None where it is not in it."""
    return next((listed for listed in models if _same_model(model, listed.name)), None)


def same_weights(canaries: Sequence[Canary]) -> None:
    """Prove, as far as they tell, that all endpoints serve the same weights.

    Raises:
        TeacherError: two differ, named with what differs.
    """
    first = canaries[0]
    for other in canaries[1:]:
        for field in ("returned_model", "weights", "fingerprint"):
            mine, theirs = getattr(first, field), getattr(other, field)
            if mine and theirs and mine != theirs:
                raise TeacherError(
                    f"the endpoints serve different models: {field} is {mine} at {first.endpoint} "
                    f"and {theirs} at {other.endpoint}",
                    "traces of different weights do not mix: harvest them as two teachers",
                )


def refusal(client: ChatClient, failure: Failure, alike: int = 1) -> TeacherError:
    """The error that stops a run: what the endpoint said, and what to do about it."""
    count = f" ({alike} requests in a row)" if alike > 1 else ""
    status = failure.http_status
    default = "ask it by hand to see what is wrong; the same command goes on where this one stopped"
    if failure.status == "malformed":
        default = "is teacher.base_url the address of a chat-completions endpoint?"
    if failure.kind == "changed":
        default = "traces of different weights do not mix: start another run for the new model"
    hint = default if failure.status == "malformed" else HINTS.get(status, default)
    return TeacherError(f"the endpoint {client.base_url}: {failure.error}{count}", hint)


def _not_served(client: ChatClient, model: str, models: Sequence[str]) -> str:
    alike = [difflib.SequenceMatcher(None, model, name).ratio() for name in models]
    order = sorted(range(len(models)), key=lambda index: -alike[index])  # ties as they are listed
    near = [models[index] for index in order[:5]]
    more = f" and {len(models) - len(near)} more" if len(models) > len(near) else ""
    names = ", ".join(repr(name) for name in near)
    return f"the endpoint {client.base_url} does not serve {model!r}; it has {names}{more}"


def _same_model(asked: str, listed: str) -> bool:
    """Whether a listed name is the asked one, with or without a `:tag` or `:variant`."""
    asked = asked.removeprefix("models/")  # as Gemini writes them
    return asked == listed or asked.partition(":")[0] == listed or listed == f"{asked}:latest"
