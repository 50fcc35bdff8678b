"""Change settings in the text of a params.yaml, and nothing else in it."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml.composer import ComposerError
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.tokens import ScalarToken

from pipeline.study.yaml_scalar import literal, quoted, safe_yaml
from vaelab.config import UserError

Value = bool | int | float | str | list[Any] | None
LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z")
COLON = re.compile(r" *:")
COMMENT = re.compile(r"[^#\r\n]*?( +)#")  # the one that ends a line
ANY_COLUMN = 2**31


def update_yaml(text: str, changes: Mapping[str, Value]) -> str:
    """Give YAML text with settings, by dotted name such as `train.kl_weight`, set to new values.

    Every other byte stays, and a setting that has its new value already is not written anew.
    A setting that is not there comes at the end of its section, a section that is not there at
    the end of the file. `text` must still have its own line ends (`open(..., newline="")`).

    Raises UserError, in one line, where that cannot be done without guessing.
    """
    expected = _content(text)
    for name, value in changes.items():
        try:
            path = _path(expected, name)
            if repr(_get(expected, path)) != repr(value):
                text = _changed(text, path, value)
                _set(expected, path, value)
                _verify(text, expected)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    return text


def unified_diff(before: str, after: str, name: str) -> str:
    """Give the unified diff of two texts of the file called `name`; empty if no line differs."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"a/{name}", f"b/{name}", lineterm=""
    )
    return "".join(f"{line}\n" for line in lines)


def _content(text: str) -> dict[str, Any]:
    try:
        content = safe_yaml().load(text)
    except (YAMLError, ValueError) as error:
        raise UserError(_explanation(error)) from error
    if not isinstance(content, dict | None):
        raise UserError("the file must be a mapping of sections, such as 'train:'")
    return content or {}


def _explanation(error: Exception) -> str:
    if isinstance(error, DuplicateKeyError):
        return f"{error.problem} in line {error.problem_mark.line + 1}: keep one of the two"
    if isinstance(error, ComposerError) and "another document" in error.problem:
        return f"another document begins in line {error.problem_mark.line + 1}: keep one"
    return f"no valid YAML: {' '.join(str(error).split())}"


def _path(content: Any, name: str) -> list[str]:
    """Split a name into keys, which may have dots of their own."""
    keys = content if isinstance(content, dict) else ()
    found = [key for key in keys if isinstance(key, str) and f"{name}.".startswith(f"{key}.")]
    if len(found) > 1:
        raise UserError(f"may mean {' or '.join(found)}: keep one of these keys")
    if not found:
        return name.split(".")
    key = found[0]
    return [key] if key == name else [key, *_path(content[key], name[len(key) + 1 :])]


def _get(content: Any, path: list[str]) -> Any:
    for key in path:
        if not isinstance(content, dict) or key not in content:
            return ...  # null is a value
        content = content[key]
    return content


def _set(content: dict[str, Any], path: list[str], value: Value) -> None:
    for section in path[:-1]:
        content = content.setdefault(section, {})
    content[path[-1]] = value


def _verify(text: str, expected: dict[str, Any]) -> None:
    """Refuse a text that says anything but `expected`, in its order and its types."""
    reason = "cannot be changed without changing more: edit the file by hand"
    try:
        content = _content(text)
    except UserError as error:
        raise UserError(reason) from error
    if repr(content) != repr(expected):
        raise UserError(reason)


@dataclass(frozen=True)
class _Source:
    """YAML text, and the same with an x for every character of its scalars.

    What looks like a comment, a colon or an anchor in `bare` is one.
    """

    text: str
    bare: str

    @classmethod
    def of(cls, text: str) -> "_Source":
        bare = text
        for token in safe_yaml().scan(text):
            if isinstance(token, ScalarToken):
                start, end = token.start_mark.index, token.end_mark.index
                if token.style in ("|", ">"):  # a comment may follow this sign
                    start += len(LINE.findall(text[start:end])[0])
                bare = bare[:start] + re.sub(r"[^\r\n]", "x", bare[start:end]) + bare[end:]
        return cls(text, bare)

    def line_start(self, index: int) -> int:
        return 1 + max(self.text.rfind(sign, 0, index) for sign in "\r\n")

    def spliced(self, start: int, end: int, new: str) -> str:
        """Replace a part; the comment that ends its line keeps its column where it has room."""
        rest = end
        if found := COMMENT.match(self.bare, end):
            rest = found.end(1)
            new += self.text[end : found.start(1)]
            room = rest - self.line_start(rest) - (start - self.line_start(start)) - len(new)
            new += " " * (room if room >= 1 else min(rest - found.start(1), 2))
        return self.text[:start] + new + self.text[rest:]

    def block_end(self, node: Node, column: int) -> int:
        """Where a block's last line ends, not counting blank ones and comments before `column`."""
        end: int = node.end_mark.index
        lines = LINE.findall(self.bare[node.start_mark.index : end])
        while _is_behind(lines[-1], column):
            end -= len(lines.pop())
        return end

    def with_lines(self, at: int, lines: Sequence[str]) -> str:
        before, after = self.text[:at], self.text[at:]
        found = re.search(r"\r\n|\n|\r", self.text)
        newline = found[0] if found else "\n"
        if before in ("", "\ufeff") or before.endswith(("\r", "\n")):
            return before + "".join(line + newline for line in lines) + after
        return before + "".join(newline + line for line in lines) + after


