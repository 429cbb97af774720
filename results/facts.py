"""What a study set out to do, as its resolved ``study.yaml`` says it, and where the studies of a root are."""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from results.errors import RootUnreadable, StudyNotFound, StudyUnreadable
from results.schema import METRICS

_AMENDMENT = re.compile(r"study(?:-([2-9]|[1-9][0-9]+))?\.yaml")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_AXIS = {
    "loss.beta": "inverse temperature beta",
    "loss.alpha": "tampering exponent alpha",
    "loss.tau1": "teacher's temperature tau1 of the true class",
    "loss.gap": "temperature gap tau1 - tau2",
    "loss.weight": "distillation weight lambda",
    "loss.logit_norm": "logit norm at the start ||Z0||",
}
_KINDS = {"int": "integer", "log_int": "log integer"}
_TIMES = {1: "once", 2: "twice"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherFacts:
    """A network that is trained before those that need it."""

    name: str
    """Its name under ``teachers``, and in the column ``arm`` of its trial."""
    model: str | None
    """Its network."""
    epochs: int
    """Epochs that it is trained: its schedule, or up to the epoch at which it is taken."""
    schedule_epochs: int
    """Epochs of its whole schedule."""
    learns_from: str | None
    """Its own teacher."""
    adds_to: str | None
    """The trained network to whose logits it adds its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What a study is trained on; all but the name is None or empty where an older version did not write it down."""

    name: str
    """Name of the data set."""
    digest: str | None
    """Equal only for the very same samples."""
    classes: int | None
    """Number of classes."""
    sizes: Mapping[str, int]
    """Samples of every split: ``train``, ``val``, ``test``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much a study may take over all its sessions; None where there is no limit."""

    wall_hours: float | None
    """Hours of all sessions together."""
    gpu_hours: float | None
    """GPU hours of all trials together."""
    trials: int | None
    """Trials begun, over all arms and stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A value of the study file that an amendment changed."""

    key: str
    """Dotted key."""
    before: object
    """The value in the file before; None where it had no such key."""
    after: object
    """The value now; None where the key is gone."""

    def __str__(self) -> str:
        before, after = ("none" if value is None else value for value in (self.before, self.after))
        return f"{self.key} from {before} to {after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """The part of a resolved study that reports, tracking and status need."""

    study_dir: Path
    """Folder of the study."""
    id: str
    """32 hex digits, unique to the study wherever it is copied."""
    name: str
    """Name of the study, unique in its root."""
    amendment: int
    """1 for ``study.yaml``, n for ``study-n.yaml``."""
    data: DataFacts
    """What it is trained on."""
    epochs: int
    """Length of a full trial."""
    space: Mapping[str, str]
    """What is searched in one arm or another: dotted recipe path to its range, in words."""
    derived: Mapping[str, str]
    """What follows from searched values: dotted recipe path to its rule, in words; nothing is searched there."""
    require: tuple[str, ...]
    """What every proposed configuration must fulfil, as the study file writes it."""
    temperature: str | None
    """The path that the report is about: the first under ``loss.`` that varies in an arm, else the first that does."""
    arms: Mapping[str, Mapping[str, object]]
    """Arms by name, each with the recipe values that it fixes."""
    varying: Mapping[str, tuple[str, ...]]
    """Arms by name, each with the paths of ``space`` that are searched in it."""
    teachers: Mapping[str, TeacherFacts]
    """Teachers by name, in the order of the study file."""
    needed: tuple[str, ...]
    """Those of them that an arm needs, directly or to train another teacher."""
    reference: str | None
    """The arm that others are compared with."""
    metric: str
    """What is searched for, for instance ``val/accuracy``."""
    mode: str
    """``max`` or ``min``."""
    epoch_rule: str
    """Which epoch of a trial counts; ``last``."""
    sampler: str
    """The sampler in words: ``tpe``, ``tpe, multivariate``, ``grid, refined once``."""
    trials: Mapping[str, int]
    """Arms by name, each with the trials to explore in it: an upper bound where a grid is refined."""
    seed: int
    """Seed of the search."""
    search_seeds: int
    """Seeds of an explored trial."""
    confirm_seeds: int
    """Fresh seeds that each chosen trial is run on again; 0 without the stage confirm."""
    confirm_top: int
    """Explored trials of every arm but the reference that are confirmed."""
    stopping: str
    """The stopping rule in words, its name first: ``asha (promotion), grace 1, factor 3``."""
    grace_epochs: int
    """Epoch of the first rung."""
    reduction_factor: float
    """One in this many trials passes a rung; 1 where the rule has no such factor."""
    audit: float
    """Share of trials that run on where the rule would end them, 0..1."""
    budget: Budget
    """How much it may take."""
    gpus: float
    """GPUs of a trial."""

    @property
    def temperature_is_log(self) -> bool:
        """Whether the temperature dimension is searched on a log scale."""
        return self.is_log(self.temperature or "")

    @property
    def axis_label(self) -> str:
        """The temperature dimension in words."""
        return self.label_of(self.temperature) if self.temperature else "trial"

    def is_log(self, path: str) -> bool:
        """Whether a path is searched on a log scale."""
        return self.space.get(path, "").startswith("log")

    def label_of(self, path: str) -> str:
        """A searched path in words."""
        return _AXIS.get(path, path)

    @property
    def test_metric(self) -> str:
        """The searched metric on the test split."""
        counterpart = f"test/{self.metric.partition('/')[2]}"
        return counterpart if counterpart in METRICS else "test/accuracy"

    @property
    def test_mode(self) -> str:
        """``max`` or ``min``: which way the test metric is better."""
        return "min" if self.test_metric.endswith("loss") else "max"

    @property
    def chance(self) -> float | None:
        """Accuracy of guessing, 0..1; None where the number of classes is not on record."""
        return 1 / self.data.classes if self.data.classes else None

    @property
    def validation_samples(self) -> int | None:
        """Samples of the validation split; None where they are not on record."""
        return self.data.sizes.get("val")

    def varies(self, arm: str) -> bool:
        """Whether an arm leaves anything to search; if not, its one trial is as well tuned as it can be."""
        return bool(self.varying[arm])

    def planned(self, arm: str) -> int:
        """Trials to explore in an arm; an upper bound where a grid is refined."""
        return self.trials[arm]


def load_facts(study_dir: Path, *, first: bool = False) -> StudyFacts:
    """Reads the newest resolved study file of a study.

    Args:
        study_dir: Folder of the study.
        first: Read what the study began with instead.

    Returns:
        Its facts.

    Raises:
        StudyNotFound: There is no ``study.yaml`` in the folder.
        StudyUnreadable: The folder or file cannot be read, or the file is no YAML mapping, or lacks a fact.
    """
    study_dir = Path(study_dir)
    amendment, path = amendments(study_dir)[0 if first else -1]
    document = _document(path)
    try:
        return _facts(study_dir, amendment, document)
    except KeyError as error:
        raise StudyUnreadable(
            f"a resolved study must have {error}, but {path} lacks it. Restore the file, thermotune wrote it itself"
        ) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise _malformed(path, error) from error


def changes(study_dir: Path) -> dict[int, tuple[Change, ...]]:
    """What every amendment of a study changed in the study file before it.

    Args:
        study_dir: Folder of the study.

    Returns:
        Changes by number of the amendment, from 2; the ``id`` of the file aside.

    Raises:
        StudyNotFound: There is no ``study.yaml`` in the folder.
        StudyUnreadable: The folder or a study file cannot be read, or a file is no YAML mapping.
    """
    files = [(number, dict(_flat(_document(path)))) for number, path in amendments(study_dir)]
    return {
        number: tuple(
            Change(key=key, before=before.get(key), after=after.get(key))
            for key in dict.fromkeys([*before, *after])
            if key != "id" and before.get(key) != after.get(key)
        )
        for (_, before), (number, after) in itertools.pairwise(files)
    }


def find_study(root: Path, name: str) -> Path:
    """The folder of a study.

    Args:
        root: Folder of all studies.
        name: Name of the study.

    Returns:
        Its folder.

    Raises:
        RootUnreadable: The root is no folder, or cannot be read.
        StudyNotFound: There is none of that name; the message lists those there are.
    """
    names = [path.name for path in study_dirs(root)]
    if name in names:
        return Path(root) / name
    if not names:
        there = f"{root} holds no study yet. Submit one, or give another --root"
    else:
        near = difflib.get_close_matches(name, names, n=1)
        there = f"{root} holds: {', '.join(names)}." + (f" Did you mean {near[0]}?" if near else "")
    raise StudyNotFound(f"a study must exist to be asked about, but there is no study {name!r}; {there}")


def study_dirs(root: Path) -> list[Path]:
    """Folders of all studies of a root, by name; empty when the root does not exist.

    Args:
        root: Folder of all studies.

    Returns:
        Folders with a ``study.yaml``, and those of which nobody can say because they cannot be read.

    Raises:
        RootUnreadable: The root is no folder, or cannot be read.
    """
    root = Path(root)
    try:
        folders = sorted(root.iterdir())  # glob would take an unreadable folder for an empty one
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RootUnreadable(
            f"the root must be a folder that can be read, got {root} ({error.strerror}). "
            "Choose another with --root or THERMOTUNE_ROOT"
        ) from error
    return [folder for folder in folders if _may_be_study(folder)]


def amendments(study_dir: Path) -> list[tuple[int, Path]]:
    """The study files of a study: what it began with, and what ``resume --trials`` made of it since.

    Args:
        study_dir: Folder of the study.

    Returns:
        Number and file, sorted by number: ``study.yaml`` as 1, then every ``study-N.yaml`` with N from 2. Files of
        other names, such as ``study-old.yaml``, are none of them.

    Raises:
        StudyNotFound: There is no ``study.yaml`` in the folder.
        StudyUnreadable: The folder cannot be read.
    """
    study_dir = Path(study_dir)
    try:
        names = {path.name for path in study_dir.iterdir()}  # glob would take an unreadable folder for an empty one
    except (FileNotFoundError, NotADirectoryError):
        names = set()
    except OSError as error:
        raise _unreadable(study_dir, error) from error
    if "study.yaml" not in names:
        raise StudyNotFound(
            f"a study's folder must hold study.yaml, but {study_dir} does not. Check the name of the study and --root"
        )
    return sorted((int(m[1] or 1), study_dir / m[0]) for m in map(_AMENDMENT.fullmatch, names) if m)


def _may_be_study(folder: Path) -> bool:
    try:
        return (folder / "study.yaml").is_file()
    except PermissionError:
        return True


def _document(path: Path) -> Mapping[str, Any]:  # Any: YAML, checked by whoever takes a value
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except OSError as error:
        raise _unreadable(path, error) from error
    except (yaml.YAMLError, ValueError) as error:
        raise _malformed(path, error) from error
    if not isinstance(document, Mapping):
        raise _malformed(path, TypeError(f"it holds a {type(document).__name__}"))
    return document


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, object]]:  # Any: YAML
    """Every value that is no mapping, or an empty one, by dotted key."""
    if isinstance(value, Mapping) and (value or not prefix):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _malformed(path: Path, error: Exception) -> StudyUnreadable:
    return StudyUnreadable(
        f"a resolved study must be a YAML mapping as thermotune writes it, but {path} is not: {error}. Restore the file"
    )


def _unreadable(path: Path, error: OSError) -> StudyUnreadable:
    return StudyUnreadable(
        f"a study must be readable, but {path} is not ({error.strerror}). Give yourself the right to read it, or "
        "choose another root with --root or THERMOTUNE_ROOT"
    )


def _facts(study_dir: Path, amendment: int, document: Mapping[str, Any]) -> StudyFacts:  # Any: YAML, checked below
    search, seeds, stopping = document["search"], document["seeds"], document["stopping"]
    budget = document.get("budget") or {}
    mode = str(search["mode"])
    if mode not in ("max", "min"):
        raise ValueError(f"search.mode must be max or min, got {mode!r}")
    axes = {str(path): spec for path, spec in (document["space"] or {}).items()}
    derived = {path: _rule(spec) for path, spec in axes.items() if _follows(spec)}
    space = {path: _range(spec) for path, spec in axes.items() if path not in derived}
    arms = {str(name): arm or {} for name, arm in document["arms"].items()}
    varying = {name: _varying(arm, space) for name, arm in arms.items()}
    teachers = {str(name): _teacher(str(name), spec) for name, spec in (document.get("teachers") or {}).items()}
    return StudyFacts(
        study_dir=study_dir,
        id=str(document["id"]),
        name=str(document["name"]),
        amendment=amendment,
        data=_data(study_dir, document["recipe"]),
        epochs=int(document["recipe"]["epochs"]),
        space=space,
        derived=derived,
        require=tuple(map(str, document.get("require") or ())),
        temperature=_temperature(axes, space, varying),
        arms={name: dict(arm.get("set") or {}) for name, arm in arms.items()},
        varying=varying,
        teachers=teachers,
        needed=_needed(document["recipe"], axes, arms, teachers),
        reference=document.get("reference"),
        metric=str(search["metric"]),
        mode=mode,
        epoch_rule=str(search["epoch_rule"]),
        sampler=_sampler(search["sampler"]),
        trials={name: _planned(arm, search["trials"] if varying[name] else 1) for name, arm in arms.items()},
        seed=int(search["seed"]),
        search_seeds=int(seeds["search"]),
        confirm_seeds=int(seeds["confirm"]),
        confirm_top=int(document["confirm"]["top"]),
        stopping=_stopping(stopping),
        grace_epochs=int(stopping.get("grace_epochs") or 1),
        reduction_factor=float(stopping.get("reduction_factor") or 1),
        audit=float(stopping.get("audit") or 0),
        budget=Budget(**{name: budget.get(name) for name in ("wall_hours", "gpu_hours", "trials")}),
        gpus=float((document.get("resources") or {}).get("gpus") or 0),
    )


def _data(study_dir: Path, recipe: Mapping[str, Any]) -> DataFacts:
    """The data as ``environment.json`` describes them; reports of a study that lost this file go without."""
    try:
        known = json.loads((study_dir / "environment.json").read_text(encoding="utf-8"))["data"]
        return DataFacts(
            name=str(known["name"]),
            digest=known.get("digest"),
            classes=known.get("classes"),
            sizes=dict(known.get("sizes") or {}),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return DataFacts(name=str(recipe.get("dataset")), digest=None, classes=None, sizes={})


def _planned(arm: Mapping[str, Any], otherwise: Any) -> int:
    """Trials of an arm; older studies say for all arms at once how many."""
    own = arm.get("trials")
    return int(otherwise if own is None else own)


def _sampler(spec: str | Mapping[str, Any]) -> str:
    """A sampler in words; older studies give its name alone."""
    if isinstance(spec, str):
        return spec
    words = [str(spec["name"])]
    words += ["multivariate"] if spec.get("multivariate") else []
    words += [f"population {spec['population']}"] if spec.get("population") else []
    words += [f"refined {_TIMES.get(rounds, f'{rounds} times')}"] if (rounds := spec.get("refine")) else []
    return ", ".join(words)


def _stopping(rule: Mapping[str, Any]) -> str:
    """A stopping rule in words."""
    words = [f"{rule['name']} (promotion)" if rule.get("form") == "promotion" else str(rule["name"])]
    words += [f"grace {rule['grace_epochs']}"] if rule.get("grace_epochs") else []
    words += [f"factor {rule['reduction_factor']:g}"] if rule.get("reduction_factor") else []
    words += [f"{rule['brackets']} brackets"] if rule.get("brackets") else []
    words += [f"every {rule['interval_epochs']} epochs"] if rule.get("interval_epochs", 1) > 1 else []
    words += [f"from {rule['min_trials']} trials on"] if rule.get("min_trials") else []
    words += [f"audit of {100 * rule['audit']:g} %"] if rule.get("audit") else []
    return ", ".join(words)


def _varying(arm: Mapping[str, Any], space: Mapping[str, str]) -> tuple[str, ...]:
    """The searched paths of an arm; studies of before ``varies`` was written search all that the arm does not fix."""
    listed = arm.get("varies")
    fixed = arm.get("set") or {}
    return tuple(path for path in space if (path not in fixed if listed is None else path in listed))


def _temperature(
    axes: Mapping[str, Any], space: Mapping[str, str], varying: Mapping[str, tuple[str, ...]]
) -> str | None:
    """The path that the report is about; words make no axis, so numbers come before them."""
    somewhere = [path for path in space if any(path in paths for paths in varying.values())] or list(space)
    paths = [path for path in somewhere if _is_numeric(axes[path])] or somewhere
    return next((path for path in paths if path.startswith("loss.")), next(iter(paths), None))


def _is_numeric(spec: object) -> bool:
    values = (spec.get("choice") or spec.get("grid") or ()) if isinstance(spec, Mapping) else ()
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _teacher(name: str, spec: Mapping[str, Any]) -> TeacherFacts:
    recipe = spec["recipe"]
    epochs = int(recipe["epochs"])
    return TeacherFacts(
        name=name,
        model=recipe.get("model"),
        epochs=int(spec.get("epoch") or epochs),
        schedule_epochs=epochs,
        learns_from=(recipe.get("loss") or {}).get("teacher"),
        adds_to=recipe.get("base"),
    )


def _needed(
    recipe: Mapping[str, Any],
    axes: Mapping[str, Any],
    arms: Mapping[str, Mapping[str, Any]],
    teachers: Mapping[str, TeacherFacts],
) -> tuple[str, ...]:
    """Names of the teachers that some arm can ask for, and of those that these were taught by."""
    loss = recipe.get("loss") or {}
    wanted: list[object] = []
    for arm in arms.values():
        fixed = arm.get("set") or {}
        chosen = arm.get("varies")
        free = axes if chosen is None else {path: spec for path, spec in axes.items() if path in chosen}
        if "distilled" in _possible("loss.name", loss.get("name"), fixed, free):
            wanted += _possible("loss.teacher", loss.get("teacher"), fixed, free)
        wanted += _possible("base", recipe.get("base"), fixed, free)
    found: set[str] = set()
    while wanted:
        teacher = teachers.get(str(wanted.pop()))
        if teacher is not None and teacher.name not in found:
            found.add(teacher.name)
            wanted += [teacher.learns_from, teacher.adds_to]
    return tuple(name for name in teachers if name in found)


def _possible(path: str, default: object, fixed: Mapping[str, Any], axes: Mapping[str, Any]) -> list[object]:
    """The values that a path of the recipe can have in an arm that fixes some."""
    if path in fixed:
        return [fixed[path]]
    spec = axes.get(path)
    return list(spec.get("choice") or spec.get("grid") or [default]) if isinstance(spec, Mapping) else [default]


def _follows(spec: object) -> bool:
    """Whether a value follows from others: ``{equals: ...}``, in older studies ``{fixed: ..., times: ...}``."""
    return isinstance(spec, Mapping) and ("equals" in spec or "fixed" in spec)


def _rule(spec: Mapping[str, Any]) -> str:
    """A derived value in one line: ``0.0005 * loss.beta``, in older studies ``0.0005 times loss.beta ** 1``."""
    if "equals" in spec:
        return ", ".join([str(spec["equals"]), *_conditions(spec)])
    return f"{spec['fixed']} times {spec['times']}" if spec.get("times") else str(spec["fixed"])


def _range(spec: object) -> str:
    """A dimension in one line: ``log 0.01 .. 10, times loss.beta ** -1, when loss.name is tempered``."""
    if not isinstance(spec, Mapping):
        return str(spec)
    words = []
    for key, value in spec.items():
        if isinstance(value, list):
            is_range = len(value) == 2 and key not in ("choice", "grid")
            words.append(f"{_KINDS.get(key, key)} {(' .. ' if is_range else ', ').join(map(str, value))}")
        elif key != "when" and value is not None:
            words.append(f"{key} {value}")
    return ", ".join([*words, *_conditions(spec)])


def _conditions(spec: Mapping[str, Any]) -> list[str]:
    """When a conditional value is there: ``when loss.name is tempered or tampered``."""
    wanted = {
        path: " or ".join(map(str, values)) if isinstance(values, list) else str(values)
        for path, values in _flat(spec.get("when") or {})
    }
    return [f"when {' and '.join(f'{path} is {values}' for path, values in wanted.items())}"] if wanted else []
