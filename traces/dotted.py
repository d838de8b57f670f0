"""What a user names by `package.module:attribute`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from traces.errors import UserError


def dotted(path: str, what: str) -> Any:
    """What is at a dotted path; `what` it is to be goes into the message.

    Raises:
        UserError: there is no such module or attribute, or it is no path.
    """
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(f"cannot load the {what} {path!r}: {error}") from error
