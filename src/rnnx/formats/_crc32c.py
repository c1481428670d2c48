"""The checksum CRC-32C, which TensorFlow keeps of everything in a checkpoint."""

from __future__ import annotations

from functools import cache

import numpy as np

from rnnx._typing import Array

POLYNOMIAL = 0x82F63B78
SMALL = 1 << 14  # bytes that a plain loop takes in a few milliseconds
LANES = 1 << 12  # pieces of a larger text that are taken beside each other


@cache
def _table() -> Array:
    table: Array = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ np.where(table & 1, np.uint32(POLYNOMIAL), np.uint32(0))
    return table


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C of some bytes.

    Equal pieces are taken beside each other, byte by byte, and joined in pairs: the checksum of two pieces is that of
    the first, moved over as many zeros as the second has bytes, XOR that of the second.
    """
    length = len(data) // LANES if len(data) > SMALL else 0
    state = 0xFFFFFFFF
    if length:
        table = _table()
        lanes = np.frombuffer(data, np.uint8, LANES * length).reshape(LANES, length).T
        states = np.zeros(LANES, np.uint32)
        states[0] = state
        for row in np.ascontiguousarray(lanes):
            states = table[(states ^ row) & 255] ^ (states >> 8)
        zeros = _zeros(length)
        while len(states) > 1:
            states = _moved(zeros, states[::2]) ^ states[1::2]
            zeros = _moved(zeros, zeros)
        state = int(states[0])
    rows = _table().tolist()
    for byte in data[LANES * length :]:
        state = rows[(state ^ byte) & 255] ^ (state >> 8)
    return state ^ 0xFFFFFFFF


def _zeros(length: int) -> Array:
    """What becomes of each of the 32 bits of a state over so many zero bytes."""
    made = np.uint32(1) << np.arange(32, dtype=np.uint32)
    step = _table()[made & 255] ^ (made >> 8)
    while length:
        if length & 1:
            made = _moved(step, made)
        step, length = _moved(step, step), length >> 1
    return made


def _moved(zeros: Array, states: Array) -> Array:
    """The states over the zeros that `_zeros` stands for."""
    made = np.zeros_like(states)
    for bit in range(32):
        made ^= np.where((states >> np.uint32(bit)) & 1, zeros[bit], np.uint32(0))
    return made


def masked(checksum: int) -> int:
    """The form in which checksums are stored beside what they are of."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
