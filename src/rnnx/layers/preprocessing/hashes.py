"""The hashes by which Keras puts words into buckets, so that they fall into the same ones here."""

from __future__ import annotations

from collections.abc import Sequence

WORD = (1 << 64) - 1
K0, K1, K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


def _rotated(x: int, by: int) -> int:
    """To the right."""
    x &= WORD
    return (x >> by | x << (64 - by)) & WORD


def _mixed(x: int) -> int:
    x &= WORD
    return x ^ (x >> 47)


def _folded(u: int, v: int, factor: int) -> int:
    a = _mixed(((u ^ v) & WORD) * factor)
    return _mixed(((v ^ a) & WORD) * factor) * factor & WORD


def _weak(words: Sequence[int], a: int, b: int) -> tuple[int, int]:
    """32 bytes and two numbers as two numbers."""
    w, x, y, z = words
    a = (a + w) & WORD
    b = _rotated(b + a + z, 21)
    c = a
    a = (a + x + y) & WORD
    return (a + z) & WORD, (b + _rotated(a, 44) + c) & WORD


def fingerprint(data: bytes) -> int:
    """FarmHash's 64-bit fingerprint, as TensorFlow's ``to_hash_bucket_fast`` takes it.

    References
    ----------
    .. [1] G. Pike, "FarmHash", 2014.

    Examples
    --------
    >>> fingerprint(b"a") % 10
    9
    """
    size = len(data)

    def word(start: int) -> int:
        return int.from_bytes(data[start : start + 8], "little")

    if size > 64:
        return _long(data)
    factor = (K2 + 2 * size) & WORD
    if size > 32:
        a, b, c, d = word(0) * K2 & WORD, word(8), word(size - 8) * factor & WORD, word(size - 16) * K2 & WORD
        y = (_rotated(a + b, 43) + _rotated(c, 30) + d) & WORD
        z = _folded(y, (a + _rotated(b + K2, 18) + c) & WORD, factor)
        e, f = word(16) * factor & WORD, word(24)
        g, h = (y + word(size - 32)) * factor & WORD, (z + word(size - 24)) * factor & WORD
        return _folded(_rotated(e + f, 43) + _rotated(g, 30) + h, e + _rotated(f + a, 18) + g, factor)
    if size > 16:
        a, b, c, d = word(0) * K1 & WORD, word(8), word(size - 8) * factor & WORD, word(size - 16) * K2 & WORD
        return _folded(_rotated(a + b, 43) + _rotated(c, 30) + d, a + _rotated(b + K2, 18) + c, factor)
    if size >= 8:
        a, b = (word(0) + K2) & WORD, word(size - 8)
        return _folded(_rotated(b, 37) * factor + a, (_rotated(a, 25) + b) * factor, factor)
    if size >= 4:
        first, last = (int.from_bytes(data[start : start + 4], "little") for start in (0, size - 4))
        return _folded(size + (first << 3), last, factor)
    if size:
        y, z = data[0] + (data[size >> 1] << 8), size + (data[-1] << 2)
        return _mixed(y * K2 & WORD ^ z * K0 & WORD) * K2 & WORD
    return K2


def _long(data: bytes) -> int:
    """The fingerprint of more than 64 bytes."""
    size = len(data)

    def words(start: int, count: int = 4) -> list[int]:
        return [int.from_bytes(data[k : k + 8], "little") for k in range(start, start + 8 * count, 8)]

    x, y = 81, (81 * K1 + 113) & WORD
    z = _mixed(y * K2 + 113) * K2 & WORD
    v, w = (0, 0), (0, 0)
    x = (x * K2 + words(0, 1)[0]) & WORD
    end = (size - 1) // 64 * 64

    def turned(start: int, factor: int, nine: int) -> None:
        nonlocal x, y, z, v, w
        block = words(start, 8)
        x = _rotated(x + y + v[0] + block[1], 37) * factor & WORD
        y = _rotated(y + v[1] + block[6], 42) * factor & WORD
        x ^= w[1] * nine & WORD
        y = (y + v[0] * nine + block[5]) & WORD
        z = _rotated(z + w[0], 33) * factor & WORD
        v = _weak(block[:4], v[1] * factor & WORD, (x + w[0]) & WORD)
        w = _weak(block[4:], (z + w[1]) & WORD, (y + block[2]) & WORD)
        z, x = x, z

    for start in range(0, end, 64):
        turned(start, K1, 1)
    factor = (K1 + ((z & 0xFF) << 1)) & WORD
    w = ((w[0] + ((size - 1) & 63)) & WORD, w[1])
    v = ((v[0] + w[0]) & WORD, v[1])
    w = ((w[0] + v[0]) & WORD, w[1])
    turned(size - 64, factor, 9)
    first = (_folded(v[0], w[0], factor) + _mixed(y) * K0 + z) & WORD
    return _folded(first, (_folded(v[1], w[1], factor) + x) & WORD, factor)


def siphash(data: bytes, key: Sequence[int]) -> int:
    """SipHash-2-4 of some bytes with a key of two integers, as TensorFlow's ``to_hash_bucket_strong`` takes it.

    References
    ----------
    .. [1] J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF", INDOCRYPT 2012.
    """
    k0, k1 = (number & WORD for number in key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def left(x: int, by: int) -> int:
        return (x << by | x >> (64 - by)) & WORD

    def rounds(count: int) -> None:
        a, b, c, d = v
        for _ in range(count):
            a, c = (a + b) & WORD, (c + d) & WORD
            b, d = left(b, 13) ^ a, left(d, 16) ^ c
            a = left(a, 32)
            c, a = (c + b) & WORD, (a + d) & WORD
            b, d = left(b, 17) ^ c, left(d, 21) ^ a
            c = left(c, 32)
        v[:] = a, b, c, d

    size = len(data)
    padded = data + bytes(7 - size % 8) + bytes([size & 0xFF])
    for start in range(0, len(padded), 8):
        block = int.from_bytes(padded[start : start + 8], "little")
        v[3] ^= block
        rounds(2)
        v[0] ^= block
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def bucket(text: str, buckets: int, salt: Sequence[int] | None = None) -> int:
    """In which of some buckets a text falls: by `siphash` with a salt, else by `fingerprint`."""
    data = text.encode("utf-8", "surrogateescape")
    return (fingerprint(data) if salt is None else siphash(data, salt)) % buckets


def checked_salt(who: str, salt: int | Sequence[int] | None) -> list[int] | None:
    """A salt as a pair of integers, from one or two.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if salt is None:
        return None
    pair = [salt, salt] if isinstance(salt, int) else salt
    if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(type(number) is int for number in pair):
        raise ValueError(f"{who}: `salt` must be an integer or a pair of integers, got {salt!r}")
    return list(pair)


CROSSING_KEY, CROSSING_FACTOR = 0xDECAFCAFFE, 0xC6A4A7935BD1E995


def crossed(hashes: Sequence[int]) -> int:
    """One number for several, as TensorFlow's ``cross_hashed`` joins the fingerprints of words, and integers.

    Examples
    --------
    >>> crossed([fingerprint(b"A"), 101]) % 5
    1
    """
    found = CROSSING_KEY
    for number in hashes:
        found ^= CROSSING_FACTOR ^ _mixed(number * CROSSING_FACTOR) * CROSSING_FACTOR & WORD
        found = _mixed(found * CROSSING_FACTOR) * CROSSING_FACTOR & WORD
        found = _mixed(found)
    return found
