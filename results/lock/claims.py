"""The lock of a study on an object store: claims that every driver writes and all can list.

An object store has no locks, and not every one refuses to overwrite. It only must list what was written before (S3
does since 2020). A claim is an object ``lock/<token>-<number>.json``, and its time is told by the store's clock alone.

* To take the study, a driver writes a claim and then lists all. If another's is alive, it removes its own again. Of two
  drivers, the one that lists later sees the other's claim, so never do both take the study. Both may back off; then
  they try again after a random time.
* A claim is dead if its process is, on the same machine, or if it was written ``STALE_AFTER_S`` before one's own. The
  taker removes dead claims before it does anything else.
* To renew, the holder writes a claim of a new number, and then removes the one before. As long as the last one is
  fresh, half of ``STALE_AFTER_S``, nobody can have found it dead. Later, after a pause of the process or a broken
  network, it lists between the two: the study is lost if the old claim is gone, for then somebody took it and may even
  have given it back, or if there is another's claim. Whoever claims after that list finds the new one alive. Numbers
  are never used twice, because a write that was given up may still arrive.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from results.errors import Held
from results.lock.file_lock import held_by
from results.lock.identity import Holder
from results.places import RemotePath, names_in

TRIES = 6
"""So often a driver claims a study that another one claims at the same moment."""
BACK_OFF_S = 1.0
"""At most so long it waits in between; seconds."""


@dataclass(frozen=True, slots=True)
class _Claim:
    path: RemotePath
    holder: Holder
    written: float

    @property
    def is_first(self) -> bool:
        """Whether it was never renewed: its driver may just be trying, too."""
        return self.holder.heartbeat <= self.holder.since.timestamp() + 0.001


class Claims:
    """The folder ``lock`` of a study on an object store."""

    def __init__(self, folder: RemotePath) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._claim: RemotePath | None = None

    def take(self, mine: Holder) -> Holder | None:
        """Claims the study, unless a live driver holds it.

        Returns:
            The dead holder that was replaced, None if there was none.

        Raises:
            Held: A live driver holds the study, or others claim it again and again.
            OSError: The store does not answer, or refuses.
        """
        for tries_left in reversed(range(TRIES)):
            claim = self._write(mine)
            try:
                others = self._others(mine, claim.modified_s())
            except BaseException:
                claim.unlink(missing_ok=True)
                raise
            alive = [other for other, lives in others if lives]
            if not alive:
                for other, _ in others:
                    other.path.unlink(missing_ok=True)
                self._claim = claim
                return max((other.holder for other, _ in others), key=lambda h: h.heartbeat, default=None)
            claim.unlink(missing_ok=True)
            if tries_left == 0 or not all(other.is_first for other in alive):
                raise Held(held_by(alive[0].holder, self._folder.parent.name, alive[0].path))
            time.sleep(random.uniform(0.0, BACK_OFF_S))
        raise AssertionError("the last try returns or raises")

    def renew(self, mine: Holder, fresh: Callable[[], bool]) -> bool:
        """Writes a sign of life.

        Args:
            mine: The holder as it is now.
            fresh: Whether the last sign of life is so young that nobody can have found it dead.

        Returns:
            Whether the study is still held.

        Raises:
            OSError: The store does not answer: nobody can tell.
        """
        assert self._claim is not None
        claim = self._write(mine)
        if not fresh() and not self._still_mine(mine):
            self.give_back(mine)
            return False
        before, self._claim = self._claim, claim
        with contextlib.suppress(OSError):  # goes when the study is given back
            before.unlink(missing_ok=True)
        return True

    def give_back(self, mine: Holder) -> None:
        """Removes all claims of this holder."""
        for name in names_in(self._folder):
            if name.startswith(mine.token):
                (self._folder / name).unlink(missing_ok=True)

    def holder(self) -> Holder | None:
        """The live holder, as far as this machine's clock can tell; None if there is none."""
        now = time.time()
        alive = [claim.holder for claim in self._claims() if claim.holder.is_alive_at(now - claim.written)]
        return min(alive, key=lambda holder: holder.since, default=None)

    def _write(self, mine: Holder) -> RemotePath:
        path = self._folder / f"{mine.token}-{next(self._numbers):06d}.json"
        path.write_bytes(mine.to_json().encode())
        return path

    def _still_mine(self, mine: Holder) -> bool:
        assert self._claim is not None
        names = names_in(self._folder)
        return self._claim.name in names and all(name.startswith(mine.token) for name in names)

    def _others(self, mine: Holder, now: float) -> list[tuple[_Claim, bool]]:
        """The claims of others, and whether each is alive, at a time of the store's clock."""
        claims = [claim for claim in self._claims() if claim.holder.token != mine.token]
        alive = {claim.holder.token for claim in claims if claim.holder.is_alive_at(now - claim.written)}
        return [(claim, claim.holder.token in alive) for claim in claims]

    def _claims(self) -> list[_Claim]:
        """All claims. One that goes while it is read may have been renewed under another name: all are listed again."""
        for tries_left in reversed(range(TRIES)):
            try:
                return [_read(self._folder / name) for name in names_in(self._folder)]
            except FileNotFoundError:
                if tries_left == 0:
                    raise
        raise AssertionError("the last try returns or raises")


def _read(path: RemotePath) -> _Claim:
    written = path.modified_s()
    return _Claim(path, Holder.from_json(path.read_text(errors="replace"), written), written)
