"""Whether a teacher's outputs may train a model: what its weights and its host say.

The registry is data, `traces/licences.yaml`. The stricter of the two wins. What is forbidden or not
known stops a harvest until somebody acknowledges it in writing; the words are kept with the run.
"""

from __future__ import annotations

import ipaddress
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from traces.errors import UserError

Outputs = Literal["allowed", "conditional", "unknown", "forbidden"]
STRICTNESS: tuple[Outputs, ...] = ("allowed", "conditional", "unknown", "forbidden")
PERMISSIVE = frozenset(
    {"apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "isc"}
)
REGISTRY = Path(__file__).with_name("licences.yaml")


class Obligation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What whoever publishes the student has to do; `value` is what a name or a card must hold."""

    kind: Literal[
        "name_prefix", "notice_text", "attribution", "use_restrictions", "flow_down", "mau_limit"
    ]
    text: str
    value: str = ""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one document says of outputs as training data.

    `document_sha256` is of the document's bytes and `retrieved_at` its date; both are null where
    the text was not at hand. `note` says how the entry is known.
    """

    output_training: Outputs
    models: tuple[str, ...] = ()
    route: str = ""
    licence: str = ""
    document: str = ""
    version: str | None = None
    url: str = ""
    document_sha256: str | None = None
    retrieved_at: str | None = None
    obligations: tuple[Obligation, ...] = ()
    reviewer: str = ""
    note: str = ""


class Registry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All entries, of weights and of the routes by which they are reached."""

    as_of: str
    weights: tuple[Entry, ...]
    routes: tuple[Entry, ...]


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """What holds for one teacher; kept in the manifest, `acknowledged` in the user's words."""

    model: str
    outputs: Outputs
    weights: Entry
    route: Entry
    registry: str
    acknowledged: str = ""
    pinned_sha256: str = ""

    @property
    def obligations(self) -> tuple[Obligation, ...]:
        """What whoever publishes the student has to do."""
        return tuple(dict.fromkeys(self.weights.obligations + self.route.obligations))

    @property
    def sha256(self) -> str:
        """The hash of the text that the weights' entry speaks of, empty where nobody pinned it."""
        return self.pinned_sha256 or self.weights.document_sha256 or ""


@cache
def registry() -> Registry:
    """The registry that comes with this version."""
    fields = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))
    return msgspec.convert(fields, Registry)


def find_licence(
    model: str,
    *,
    declared: str = "",
    pinned: str = "",
    hosts: tuple[str, ...] = (),
    route: str = "",
) -> Finding:
    """What the registry says of `model` behind `hosts`.

    Args:
        model: As the endpoint or the hub names it.
        declared: The licence that the user's recipe names; heeded where the registry does not know
            the model and the licence is a permissive one.
        pinned: SHA-256 of the licence's text as the user read it.
        hosts: Where it is served; empty for a model in this process.
        route: The registry's name for the host's terms, where its profile has one.
    """
    known = registry()
    weights = next((e for e in known.weights if _matches(model, e)), None)
    if weights is None and declared.lower() in PERMISSIVE:
        weights = Entry("allowed", licence=declared, document="as the recipe declares")
    weights = weights or Entry("unknown", licence=declared, document="not in the registry")
    terms = next((e for e in known.routes if route and e.route == route), None)
    if terms is None:
        own = all(_is_own(host) for host in hosts)
        said = "served by yourself" if own else f"terms of {', '.join(hosts)} are not known"
        terms = Entry("allowed" if own else "unknown", document=said)
    worst = max(weights.output_training, terms.output_training, key=STRICTNESS.index)
    return Finding(model, worst, weights, terms, known.as_of, pinned_sha256=pinned)


def notes(finding: Finding) -> list[str]:
    """What the person who runs a harvest should know of the licence, in lines."""
    weights, route = finding.weights, finding.route
    name = weights.licence or "licence not known"
    lines = [f"licence: {name} ({weights.document}); outputs for training: {finding.outputs}"]
    if route.route:
        lines.append(f"route: {route.document} ({route.url}): {route.output_training}")
    lines += [f"obligation ({duty.kind}): {duty.text}" for duty in finding.obligations]
    if finding.sha256:
        lines.append(f"the licence's text is pinned: sha256 {finding.sha256}")
    elif weights.url:
        lines.append(
            f"the licence's text is not pinned: read {weights.url}, then set "
            "teacher.licence_sha256 to what `distill licence hash` prints for it"
        )
    if finding.acknowledged:
        lines.append(f"acknowledged: {finding.acknowledged}")
    return lines


def accept(finding: Finding, acknowledged: str) -> Finding:
    """The finding with the user's words.

    Raises:
        UserError: outputs are forbidden or nobody knows, and there are no words.
    """
    words = acknowledged.strip()
    if finding.outputs in ("unknown", "forbidden") and not words:
        worse = max(
            (finding.weights, finding.route), key=lambda e: STRICTNESS.index(e.output_training)
        )
        name = f"{worse.licence}: " if worse.licence else ""
        state = "is forbidden" if finding.outputs == "forbidden" else "may not be allowed"
        raise UserError(
            f"training on outputs of {finding.model!r} {state} ({name}{worse.document})",
            "read the terms; if you may, say so with --licence-ack 'why' (licence_ack of a "
            "teacher that writes questions), or name a permissive licence of its outputs in "
            "teacher.licence; the words are kept with the run",
        )
    return msgspec.structs.replace(finding, acknowledged=words)


def _matches(model: str, entry: Entry) -> bool:
    name = model.lower()
    tails = (name, name.rpartition("/")[2])
    return any(fnmatchcase(tail, glob) for glob in entry.models for tail in tails)


def _is_own(host: str) -> bool:
    """Whether a host is this machine or in a private network."""
    if "." not in host or host.endswith((".local", ".internal", ".lan", ".localhost")):
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False
