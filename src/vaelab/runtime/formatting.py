"""Numbers and long names as text."""

import re
import textwrap


def format_number(value: float, digits: int = 4) -> str:
    """Return a number with `digits` significant digits: 0.031, −82.31, 1,234.5, 52,345."""
    text = f"{value:.{digits}g}"
    if min(10**digits, 1000) <= abs(value) < 1e7:
        tenth = digits > 3 and abs(value) < 1e4
        text = f"{value:,.1f}".removesuffix(".0") if tenth else f"{value:,.0f}"
    return text.replace("-", "−")


def with_error(value: float, error: float | None, digits: int = 1) -> str:
    """Return a value with its standard error, both rounded to the error's first digits."""
    if not error:
        return format_number(value)
    return f"{to_error(value, error, digits)} ± {to_error(error, error, digits)}"


def to_error(value: float, error: float, digits: int = 1) -> str:
    """Return a value rounded to the first digits of its standard error."""
    rounded = f"{error:.{digits - 1}e}"
    decimals = max(0, digits - 1 - int(rounded.partition("e")[2]))
    shown = float(rounded) if value == error else value
    return f"{shown:,.{decimals}f}".replace("-", "−")


def wrap(text: str, width: int) -> str:
    """Return a long name broken into lines: after its dots, then at spaces and underscores."""
    parts = re.split(r"(?<=\.)(?=[a-z])", text) if len(text) > width else [text]
    lines = [textwrap.fill(part.replace("_", "_\0 "), width) for part in parts]
    return "\n".join(lines).replace("\0 ", "").replace("\0", "")
