"""The special columns of a tile of logits: the teacher's ids, then the target if there is one.

They are read before the rest of the row is summed, replaced by -inf for that, and given their own
gradient at the end. A tile may hold only a part of the vocabulary; special columns elsewhere, like
padding, are then no columns of it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distill.losses.batch import Rows
from distill.losses.options import LossOptions


class Columns(NamedTuple):
    """Where m special columns lie in a tile, each [C, m].

    `column` is safe to read and write; `here` says which are columns of this tile; `source` is the
    slot whose value goes to `column`: its own, or for a slot that is not here that of one which is,
    at the same column. Rows with none here, `bare` [C, 1], keep what they hold.
    """

    column: Tensor
    here: Tensor
    source: Tensor
    bare: Tensor


class Special(NamedTuple):
    """Logits u of m special columns: the teacher's k ids, then the target if there is one.

    `logits` [C, m] are -inf in padding and in the slot of a target that is among the ids already.
    `target` [C, 1] is the target's logit; `at_target` [C, k] says which id it is, `padding` [C, k]
    which ids are none.
    """

    logits: Tensor
    target: Tensor | None
    at_target: Tensor
    padding: Tensor


def special_ids(rows: Rows, options: LossOptions) -> tuple[Tensor, Tensor]:
    """The teacher's ids [C, k] and with them the target [C, k + 1], or k without cross-entropy."""
    ids = rows.ids
    if ids is None or options.kd is None:
        ids = torch.empty(len(rows.weights), 0, dtype=torch.int64, device=rows.weights.device)
    if not options.ce:
        return ids, ids
    assert rows.targets is not None
    return ids, torch.cat([ids, rows.targets[:, None]], 1)


def locate(ids: Tensor, first: int, width: int) -> Columns:
    """Where the ids [C, m] lie in a tile that holds `width` columns from column `first` on."""
    here = (ids >= first) & (ids < first + width)
    own = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    home = here.to(torch.int8).argmax(1, keepdim=True)
    source = torch.where(here, own, home)
    bare = ~here.any(1, keepdim=True)
    column = torch.where(bare, 0, (ids - first).gather(1, source))
    return Columns(column, here, source, bare)


def read(tile: Tensor, columns: Columns, softcap: float | None, scale: float) -> Tensor:
    """U [C, m] of the special columns in the raw logits `tile`; -inf where they are not here."""
    u = tile.gather(1, columns.column).to(torch.promote_types(tile.dtype, torch.float32)) * scale
    if softcap is not None:
        u = softcap * torch.tanh(u / softcap)
    return u.masked_fill(~columns.here, -torch.inf)


def write_(tile: Tensor, columns: Columns, values: Tensor) -> None:
    """Put `values` [C, m] into the special columns that are here."""
    values = values.to(tile.dtype).gather(1, columns.source)
    kept = torch.where(columns.bare, tile.gather(1, columns.column), values)
    tile.scatter_(1, columns.column, kept)


def sort_out(u: Tensor, ids: Tensor, rows: Rows, options: LossOptions) -> Special:
    """The special logits `u` [C, m] with padding and the target's second slot taken out."""
    padding = ids < 0
    if not options.ce:
        return Special(u, None, torch.zeros_like(padding), padding)
    assert rows.targets is not None
    at_target = ids == rows.targets[:, None]
    among = at_target.any(1, keepdim=True)
    logits = u.masked_fill(torch.cat([torch.zeros_like(padding), among], 1), -torch.inf)
    return Special(logits, u[:, -1:], at_target, padding)
