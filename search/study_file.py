"""Reading a study: a file or a packaged study, flags on top, defaults below, and all mistakes at once."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.errors import Mistake, StudyFileError, UsageError
from search.like import expand
from search.mistakes import mistakes_of, section
from search.plain_yaml import NotPlain, parse
from search.remarks import remarks
from search.study import Study
from spaces import PLAIN, SpaceError, default_space, rescaled
from trainables.loss_settings import RecipeWarning
from trainables.recipe import Recipe
from trainables.values import flatten, varied

PACKAGED = Path(__file__).parent / "studies"
"""Folder of the studies that come with thermotune."""

_FLAT_SECTIONS = ("space", "baseline")  # their keys are dotted paths themselves
_VARIED = ("loss", "optimizer", "schedule")
"""Sections of a recipe that come in variants."""


@dataclass(frozen=True, slots=True)
class LoadedStudy:
    """A valid study.

    Attributes:
        study: The study with all defaults.
        origins: For every dotted key of the resolved study, ``flag``, ``file``, the name of the packaged recipe that
            the file's is like, ``default``, or ``worked out``.
        remarks: What is possible, but hardly wanted.
    """

    study: Study
    origins: Mapping[str, str]
    remarks: tuple[str, ...] = ()


def packaged() -> dict[str, str]:
    """The packaged studies: name and first line of comment."""
    return {
        path.stem: path.read_text().splitlines()[0].removeprefix("#").strip()
        for path in sorted(PACKAGED.glob("*.yaml"))
    }


def load(source: str, overrides: Sequence[str] = (), *, here: bool = True) -> LoadedStudy:
    """The study that a file or a packaged name holds.

    Args:
        source: Path of a YAML file, or the name of a packaged study.
        overrides: ``key=value`` with a dotted key and a YAML value; these win over the file.
        here: Whether trials run on this machine, and must fit there.

    Raises:
        UsageError: There is no such study, or an override is not ``key=value``.
        StudyFileError: The study is not valid; carries all mistakes.
    """
    path = _find(source)
    raw = with_names(_of_its_own(_parse(path)))
    flags = dict(parse_override(text) for text in overrides)
    merged = raw
    for keys, value in flags.items():
        merged = with_names(with_override(merged, keys, value))
    expanded = expand(merged, path.name)
    if expanded.mistakes:  # what the recipe holds is not known: other mistakes would follow from that alone
        raise StudyFileError(expanded.mistakes)
    full, renamed = _with_defaults(expanded.raw, expanded.apart)
    unwritten = None if "arms" in merged or "baseline" in merged else "baseline"
    study, said = checked(full, path.name, renamed, unwritten=unwritten, here=here)
    return LoadedStudy(study, _origins(study, raw, flags, expanded.origins), said)


def checked(
    full: Mapping[str, Any],
    file: str,
    renamed: Mapping[str, str],
    *,
    unwritten: str | None = None,
    begun: bool = False,
    here: bool = True,
) -> tuple[Study, tuple[str, ...]]:
    """The study that these values give, if nothing is wrong with them.

    Args:
        full: With ``baseline`` written out as arms.
        file: What to call it in mistakes.
        renamed: How to name keys there that the user wrote otherwise: new prefix to old.
        unwritten: An arm that the user did not write, but gets by default.
        begun: Whether the study has begun: its points were checked then, and an amendment may leave some outside.
        here: Whether trials run on this machine, and must fit there.

    Returns:
        The study with all its defaults, and remarks on what is possible but hardly wanted.

    Raises:
        StudyFileError: It is not valid; carries all mistakes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecipeWarning)  # said as remarks
        try:
            full = {**full, "space": _spelled_out(full)}
            wrong_rule = []
        except SpaceError as error:
            wrong_rule = [Mistake(f"{file}: space.optimizer.lr", str(error))]
        mistakes = [*wrong_rule, *mistakes_of(full, file, renamed, unwritten=unwritten, begun=begun, here=here)]
        if mistakes:
            raise StudyFileError(list({mistake.where: mistake for mistake in reversed(mistakes)}.values())[::-1])
        study = Study.model_validate(full).resolved()
    return study, remarks(study)


