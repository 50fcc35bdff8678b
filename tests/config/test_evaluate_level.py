"""`evaluate.level`: what `auto` is; a number counts at both levels."""

import re

import pytest
from pydantic import ValidationError

from tests import ROOT
from vaelab.config import EvaluateSettings, load_settings
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
