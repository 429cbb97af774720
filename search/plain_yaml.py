"""Reading YAML that anybody may have written: plain values, every key once, no endless nesting, no traceback."""

from __future__ import annotations

from typing import Any

import yaml

DEEPEST = 30
"""Levels of nesting; a study file has about six."""
MOST_VALUES = 20_000
"""Values in one file, with those that aliases repeat counted every time."""
MOST_DIGITS = 18
"""Digits of a whole number; longer ones do not fit into the records."""


class NotPlain(ValueError):
    """A text is no YAML, or holds what no study file needs.

    Attributes:
        problem: The rule and what breaks it.
        line: Where, from 1; None if that is not known.
    """

    def __init__(self, problem: str, line: int | None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


def parse(text: str) -> Any:  # Any: what YAML holds
    """The value that a YAML text holds.

    Raises:
        NotPlain: It is not well-formed, or writes a key twice, an alias within its own anchor, aliases that multiply
            each other, brackets without end, numbers without end, or a value that does not fit its tag.
    """
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except _Refused as error:
        raise NotPlain(str(error.problem), _line(error.problem_mark)) from error
    except yaml.MarkedYAMLError as error:
        raise NotPlain(f"not valid YAML: {error.problem}", _line(error.problem_mark)) from error
    except yaml.YAMLError as error:
        raise NotPlain(f"not valid YAML: {str(error).splitlines()[0]}", None) from error


class _Loader(yaml.SafeLoader):
    """What :class:`yaml.SafeLoader` takes or breaks on, refused with its place."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open: list[str | None] = []
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """A value, if it is not nested too deep and does not hold itself."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        anchor, is_alias = getattr(event, "anchor", None), isinstance(event, yaml.AliasEvent)
        if is_alias and anchor in self._open:
            raise _refused(f"a value must not hold itself, got *{anchor} within &{anchor}", event.start_mark)
        if len(self._open) >= DEEPEST:
            raise _refused(f"values must be nested at most {DEEPEST} deep", event.start_mark)
        self._open.append(None if is_alias else anchor)
        node = super().compose_node(parent, index)
        self._open.pop()
        if node is not None and self._size(node) > MOST_VALUES:
            raise _refused(f"a file must hold at most {MOST_VALUES:,} values, also through aliases", event.start_mark)
        return node

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:  # the stubs' type
        """A mapping in which every key stands once; of two, YAML would keep the last."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line, name = key.start_mark.line + 1, (key.tag, key.value)
                if name in lines:
                    raise _refused(f"a key must stand once, got {key.value} in line {lines[name]} too", key.start_mark)
                lines[name] = line
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # Any: what YAML holds
        """What a node stands for, if it fits its tag, and a whole number the records."""
        try:
            value = super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError) as error:  # 2020-13-45, !!int x, 5,000 digits
            kind = node.tag.rpartition(":")[2]
            problem = f"a value must fit its form, {kind}, got {str(node.value)[:60]!r}"
            raise _refused(problem, node.start_mark) from error
        if type(value) is int and abs(value) >= 10**MOST_DIGITS:
            raise _refused(f"a whole number must have at most {MOST_DIGITS} digits, got more", node.start_mark)
        return value

    def _size(self, node: yaml.Node) -> int:
        """Values within a composed node; each node is counted once, after all that it holds."""
        if id(node) not in self._sizes:
            below = node.value if isinstance(node, yaml.CollectionNode) else ()
            parts = (part for item in below for part in (item if isinstance(item, tuple) else (item,)))
            self._sizes[id(node)] = 1 + sum(self._size(part) for part in parts)
        return self._sizes[id(node)]


class _Refused(yaml.MarkedYAMLError):
    """Well-formed, and yet not what a study file may hold."""


def _refused(problem: str, mark: yaml.Mark) -> _Refused:
    return _Refused(problem=problem, problem_mark=mark)


def _line(mark: yaml.Mark | None) -> int | None:
    return None if mark is None else mark.line + 1
