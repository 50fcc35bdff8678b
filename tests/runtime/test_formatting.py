"""Numbers and long names as text."""

import pytest

from vaelab.runtime.formatting import format_number, with_error, wrap


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
    ("value", "error", "digits", "text"),
    [
        (-4.0589, 1.4321, 2, "−4.1 ± 1.4"),
        (-4.0589, 1.4321, 1, "−4 ± 1"),
        (102.9134, 0.0996, 2, "102.91 ± 0.10"),
        (1234.56, 23.4, 2, "1,235 ± 23"),
        (1234.56, 234.5, 1, "1,235 ± 200"),
        (0.5, None, 2, "0.5"),
        (0.5, 0.0, 2, "0.5"),
    ],
)
def test_a_value_has_the_digits_of_its_error(value, error, digits, text):
    assert with_error(value, error, digits) == text


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
