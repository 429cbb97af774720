"""The language of expressions: what may stand in one, and what it comes to.

Nothing is ever handed to ``eval``. Of the syntax tree only the nodes named here are known, and numbers are floats:
``9 ** 9 ** 9 ** 9`` overflows at once, where whole numbers would fill the memory.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping

from spaces.errors import SpaceError
from spaces.scalars import Scalar, is_finite, is_number, is_same, written

_ALLOWED = (
    "numbers, words, recipe values, + - * / **, comparisons, and, or, not, in [...], min, max, abs, log, exp and sqrt"
)
_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,  # unlike **, no complex number of a negative base
}
_ORDER: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_OF_ONE: Mapping[str, Callable[[float], float]] = {"abs": abs, "log": math.log, "exp": math.exp, "sqrt": math.sqrt}
_OF_MANY: Mapping[str, Callable[..., float]] = {"min": min, "max": max}
_WORDS: Mapping[str, bool] = {"true": True, "false": False}


def _dotted(node: ast.AST) -> str | None:
    """The path that a chain of names is; None for anything else, and for true and false."""
    if isinstance(node, ast.Name):
        return None if node.id in _WORDS else node.id
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return None if before is None else f"{before}.{node.attr}"
    return None


def named_in(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Every recipe value that is named, with the node that names it."""
    path = _dotted(node)
    if path is not None:
        yield path, node
        return
    inner = node.args if isinstance(node, ast.Call) else ast.iter_child_nodes(node)
    for child in inner:
        if isinstance(child, ast.expr):
            yield from named_in(child)


def check(node: ast.expr, line: str) -> None:
    """Refuses a tree with anything unknown in it; lists stand only to the right of ``in``.

    Args:
        node: The top of the tree.
        line: The text that it was read from.

    Raises:
        SpaceError: A node is not known.
    """
    below: list[ast.expr] = []
    match node:
        case ast.Constant(value=bool() | str()) | ast.Name():
            known = True
        case ast.Constant(value=int() | float() as number):
            known = is_finite(number)
        case ast.Attribute():
            known = _dotted(node) is not None
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            known, below = True, [node.operand]
        case ast.BinOp():
            known, below = type(node.op) in _ARITHMETIC, [node.left, node.right]
        case ast.BoolOp():
            known, below = True, node.values
        case ast.Compare():
            known, below = True, [node.left]
            for operation, right in zip(node.ops, node.comparators, strict=True):
                is_list = isinstance(right, ast.List)
                known &= is_list == isinstance(operation, ast.In | ast.NotIn)
                known &= not isinstance(operation, ast.Is | ast.IsNot)
                below += right.elts if isinstance(right, ast.List) else [right]
        case ast.Call(func=ast.Name(id=name), keywords=[]):
            known, below = (len(node.args) == 1 if name in _OF_ONE else name in _OF_MANY and bool(node.args)), node.args
        case _:
            known = False
    if not known:
        part = ast.get_source_segment(line, node)
        raise SpaceError(f"an expression must do without {part!r}, got {line!r}; there are {_ALLOWED}")
    for child in below:
        check(child, line)


def value_of(node: ast.expr, values: Mapping[str, Scalar]) -> Scalar:
    """What a checked tree comes to; a number is a finite float.

    Raises:
        ArithmeticError: There is none.
        ValueError: A value is missing, or does not fit its place.
    """
    match node:
        case ast.Constant(value=bool() | str() as word):
            return word
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id="true" | "false"):
            return _WORDS[node.id]
        case ast.Name() | ast.Attribute():
            return _looked_up(node, values)
        case ast.UnaryOp(op=ast.Not()):
            return not _truth(node.operand, values)
        case ast.UnaryOp():
            return -_number(node.operand, values)
        case ast.BinOp():
            return _finite(_ARITHMETIC[type(node.op)](_number(node.left, values), _number(node.right, values)))
        case ast.BoolOp(op=ast.And()):
            return all(_truth(part, values) for part in node.values)
        case ast.BoolOp():
            return any(_truth(part, values) for part in node.values)
        case ast.Compare():
            return _compared(node, values)
        case ast.Call(func=ast.Name(id=name)):
            arguments = [_number(argument, values) for argument in node.args]
            return _finite(_OF_ONE[name](arguments[0]) if name in _OF_ONE else _OF_MANY[name](arguments))
    raise AssertionError(f"{type(node).__name__} should not have passed the check")


def _looked_up(node: ast.expr, values: Mapping[str, Scalar]) -> Scalar:
    name = _dotted(node) or ""
    value = values.get(name)
    if value is None:
        raise ValueError(f"{name} has no value")
    return _finite(float(value)) if is_number(value) else value


def _compared(node: ast.Compare, values: Mapping[str, Scalar]) -> bool:
    left: ast.expr = node.left
    for operation, right in zip(node.ops, node.comparators, strict=True):
        if isinstance(right, ast.List):
            one_of = [value_of(item, values) for item in right.elts]
            found = any(is_same(value_of(left, values), item) for item in one_of)
            holds = found == isinstance(operation, ast.In)
        elif isinstance(operation, ast.Eq | ast.NotEq):
            holds = is_same(value_of(left, values), value_of(right, values)) == isinstance(operation, ast.Eq)
        else:
            holds = _ORDER[type(operation)](_number(left, values), _number(right, values))
        if not holds:
            return False
        left = right
    return True


def _number(node: ast.expr, values: Mapping[str, Scalar]) -> float:
    value = value_of(node, values)
    if not is_number(value):
        raise ValueError(f"{ast.unparse(node)} must be a number there, got {written(value)}")
    return float(value)


def _truth(node: ast.expr, values: Mapping[str, Scalar]) -> bool:
    value = value_of(node, values)
    if not isinstance(value, bool):
        raise ValueError(f"{ast.unparse(node)} must be true or false there, got {written(value)}")
    return value


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ArithmeticError("a result is not finite")
    return number
