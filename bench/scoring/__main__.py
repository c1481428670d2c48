"""Rows a second of tables larger than memory, scored by one worker and by two of the same engine, in turns in one run.

    python bench/scoring [--engine dask | spark] [--gigabytes 0.05] [--rows 500] [--repeats 3]

The table is made chunk by chunk by the workers, so that any size can be asked for: 10 GB need no more memory than 0.05,
as the peak of the largest worker shows. The outputs are summed by the workers, and the sum is compared. It needs the
extra of the engine (and Java for Spark). Both sizes of the cluster are there all the time; one of them works.

On a machine with other work the times say little; what the busiest worker of Dask takes of a processor still says how
well the work is shared out: with two it should be half.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import rnnx
from rnnx import layers

TIMESTEPS, FEATURES, UNITS = 100, 16, 64
CHUNK = 500  # rows


def rows_of(number: int, rows: int) -> Any:
    """The chunk with this number."""
    return np.random.default_rng(number).normal(size=(rows, TIMESTEPS, FEATURES)).astype(np.float32)


def write(folder: Path) -> str:
    rnnx.utils.set_random_seed(0)
    model = rnnx.Sequential([rnnx.Input((None, FEATURES)), layers.LSTM(UNITS), layers.Dense(1)])
    path = folder / "model.safetensors"
    model.save(path)
    return str(path)


def peak() -> float:
    """Of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Dask:
    def __init__(self, workers: int, path: str, chunks: int, rows: int):
        import dask.array as da
        from distributed import Client, LocalCluster

        import rnnx.distributed.dask

        self.cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            memory_limit=0,
            silence_logs=50,
        )
        self.client = Client(self.cluster, set_as_default=False)
        shape = (chunks * rows, TIMESTEPS, FEATURES)
        x = da.map_blocks(
            lambda block_info: rows_of(block_info[None]["chunk-location"][0], rows),
            chunks=((rows,) * chunks, *((n,) for n in shape[1:])), dtype=np.float32,
            meta=np.empty((0, 0, 0), np.float32),
        )  # fmt: skip
        self.total = rnnx.distributed.dask.predict(path, x).astype(np.float64).sum()

    def run(self) -> float:
        return float(self.client.compute(self.total).result())

    def peak(self) -> float:
        return max(self.client.run(peak).values())

    def processor_times(self) -> list[float]:
        """Of each worker, since it began."""
        return list(self.client.run(time.process_time).values())

    def stop(self) -> None:
        self.client.close()
        self.cluster.close()


class Spark:
    session: Any = None

    def __init__(self, workers: int, path: str, chunks: int, rows: int):
        import os

        from pyspark.sql import SparkSession
        from pyspark.sql import functions as F

        from rnnx.distributed.spark import predict_udf

        os.environ["PYSPARK_PYTHON"] = sys.executable
        if Spark.session is None:
            options = {"spark.ui.enabled": "false", "spark.sql.execution.arrow.maxRecordsPerBatch": str(rows)}
            Spark.session = SparkSession.builder.master("local[2]").config(map=options).getOrCreate()
            Spark.session.sparkContext.setLogLevel("ERROR")
        # In one session, which may be the only one: as many partitions as workers.

        def table(batches: Any) -> Any:
            import pandas

            for batch in batches:
                for number in batch["id"]:
                    yield pandas.DataFrame({"x": list(rows_of(int(number), rows).reshape(rows, -1))})

        frame = Spark.session.range(0, chunks, 1, workers).mapInPandas(table, "x array<float>")
        score = predict_udf(path, shape=(TIMESTEPS, FEATURES))
        self.total = frame.select(score("x").getItem(0).cast("double").alias("y")).agg(F.sum("y"))

    def run(self) -> float:
        return float(self.total.collect()[0][0])

    def peak(self) -> float:
        return float("nan")

    def processor_times(self) -> list[float]:
        return [float("nan")]

    def stop(self) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["dask", "spark"], default="dask")
    parser.add_argument("--gigabytes", type=float, default=0.05)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=CHUNK, help="of a chunk")
    args = parser.parse_args()
    chunks = 2 * max(1, round(args.gigabytes * 1e9 / (args.rows * TIMESTEPS * FEATURES * 4) / 2))
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder))
        predict = rnnx.Predictor(path, threads=1)
        wanted = float(sum(predict(rows_of(k, args.rows)).sum(dtype=np.float64) for k in range(min(chunks, 20))))
        engine = Dask if args.engine == "dask" else Spark
        sides = {workers: engine(workers, path, chunks, args.rows) for workers in (1, 2)}
        times: dict[int, list[float]] = {1: [], 2: []}
        busiest: dict[int, list[float]] = {1: [], 2: []}
        here: list[float] = []  # of this process, where Dask's scheduler is
        try:
            for side in sides.values():
                found = side.run()  # and read the model
                if chunks <= 20:
                    np.testing.assert_allclose(found, wanted, rtol=1e-6)
            for _ in range(args.repeats):
                for workers, side in sides.items():
                    before, own, begun = side.processor_times(), time.process_time(), time.perf_counter()
                    side.run()
                    times[workers].append(time.perf_counter() - begun)
                    here.append(time.process_time() - own)
                    after = side.processor_times()
                    busiest[workers].append(max(b - a for a, b in zip(before, after, strict=True)))
            most = {workers: side.peak() for workers, side in sides.items()}
        finally:
            for side in sides.values():
                side.stop()
    rows = chunks * args.rows
    print(f"{args.engine}: {rows} rows of {TIMESTEPS} x {FEATURES}, {rows * TIMESTEPS * FEATURES * 4 / 1e9:.2f} GB\n")
    print("| workers | rows/s, median | least time, s | processor time of the busiest, s | its peak, MB |")
    print("|---|---|---|---|---|")
    for workers, own in times.items():
        speed, best = rows / statistics.median(own), min(busiest[workers])
        print(f"| {workers} | {speed:,.0f} | {min(own):.2f} | {best:.2f} | {most[workers]:.0f} |")
    medians, least = (statistics.median(times[1]) / statistics.median(times[2]), min(times[1]) / min(times[2]))
    shared = min(busiest[1]) / min(busiest[2])
    print(f"\ntwo workers: {medians:.2f} times one (medians), {least:.2f} (least times), {shared:.2f} (processor time)")
    if engine is Dask:
        print(f"this process, with Dask's client and scheduler: {min(here):.2f} s of a processor in a run")


if __name__ == "__main__":
    main()
