"""rnnx beside its peers on the CPU: the same weights, inputs, output gradients, and results that are checked first.

    python bench/peers --quick                          # a few small cells, less than two minutes
    python bench/peers --out figures                    # the whole grid, hours: results.json, results.md, PNG
    python bench/peers --peers numpy torch --work step sequence --threads 2
    python bench/peers --isa avx2 --out figures-avx2    # the same processor as if it had no AVX-512

Peers: the NumPy loop of ``rnnx bench``, PyTorch, ONNX Runtime, OpenVINO, JAX, Keras on JAX, on PyTorch and on OpenVINO,
LiteRT. Each
has an environment of its own, made by pip with pinned versions at its first use and kept in ``--envs``: several GB.
(Where PyPI's PyTorch comes with CUDA, ``PIP_EXTRA_INDEX_URL`` may point to PyTorch's own CPU builds.) rnnx runs in the
Python that runs this; the pins need Python 3.11 or newer.

One process per peer, with N threads and, on Linux, kept on N cores. A cell is first run by all and checked against
rnnx's results (outputs to 1e-4, gradients to 1e-3 of the largest value); who disagrees is reported, not timed. Then all
take turns for some rounds. A sample is one call, or as many as take 2 ms. Ratios are those of the medians.

Each peer is called the way that suits it: its own tensors, its own order of axes where it has a choice, compiled once
(JAX: ``jit``; ONNX Runtime, OpenVINO and LiteRT: model files), its data handed over once where it can keep them.

- step: one step of a stream with batch 1, the state carried from call to call.
- sequence; bidirectional (two layers): all outputs.
- training: outputs, and the gradients of weights, biases and input for a given gradient of the outputs. That of the
  input is there because the NumPy loop and PyTorch's LSTM always compute it.
- dropout: the same with dropout 0.5 of the input and 0.25 of the recurrent state, masks constant in time, drawn anew in
  every call, one for each gate (what Keras does) or one for all (what the NumPy loop does). In PyTorch and JAX it is a
  loop over their operations.
- ragged, ragged-training: lengths 10 to 100, or a tenth of T to T where that is 400 or 2,000; the last valid outputs.
  PyTorch packs the sequences (which sorts them),
  ONNX Runtime and OpenVINO are given the lengths, NumPy, JAX and Keras compute all steps and mask.
- fit: one epoch of eight batches of a model with `fit`, the same text for rnnx and Keras: a classifier of sentiment
  (dropout and recurrent dropout), a language model of two layers, a forecast. Checked are the predictions before.
- int8: sequences with 8-bit weights, against float32: rnnx, PyTorch (``quantize_dynamic``) and, for LSTM, ONNX Runtime
  (``DynamicQuantizeLSTM``). Outputs may differ from float32 by 0.25; the report says how far they do. OpenVINO has
  none: its plugin for processors refuses an LSTM that NNCF has quantized, and NNCF's compression of weights leaves
  recurrent ones as they are.
- startup: from the start of the process to the first result, with the weights (or the model file) read from disk.

The report also says what share of the machine's limit rnnx reaches: the time that the multiplications need at the
measured peak and the weights at the measured bandwidth, over rnnx's (one thread; needs ``cc``). With gates, it is what
is left to an engine whose activations are as fast as rnnx's and whose every other part costs nothing.

Not every peer has every kind of work; the report says what is missing. LiteRT has batch 1 only, without training, and
TensorFlow converts its models. With ``--isa`` the environment holds rnnx, OpenBLAS, oneDNN, PyTorch and XLA to that
instruction set; ONNX Runtime, OpenVINO and LiteRT have no such switch, and the limit of the machine is not measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from environments import CAN_BE_HELD, HELD, REQUIREMENTS, default_folder, python_of
from grid import cells
from machine import gates_time, least_time
from measure import OURS, Pace, Pool, Row, measure
from problem import WORKS
from report import about, markdown

PEERS = [name for name in REQUIREMENTS if name != "plots"]


def arguments(given: list[str] | None) -> argparse.Namespace:
    """The options."""
    text = str(__doc__)
    parser = argparse.ArgumentParser(
        prog="python bench/peers",
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peers", nargs="+", choices=PEERS, help="default: all; with --isa all that can be held to it")
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--quick", action="store_true", help="a few small cells instead of the whole grid")
    parser.add_argument("--threads", type=int, default=1, help="threads of each peer (default: 1)")
    parser.add_argument("--isa", choices=HELD, default="", help="hold all engines to this instruction set")
    parser.add_argument("--repeats", type=int, help="rounds (default: 7, quick: 3)")
    parser.add_argument("--envs", type=Path, default=default_folder(), help="where the environments are kept")
    parser.add_argument("--out", type=Path, help="folder for results.json, results.md and the charts")
    options = parser.parse_args(given)
    able = [peer for peer in PEERS if not options.isa or peer in CAN_BE_HELD]
    options.peers = options.peers or able
    if free := [peer for peer in options.peers if peer not in able]:
        parser.error(f"--isa {options.isa}: {', '.join(free)} cannot be held to it; those that can: {', '.join(able)}")
    return options


def save(rows: list[Row], peers: list[str], facts: dict[str, Any], folder: Path) -> None:
    """Write results.json and results.md."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"about": facts, "rows": [row.as_dict() for row in rows]}
    (folder / "results.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    (folder / "results.md").write_text(markdown(rows, peers, facts), encoding="utf-8")


def main(given: list[str] | None = None) -> int:
    """Measure and report."""
    options = arguments(given)
    peers = [OURS, *options.peers]
    pythons = {peer: python_of(peer, options.envs) for peer in peers}
    pace = Pace(options.repeats or (3 if options.quick else 7), 5, 0.1 if options.quick else 0.5)
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Pool(pythons, options.threads, Path(folder) / "log", options.isa) as pool,
    ):
        versions = {peer: pool.get(peer).ask("versions")["versions"] for peer in peers}
        facts = about(sys.argv, options.threads, versions, options.isa)
        grid = cells(options.work, options.quick)
        for number, cell in enumerate(grid, 1):
            rows.append(measure(pool, cell, pace))
            if options.threads == 1 and not options.isa and shutil.which("cc"):
                rows[-1].least, rows[-1].gates = least_time(cell), gates_time(cell)
            ratios = {peer: rows[-1].ratio(peer) for peer in options.peers}
            found = ", ".join(f"{peer} {ratio:.2f}" for peer, ratio in ratios.items() if ratio is not None)
            print(f"[{number}/{len(grid)}] {cell.work}, {cell}: {found}", file=sys.stderr, flush=True)
            if options.out:
                save(rows, peers, facts, options.out)
    print(markdown(rows, peers, facts))
    if options.out:
        plots = [python_of("plots", options.envs), str(Path(__file__).with_name("plot.py"))]
        subprocess.run([*plots, str(options.out / "results.json"), str(options.out)], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
