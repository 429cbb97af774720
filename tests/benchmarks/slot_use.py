"""How busy the slots are: a study with epochs of about a second, and the gaps between them, from its records.

A slot is busy while an epoch of a trial is trained and evaluated (epoch_time_s). Counted is the time from the first
epoch's start to the start of the last explored trial: before it Ray starts, after it there is no more to do for some.
Usage: uv run python tests/benchmarks/slot_use.py [TRIALS]; or, of a study that was run: slot_use.py FOLDER
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

STUDY = """
name: seconds
recipe: {dataset: digits, model: mlp-512-512, batch_size: 2, epochs: 9}
baseline: null
search: {trials: TRIALS}
confirm: {top: 1}
seeds: {confirm: 2}
"""


def measure(folder: Path) -> None:
    from results.schema import EpochRow, SessionRow, TrialRow
    from results.store import read_rows

    rows = read_rows(folder)
    slots = next(r.slots for r in rows if isinstance(r, SessionRow))
    explored = [r for r in rows if isinstance(r, TrialRow) and r.stage == "explore"]
    epochs = [r for r in rows if isinstance(r, EpochRow) and r.stage == "explore"]
    begin = min(r.reported_at.timestamp() - r.epoch_time_s for r in epochs)
    end = max(r.reported_at.timestamp() for r in explored if r.state == "RUNNING")
    busy = 0.0
    for row in epochs:
        ended = row.reported_at.timestamp()
        busy += max(0.0, min(ended, end) - max(ended - row.epoch_time_s, begin))
    print(f"{slots} slots, {len({r.trial for r in explored})} trials, {len(epochs)} epochs of", end=" ")
    print(f"{statistics.median(r.epoch_time_s for r in epochs):.2f} s (median), load {os.getloadavg()[0]:.1f}")
    print(f"busy {busy / (slots * (end - begin)):.1%} of {end - begin:.0f} s")
    ends = {r.trial: r.reported_at for r in explored if r.reason is not None}
    starts = sorted(r.reported_at for r in explored if r.state == "RUNNING")
    gaps = []
    for ended in ends.values():  # the next start after an end is that of the slot that became free
        later = [start for start in starts if start >= ended]
        gaps += [(later[0] - ended).total_seconds()] if later else []
    print(f"from a trial's end to the next start: median {statistics.median(gaps):.3f} s, largest {max(gaps):.3f} s")


def main() -> None:
    given = sys.argv[1] if len(sys.argv) > 1 else "24"
    if not given.isdigit():
        measure(Path(given))
        return
    folder = Path(tempfile.mkdtemp())
    (folder / "seconds.yaml").write_text(STUDY.replace("TRIALS", given))
    command = [str(Path(sys.executable).parent / "thermotune"), "submit", str(folder / "seconds.yaml")]
    subprocess.run([*command, "--root", str(folder)], check=True, capture_output=True)
    measure(folder / "seconds")


if __name__ == "__main__":
    main()
