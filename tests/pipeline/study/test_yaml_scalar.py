"""What is written into params.yaml reads back as what it was, and looks as plain as it can."""

import random
import struct

import pytest

from pipeline.study.yaml_edit import update_yaml
from tests.pipeline.study.test_yaml_edit import read
from vaelab.config import UserError


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (True, "true"),
        (None, "null"),
        (-12, "-12"),
        (10**30, "1" + "0" * 30),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e-05, "1.0e-05"),  # YAML 1.1 takes 1e-05 for text
        (1.5e-07, "1.5e-07"),
        (1e22, "1.0e+22"),
        (float("-inf"), "-.inf"),
        ([], "[]"),
        ([1, [None, False], "a, b", "c d", 1e-9], "[1, [null, false], 'a, b', c d, 1.0e-09]"),
        ("plain text, é😀: ok", "'plain text, é😀: ok'"),
        ("data/images", "data/images"),
        ("sqlite:///a.db?x=1&y=[2]", "sqlite:///a.db?x=1&y=[2]"),
        ("a, b", "a, b"),
        ("on", "on"),
        ("cuda:0", "cuda:0"),
        ("it's", "it's"),
        ("it's # not", "'it''s # not'"),
        ("true", "'true'"),
        ("null", "'null'"),
        ("~", "'~'"),
        ("", "''"),
        ("7", "'7'"),
        ("1e5", "'1e5'"),
        ("0x1f", "'0x1f'"),
        ("2001-01-01", "'2001-01-01'"),
        (" x ", "' x '"),
        ("#", "'#'"),
        ("*x", "'*x'"),
        ("[", "'['"),
        ("- x", "'- x'"),
        ("x:", "'x:'"),
        ("=", "'='"),
        ('"', "'\"'"),
        ("a\n\n'b'\n", "\"a\\n\\n'b'\\n\""),
        ("2001-99-99", "'2001-99-99'"),  # no date to Python, nothing at all to ruamel.yaml
        ("😀\n", '"😀\\n"'),
        *((f"x{sign}x", f'"x\\u{ord(sign):04x}x"') for sign in "\x85\u2028\ufeff\ud800"),
        ("\x07\x7f\x85\u2028\ufeff\\", '"\\u0007\\u007f\\u0085\\u2028\\ufeff\\\\"'),
    ],
)
def test_a_value_is_written_as_plainly_as_it_can_be_read(value, written):
    assert update_yaml("a: 0 # c", {"a": value}) == f"a: {written} # c"
    assert repr(read(update_yaml("{a: 0}", {"a": value}))) == repr({"a": value})


@pytest.mark.parametrize("key", ["true", "7", "a: b", "<<", "#", "-"])
def test_a_new_key_is_quoted_where_it_must_be(key):
    for text in ("a:\n  b: 1\n", "a: {b: 1}\n"):
        assert read(update_yaml(text, {f"a.{key}": 2})) == {"a": {"b": 1, key: 2}}


def floats() -> list[float]:
    draw = random.Random(0)
    powers = [float(f"1e{exponent}") for exponent in range(-300, 301, 12)]
    bits = (struct.unpack("<d", draw.randbytes(8))[0] for _ in range(100))
    return [*powers, *(1 / 3 * power for power in powers), *(x for x in bits if x == x), 5e-324]


@pytest.mark.parametrize("version", [(1, 1), (1, 2)])
def test_floats_read_back_exactly(version):
    text = update_yaml("a: 0\n", {"a": floats()})
    assert list(map(repr, read(text, version)["a"])) == list(map(repr, floats()))


@pytest.mark.parametrize("value", [1e-300, 1e-05, 1 / 3, 123456789.0, 1e16, -1e300])
def test_a_float_is_written_with_a_point_and_a_signed_exponent(value):
    yaml = pytest.importorskip("yaml")  # YAML 1.1: anything else is text to it
    assert yaml.safe_load(update_yaml("a: 0\n", {"a": value})) == {"a": value}


@pytest.mark.parametrize("value", [{"b": 1}, (1,), [{"b": 1}], b"x"])
def test_other_values_are_refused(value):
    with pytest.raises(UserError, match=r"s.a: .* is no number, text, true, false, null or list"):
        update_yaml("s: {a: 1}", {"s.a": value})
