"""What the amendments of a study changed in its file."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from results.facts.files import amendments, flat, read_document
from results.places import Place

_FOLLOWS = re.compile(r"id|arms\.[^.]+\.planned")  # what nobody wrote: it is worked out from the rest


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


def changes(study_dir: Place) -> dict[int, tuple[Change, ...]]:
    """What every amendment of a study changed in the study file before it.

    Args:
        study_dir: Folder of the study.

    Returns:
        Changes by number of the amendment, from 2; aside from what thermotune works out itself.

    Raises:
        StudyNotFound: There is no ``study.yaml`` in the folder.
        StudyUnreadable: The folder or a study file cannot be read, or a file is no YAML mapping.
    """
    files = [(number, dict(flat(read_document(path)))) for number, path in amendments(study_dir)]
    return {
        number: tuple(
            Change(key=key, before=before.get(key), after=after.get(key))
            for key in dict.fromkeys([*before, *after])
            if not _FOLLOWS.fullmatch(key) and before.get(key) != after.get(key)
        )
        for (_, before), (number, after) in itertools.pairwise(files)
    }
