"""Changing params.yaml changes values: no comment, no blank, no line end."""

from itertools import cycle
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.study.yaml_edit import unified_diff, update_yaml
from tests import ROOT
from vaelab.config import UserError

PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")


def read(text: str, version: tuple[int, int] = (1, 2)) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = version
    return yaml.load(text)


SECTIONS = read(PARAMS)


def parted(line: str) -> tuple[str, str, int, str]:
    """Part a line of params.yaml into its key, its value, the number of blanks and its comment."""
    key, _, rest = line.partition(": ")
    value, _, comment = rest.partition(" #")
    return key, value.rstrip(), rest.index("#") - len(value.rstrip()), comment


@pytest.mark.parametrize("section", SECTIONS)
def test_only_the_values_in_params_yaml_change(section):
    names = [key for key, old in SECTIONS[section].items() if not isinstance(old, dict)]
    values = dict(zip(names, cycle([-7, "a text longer than what stands in its place"])))
    text = update_yaml(PARAMS, {f"{section}.{key}": value for key, value in values.items()})
    lines = zip(PARAMS.split("\n"), text.split("\n"), strict=True)
    changed = [(old, new) for old, new in lines if old != new]
    assert [old.split(":")[0].strip() for old, _ in changed] == names
    for (old, new), value in zip(changed, values.values(), strict=True):
        key, before, blanks, comment = parted(old)
        room = len(before) + blanks - len(str(value))
        assert parted(new) == (key, str(value), room if room >= 1 else 2, comment)
    assert read(text) == SECTIONS | {section: SECTIONS[section] | values}


def test_other_line_ends_change_nothing_else():
    changes: dict[str, Any] = {"data.name": "é", "train.epochs": 12, "other.key": [1]}
    for begin, newline, end in [("", "\r\n", "\r\n"), ("\ufeff", "\r\n", ""), ("", "\r", "")]:
        text = begin + PARAMS.rstrip().replace("\n", newline) + end
        expected = update_yaml(PARAMS, changes).rstrip().replace("\n", newline)
        assert update_yaml(text, changes) == begin + expected + end


def test_a_setting_and_a_section_are_added_to_params_yaml():
    text = update_yaml(PARAMS, {"train.new": True, "other.key": 1.5, "other.more": [1, "x"]})
    after = PARAMS.index("\n\n", PARAMS.index("\ntrain:"))
    assert text == (
        f"{PARAMS[:after]}\n  new: true{PARAMS[after:]}\nother:\n  key: 1.5\n  more: [1, x]\n"
    )


