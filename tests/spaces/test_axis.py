import pytest

from spaces import Axis, Choice, Expression, LogUniform, SpaceError, Uniform


@pytest.mark.parametrize(
    "spec",
    [
        {"log": [0.1, 1.0], "times": "loss.beta ** -2"},
        {"uniform": [0.1, 0.9], "step": 0.1, "when": {"loss.name": "tampered"}},
        {"uniform": [0.1, 0.9], "when": {"loss.name": ["tempered", "tampered"], "model": "mlp"}},
        {"equals": "0.0005 * loss.beta"},
        {"equals": "0.0005 * loss.beta", "when": {"loss.name": "tempered"}},
        {"choice": ["a", 1]},
    ],
)
def test_axis_is_written_as_it_was_read(spec):
    assert Axis.parse(spec).spec() == spec
    assert Axis.parse(Axis.parse(spec).spec()) == Axis.parse(spec)


def test_axis_knows_whether_and_what_it_follows():
    rescaled = Axis(LogUniform(0.1, 1), Expression.parse("loss.beta ** -1"))
    derived = Axis.parse({"equals": "2 * loss.tau2"})
    assert (rescaled.follows, rescaled.names) == (False, {"loss.beta"})
    assert (derived.follows, derived.names) == (True, {"loss.tau1", "loss.gap"})
    assert Axis(Uniform(0, 1)).names == frozenset()


def test_derived_axis_has_no_value_to_draw():
    dimension = Axis.parse({"equals": "loss.beta"}).dimension
    assert dimension.values == dimension.extremes() == ()
    assert not dimension.contains(1.0)
    for use in (lambda: dimension.decode(0.5), lambda: dimension.encode(1.0)):
        with pytest.raises(SpaceError, match="follows others"):
            use()


def test_nested_condition_is_as_good():
    nested = Axis.parse({"choice": [1, 2], "when": {"loss": {"name": "tampered"}}})
    assert nested == Axis(Choice((1, 2)), when={"loss.name": ("tampered",)})


def test_short_names_of_a_formula_are_written_out():
    known = ["loss.beta", "loss.tau1"]
    assert Axis.parse({"log": [0.1, 1], "times": "beta ** -1"}).bound(known).times.text == "loss.beta ** -1"
    assert Axis.parse({"equals": "2 * tau1"}).bound(known).equals.text == "2 * loss.tau1"
    assert Axis.parse({"choice": [1]}).bound(known) == Axis(Choice((1,)))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"equals": "a", "log": [0.1, 1]}, "equals must stand without a dimension and without times"),
        ({"equals": "a", "times": "b"}, "got equals 'a' beside {times: b}; leave one out"),
        ({"times": "b"}, "must have a dimension or equals, got {times: b}"),
        ({"when": {"a": 1}}, "must have a dimension or equals, got {when: {a: 1}}"),
        ({}, "exactly one kind, got {}"),
        ({"choice": ["a", 1], "times": "b"}, "times must stand beside numbers, got {choice: [a, 1]}"),
        ({"log": [0.1, 1], "times": "b > 1"}, "times must be a number, got the condition 'b > 1'"),
        ({"log": [0.1, 1], "times": 2}, "an expression must be text, got 2"),
        ({"log": [0.1, 1], "tims": "b"}, "got tims in {log: [0.1, 1], tims: b}"),
        ({"choice": [1], "when": "loss.name"}, "when must have recipe paths and their values, got loss.name"),
        ({"choice": [1], "when": {}}, "when must have recipe paths and their values, got {}"),
        ({"choice": [1], "when": {"a": []}}, "when must have plain values, got [] for a"),
        ({"choice": [1], "when": {"a": {"b": None}}}, "when must have plain values, got None for a.b"),
        ({"fixed": 0.1, "times": "loss.beta"}, "exactly one kind, got fixed"),
        (3, "exactly one kind, got 3"),
    ],
)
def test_impossible_axis_is_refused_with_what_to_do(spec, message):
    with pytest.raises(SpaceError) as error:
        Axis.parse(spec)
    assert message in str(error.value)


@pytest.mark.parametrize("make", [Axis, lambda: Axis(when={"a": (1,)})])
def test_axis_of_nothing_is_refused(make):
    with pytest.raises(SpaceError, match="a fixed value belongs in the recipe"):
        make()
