"""How long questions to the records take, at one and at ten million epochs, and against MLflow's own search.

    .venv/bin/python tests/benchmarks/queries.py                     # one and ten million rows
    .venv/bin/python tests/benchmarks/queries.py --mlflow 1000 100   # trials, epochs: fills MLflow on SQLite (minutes)

Ten made-up studies of 1000 trials, seeded, in compact files as the store writes them; one trial in a hundred was
restarted. Every size is asked in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from results.query import Database
from results.schema import arrow_schema
from tests.results.synthetic import STUDY_ID

RUNS = 7
QUESTIONS = {
    "best per study": "select study, trial, value, params from best where leads",
    "top 20 of all": 'select study, trial, "loss.beta", value from trials order by value desc limit 20',
    "top 20 by any epoch": 'select study, trial, max("val/accuracy") as top from epochs group by all order by top '
    "desc limit 20",
    "ten learning curves": "select trial, epoch, \"val/accuracy\" from epoch_means where study = 'study-03' and trial "
    "in ('t0001', 't0100', 't0101', 't0200', 't0300', 't0400', 't0500', 't0600', 't0700', 't0800') order by all",
    "median by beta bin": 'select floor(4 * log10("loss.beta")) / 4 as bin, median(value) from trials group by bin '
    "order by bin",
    "median of all epochs by beta bin": 'select floor(4 * log10(t."loss.beta")) / 4 as bin, median(e."val/accuracy") '
    "from epochs e join trials t using (study, trial) group by bin order by bin",
    "all studies": "select * from studies",
}


def text(values: list[str], place: np.ndarray) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(place.astype(np.int32)), pa.array(values)).cast(pa.string())


def write(folder: Path, table: str, known: dict[str, pa.Array], rows: int) -> None:
    schema = arrow_schema(table)
    data = pa.table([known.get(c.name, pa.nulls(rows, c.type)).cast(c.type) for c in schema], schema=schema)
    path = folder / "records" / table / "compact-000001-000001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(data, path, compression="zstd")


def make_study(root: Path, name: str, trials: int, epochs: int, rng: np.random.Generator) -> None:
    folder = root / name
    folder.mkdir(parents=True)
    beta, lr = 10 ** rng.uniform(-2, 1, trials), 10 ** rng.uniform(-3, 0, trials)
    recipe = {"dataset": "digits", "epochs": epochs, "loss": {"name": "tempered"}}
    document = {
        "schema": 1, "id": STUDY_ID, "name": name, "recipe": recipe,
        "space": {"loss.beta": {"log": [0.01, 10]}, "optimizer.lr": {"log": [0.001, 1.0]}},
        "search": {"sampler": "random", "trials": trials, "seed": 0, "metric": "val/accuracy", "mode": "max",
                   "epoch_rule": "last"},
        "stopping": {"name": "none"}, "seeds": {"search": 1, "confirm": 0}, "confirm": {"top": 2},
        "arms": {"search": {"set": {}}}, "reference": None,
        "resources": {"cpus": 1, "gpus": 0, "max_concurrent": None, "max_failures": 3},
    }  # fmt: skip
    (folder / "study.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    trial, epoch = np.repeat(np.arange(trials), epochs), np.tile(np.arange(1, epochs + 1), trials)
    attempt, start = np.ones(len(trial), int), np.zeros(len(trial), int)
    again = (trial % 100 == 0) & (epoch > epochs // 2) & (epoch <= epochs // 2 + 3)  # three epochs lost in a restart
    late = (trial % 100 == 0) & (epoch > epochs // 2)
    trial, epoch = np.concatenate([trial, trial[again]]), np.concatenate([epoch, epoch[again]])
    attempt = np.concatenate([np.where(late, 2, 1), attempt[again]])
    start = np.concatenate([np.where(late, epochs // 2, 0), start[again]])
    order = np.lexsort((trial, attempt, epoch, trial // 8))  # eight trials run at a time
    trial, epoch, attempt, start = trial[order], epoch[order], attempt[order], start[order]
    count, seq = len(trial), np.arange(len(trial))
    final = 0.98 - 0.02 * (np.log10(beta) - 0.4) ** 2 + rng.normal(0, 0.003, trials)
    curve = final[trial] * (1 - np.exp(-epoch / epochs * 8)) + rng.normal(0, 0.002, count)
    names = [f"t{n + 1:04d}" for n in range(trials)]
    common = {"study": name, "session": "s0001", "arm": "search", "stage": "explore"}

    def constants(rows: int) -> dict[str, pa.Array]:
        return {key: text([value], np.zeros(rows)) for key, value in common.items()}

    write(
        folder,
        "epochs",
        {
            **constants(count), "seq": pa.array(3 * trials + seq), "reported_at": pa.array(10**15 + 10**5 * seq),
            "trial": text(names, trial), "lane": pa.array(np.zeros(count)), "seed": pa.array(np.zeros(count)),
            "epoch": pa.array(epoch), "attempt": pa.array(attempt), "attempt_start": pa.array(start),
            "epoch_time_s": pa.array(rng.uniform(1, 1.2, count)), "train/loss": pa.array(1 - curve),
            "train/accuracy": pa.array(curve), "val/loss": pa.array(1.05 - curve), "val/accuracy": pa.array(curve),
            "optimizer/lr": pa.array(lr[trial]),
        },
        count,
    )  # fmt: skip
    params = [json.dumps({"loss.beta": b, "optimizer.lr": r}) for b, r in zip(beta, lr, strict=True)]
    each, states = np.tile(np.arange(trials), 3), ["PENDING", "RUNNING", "COMPLETED"]
    stage, ended = np.repeat(np.arange(3), trials), np.repeat([False, False, True], trials)
    first = stage == 0
    write(
        folder,
        "trials",
        {
            **constants(3 * trials), "seq": pa.array(np.where(ended, 10**8, 0) + np.arange(3 * trials)),
            "reported_at": pa.array(10**15 + np.arange(3 * trials)), "trial": text(names, each),
            "number": pa.array(each), "state": text(states, stage), "attempt": pa.array(np.minimum(stage, 1)),
            "params": pa.array([params[i] if f else None for i, f in zip(each, first, strict=True)]),
            "recipe": pa.array([json.dumps(recipe) if f else None for f in first]),
            "seeds": pa.array(["[0]" if f else None for f in first]),
            "epochs": pa.array([epochs if e else None for e in ended]),
            "value": pa.array([float(final[i]) if e else None for i, e in zip(each, ended, strict=True)]),
        },
        3 * trials,
    )  # fmt: skip
    write(
        folder,
        "sessions",
        {
            **constants(2), "seq": pa.array([0, 2 * 10**8]), "reported_at": pa.array([10**15, 10**15 + 10**12]),
            "state": pa.array(["RUNNING", "COMPLETED"]), "host": pa.array(["here"] * 2), "pid": pa.array([1, 1]),
            "slots": pa.array([8, 8]), "command": pa.array(["thermotune"] * 2), "environment": pa.array(["{}"] * 2),
            "wall_time_s": pa.array([None, 10.0**6]),
        },
        2,
    )  # fmt: skip


def ask(root: Path) -> None:
    """Prints a line a question: median and range of the runs, memory in the end."""
    begun = time.perf_counter()
    database = Database(root)
    print(f"  {'open the root':34} {time.perf_counter() - begun:6.3f} s")
    for name, sql in QUESTIONS.items():
        took = []
        for _ in range(RUNS):
            begun = time.perf_counter()
            rows = database.rows(sql)
            took.append(time.perf_counter() - begun)
        print(
            f"  {name:34} {statistics.median(took):6.3f} s  [{min(took):.3f}, {max(took):.3f}], n = {RUNS}; "
            f"{len(rows)} rows"
        )
    print(f"  memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def against_mlflow(trials: int, epochs: int) -> None:
    """Fills MLflow with what one study has, asks both the same in turns, and prints the ratios."""
    import mlflow
    from mlflow.entities import Metric, Param

    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "runs"
        make_study(root, "study-03", trials, epochs, np.random.default_rng(0))
        database = Database(root)
        mlflow.set_tracking_uri(f"sqlite:///{scratch}/mlflow.db")
        client = mlflow.MlflowClient()
        experiment = client.create_experiment("study-03")
        begun = time.perf_counter()
        curves: dict[str, list[tuple[int, float]]] = {}
        for trial, epoch, value in database.rows('select trial, epoch, "val/accuracy" from epochs order by 1, 2'):
            curves.setdefault(trial, []).append((epoch, value))
        runs = {}
        for trial, params in database.rows("select trial, params from trials"):
            run = client.create_run(experiment, tags={"trial": trial}).info.run_id
            runs[trial] = run
            points = [Metric("val/accuracy", value, 10**12 + epoch, epoch) for epoch, value in curves[trial]]
            client.log_batch(
                run, metrics=points[:1000], params=[Param(k, str(v)) for k, v in json.loads(params).items()]
            )
        print(f"MLflow on SQLite: {trials * epochs} points filled in {time.perf_counter() - begun:.0f} s")
        ten = sorted(runs)[:: max(1, trials // 10)][:10]
        pairs = {
            "top 20": (
                lambda: database.rows('select trial, "loss.beta", value from trials order by value desc limit 20'),
                lambda: client.search_runs([experiment], order_by=["metrics.`val/accuracy` DESC"], max_results=20),
            ),
            "all trials as a data frame": (
                lambda: database.pandas("select * from trials"),
                lambda: mlflow.search_runs([experiment], max_results=trials),
            ),
            "ten learning curves": (
                lambda: database.rows(
                    f'select trial, epoch, "val/accuracy" from epoch_means where trial in ({", ".join("?" * 10)})', ten
                ),
                lambda: [client.get_metric_history(runs[trial], "val/accuracy") for trial in ten],
            ),
        }
        for name, both in pairs.items():
            took: tuple[list[float], list[float]] = ([], [])
            for _ in range(RUNS):
                for times, question in zip(took, both, strict=True):
                    begun = time.perf_counter()
                    question()
                    times.append(time.perf_counter() - begun)
            ours, theirs = map(statistics.median, took)
            ratios = sorted(b / a for a, b in zip(*took, strict=True))
            print(
                f"  {name:28} ours {ours:.4f} s, MLflow {theirs:.4f} s: {statistics.median(ratios):.1f} times "
                f"[{ratios[0]:.1f}, {ratios[-1]:.1f}], n = {RUNS} pairs"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--mlflow", type=int, nargs=2, metavar=("TRIALS", "EPOCHS"))
    parser.add_argument("--epochs", type=int, nargs="+", default=[100, 1000], help="of each of 10 x 1000 trials")
    options = parser.parse_args()
    if options.ask:
        ask(options.ask)
    elif options.mlflow:
        against_mlflow(*options.mlflow)
    else:
        for epochs in options.epochs:
            with tempfile.TemporaryDirectory() as scratch:
                rng = np.random.default_rng(epochs)
                for number in range(10):
                    make_study(Path(scratch), f"study-{number:02d}", 1000, epochs, rng)
                print(f"{10_000 * epochs:,} epoch rows, 10 studies", flush=True)
                subprocess.run([sys.executable, __file__, "--ask", scratch], check=True)


if __name__ == "__main__":
    main()
