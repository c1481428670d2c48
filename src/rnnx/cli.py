"""The command line: ``rnnx demo``, ``rnnx info FILE``, ``rnnx convert IN OUT``, ``rnnx bench``, ``rnnx serve FILE``."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from rnnx import __version__


def _print(text: str) -> None:
    """Print text with names from a file or of one, which the encoding of the terminal may not have."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def _info(path: str) -> int:
    """What is in a model file."""
    from rnnx.formats.info import lines

    _print("\n".join(lines(path)))
    return 0


def _convert(options: argparse.Namespace) -> int:
    """A model file in another format."""
    from rnnx.formats.convert import convert
    from rnnx.formats.info import LONGEST_LINE
    from rnnx.layers.names import printable

    done = convert(
        options.source,
        options.target,
        to_torch=options.torch,
        modules=options.modules.split(",") if options.modules is not None else None,
        quantize=options.quantize,
        calibration_data=_arrays(options.calibration) if options.calibration is not None else None,
        tolerance=options.tolerance,
    )
    _print(f"{options.source} -> {options.target}")
    _print(f"read again: largest difference {done.largest_difference:.1e} ({done.compared})")
    if done.quantization:
        report = [printable(line, LONGEST_LINE) for line in str(done.quantization).splitlines()]
        _print(f"on {options.calibration or 'random input'}, {chr(10).join(report)}")
    for note in done.notes:
        _print(f"not in the file: {printable(note, LONGEST_LINE)}")
    return 0


def _serve(arguments: list[str]) -> int:
    """The server, whose packages are an extra."""
    try:
        from rnnx.serve.command import main
    except ModuleNotFoundError as error:
        raise ValueError(str(error)) from None  # it says what to install
    return main(arguments)


def _arrays(path: str) -> Any:
    """The array of a ``.npy`` file, or the list of those in an ``.npz`` file."""
    import zipfile

    import numpy as np

    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            arrays = list(loaded.values())
        if not arrays or not all(isinstance(array, np.ndarray) for array in arrays):
            raise ValueError("it holds something else")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: expected a .npy or .npz file of numbers ({error})") from error
    return arrays[0] if len(arrays) == 1 else arrays


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rnnx", description="Recurrent networks on a CPU.")
    parser.add_argument("--version", action="version", version=f"rnnx {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="train, evaluate, save, reload and stream on data inside the package")
    demo.add_argument("--tiny", action="store_true", help="a second instead of half a minute")
    info = commands.add_parser("info", help="say what is in a model file")
    info.add_argument("file", metavar="FILE")
    convert = commands.add_parser(
        "convert", help="write a model file in another format, and compare the outputs of both"
    )
    convert.add_argument("source", metavar="IN")
    convert.add_argument("target", metavar="OUT", help="its suffix says the format")
    convert.add_argument("--torch", action="store_true", help="a .safetensors OUT is for PyTorch, not for rnnx")
    convert.add_argument(
        "--modules",
        metavar="NAME,...",
        help="of a PyTorch file: the modules that are the model, in the order of the chain",
    )
    convert.add_argument(
        "--quantize", choices=("bf16", "int8", "int8x16", "int16"), help="narrow weights in a .safetensors OUT"
    )
    convert.add_argument(
        "--calibration",
        metavar="DATA",
        help="inputs to round weights for: a .npy file, or .npz with one array for each input of the model",
    )
    convert.add_argument(
        "--tolerance",
        type=float,
        metavar="CHANGE",
        help="how far an output may move on these inputs; layers beyond it get more bits, or keep float32",
    )
    commands.add_parser("bench", help="measure against a NumPy loop", add_help=False)
    commands.add_parser("serve", help="serve model files over HTTP", add_help=False)
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
        if given[:1] == ["serve"]:
            return _serve(given[1:])
        options = _parser().parse_args(given)
        if options.command == "info":
            return _info(options.file)
        if options.command == "convert":
            return _convert(options)
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
    except MemoryError:
        print("rnnx: the file needs more memory than there is", file=sys.stderr)
        return 2
    except (OSError, ValueError) as error:
        print(f"rnnx: {error}", file=sys.stderr)
        return 2
