"""What is known of each provider, as data: one YAML file each in `profiles/`.

A profile says how a request is written and read, never what a model is: nothing of it enters a
trace's key, so a harvest goes on at another provider of the same weights. Provider facts move, so
each profile is dated, and what the canary call learns overrules it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from traces.errors import UserError
from traces.record import Fidelity

FOLDER = Path(__file__).with_name("profiles")


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One provider.

    `api` is the shape of request and reply; `omit` names sampling fields that are not sent; `body`
    goes along with each request; `tools` says whether a prompt's tools are sent;
    `logprobs_body` goes along where logprobs are asked for; `max_top_logprobs` 0 means that it
    gives none, None that its limit is not known; `concurrency` maps patterns of model names to the
    requests that an account may have in flight; `rate_headers` is the family of its rate headers;
    `reasoning_history` the field in which earlier reasoning is sent back; `signatures` says whether
    signed and encrypted reasoning is sent back with it (`traces.signed`); `stream` asks for
    server-sent events; `one_build` says that a server has one `system_fingerprint` as long as it
    runs, so that another one ends the harvest (hosted services alternate between several);
    `waiting_metric` is the gauge of its `/metrics` that counts requests waiting inside;
    `licence_route` names its terms in `traces/licences.yaml`.
    """

    title: str
    as_of: str
    name: str = ""
    hosts: tuple[str, ...] = ()
    server: tuple[str, ...] = ()
    owned_by: tuple[str, ...] = ()
    api: Literal["chat", "messages", "responses", "gemini"] = "chat"
    auth_header: str = "authorization"
    headers: dict[str, str] = {}
    max_tokens_field: str = "max_tokens"
    omit: tuple[str, ...] = ()
    body: dict[str, Any] = {}
    tools: bool = True
    logprobs_body: dict[str, Any] = {}
    max_top_logprobs: int | None = None
    stream: bool = False
    stream_usage: bool = True
    rate_headers: Literal["openai", "anthropic", "together", "none"] = "openai"
    concurrency: dict[str, int] = {}
    reasoning_history: str = "reasoning_content"
    signatures: bool = False
    fidelity: Fidelity = "full"
    one_build: bool = False
    waiting_metric: str = ""
    licence_route: str = ""
    quirks: tuple[str, ...] = ()

    def ceiling(self, model: str, wanted: int) -> int:
        """Requests in flight at most: what is `wanted`, or less where the provider allows less."""
        for pattern, limit in self.concurrency.items():
            if fnmatchcase(model.lower(), pattern):
                return min(wanted, limit)
        return wanted


@cache
def profiles() -> dict[str, Profile]:
    """All profiles by name."""
    return {profile.name: profile for profile in _read()}


def find_profile(name: str, address: str) -> Profile:
    """The profile called `name`; for `auto` the one of the address, else `generic`.

    `address` is a host and perhaps a path; one provider may have several interfaces under it, of
    which the longest known beginning decides.

    Raises:
        UserError: there is none of that name.
    """
    known = profiles()
    if name == "auto":
        found = [
            (len(place), profile.name)
            for profile in known.values()
            for place in profile.hosts
            if f"{address}/".startswith(f"{place}/")
        ]
        return known[max(found)[1] if found else "generic"]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(
            f"no provider profile is named {name!r}{guess}", f"known: {', '.join(known)}"
        )
    return known[name]


def from_server(profile: Profile, server: str, owner: str) -> Profile:
    """A more telling profile than the generic one, where the server says what it is.

    `server` is its `Server` header, `owner` what its list of models gives as `owned_by`.
    """
    if profile.name == "generic":
        for other in profiles().values():
            named = any(word in server.lower() for word in other.server)
            if named or owner.lower() in other.owned_by:
                return other
    return profile


def _read() -> Iterator[Profile]:
    for path in sorted(FOLDER.glob("*.yaml")):
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        fields |= {"name": path.stem, "as_of": str(fields["as_of"])}
        yield msgspec.convert(fields, Profile)
