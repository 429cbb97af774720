"""What an epoch of training adds up to: losses, hits and open gates, read from the device now and then."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.engine.loop import Step
from trainables.engine.ranks import Ranks, Share

_CHUNK_STEPS = 64
"""Losses and hits are put together after so many steps, because few operations for many steps cost less."""
_WATCHED_CHUNKS = {"cpu": 1, "cuda": 16}
"""They are read from the device after so many chunks: a divergence costs at most these, and a wait costs a GPU time."""


class EpochTally:
    """Adds up the steps of K lanes; waits for the device, and for the other ranks, in :meth:`read` only."""

    def __init__(self, lanes: int, device: torch.device, ranks: Ranks | None = None) -> None:
        self._lanes = range(lanes)
        self._ranks = ranks
        self._watched_steps = _CHUNK_STEPS * _WATCHED_CHUNKS.get(device.type, 1)
        self._chunk: list[tuple[Sequence[Tensor], Step]] = []  # labels, not samples: these would fill the memory
        self._unread: list[tuple[Tensor, Tensor]] = []
        self._losses: list[list[float]] = []
        self._hits: list[list[float]] = []
        self._sizes: list[int] = []
        self._copies: list[int] = []
        self._gates: list[Tensor] = []

    def add(self, labels: Sequence[Tensor], done: Step, share: Share | None = None) -> None:
        """Takes in a step.

        Args:
            labels: For each lane, (B,) int64, the true classes.
            done: What came of it.
            share: What this is of the batch; None for all of it.
        """
        self._chunk.append((labels, done))
        self._sizes.append(len(labels[0]) if share is None else share.batch)
        self._copies.append(1 if share is None else share.copies)
        self._gates += [gate for gate in done.gates if gate is not None]
        if len(self._chunk) == _CHUNK_STEPS:
            self._close_chunk()

    @property
    def is_due(self) -> bool:
        """Whether so much has come together that it should be read."""
        return len(self._sizes) % self._watched_steps == 0

    def read(self) -> tuple[int, list[list[float]]]:
        """Reads everything that has come since the last time.

        Returns:
            How many steps were read before, and for each new one the losses of all lanes.
        """
        self._close_chunk()
        first = len(self._losses)
        if self._ranks is not None and self._unread:
            both = self._ranks.add_up(torch.stack([torch.cat(part) for part in zip(*self._unread, strict=True)]))
            self._unread = [(both[0], both[1])]
        for losses, hits in self._unread:
            self._losses += losses.tolist()
            self._hits += hits.tolist()
        self._unread = []
        return first, self._losses[first:]

    def means(self, steps: int) -> list[dict[str, float]]:
        """``train/...`` of each lane, as means over the samples of the first so many steps, which were read."""
        sizes = self._sizes[:steps]
        found = [
            {
                "train/loss": sum(row[lane] * size for row, size in zip(self._losses, sizes, strict=False))
                / sum(sizes),
                "train/accuracy": sum(row[lane] for row in self._hits[:steps]) / sum(sizes),
            }
            for lane in self._lanes
        ]
        if self._gates:
            shares = torch.stack(self._gates).view(-1, len(self._lanes)).double().mean(0).tolist()
            for lane, share in enumerate(shares):
                found[lane]["train/distilled_steps"] = share
        return found

    def _close_chunk(self) -> None:
        """Puts losses and numbers of hits together, (steps, K) each, on the device."""
        if not self._chunk:
            return
        losses = torch.stack([loss for _, done in self._chunk for loss in done.losses]).view(len(self._chunk), -1)
        hits = torch.zeros_like(losses)
        for lane in self._lanes:
            labels = [of_lanes[lane] for of_lanes, _ in self._chunk]
            right = torch.cat([done.logits[lane] for _, done in self._chunk]).argmax(dim=1) == torch.cat(labels)
            sizes = torch.tensor([len(part) for part in labels])
            of_step = torch.repeat_interleave(torch.arange(len(labels)), sizes).to(losses.device)
            hits[:, lane].index_add_(0, of_step, right.to(hits.dtype))
        if self._ranks is not None:
            hits /= torch.tensor(self._copies[-len(hits) :], device=hits.device)[:, None]
        self._unread.append((losses, hits))
        self._chunk = []
