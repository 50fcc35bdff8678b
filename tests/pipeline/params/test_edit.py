"""Changing params.yaml changes the values of settings and nothing else."""

from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.params.edit import unified_diff, update_yaml
from tests import ROOT
from vaelab.config import UserError

PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")


def read(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def changed_lines(before: str, after: str) -> list[tuple[str, str]]:
    lines = zip(before.split("\n"), after.split("\n"), strict=True)
    return [(old, new) for old, new in lines if old != new]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_without_changes_every_byte_stays(newline):
    text = PARAMS.replace("\n", newline)
    assert update_yaml(text, {}) == text
    same = {f"train.{key}": value for key, value in read(PARAMS)["train"].items()}
    assert update_yaml(text, same) == text


@pytest.mark.parametrize("section", read(PARAMS))
def test_only_values_change_and_comments_keep_their_column(section):
    old = read(PARAMS)[section]
    new = {key: -7 for key, value in old.items() if not isinstance(value, dict | list)}
    text = update_yaml(PARAMS, {f"{section}.{key}": value for key, value in new.items()})
    lines = changed_lines(PARAMS, text)
    assert [after.partition(":")[0].strip() for _, after in lines] == list(new)
    for before, after in lines:
        assert before.partition("#")[2] == after.partition("#")[2]
        assert before.index("#") == after.index("#")
    assert read(text) == read(PARAMS) | {section: old | new}


def test_an_objectives_own_setting_changes():
    text = update_yaml(PARAMS, {"objectives.beta_vae.capacity_nats": 25.0})
    ((_, after),) = changed_lines(PARAMS, text)
    assert after.startswith("    capacity_nats: 25.0      # final target of the mean KL")


def test_a_comment_moves_only_where_the_value_needs_its_room():
    text = update_yaml("a: 1 # c\nb: 1    # d\n", {"a": "long", "b": "long"})
    assert text == "a: long # c\nb: long # d\n"


def test_missing_settings_and_sections_are_added():
    changes = {"train.new": True, "objectives.own.weight": 0.5, "other.key": [1, "x"]}
    text = update_yaml(PARAMS, changes)
    added = [line[1:] for line in unified_diff(PARAMS, text, "p").splitlines() if line[0] == "+"]
    assert added[1:] == [
        "  new: true",
        "  own:",
        "    weight: 0.5",
        "other:",
        "  key: [1, x]",
    ]
    assert all(line in text.splitlines() for line in PARAMS.splitlines())
    content = read(text)
    assert content["train"]["new"] is True
    assert content["objectives"]["own"] == {"weight": 0.5}
    assert content["other"] == {"key": [1, "x"]}


@pytest.mark.parametrize("text", ["", "{}\n", "# only a comment\n", "# no line end"])
def test_an_empty_file_gets_its_first_section(text):
    after = update_yaml(text, {"objectives.beta_vae.capacity_nats": 1.0})
    assert read(after) == {"objectives": {"beta_vae": {"capacity_nats": 1.0}}}
    assert ("#" in after) == ("#" in text)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (True, "true"),
        (None, ""),
        (-12, "-12"),
        (1.0, "1.0"),
        (1e-05, "1e-05"),
        (0.1165, "0.1165"),
        ([], "[]"),
        ([500, 500], "[500, 500]"),
        (["a, b", None, 1e-9], "['a, b', null, 1e-09]"),
        ("adam", "adam"),
        ("cuda:0", "cuda:0"),
        ("it's # not", '"it\'s # not"'),
        ("true", "'true'"),
        ("null", "'null'"),
        ("", "''"),
        ("7", "'7'"),
        ("1e5", "'1e5'"),
        ("é😀", "é😀"),
    ],
)
def test_a_value_reads_back_as_it_was(value, written):
    text = update_yaml("s:\n  a: 0 # c\n", {"s.a": value})
    assert text.split("# c") == [f"s:\n  a: {written} " if written else "s:\n  a:   ", "\n"]
    assert repr(read(text)["s"]["a"]) == repr(value)


def test_quotes_and_other_spellings_stay():
    text = "s: {a: 1, b: 'x', c: 1e-3, d: \"y\", e: [1, 2]}\nt: 0x10\n"
    assert update_yaml(text, {"s.a": 2}) == text.replace("a: 1", "a: 2")


def test_an_alias_of_one_value_is_written_out():
    assert update_yaml("x: &x 1\ns: {a: *x}\n", {"s.a": 5}) == "x: &x 1\ns: {a: 5}\n"
    assert read(update_yaml("s: {a: &x 1}\nt: *x\n", {"s.a": 5})) == {"s": {"a": 5}, "t": 1}


def test_an_alias_of_a_section_is_refused():
    with pytest.raises(UserError, match=r"s\.a: cannot be set without a change of other settings"):
        update_yaml("x: &x {a: 1}\ns: *x\n", {"s.a": 5})


def test_the_difference_shows_the_changed_lines():
    before = "a: 1\r\nb: é\r\nc: 3\r\n"
    assert unified_diff(before, update_yaml(before, {"b": 2}), "params.yaml") == (
        "--- a/params.yaml\n+++ b/params.yaml\n@@ -1,3 +1,3 @@\n a: 1\n-b: é\n+b: 2\n c: 3\n"
    )
    assert unified_diff(before, before, "params.yaml") == ""


@pytest.mark.parametrize("value", [[], [8]])
def test_a_list_of_several_lines_becomes_one_line_and_keeps_its_comment(value):
    text = "a:\n  widths:  # of layers\n  - 1\n  - 2\n  other: {}  # and more\n\nb:\n  c: 1\n"
    found = update_yaml(text, {"a.widths": value})
    assert read(found) == {"a": {"widths": value, "other": {}}, "b": {"c": 1}}
    assert "# of layers" in found
