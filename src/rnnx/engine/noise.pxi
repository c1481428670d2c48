# Uniform numbers of many of NumPy's generators at once. NumPy makes one in ten microseconds, which is what all numbers of
# a small mask take together; those of a hundred passes are made here in less.

cdef enum:
    POOL_WORDS = 4    # of a SeedSequence
    STATE_WORDS = 5   # of a generator: state and increment, high words first, and the half of a number that is left


cdef inline uint32_t stirred(uint32_t value, uint32_t *constant, uint32_t factor) noexcept nogil:
    # The hash of SeedSequence.
    value ^= constant[0]
    constant[0] *= factor
    value *= constant[0]
    return value ^ value >> 16


cdef inline uint64_t high_word(uint64_t a, uint64_t b) noexcept nogil:
    # Of the product of two numbers.
    cdef uint64_t low = 0xFFFFFFFF, aa = a >> 32, bb = b >> 32, middle
    a &= low
    b &= low
    middle = aa * b + (a * b >> 32)
    return aa * bb + (middle >> 32) + ((middle & low) + a * bb >> 32)


cdef inline void advance_state(uint64_t *state) noexcept nogil:
    # state = state * factor + increment, of 128 bits (PCG64).
    cdef uint64_t high = <uint64_t>0x2360ED051FC65DA4, low = <uint64_t>0x4385DF649FCCF645, sum
    high = high_word(state[1], low) + state[0] * low + state[1] * high
    low = state[1] * low
    sum = low + state[3]
    state[0], state[1] = high + state[2] + (1 if sum < low else 0), sum


cdef void start_state(uint64_t *state, const uint32_t *entropy, int words) noexcept nogil:
    # PCG64(SeedSequence(entropy))
    cdef uint32_t pool[POOL_WORDS]
    cdef uint32_t constant = <uint32_t>0x43B0D7E5, half
    cdef uint64_t start[POOL_WORDS]
    cdef int i, j
    for i in range(POOL_WORDS):
        pool[i] = stirred(entropy[i] if i < words else 0, &constant, <uint32_t>0x931E8875)
    for i in range(POOL_WORDS):
        for j in range(POOL_WORDS):
            if i != j:
                half = stirred(pool[i], &constant, <uint32_t>0x931E8875)
                half = <uint32_t>0xCA01F9DD * pool[j] - <uint32_t>0x4973F715 * half
                pool[j] = half ^ half >> 16
    constant = <uint32_t>0x8B51F9DD
    for i in range(POOL_WORDS):
        half = stirred(pool[2 * i % POOL_WORDS], &constant, <uint32_t>0x58F38DED)
        start[i] = <uint64_t>stirred(pool[(2 * i + 1) % POOL_WORDS], &constant, <uint32_t>0x58F38DED) << 32 | half
    state[2], state[3] = start[2] << 1 | start[3] >> 63, start[3] << 1 | 1
    state[0], state[1] = state[2] + start[0], state[3] + start[1]
    state[0] += state[1] < start[1]
    advance_state(state)
    state[4] = 0


@cython.final
cdef class Generators:
    """The generators ``numpy.random.default_rng([seed, counter])`` of several counters.

    Parameters
    ----------
    seed : int
        Less than 2**32.
    counters : sequence of int
        Less than 2**64.
    """

    cdef object states

    def __init__(self, uint32_t seed, counters):
        cdef uint32_t entropy[3]
        cdef uint64_t counter
        cdef Py_ssize_t k
        self.states = np.empty((len(counters), STATE_WORDS), np.uint64)
        cdef uint64_t *state = <uint64_t *>data_of(self.states)
        for k in range(len(counters)):
            counter = counters[k]
            entropy[0], entropy[1], entropy[2] = seed, <uint32_t>counter, <uint32_t>(counter >> 32)
            start_state(state + k * STATE_WORDS, entropy, 3 if entropy[2] else 2)

    def uniform(self, shape):
        """The next numbers of each: an array of shape (counters, *shape), what ``random(shape, numpy.float32)`` gives."""
        cdef cnp.ndarray found = np.empty((len(self.states), *shape), np.float32)
        cdef Py_ssize_t n = len(self.states), count = found.size // max(<Py_ssize_t>1, n), k, j
        cdef float *out = <float *>cnp.PyArray_DATA(found)
        cdef uint64_t *state = <uint64_t *>data_of(self.states)
        cdef uint64_t word, turns
        cdef uint32_t half
        with nogil:
            for k in range(n):
                for j in range(count):
                    if state[4]:
                        half = <uint32_t>state[4]
                        state[4] = 0
                    else:
                        advance_state(state)
                        word, turns = state[0] ^ state[1], state[0] >> 58
                        word = word >> turns | word << (64 - turns & 63)
                        half = <uint32_t>word
                        state[4] = word >> 32 | <uint64_t>1 << 32
                    out[j] = <float>(half >> 8) * <float>(1.0 / 16777216.0)
                state += STATE_WORDS
                out += count
        return found
