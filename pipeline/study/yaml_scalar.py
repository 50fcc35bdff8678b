"""Write a value as YAML, on one line and as plainly as it can be read back."""

import json
import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from vaelab.config import UserError

NOT_FINITE = {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}
# Line separators, byte order marks and what no YAML may hold as it is.
ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def safe_yaml() -> YAML:
    """Give a reader of YAML 1.2 that makes plain values of it."""
    return YAML(typ="safe", pure=True)


def literal(value: Any, flow: bool) -> str:
    """Write a value on one line, for a flow collection if `flow`; raises UserError if it cannot."""
    if isinstance(value, list):
        return f"[{', '.join(literal(item, True) for item in value)}]"
    if isinstance(value, str):
        return quoted(value, flow)
    if isinstance(value, float):
        return _number(value)
    if value is None or isinstance(value, int):
        return json.dumps(value)
    raise UserError(f"{value!r} is no number, text, true, false, null or list of these")


def _number(value: float) -> str:
    """Write the shortest decimals; with a point, as YAML 1.1 takes 1e-05 for text."""
    text = repr(value)
    return text if "." in text else NOT_FINITE.get(text) or text.replace("e", ".0e")


def quoted(text: str, flow: bool) -> str:
    """Quote text as little as it needs to be read as it is."""
    single = "'" + text.replace("'", "''") + "'"
    double = json.dumps(text, ensure_ascii=False)
    double = ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", double)
    return next((sign for sign in (text, single) if _reads_as(sign, text, flow)), double)


def _reads_as(sign: str, text: str, flow: bool) -> bool:
    try:
        content = safe_yaml().load(f"{{k: {sign}}}" if flow else f"k: {sign}")
    except (YAMLError, ValueError):
        return False
    return not ESCAPED.search(text) and content == {"k": text}