def _is_behind(line: str, column: int) -> bool:
    code = line.lstrip()
    return not code or (code.startswith("#") and len(line) - len(code) < column)


def _changed(text: str, path: list[str], value: Value) -> str:
    """Walk to the setting; replace its value, or add what is missing of the way."""
    if not all(path):
        raise UserError("no name of a setting, which would be such as train.kl_weight")
    source, node = _Source.of(text), safe_yaml().compose(text)
    if not isinstance(node, MappingNode):  # nothing but comments
        return source.with_lines(len(text), _lines(path, value, 0, 2))
    for depth, key in enumerate(path):
        section = _checked(node, ".".join(path[:depth]) or "the file")
        found = [pair for pair in section.value if _is_key(pair[0], key)]
        if not found:
            return _added(source, section, path[depth:], value)
        place, node = found[0]
    return _replaced(source, place, node, literal(value, section.flow_style))


def _is_key(node: Node, key: str) -> bool:
    return isinstance(node, ScalarNode) and node.value == key and str(node.tag).endswith(":str")


def _checked(node: Node, where: str) -> MappingNode:
    if not isinstance(node, MappingNode):
        raise UserError(f"{where} must be a section of settings, such as '{where}: {{}}'")
    if node.anchor or any(str(key.tag).endswith(":merge") for key, _ in node.value):
        raise UserError(f"{where} has an anchor or an alias (&, *, <<): write its settings out")
    return node


def _added(source: _Source, section: MappingNode, path: list[str], value: Value) -> str:
    if section.flow_style:
        return _added_in_flow(source, section, _entry(path, value))
    column = section.value[0][0].start_mark.column
    blocks = [v for _, v in section.value if isinstance(v, MappingNode) and not v.flow_style]
    inner = blocks[-1].value[0][0].start_mark.column if blocks else column + 2
    lines = _lines(path, value, column, inner - column)
    if len(path) > 1 and not column and re.search(r"(\r\n|\n|\r)\1", source.text):
        lines = ["", *lines]  # sections here stand apart
    return source.with_lines(source.block_end(section, column), lines)


def _lines(path: list[str], value: Value, column: int, step: int) -> list[str]:
    keys = [" " * (column + step * i) + f"{quoted(p, True)}:" for i, p in enumerate(path)]
    return [*keys[:-1], f"{keys[-1]} {literal(value, False)}"]


def _entry(path: list[str], value: Value) -> str:
    key, *rest = path
    inner = f"{{{_entry(rest, value)}}}" if rest else literal(value, True)
    return f"{quoted(key, True)}: {inner}"


def _added_in_flow(source: _Source, section: MappingNode, entry: str) -> str:
    if not section.value:
        at = section.end_mark.index - 1
        return source.spliced(at, at, entry)
    last = section.value[-1][1]
    if last.anchor:  # an alias is the node of its anchor: it does not know its own place
        raise UserError("comes after an anchor or an alias (& or *): write that value out")
    at = last.end_mark.index
    # A comma right behind a colon would belong to the key.
    return source.spliced(at, at, f"{' ' if at == last.start_mark.index else ''}, {entry}")


def _replaced(source: _Source, key: Node, value: Node, new: str) -> str:
    if value.anchor:
        raise UserError("its value is an anchor or an alias (& or *): write it out")
    if isinstance(value, MappingNode):
        raise UserError("is a section: name a setting in it")
    is_block = isinstance(value, SequenceNode) and not value.flow_style
    start = value.start_mark.index
    end = source.block_end(value, ANY_COLUMN) if is_block else value.end_mark.index
    old = source.bare[start:end].rstrip()
    if {"#", "&", "*"} & set(old) or (is_block and old[0] != "-"):
        raise UserError("has a comment, tag, anchor or alias in its value: write it on one line")
    end = start + len(old)
    if old and not is_block:
        return source.spliced(start, end, new)
    if is_block:  # its lines go, and what is left is a key without a value
        before = source.text[: source.line_start(start)].removesuffix("\n").removesuffix("\r")
        source = _Source.of(before + source.text[end:])
    if not (colon := COLON.match(source.bare, key.end_mark.index)):
        raise UserError("has no colon behind its key: write it as 'key: value'")
    return source.spliced(colon.end(), colon.end(), f" {new}")
