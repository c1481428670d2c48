#!/usr/bin/env bash
# Build rnnx for arm64 on another Debian machine and run its kernels' tests there under QEMU, at every level.
#
#   apt-get install gcc-aarch64-linux-gnu qemu-user-static
#   pip install 'setuptools>=77' cython numpy
#   scripts/test_arm64.sh [arguments of pytest]
#
# Everything else is fetched into build/arm64 (or $RNNX_ARM64): Python from Debian, packages from PyPI. Nothing is
# installed and no right of root is needed. It takes about five minutes. The processor is one of the first of arm64, and
# QEMU says whether results are right, not how fast they come.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(realpath -m "${RNNX_ARM64:-build/arm64}")
root=$work/root site=$work/site python=$work/root/usr/bin/python-arm64
version=3.11 # of this release of Debian
[ $# -gt 0 ] || set -- tests/oracle tests/contract tests/quantization

if [ ! -x "$python" ]; then # Python and its libraries, chosen by an apt of its own that believes nothing is installed
    mkdir -p "$work"/apt/{lists,archives}/partial "$root"
    : >"$work/apt/status"
    options=(-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Install-Recommends=0
        -o APT::Sandbox::User= -o Debug::NoLocking=1
        -o Dir::State="$work/apt" -o Dir::State::status="$work/apt/status" -o Dir::Cache="$work/apt")
    apt-get "${options[@]}" update
    apt-get "${options[@]}" install --download-only --yes "python$version" "libpython$version-dev" libstdc++6
    for package in "$work"/apt/archives/*.deb; do dpkg -x "$package" "$root"; done
    # Tests start other Pythons as sys.executable, so that has to be the emulator too.
    printf '#!/bin/sh\nexec qemu-aarch64-static -cpu cortex-a72 -L "%s" -0 "$0" "%s" "$@"\n' \
        "$root" "$root/usr/bin/python$version" >"$python"
    chmod +x "$python"
fi

python3 -m pip install -q --upgrade --target "$site" --only-binary=:all: --python-version "$version" \
    --implementation cp --platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64 \
    numpy scipy safetensors pytest hypothesis tqdm threadpoolctl

# Cython and setuptools run here, the compiler writes for there.
CC="aarch64-linux-gnu-gcc --sysroot=$root" CFLAGS="-I$root/usr/include/python$version" \
    LDSHARED="aarch64-linux-gnu-gcc --sysroot=$root -shared" \
    SETUPTOOLS_EXT_SUFFIX=".cpython-${version/./}-aarch64-linux-gnu.so" _PYTHON_HOST_PLATFORM=linux-aarch64 \
    python3 setup.py -q build --build-base "$work/build" --build-lib "$site"

for isa in neon generic; do
    echo "== $isa"
    PYTHONPATH=$site RNNX_ISA=$isa "$python" -m pytest -q -p no:cacheprovider "$@"
done
