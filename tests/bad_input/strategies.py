"""What random tests share: how often they try, and how they damage a file."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from vaelab.config import UserError

EDITS = ("replace", "insert", "remove", "cut")


def tries(count: int) -> Callable[[Any], Any]:
    """Try so many examples, always the same ones in CI, and keep none on disk."""
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=bool(os.environ.get("CI")),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def edits() -> st.SearchStrategy[list[tuple[float, str, bytes]]]:
    """Draw a few changes: where, which, and with what."""
    one = st.tuples(st.floats(0, 1), st.sampled_from(EDITS), st.binary(min_size=1, max_size=8))
    return st.lists(one, min_size=1, max_size=3)


def edited(content: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    """Damage a file's content."""
    for where, kind, given in changes:
        start = round(where * len(content))
        rest = {
            "replace": given + content[start + len(given) :],
            "insert": given + content[start:],
            "remove": content[start + len(given) :],
            "cut": b"",
        }
        content = content[:start] + rest[kind]
    return content


def refusal(read: Callable[[], object]) -> str:
    """Return the error of a reader for bad input; nothing if it reads it."""
    try:
        read()
    except UserError as error:
        return str(error) or "nothing\nsaid"
    return ""


def read_or_refused(read: Callable[[], object]) -> None:
    """Let something be read, or refused in one line."""
    assert "\n" not in refusal(read)
