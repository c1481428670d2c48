"""Build of the one extension module; everything else is in pyproject.toml."""

import os
import platform
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CSRC = "src/rnnx/csrc"
MSVC = sys.platform == "win32"

# What the build is for, which is not always this machine. On a Mac, Python may be made for two processors at once, but
# instruction sets are for one: the one at hand, unless ARCHFLAGS says otherwise. Both in it leave generic code alone.
TARGET = sysconfig.get_platform()
if sys.platform == "darwin":
    TARGET = os.environ["ARCHFLAGS"] = os.environ.get("ARCHFLAGS") or f"-arch {platform.machine()}"
X86 = ("x86_64" in TARGET or "amd64" in TARGET) and "arm64" not in TARGET
NEON = ("aarch64" in TARGET or "arm64" in TARGET) and "x86_64" not in TARGET and not MSVC

# An instruction-set file is compiled with its own flags and with no others' (see CONTRIBUTING.md).
# MSVC needs none for intrinsics, and its NEON is untried.
ISA_FLAGS: dict[str, list[str]] = {}
if X86:
    ISA_FLAGS = {
        f"{CSRC}/leaf/avx2.c": ["-mavx2", "-mfma"],
        f"{CSRC}/leaf/avx512.c": ["-mavx512f", "-mavx512dq", "-mfma"],
        f"{CSRC}/leaf/avx512_vnni.c": ["-mavx512f", "-mavx512dq", "-mavx512vnni", "-mfma"],
    }
if NEON:
    ISA_FLAGS = {f"{CSRC}/leaf/neon.c": ["-ffp-contract=fast"]}
    if sys.platform != "darwin":  # GCC would load all operands of a tile first, and then lacks registers for its sums
        ISA_FLAGS[f"{CSRC}/leaf/neon.c"] += ["-fno-schedule-insns"]

# The drivers round each operation by itself, as NumPy does, also where the processor could join two.
OWN_FLAGS = {**ISA_FLAGS, "src/rnnx/_kernels.c": ["-ffp-contract=off"]}

flags = (
    ["/O2"]
    if MSVC
    else ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-Wall", "-Wextra", "-pthread"]
)
link: list[str] = [] if MSVC else ["-pthread"]
if sanitize := os.environ.get("RNNX_SANITIZE"):
    # All that a report names are lines, and what -g writes beyond them is a third of the time.
    flags += [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer", "-g1", "-O1"]
    link += [f"-fsanitize={sanitize}"]


class build_with_isa_flags(build_ext):
    def build_extension(self, ext: Extension) -> None:
        # Other flags than those of the build before, as those of sanitizers, make what it left stale.
        said, asked = Path(self.build_temp) / "flags", repr((ext.extra_compile_args, ext.extra_link_args, OWN_FLAGS))
        if not said.is_file() or said.read_text() != asked:
            said.parent.mkdir(parents=True, exist_ok=True)
            said.write_text(asked)
        ext.depends.append(str(said))
        if MSVC:
            return super().build_extension(ext)
        compile_one = self.compiler._compile

        def compile_with_flags(obj, src, suffix, cc_args, extra, pp_opts):  # type: ignore[no-untyped-def]
            return compile_one(obj, src, suffix, cc_args, extra + OWN_FLAGS.get(src.replace(os.sep, "/"), []), pp_opts)

        compile_in_turn = self.compiler.compile

        def compile_side_by_side(sources, *args, **kwargs):  # type: ignore[no-untyped-def]
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                parts = pool.map(lambda source: compile_in_turn([source], *args, **kwargs), sources)
                return [built for part in parts for built in part]

        self.compiler._compile, self.compiler.compile = compile_with_flags, compile_side_by_side
        return super().build_extension(ext)


sources = ["src/rnnx/_kernels.pyx", f"{CSRC}/dispatch.c", f"{CSRC}/pool.c", f"{CSRC}/leaf/generic.c", *ISA_FLAGS]
macros = [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")]
if X86:
    macros += [("RNNX_X86", "1")]
if NEON:
    macros += [("RNNX_NEON", "1")]

kernels = Extension(
    "rnnx._kernels",
    sources=sources,
    depends=sorted(glob(f"{CSRC}/**/*.h", recursive=True)),
    include_dirs=[CSRC, np.get_include()],
    define_macros=macros,
    extra_compile_args=flags,
    extra_link_args=link,
)

setup(
    ext_modules=cythonize([kernels], language_level=3),
    cmdclass={"build_ext": build_with_isa_flags},
)
