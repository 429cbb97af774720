"""What a worker of Ray Tune runs: a trial whose folders may lie wherever a root may. Workers import little more."""

from __future__ import annotations

from results.places import place
from search.doctor.admission import admit
from trainables.distributed import DistributedTrial
from trainables.trial import StudyTrial


def trainable_of(ranks: int) -> type[StudyTrial]:
    """The trial for Ray Tune: of one process, or of several that train it together."""
    return PlacedStudyTrial if ranks == 1 else PlacedDistributedTrial


class PlacedStudyTrial(StudyTrial):
    """A trial whose checkpoints and teachers may lie on an object store, where any machine finds them."""

    place = staticmethod(place)
    admit = staticmethod(admit)


class PlacedDistributedTrial(DistributedTrial):
    """The same of a trial that several processes train together."""

    place = staticmethod(place)
    admit = staticmethod(admit)
