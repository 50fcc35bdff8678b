"""Progress bars of what may take longer than a few seconds."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

DELAY_SECONDS = 2.0
"""What is done before gets no bar."""


def with_bar(items: Iterable[Item], name: str, unit: str) -> Iterator[Item]:
    """Return the items, with a bar on terminals that goes when they are done."""
    yield from tqdm(
        items,
        desc=name,
        unit=f" {unit}",
        delay=DELAY_SECONDS,
        leave=False,
        disable=None,
    )
