"""Numbers and long names as text."""

import pytest

from vaelab.runtime.formatting import format_number, wrap


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.0312, 2, "0.031"),
        (123.4, 2, "123"),
        (82.314, 4, "82.31"),
        (-82.314, 4, "−82.31"),
        (52345.2, 4, "52,345"),
        (-1234.56, 4, "−1,234.6"),
        (2000.0, 4, "2,000"),
        (1e-7, 4, "1e−07"),
        (3.2e9, 4, "3.2e+09"),
        (0.0, 4, "0"),
    ],
)
def test_format_number(value, digits, text):
    assert format_number(value, digits) == text


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("short", 9, "short"),
        ("train.kl_weight", 12, "train.\nkl_weight"),
        ("discretized_logistic", 14, "discretized_\nlogistic"),
        ("two words", 5, "two\nwords"),
    ],
)
def test_wrap_breaks_after_dots_then_at_spaces_and_underscores(text, width, lines):
    assert wrap(text, width) == lines
