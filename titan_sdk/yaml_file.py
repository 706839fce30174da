"""YAML as nodes that know their line: bytes of any kind in, checked nodes or a PipelineError out.

Owns everything that can be wrong with a file before it is known what the file says: its encoding,
its syntax, tabs, duplicate keys, aliases that would explode. Knows nothing of jobs. Pure; any thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from titan_core.protocol.checks import shown
from titan_sdk.errors import PipelineError

MAX_DEPTH = 32
"""Mappings and lists inside each other; a pipeline needs five."""
MAX_REPEATED = 100_000
"""Nodes that aliases may add to those that are written out."""
MAX_BITS = 1024
"""Of a whole number: a larger one fits no float, and beyond some thousand digits Python will not write it out."""

_TOO_DEEP = "exceeded maximum nesting depth"
"""What libyaml says, which reads ahead and has a limit of its own."""
_SIGNS = "*@%`"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"
_PLAIN_TAGS = tuple(
    f"tag:yaml.org,2002:{kind}"
    for kind in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge", "value")
)

Items = dict[str, tuple[ScalarNode, Node]]
"""A mapping: key → (the node of the key, the node of the value)."""


class YamlFile:
    """One document. `name` is what errors call the file."""

    def __init__(self, name: str, raw: bytes) -> None:
        self.name = name
        self._constructor = yaml.constructor.SafeConstructor()
        text = self._decoded(raw)
        self._check_depth(text)
        root = self._composed(text)
        if root is None:
            raise PipelineError("the file is empty; it needs at least 'jobs:'", name)
        self.root: Node = root
        self._check_expansion(root)

    def error(self, problem: str, node: Node | None = None, **details: str) -> PipelineError:
        """A PipelineError at the line of `node`."""
        return PipelineError(problem, self.name, line_of(node) if node else 0, **details)

    def items(self, node: Node, what: str) -> Items:
        """The keys and values of a mapping, `<<` merged in. Raises PipelineError for what is none, or a key twice."""
        if not isinstance(node, MappingNode):
            raise self.error(f"{what} must be a mapping of keys to values, not {describe(node)}", node)
        items: Items = {}
        merged: Items = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                merged = {**self._merged(value), **merged}
                continue
            if not isinstance(key, ScalarNode):
                raise self.error(f"a key of {what} must be a word, not {describe(key)}", key)
            if key.value in items:
                first = line_of(items[key.value][0])
                raise self.error(f"the key {shown(key.value)} is there twice, first in line {first}", key)
            items[key.value] = key, value
        return {**merged, **items}

    def list(self, node: Node, what: str) -> list[Node]:
        if not isinstance(node, SequenceNode):
            raise self.error(f"{what} must be a list, not {describe(node)}", node)
        return list(node.value)

    def scalar(self, node: Node) -> Any:
        """The value of a scalar as YAML means it: a string, number, boolean or None."""
        try:
            value = self._constructor.construct_object(node)
            if isinstance(value, int) and value.bit_length() > MAX_BITS:
                raise OverflowError
        except (ValueError, OverflowError, yaml.YAMLError):
            raise self.error(f"{shown(str(node.value))} is not a value that can be read", node) from None
        return value

    # ── reading ───────────────────────────────────────────────────────────────────────────────────

    def _decoded(self, raw: bytes) -> str:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise PipelineError(f"byte 0x{raw[error.start]:02x} is not UTF-8", self.name, line) from None
        unfit = yaml.reader.Reader.NON_PRINTABLE.search(text)
        if unfit:
            line = text.count("\n", 0, unfit.start()) + 1
            raise PipelineError(f"the character {shown(unfit[0])} has no place in a text file", self.name, line)
        return text

    def _check_depth(self, text: str) -> None:
        """Deep nesting is found event by event, before anything recursive sees it; so is bad syntax."""
        depth = 0
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
                if depth > MAX_DEPTH:
                    raise self._too_deep(event.start_mark.line + 1 if event.start_mark else 0)
        except yaml.YAMLError as error:
            raise self._syntax_error(error, text) from None

    def _too_deep(self, line: int) -> PipelineError:
        return PipelineError(f"there are more than {MAX_DEPTH} levels of nesting", self.name, line)

    def _composed(self, text: str) -> Node | None:
        try:
            return yaml.compose(text, Loader=_LOADER)
        except yaml.YAMLError as error:
            raise self._syntax_error(error, text) from None

    def _syntax_error(self, error: yaml.YAMLError, text: str) -> PipelineError:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        if getattr(error, "problem", None) == _TOO_DEEP:
            return self._too_deep(line)
        if _indented_by_tab(text, line):
            return PipelineError("a tab indents this line; YAML takes only spaces there", self.name, line)
        parts = [getattr(error, "context", None), getattr(error, "problem", None) or str(error)]
        told = ", ".join(part for part in parts if part) + _hint(text, mark)
        return PipelineError(f"this is not YAML: {told}", self.name, line)

    # ── judging ───────────────────────────────────────────────────────────────────────────────────

    def _check_expansion(self, root: Node) -> None:
        """Refuse aliases that contain themselves, or would multiply into a huge document; and foreign tags."""
        sizes: dict[int, int] = {}
        self._measure(root, sizes)
        if sizes[id(root)] - len(sizes) > MAX_REPEATED:
            raise self.error(
                f"its aliases (*name) stand for more than {MAX_REPEATED} values; write less of them", root
            )

    def _measure(self, node: Node, sizes: dict[int, int]) -> int:
        """The nodes below and with `node`, aliases written out. Recursion is at most MAX_DEPTH deep per alias."""
        known = sizes.get(id(node))
        if known == 0:
            raise self.error("an alias (*name) stands for something that contains it", node)
        if known is None:
            if node.tag not in _PLAIN_TAGS:
                raise self.error(f"the tag {shown(node.tag)} is not supported", node)
            sizes[id(node)] = 0
            sizes[id(node)] = known = 1 + sum(self._measure(child, sizes) for child in _children(node))
        return known

    def _merged(self, node: Node) -> Items:
        """What `<<:` brings in: one mapping, or a list of them, of which the first wins."""
        merged: Items = {}
        for source in node.value if isinstance(node, SequenceNode) else [node]:
            merged = {**self.items(source, "what << names"), **merged}
        return merged


def line_of(node: Node) -> int:
    """The line of a node, counted from 1."""
    return int(node.start_mark.line) + 1


def describe(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return "nothing" if node.tag.endswith(":null") else shown(node.value)
    return "a list" if isinstance(node, SequenceNode) else "a mapping"


def is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag.endswith(":null")


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, SequenceNode):
        yield from node.value


def _hint(text: str, mark: yaml.error.Mark | None) -> str:
    """What to do where a text begins with a sign that means something else to YAML, as `* * * * *` does."""
    if mark is None:
        return ""
    lines = text.split("\n", mark.line + 1)
    around = lines[mark.line][max(0, mark.column - 1) : mark.column + 1] if mark.line < len(lines) else ""
    sign = next((char for char in around if char in _SIGNS), "")
    return f"; a text that begins with {sign} needs quotes around it" if sign else ""


def _indented_by_tab(text: str, line: int) -> bool:
    lines = text.split("\n", line)
    return 0 < line <= len(lines) and re.match(r" *\t", lines[line - 1]) is not None