def test_the_values_that_stand_there_already_change_nothing():
    text = "a: {b: 1e-3, c: 'x', d: ~, e: [1,2], f: 0x10, g: &g .nan}"
    assert update_yaml(text, {f"a.{key}": value for key, value in read(text)["a"].items()}) == text
    assert update_yaml(text, {}) == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a: 1   # c", "a: 123 # c"),
        ("a: 1  # c", "a: 123  # c"),  # no room: as far apart as before
        ("a: 1 # c", "a: 123 # c"),
        ("a: 1     # c", "a: 123   # c"),
        ("a: 12345 # c", "a: 123   # c"),
        ("a: 1   #\tc\t#\t", "a: 123 #\tc\t#\t"),
        ("a: 1", "a: 123"),
        ("a: 1  \nb: 2", "a: 123  \nb: 2"),
        ("a: 1 # c\r\n\r\n# d\r\nb: 2", "a: 123 # c\r\n\r\n# d\r\nb: 2"),
        ("a: 1    # c\rb: 2\r", "a: 123  # c\rb: 2\r"),
        ("\ufeffa: 1    # c\n", "\ufeffa: 123  # c\n"),
        ("\ufeff# é\n\n'a' : 1 # 😀\n", "\ufeff# é\n\n'a' : 123 # 😀\n"),
        ("'😀é': '😀'\na: 'é😀'    # 😀\n", "'😀é': '😀'\na: 123     # 😀\n"),
        ("a: 'x # y'  # c", "a: 123      # c"),
        ("a: x#y    # c", "a: 123    # c"),
        ("a: ~\n", "a: 123\n"),
        ("a: !!float 1 # c", "a: 123       # c"),
        ("b: &b 1\nc: *b\na: 1\n", "b: &b 1\nc: *b\na: 123\n"),
        ("%YAML 1.1\n---\na: on # c\n...\n", "%YAML 1.1\n---\na: 123 # c\n...\n"),
        ("? a\n: 1\n", "? a\n: 123\n"),
        # No value.
        ("a:", "a: 123"),
        ("a:\nb: 2\n", "a: 123\nb: 2\n"),
        ("a:       # c\n\n# d\nb: 2\n", "a: 123   # c\n\n# d\nb: 2\n"),
        ("{a: , b: 2}", "{a: 123 , b: 2}"),
        # In a flow mapping, the comment is further on.
        ("{a: 1, b: 'x # y'}    # c", "{a: 123, b: 'x # y'}  # c"),
        ('{"a":1,"b":2}', '{"a":123,"b":2}'),
        ("{\n  a: 1,   # c\n  b: 2 # d\n}\n", "{\n  a: 123, # c\n  b: 2 # d\n}\n"),
        # Values of more than one line.
        ("a: [1,\n  2]    # c\nb: 2", "a: 123  # c\nb: 2"),
        ("a: 'x\n  y'    # c\nb: 2", "a: 123  # c\nb: 2"),
        ("a:\n  x\n  y\n# c\nb: 2", "a:\n  123\n# c\nb: 2"),
        ("a: |\n  x # no comment\n\n  y\n\n# c\nb: 2\n", "a: 123\n\n# c\nb: 2\n"),
        ("a: >-\n  x\n  y", "a: 123"),
        ("a:     # c\n# d\n- 1\n-\n\n  # e\nb: 2", "a: 123 # c\n# d\n\n  # e\nb: 2"),
        ("a:\n\n- |\n  # no comment\nb: 2", "a: 123\n\nb: 2"),
        ("a:\r- 1\rb: 2", "a: 123\rb: 2"),
        ("b: 2\r\na:\r\n  - 1\r\n  - [2, 3]", "b: 2\r\na: 123"),
    ],
)
def test_a_value_is_replaced_in_place(before, after):
    assert update_yaml(before, {"a": 123}) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("s:\n  b: 1\n", "s:\n  b: 1\n  a: 5\n"),
        ("s:\n  b: 1", "s:\n  b: 1\n  a: 5"),
        ("s:\r\n    b: 1\r\n\r\nt: 2", "s:\r\n    b: 1\r\n    a: 5\r\n\r\nt: 2"),
        (
            "s:\n  b: 1 # c\n  # d\n\n# e\n\nt: 2\n",
            "s:\n  b: 1 # c\n  # d\n  a: 5\n\n# e\n\nt: 2\n",
        ),
        ("s:\n  b:\nt: 2\n", "s:\n  b:\n  a: 5\nt: 2\n"),
        ("s:\n  b:\n  - 1\n  -\nt: 2\n", "s:\n  b:\n  - 1\n  -\n  a: 5\nt: 2\n"),
        ("s:\n  b: |\n    # x\n\nt: 2\n", "s:\n  b: |\n    # x\n  a: 5\n\nt: 2\n"),
        ("s:\n  b:\n    c: 1\n  d: 2\nt: 2\n", "s:\n  b:\n    c: 1\n  d: 2\n  a: 5\nt: 2\n"),
        ("  s:\n   b: 1\n  t: 2\n", "  s:\n   b: 1\n   a: 5\n  t: 2\n"),
        # In a flow mapping.
        ("s: {b: 1}       # c\n", "s: {b: 1, a: 5} # c\n"),
        ("s: {}         # c\n", "s: {a: 5}     # c\n"),
        ("s: { b: [1], }\n", "s: { b: [1], a: 5, }\n"),
        ("s: {b: }\n", "s: {b: , a: 5 }\n"),
        ("s: {b}\n", "s: {b , a: 5}\n"),
        ("s: {\n  b: 1, # c\n  d: 2 # e\n}\n", "s: {\n  b: 1, # c\n  d: 2, a: 5 # e\n}\n"),
        ('{"s":{"b":1}}', '{"s":{"b":1, a: 5}}'),
        # No section.
        ("t: 2\n", "t: 2\ns:\n  a: 5\n"),
        ("t: 2", "t: 2\ns:\n  a: 5"),
        ("t: 2\r\n...\r\n", "t: 2\r\ns:\r\n  a: 5\r\n...\r\n"),
        ("t:\n    b: 1\n", "t:\n    b: 1\ns:\n    a: 5\n"),
        ("t:\n  b: 1\n\nu:\n  b: 1", "t:\n  b: 1\n\nu:\n  b: 1\n\ns:\n  a: 5"),
        ("t:\n  b: 1\n  # c\n# d\n", "t:\n  b: 1\n  # c\n# d\ns:\n  a: 5\n"),
        ("{}", "{s: {a: 5}}"),
        ("{t: 2}", "{t: 2, s: {a: 5}}"),
        # No content.
        ("", "s:\n  a: 5\n"),
        ("\ufeff", "\ufeffs:\n  a: 5\n"),
        ("# c", "# c\ns:\n  a: 5"),
        ("\ufeff# c\r\n", "\ufeff# c\r\ns:\r\n  a: 5\r\n"),
        ("---\n", "---\ns:\n  a: 5\n"),
    ],
)
def test_what_is_not_there_is_added_at_the_end(before, after):
    assert update_yaml(before, {"s.a": 5}) == after


