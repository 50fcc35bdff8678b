"""`evaluate.level`: what `auto` is; a number counts at both levels."""

import re

import pytest
from pydantic import ValidationError

from tests import ROOT
from vaelab.config import EvaluateSettings, Settings, load_settings, with_changes
from vaelab.config.sections import QUICK

DEFAULTS = {name: EvaluateSettings.model_fields[name].default for name in QUICK}


def levelled(level: str, **given: object) -> EvaluateSettings:
    return EvaluateSettings.model_validate({"level": level} | given)


def chosen(settings: EvaluateSettings) -> dict[str, int | None]:
    return {name: getattr(settings, name) for name in QUICK}


@pytest.mark.parametrize("given", [{}, dict.fromkeys(QUICK, "auto")], ids=["left out", "auto"])
@pytest.mark.parametrize(("level", "expected"), [("full", DEFAULTS), ("quick", QUICK)])
def test_auto_is_of_the_level(
    given: dict[str, object], level: str, expected: dict[str, int]
) -> None:
    assert chosen(levelled(level, **given)) == expected


def test_quick_has_fewer_of_everything_and_changes_nothing_else() -> None:
    full, quick = levelled("full").model_dump(), levelled("quick").model_dump()
    assert {name for name in full if full[name] != quick[name]} == {"level", *QUICK}
    assert all(quick[name] < (full[name] or 10_000) for name in QUICK)


@pytest.mark.parametrize("level", ["full", "quick"])
def test_a_number_counts_at_both_levels(level: str) -> None:
    given = {name: default for name, default in DEFAULTS.items() if name != "bound_images"}
    assert chosen(levelled(level, **given, bound_images=None)) == DEFAULTS
    assert levelled(level, samples=70).samples == 70


@pytest.mark.parametrize(("first", "then"), [("full", QUICK), ("quick", DEFAULTS)])
def test_a_change_of_the_level_changes_what_is_auto(
    first: str, then: dict[str, int | None]
) -> None:
    before = Settings(evaluate=levelled(first, samples="auto", batch_size=7))
    other = {"full": "quick", "quick": "full"}[first]
    after = with_changes(before, {"evaluate.level": other})
    assert chosen(after.evaluate) == then
    assert after.evaluate.batch_size == 7
    assert with_changes(after, {"evaluate.level": first}) == before


def test_a_change_of_the_level_keeps_numbers_that_were_given() -> None:
    before = Settings(evaluate=levelled("full", samples=DEFAULTS["samples"], bound_images=None))
    after = with_changes(with_changes(before, {"train.epochs": 3}), {"evaluate.level": "quick"})
    assert (after.evaluate.samples, after.evaluate.bound_images) == (DEFAULTS["samples"], None)
    assert after.evaluate.likelihood_images == QUICK["likelihood_images"]
    auto = with_changes(after, {"evaluate.samples": "auto"})
    assert auto.evaluate.samples == QUICK["samples"]


def test_other_settings_and_levels_are_refused() -> None:
    with pytest.raises(ValidationError, match="Input should be 'quick' or 'full'"):
        levelled("slow")
    with pytest.raises(ValidationError, match=r"importance_samples\n.*valid integer"):
        levelled("quick", importance_samples="auto")


def test_params_yaml_is_full_and_its_comments_say_what_auto_is() -> None:
    path = ROOT / "params.yaml"
    assert load_settings(path).evaluate == EvaluateSettings()
    said = r"^  (\w+): auto .*\. auto: (\w+), quick (\d+)$"
    found = re.findall(said, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {name: int(quick) for name, _, quick in found} == QUICK
    full = {name: None if full == "all" else int(full) for name, full, _ in found}
    assert full == DEFAULTS
