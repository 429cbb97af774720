"""What a worker of Ray Tune runs: a trial whose folders may lie wherever a root may. Workers import little more."""

from __future__ import annotations

from results.places import place
from trainables.trial import StudyTrial


class PlacedStudyTrial(StudyTrial):
    """A trial whose checkpoints and teachers may lie on an object store, where any machine finds them."""

    place = staticmethod(place)