def _find(source: str) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if (PACKAGED / f"{source}.yaml").is_file() and "/" not in source:
        return PACKAGED / f"{source}.yaml"
    close = difflib.get_close_matches(source, packaged(), n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Packaged studies: {', '.join(packaged())}."
    raise UsageError(f"a study must be a YAML file or a packaged study, got {source!r}. {hint}")


def _parse(path: Path) -> dict[str, Any]:
    try:
        raw = parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the study file {path}: {error}") from error
    except NotPlain as error:
        place = path.name if error.line is None else f"{path.name}, line {error.line}"
        raise StudyFileError([Mistake(place, error.problem)]) from error
    if not isinstance(raw, dict):
        raise StudyFileError([Mistake(path.name, f"a study file must hold keys and values, got {type(raw).__name__}")])
    return raw


def parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """The keys and the value of ``key=value``.

    Raises:
        UsageError: It is not of this form.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set must be KEY=VALUE, got {text!r}. For example: --set search.trials=12")
    first, _, rest = key.strip().partition(".")
    keys = (first, rest) if first in _FLAT_SECTIONS and rest else tuple(key.strip().split("."))
    try:
        return keys, parse(value)
    except NotPlain as error:
        raise UsageError(f"--set {key}: {error.problem}, in {value[:100]!r}") from error


def with_override(tree: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of nested mappings with one value set."""
    head, *rest = keys
    below = tree.get(head)
    return {**tree, head: with_override(below if isinstance(below, dict) else {}, rest, value) if rest else value}


def with_names(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested mappings in which ``optimizer: adamw`` and the like is ``optimizer: {name: adamw}``."""
    recipes = [("recipe",), *(("teachers", name, "recipe") for name in _mapping(tree, "teachers"))]
    changes = [("baseline",), *(("arms", name, "set") for name in _mapping(tree, "arms"))]
    within = [(*keys, section_) for keys in (*recipes, *changes) for section_ in _VARIED]
    named = dict(tree)
    for keys in (("stopping",), ("search", "sampler"), *within):
        node: Any = named
        for key in keys:
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, str):
            named = with_override(named, keys, {"name": node})
    return named


def _of_its_own(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A study file without what makes a written study the very one: a copy is a study of its own."""
    if "id" not in raw:
        return dict(raw)
    arms = {
        name: {key: value for key, value in body.items() if key != "planned"} if isinstance(body, dict) else body
        for name, body in _mapping(raw, "arms").items()
    }
    own = {key: value for key, value in raw.items() if key != "id"}
    return {**own, "arms": arms} if arms else own


def _mapping(tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    below = tree.get(key)
    return below if isinstance(below, dict) else {}


def _with_defaults(raw: Mapping[str, Any], apart: Collection[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The study with what follows from its loss, and with ``baseline`` written out as arms.

    Args:
        raw: The study file, without ``like``.
        apart: Teachers that do not start from the study's recipe.

    Returns:
        The study, and how to name keys of it that the user wrote otherwise: new prefix to old.
    """
    full = dict(raw)
    recipe = raw.get("recipe")
    loss = recipe.get("loss") if isinstance(recipe, dict) else None
    named = loss.get("name") if isinstance(loss, dict) else None
    loss_name = named if isinstance(named, str) and named in PLAIN else "tempered"
    renamed = {}
    if "arms" not in full:
        baseline = full.pop("baseline") if "baseline" in full else dict(PLAIN[loss_name])
        baseline = flatten(baseline) if isinstance(baseline, dict) else baseline  # {loss: {beta: 1}} is as good
        full["arms"] = {"search": {}} if baseline is None else {"search": {}, "baseline": {"set": baseline}}
        full.setdefault("reference", None if baseline is None else "baseline")
        renamed = {"arms.baseline.set": "baseline"}
    full.setdefault("reference", None)
    if isinstance(full.get("teachers"), dict):
        full["teachers"] = {
            name: body if name in apart else _teacher(body, recipe) for name, body in full["teachers"].items()
        }
    return full, renamed


def _spelled_out(full: Mapping[str, Any]) -> Any:  # Any: what the file holds
    """The space with the learning-rate rule written as factors, or the default one of the loss and optimizer.

    Raises:
        SpaceError: The rule does not fit.
    """
    recipe = section(Recipe, full.get("recipe", {})).model_dump()
    if "space" not in full:
        return default_space(recipe)
    return rescaled(full["space"], recipe) if isinstance(full["space"], dict) else full["space"]


def _teacher(body: object, recipe: object) -> object:
    """A teacher as written, on top of the study's recipe; loss, base, members and diagnostics are its own."""
    if not isinstance(body, dict) or not isinstance(body.get("recipe", {}), dict):
        return body
    written = recipe if isinstance(recipe, dict) else {}
    base = {key: value for key, value in written.items() if key not in ("loss", "base", "members", "diagnostics")}
    return {**body, "recipe": varied(base, body.get("recipe", {}))}


def _origins(
    study: Study, raw: Mapping[str, Any], flags: Mapping[tuple[str, ...], Any], packaged_recipes: Mapping[str, str]
) -> dict[str, str]:
    """Where each value of the resolved study comes from."""
    by_flag = [".".join(keys) for keys in flags]
    in_file = flatten(raw)

    def origin(key: str) -> str:
        names = (key, key.replace("arms.baseline.set.", "baseline.", 1))
        for source, written in (("flag", by_flag), ("file", in_file)):
            if any(name == leaf or name.startswith(f"{leaf}.") for name in names for leaf in written):
                return source
        if key.startswith("arms.") and key.endswith(".planned"):
            return "worked out"
        return packaged_recipes.get(key, "default")

    return {key: origin(key) for key in flatten(study.model_dump(mode="json", by_alias=True))}
