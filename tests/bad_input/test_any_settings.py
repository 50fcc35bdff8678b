"""Random settings: valid ones, or an error in one line; nothing else."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests import ROOT
from tests.bad_input.strategies import edited, edits, read_or_refused, refusal, tries
from vaelab.config import Settings, load_settings, parse_settings

VALID = (ROOT / "params.yaml").read_bytes()
SECTIONS = json.loads(json.dumps(YAML(typ="safe").load(VALID)))
KNOWN = [(section, key) for section, values in SECTIONS.items() for key in values]

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**4300, 10**4301)
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["no", "1e-3", "auto", "fitted", "vae", "conv", "http://", "cuda:1"])
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(PLAIN.filter(lambda k: k == k), inner, max_size=3)
    ),
    max_leaves=6,
)
# Values that many settings take, so that some of what is drawn is valid.
LIKELY = st.integers(0, 9) | st.floats(0, 1) | st.lists(st.integers(1, 9), max_size=3) | VALUES


@st.composite
def changed_sections(draw: Any) -> dict[str, Any]:
    """The settings of params.yaml with a few of them replaced."""
    content: dict[str, Any] = json.loads(json.dumps(SECTIONS))
    for section, key in draw(st.lists(st.sampled_from(KNOWN), min_size=1, max_size=3)):
        content[section][key] = draw(LIKELY)
    return content


@tries(60)
@given(VALUES | st.dictionaries(st.sampled_from([*SECTIONS, "other"]), VALUES))
def test_any_mapping_is_settings_or_refused(content: Any) -> None:
    read_or_refused(lambda: parse_settings(content))


@tries(100)
@given(changed_sections())
def test_any_value_is_a_setting_or_refused(content: dict[str, Any]) -> None:
    printed = refusal(lambda: parse_settings(content))
    assert "\n" not in printed
    if printed:
        return
    settings = parse_settings(content)
    assert parse_settings(settings.model_dump()) == settings
    assert parse_settings(settings.model_dump(mode="json")) == settings
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


@tries(30)
@given(edits())
def test_any_damage_to_the_file_is_read_or_refused(changes: list[tuple[float, str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_bytes(edited(VALID, changes))
        read_or_refused(lambda: load_settings(path))


@tries(60)
@given(st.text("[]{}:,-&*!|>%@?#'\"\n\t abn0129.e<~"))
def test_any_text_is_read_or_refused(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_text(text)
        read_or_refused(lambda: load_settings(path))
