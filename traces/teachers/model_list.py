"""Read the list of models that an endpoint has."""

from __future__ import annotations

from typing import Any

import msgspec

WEIGHTS = ("root", "revision", "quantization", "max_model_len", "size", "meta")
"""What tells weights of one name apart, where a server gives it."""


class Listed(msgspec.Struct, frozen=True):
    """One model of an endpoint's list. `weights` is what tells servers of one name apart."""

    name: str
    owner: str = ""
    weights: str = ""


def read_models(document: Any) -> tuple[Listed, ...]:
    """The models of a decoded list: `data` with an `id` each, or Gemini's `models` with a `name`.

    Empty where it is no list, or where there are more than it holds.
    """
    if not isinstance(document, dict) or document.get("nextPageToken") or document.get("has_more"):
        return ()
    rows = document.get("data", document.get("models"))
    made = (_listed(row) for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()
    return tuple(listed for listed in made if listed is not None)


def _listed(row: dict[str, Any]) -> Listed | None:
    name = row.get("id", row.get("name"))
    if not isinstance(name, str):
        return None
    weights = {field: row[field] for field in WEIGHTS if row.get(field) is not None}
    owner = row.get("owned_by")
    text = msgspec.json.encode(weights, order="deterministic").decode() if weights else ""
    return Listed(name.removeprefix("models/"), owner if isinstance(owner, str) else "", text)
