"""The throw-away environment of each peer, and the variables that set its threads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NUMPY = "numpy==2.4.6"
TORCH = "torch==2.13.0"
JAX = "jax==0.10.2"
KERAS = "keras==3.15.1"
ONNX = "onnx==1.23.2"
OPENVINO = "openvino==2026.4.1"

REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "numpy": (NUMPY,),
    "torch": (NUMPY, TORCH),
    "onnxruntime": (NUMPY, ONNX, "onnxruntime==1.32.0"),
    "openvino": (NUMPY, ONNX, OPENVINO),
    "jax": (NUMPY, JAX),
    "keras-jax": (NUMPY, KERAS, JAX),
    "keras-torch": (NUMPY, KERAS, TORCH),
    "keras-openvino": (NUMPY, KERAS, OPENVINO, "scipy"),
    "litert": (NUMPY, KERAS, "tensorflow-cpu==2.21.0", "ai-edge-litert==2.3.0"),
    "plots": (NUMPY, "matplotlib==3.11.2"),
}
BACKENDS = {"keras-jax": "jax", "keras-torch": "torch", "keras-openvino": "openvino", "litert": "tensorflow"}
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RNNX_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "NPROC",  # XLA makes its thread pool of this size
)
HELD = {  # what keeps an engine on an x86 processor to an instruction set: rnnx, OpenBLAS, oneDNN, PyTorch
    "avx2": {
        "RNNX_ISA": "avx2",
        "OPENBLAS_CORETYPE": "Haswell",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
    }
}
CAN_BE_HELD = ("rnnx", "numpy", "torch", "jax", "keras-jax", "keras-torch")  # the others have no such switch


def default_folder() -> Path:
    """Where the environments are kept from run to run."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnnx-peers"


def python_of(peer: str, folder: Path) -> str:
    """The interpreter of a peer; its environment is made if it is not there with the same requirements."""
    if peer == "rnnx":
        return sys.executable
    place = folder / peer
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp, wanted = place / "requirements.txt", "\n".join(REQUIREMENTS[peer]) + "\n"
    if not (python.exists() and stamp.exists() and stamp.read_text() == wanted):
        print(f"making the environment of {peer} in {place}", file=sys.stderr, flush=True)
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS[peer]], check=True)
        stamp.write_text(wanted)
    return str(python)


def variables(peer: str, threads: int, isa: str = "") -> dict[str, str]:
    """The environment of a worker, held to an instruction set or not: set before anything is imported."""
    xla = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    if isa:
        xla += f" --xla_cpu_max_isa={isa.upper()}"
    jax = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla}
    others = {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": BACKENDS.get(peer, "")}
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # start as installed
    return {**own, **dict.fromkeys(THREADS, str(threads)), **jax, **others, **HELD.get(isa, {})}


def cores(threads: int) -> list[int] | None:
    """The cores for the workers, the last ones this process may use; None where the system does not say."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    return sorted(os.sched_getaffinity(0))[-threads:]
