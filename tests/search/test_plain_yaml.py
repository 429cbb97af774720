import pytest
import yaml

from search.plain_yaml import DEEPEST, MOST_VALUES, NotPlain, parse


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: 1\nb: [1.5, true, null, ~, text, 2020-01-01, 0x1f]",
        "a: &x {b: 1, c: [1, 2]}\nd: *x\ne: {<<: *x, b: 2}",
        "'a': 1\nb: {a: 1}\nc: {a: 1}",
        f"a: {'[' * (DEEPEST - 2)}1{']' * (DEEPEST - 2)}",
        "a: 999999999999999999",
    ],
)
def test_plain_values_are_read_as_yaml_reads_them(text):
    assert parse(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb: 2\na: 3", 3, "a key must stand once, got a in line 1 too"),
        ("x:\n  'a': 1\n  a: 3", 3, "got a in line 2 too"),
        ("{a: 1, a: 2}", 1, "got a in line 1 too"),
        ("a: &x [*x]", 1, r"must not hold itself, got \*x within &x"),
        ("b:\n  a: &x {c: {d: *x}}", 2, r"must not hold itself, got \*x within &x"),
        ("a: " + "[" * 2000 + "]" * 2000, 1, f"nested at most {DEEPEST} deep"),
        (
            "a: &a [1,1,1,1,1,1]\n"
            + "".join(f"{y}: &{y} [{','.join([f'*{x}'] * 6)}]\n" for x, y in ("ab", "bc", "cd", "de", "ef")),
            6,
            f"at most {MOST_VALUES:,} values",
        ),
        ("a: 1" + "0" * 18, 1, "at most 18 digits"),
        ("a: -0x" + "f" * 40, 1, "at most 18 digits"),
        ("a: " + "9" * 5000, 1, "must fit its form, int"),
        ("a: 1\nb: 2020-13-45", 2, "must fit its form, timestamp, got '2020-13-45'"),
        ("a: !!bool maybe", 1, "must fit its form, bool"),
        ("a: !!python/object:os.system x", 1, "not valid YAML: could not determine a constructor"),
        ("? [a]\n: 1", 1, "not valid YAML: found unhashable key"),
        ("a: *b", 1, "not valid YAML: found undefined alias"),
        ("a: [", 1, "not valid YAML"),
        ("\0", None, "not valid YAML: unacceptable character"),
    ],
)
def test_anything_else_is_refused_with_its_line(text, line, problem):
    with pytest.raises(NotPlain, match=problem) as error:
        parse(text)
    assert error.value.line == line
