"""Formulas and conditions over recipe values, as a study file writes them; their language is that of spaces.syntax."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache

from spaces.errors import SpaceError
from spaces.scalars import Scalar, written
from spaces.syntax import check, named_in, value_of

LONGEST = 200
"""Characters of the longest expression."""

ABBREVIATIONS: Mapping[str, str] = {"loss.tau2": "loss.tau1 - loss.gap"}
"""Names that are no values of a recipe, and what they stand for: tau2 is how "Asymmetric Temperature Scaling"
(arXiv 2210.04427) writes the temperature of the wrong classes, which a recipe gives by its distance from tau1."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A formula such as ``0.1 * loss.beta ** -1``, or a condition such as ``loss.tau1 > loss.tau2``.

    Attributes:
        text: As it was written.
        names: The recipe values that it needs, by dotted path; of an abbreviation those that it stands for.
    """

    text: str
    names: frozenset[str] = field(compare=False)
    _tree: ast.expr = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: object) -> Expression:
        """The expression that a study file writes.

        Raises:
            SpaceError: It is no text, too long, not well-formed, or has something in it that is not known here.
        """
        if not isinstance(text, str):
            raise SpaceError(f"an expression must be text, got {written(text)}; write it like 'tau1 > tau2'")
        line = re.sub(r"\s*[\r\n]+\s*", " ", text).strip()
        if not 0 < len(line) <= LONGEST:
            raise SpaceError(f"an expression must have 1 to {LONGEST} characters, got {len(line)}: {line[:20]!r}")
        return cls._read(line)

    @classmethod
    def _read(cls, line: str) -> Expression:
        try:
            tree = ast.parse(line, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:  # the last three: null bytes, nesting
            problem = error.msg if isinstance(error, SyntaxError) else "it cannot be read"
            raise SpaceError(f"an expression must be well-formed, got {line!r}: {problem}") from None
        check(tree, line)
        names: set[str] = set()
        for name, _ in named_in(tree):
            names |= _spelled_out(name).names if name in ABBREVIATIONS else {name}
        return cls(line, frozenset(names), tree)

    @property
    def is_condition(self) -> bool:
        """Whether it is true or false wherever it can be computed."""
        negated = isinstance(self._tree, ast.UnaryOp) and isinstance(self._tree.op, ast.Not)
        return negated or isinstance(self._tree, ast.Compare | ast.BoolOp)

    def evaluate(self, values: Mapping[str, Scalar]) -> Scalar:
        """Its value; a number is a finite float.

        Args:
            values: A value for every name, by dotted path; others may be among them.

        Raises:
            SpaceError: A value is missing or does not fit its place, something is divided by zero, or a result is not
                finite.
        """
        try:
            return value_of(self._tree, self._with_abbreviations(values))
        except (ArithmeticError, ValueError) as error:
            problem = "a result is too large" if isinstance(error, OverflowError) else str(error)
            at = ", ".join(f"{name} = {written(values[name])}" for name in sorted(self.names) if name in values)
            raise SpaceError(f"{self.text!r} cannot be computed{f' at {at}' if at else ''}: {problem}") from None

    def bound(self, known: Collection[str]) -> Expression:
        """The expression with every short name written out: ``tau1`` becomes the one path that ends with it.

        Args:
            known: Paths of recipe values.

        Raises:
            SpaceError: No path ends with a name, or several do.
        """
        paths = {*known, *(short for short in ABBREVIATIONS if _spelled_out(short).names <= {*known})}
        line = self.text.encode()  # places in the tree count bytes
        for name, node in sorted(named_in(self._tree), key=lambda found: found[1].col_offset, reverse=True):
            path = name if name in paths else self._completed(name, paths)
            line = line[: node.col_offset] + path.encode() + line[node.end_col_offset :]
        return Expression._read(line.decode())  # written out it may be longer than what a user may write

    def _with_abbreviations(self, values: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
        short = {name for name, _ in named_in(self._tree)} & ABBREVIATIONS.keys()
        return {**values, **{name: _spelled_out(name).evaluate(values) for name in short}}

    def _completed(self, name: str, paths: Collection[str]) -> str:
        ending = sorted(path for path in paths if path.endswith(f".{name}"))
        if len(ending) == 1:
            return ending[0]
        if ending:
            raise SpaceError(f"{self.text!r} must name one value of the recipe, got {name}; write {_either(ending)}")
        by_end = {path.rpartition(".")[2]: path for path in sorted(paths)}
        close = difflib.get_close_matches(name, [*paths, *by_end], n=1)
        hint = f"did you mean {by_end.get(close[0], close[0])}?" if close else "write a dotted path such as loss.beta"
        raise SpaceError(f"{self.text!r} must name values of the recipe, got {name}; {hint}")


@cache
def _spelled_out(abbreviation: str) -> Expression:
    return Expression.parse(ABBREVIATIONS[abbreviation])


def _either(paths: list[str]) -> str:
    return f"{', '.join(paths[:-1])} or {paths[-1]}"
