"""The comparison of two runs: what changed, and which differences are beyond their errors."""

from typing import Any

import numpy as np

from vaelab.report.difference import (
    Difference,
    Run,
    build_difference,
    changed_settings,
    differences,
)


def run(name: str, test: dict[str, float], **changes: Any) -> Run:
    fields: dict[str, Any] = {
        "name": name,
        "settings": {"train.kl_weight": 1.0, "train.epochs": 3},
        "metrics": {"test": test},
        "arrays": {},
        "report": f"<p>report of {name}</p>",
        "test_images": "same",
    }
    return Run(**fields | changes)


def only(first: Run, second: Run) -> Difference:
    (found,) = differences(first, second)
    return found


def bound(value: float, error: float = 0.3) -> dict[str, float]:
    return {"neg_elbo_nats": value, "neg_elbo_standard_error_nats": error}


def test_a_difference_is_compared_with_its_standard_error():
    # The error of the difference is 0.5: 3-4-5.
    near = only(run("a", bound(10.0)), run("b", bound(10.9, 0.4)))
    assert (near.difference, near.better) == ("0.9 ± 0.5", "")
    assert near.verdict == "within twice its standard error"
    far = only(run("a", bound(10.0)), run("b", bound(11.1, 0.4)))
    assert (far.difference, far.better) == ("1.1 ± 0.5", "A")
    assert far.verdict == "beyond twice its standard error"
    assert only(run("a", bound(11.1, 0.4)), run("b", bound(10.0))).better == "B"


def test_the_same_images_are_paired():
    first = np.array([1.0, 50.0, 100.0])
    numbers = [{"nll_nats": x, "nll_standard_error_nats": 20.0} for x in (50.3, 51.3)]
    arrays = {"nll": first}, {"nll": first + np.array([1.0, 1.1, 0.9])}
    runs = [run(n, v, arrays=x) for n, v, x in zip("ab", numbers, arrays, strict=True)]
    # The standard deviation of the differences is 0.1.
    assert only(*runs).difference == "1.00 ± 0.06"
    assert only(*runs).better == "A"
    other = run("b", numbers[1], arrays=arrays[1], test_images="other")
    assert only(runs[0], other).verdict == "within twice its standard error"


def test_a_number_without_an_error_is_not_judged():
    found = only(run("a", {"mean_squared_error": 0.1}), run("b", {"mean_squared_error": 0.2}))
    assert (found.better, found.verdict) == ("", "no error was measured")


def test_settings_that_differ_or_are_missing_are_listed():
    second = run("b", {}, settings={"train.kl_weight": 4.0, "train.epochs": 3, "new": 1})
    assert list(changed_settings(run("a", {}), second)) == [
        ("train.kl_weight", 1.0, 4.0),
        ("new", "—", 1),
    ]


def test_the_page_holds_both_reports_escaped():
    text = build_difference(run("a", bound(1.0)), run("<b>", bound(9.0)))
    assert 'srcdoc="&lt;p&gt;report of a&lt;/p&gt;"' in text
    assert "<b>" not in text
    assert "A is better" in text