def test_names_may_be_of_any_depth_and_hold_dots():
    text = "s:\n  t.u: {low: 1}\n\n  v:\n    w: 2\n"
    changes = {"s.t.u.low": 3, "s.v.w": 4, "s.v.x.y": 5, "z": 6}
    assert update_yaml(text, changes) == (
        "s:\n  t.u: {low: 3}\n\n  v:\n    w: 4\n    x:\n      y: 5\nz: 6\n"
    )


def test_a_name_is_text_and_no_number():
    assert update_yaml("7: 1\n", {"7": 2}) == "7: 1\n'7': 2\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s:\n  a: &x 1\n", "s.a: its value is an anchor or an alias .* write it out"),
        ("b: &x 1\ns:\n  a: *x\n", "s.a: its value is an anchor or an alias .* write it out"),
        ("s:\n  a: [&x 1]\nb: *x\n", "s.a: has a .* anchor or alias in its value: write it on"),
        ("s: &x\n  a: 1\nb: *x\n", "s.a: s has an anchor or an alias .* write its settings out"),
        ("b: &x {a: 1}\ns: *x\n", "s.a: s has an anchor or an alias .* write its settings out"),
        ("b: &x {a: 1}\ns:\n  <<: *x\n", "s.a: s has an anchor or an alias"),
        ("b: &x 1\ns: {c: *x}\n", "s.a: comes after an anchor or an alias"),
        ("s:\n  a: [1, # c\n    2]\n", "s.a: has a comment.* in its value: write it on one line"),
        ("s:\n  a: | # c\n    x\n", "s.a: has a comment.* in its value: write it on one line"),
        ("s:\n  a:\n  - 1 # c\n  - 2\n", "s.a: has a comment.* in its value: write it on one"),
        ("s:\n  a: !!seq\n  - 1\n", "s.a: has a .*tag.* in its value: write it on one line"),
        ("s:\n  a: 1\n  a: 2\n", 'duplicate key "a" .* in line 3: keep one of the two'),
        ("s: {a: 1}\nt: 1\nt: 2\n", 'duplicate key "t" .* in line 3: keep one of the two'),
        ("s.a: 1\ns: {a: 2}\n", "s.a: may mean s.a or s: keep one"),
        ("s: 1\n", "s.a: s must be a section of settings, such as 's: {}'"),
        ("s:\n", "s.a: s must be a section of settings, such as 's: {}'"),
        ("s: [1]\n", "s.a: s must be a section of settings, such as 's: {}'"),
        ("s:\n  a: {b: 1}\n", "s.a: is a section: name a setting in it"),
        ("s: {a}\n", "s.a: has no colon behind its key: write it as 'key: value'"),
        ("s: {a: 1\n", "no valid YAML: .*expected ',' or '}'"),
        ("s: {a: 1}\nb: \x00\n", "no valid YAML: unacceptable character #x0000"),
        ("s: {a: 1}\nb: 2001-99-99\n", "no valid YAML: month must be in 1..12"),
        ("s: {a: 1}\nb: !who 1\n", "no valid YAML: could not determine .* tag '!who'"),
        ("s: {a: 1}\n---\ns: {a: 2}\n", "another document begins in line 2: keep one"),
        ("- s\n", "must be a mapping of sections, such as 'train:'"),
        ("s\n", "must be a mapping of sections, such as 'train:'"),
        # Blank lines that are content, between which and the next key nothing can stand.
        ("s:\n  b: |+\n    x\n\n", "s.a: cannot be changed without changing more: edit the file"),
    ],
)
def test_what_would_be_a_guess_is_refused_in_one_line(text, message):
    with pytest.raises(UserError, match=message) as error:
        update_yaml(text, {"s.a": 5})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["", "s.", ".a", "s..a"])
def test_a_name_has_no_empty_part(name):
    with pytest.raises(UserError, match=r"no name of a setting, .* such as train.kl_weight"):
        update_yaml("s: {a: 1}", {name: 5})


def test_the_difference_shows_the_changed_lines():
    before = "a: 1\r\nb: é\r\nc: 3"
    assert unified_diff(before, update_yaml(before, {"b": 2}), "params.yaml") == (
        "--- a/params.yaml\n+++ b/params.yaml\n@@ -1,3 +1,3 @@\n a: 1\n-b: é\n+b: 2\n c: 3\n"
    )
    assert unified_diff(before, before, "params.yaml") == ""
