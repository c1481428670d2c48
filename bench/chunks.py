"""What `predict` of a table that is not in memory takes of it: growth of the peak of memory, way by way.

    python bench/chunks.py [--megabytes 128]

Linux only: the peak is that of /proc/self/status, each way in a process of its own. h5py, zarr and Dask are measured
where they are installed. A mapped file (np.memmap) counts with the pages that were read, which the system takes back
when it needs them: the second number.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import rnnx
from rnnx import layers

SHAPE = (50, 16)
WAYS = {"array": "numpy", "memmap": "numpy", "h5py": "h5py", "zarr": "zarr", "dask": "dask.array"}


def status(name: str) -> float:
    """A line of the status of this process, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise OSError(f"no {name} in /proc/self/status")


def write(folder: Path, rows: int) -> None:
    """The same numbers in all formats that are there."""
    x = np.memmap(folder / "x.raw", np.float32, "w+", shape=(rows, *SHAPE))
    random = np.random.default_rng(0)
    for k in range(0, rows, 1000):
        x[k : k + 1000] = random.normal(size=x[k : k + 1000].shape)
    x.flush()
    if importlib.util.find_spec("h5py"):
        import h5py

        with h5py.File(folder / "x.h5", "w") as file:
            file.create_dataset("x", data=x, chunks=(512, *SHAPE))
    if importlib.util.find_spec("zarr"):
        import zarr

        zarr.create_array(str(folder / "x.zarr"), shape=x.shape, chunks=(512, *SHAPE), dtype="float32")[:] = x


def source(way: str, folder: Path, rows: int) -> Any:
    shape = (rows, *SHAPE)
    if way == "h5py":
        import h5py

        return h5py.File(folder / "x.h5")["x"]
    if way == "zarr":
        import zarr

        return zarr.open_array(str(folder / "x.zarr"), mode="r")
    mapped = np.memmap(folder / "x.raw", np.float32, "r", shape=shape)
    if way == "dask":
        import dask.array

        return dask.array.from_array(mapped, chunks=(2048, *SHAPE)) * 1
    return np.fromfile(folder / "x.raw", np.float32).reshape(shape) if way == "array" else mapped


def one(way: str, folder: Path, rows: int) -> None:
    """Print by how many MB a prediction raises the peak of memory, and what is there of mapped files."""
    model = rnnx.load_model(folder / "model.safetensors")
    x = source(way, folder, rows)
    model.predict(x[:64] if way != "dask" else x[:64].compute())
    before, mapped = status("VmHWM"), status("RssFile")
    y = model.predict(x)
    assert y.shape == (rows, 2) and np.isfinite(y).all()
    print(status("VmHWM") - before, status("RssFile") - mapped)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=128, help="of the table")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one[0], Path(args.one[1]), int(args.one[2]))
        return
    rows = args.megabytes * 2**20 // (4 * int(np.prod(SHAPE)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = rnnx.Sequential([rnnx.Input((None, SHAPE[1])), layers.GRU(8), layers.Dense(2)])
        model.save(folder / "model.safetensors")
        write(folder, rows)
        print(f"a table of {args.megabytes} MB\n\n| x | peak, MB more | pages of files |\n|---|---|---|")
        for way, package in WAYS.items():
            if not importlib.util.find_spec(package.split(".")[0]):
                continue
            words = [sys.executable, __file__, "--one", way, name, str(rows)]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
            most, mapped = map(float, done.stdout.split())
            print(f"| {way} | {most:+.0f} | {mapped:+.0f} |")


if __name__ == "__main__":
    main()
