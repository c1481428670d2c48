"""The command line: ``rnnx demo``, ``rnnx info FILE``, ``rnnx bench``."""

from __future__ import annotations

import argparse
import os
import sys

from rnnx import __version__


def _info(path: str) -> int:
    """What is in a model file."""
    from rnnx.formats import safetensors
    from rnnx.layers.base import layer_from_config
    from rnnx.saving import format_of

    if format_of(path) is not safetensors:
        raise ValueError(f"{path}: only .safetensors files are described")
    found = safetensors.describe(path)
    weights = {n: t for n, t in found["tensors"].items() if n.startswith("weights/")}
    count = sum(_size(shape) for _, shape in weights.values())
    print(f"{path}: {found['kind']}, written by rnnx {found['rnnx']} (format {found['format']})")
    print(f"{len(weights)} weight arrays, {count:,} numbers, {', '.join(sorted({t for t, _ in weights.values()}))}")
    if found["kind"] == "model":
        layer_from_config(found["model"]).summary()
    for number, name in enumerate(found["weights"]):
        dtype, shape = found["tensors"][f"weights/{number}"]
        print(f"  {number:>3}  {name:<20} {dtype} {shape}")
    if "training" in found:
        print(f"state of training: optimizer {found['training']['optimizer']['class_name']}")
    return 0


def _size(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rnnx", description="Recurrent networks on a CPU.")
    parser.add_argument("--version", action="version", version=f"rnnx {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="train, evaluate, save, reload and stream on data inside the package")
    demo.add_argument("--tiny", action="store_true", help="a second instead of half a minute")
    info = commands.add_parser("info", help="say what is in a model file")
    info.add_argument("file", metavar="FILE")
    commands.add_parser("bench", help="measure against a NumPy loop", add_help=False)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : list of str, optional
        Those of the process if not given.

    Returns
    -------
    int
        0 done, 2 bad arguments or unreadable input, 130 interrupted.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given[:1] == ["bench"]:
            from rnnx._bench.against_numpy import main as bench

            return bench(given[1:])
        options = _parser().parse_args(given)
        if options.command == "info":
            return _info(options.file)
        from rnnx import demo

        demo.run(**({"units": 8, "epochs": 2, "seeds": 1} if options.tiny else {}))
        return 0
    except KeyboardInterrupt:
        print("rnnx: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has gone: say nothing, also when the interpreter flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError) as error:
        print(f"rnnx: {error}", file=sys.stderr)
        return 2
