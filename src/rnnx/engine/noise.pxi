# Uniform numbers of many of NumPy's generators at once. NumPy makes one in ten microseconds, which is what all numbers of
# a small mask take together; those of a hundred passes are made here in less.

cdef enum:
    POOL_WORDS = 4    # of a SeedSequence
    STATE_WORDS = 5   # of a generator: state and increment, high words first, and the half of a number that is left
    LANES = 4         # a power of two
    BLOCK_HALVES = 64 # numbers that lanes make at once; whole turns of all of them


cdef extern from *:
    """
    /* The high word of the product of two numbers. */
    #ifdef __SIZEOF_INT128__
    static inline uint64_t rx_high_word(uint64_t a, uint64_t b) {
        __extension__ typedef unsigned __int128 wide;
        return (uint64_t)((wide)a * b >> 64);
    }
    #else
    static inline uint64_t rx_high_word(uint64_t a, uint64_t b) {
        const uint64_t low = 0xFFFFFFFF, aa = a >> 32, bb = b >> 32;
        const uint64_t middle = aa * (b & low) + ((a & low) * (b & low) >> 32);
        return aa * bb + (middle >> 32) + ((middle & low) + (a & low) * bb >> 32);
    }
    #endif
    """
    uint64_t rx_high_word(uint64_t a, uint64_t b) nogil


cdef inline uint32_t stirred(uint32_t value, uint32_t *constant, uint32_t factor) noexcept nogil:
    # The hash of SeedSequence.
    value ^= constant[0]
    constant[0] *= factor
    value *= constant[0]
    return value ^ value >> 16


cdef inline void times_plus(uint64_t *out, const uint64_t *a, const uint64_t *b, const uint64_t *c) noexcept nogil:
    # out = a b + c, of 128 bits each, their high words first.
    cdef uint64_t low = a[1] * b[1], sum = low + c[1]
    out[0] = rx_high_word(a[1], b[1]) + a[0] * b[1] + a[1] * b[0] + c[0] + (1 if sum < low else 0)
    out[1] = sum


cdef inline void advance_state(uint64_t *state) noexcept nogil:
    # state = state * factor + increment (PCG64).
    cdef uint64_t factor[2]
    factor[0], factor[1] = <uint64_t>0x2360ED051FC65DA4, <uint64_t>0x4385DF649FCCF645
    times_plus(state, state, factor, state + 2)


cdef inline uint64_t word_of(const uint64_t *state) noexcept nogil:
    # The number of 64 bits that a state stands for.
    cdef uint64_t word = state[0] ^ state[1], turns = state[0] >> 58
    return word >> turns | word << (64 - turns & 63)


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


cdef inline uint32_t next_half(uint64_t *state) noexcept nogil:
    # 32 bits: the low half of a word first, the high one when they are asked for again.
    cdef uint64_t word
    if state[4]:
        word = state[4]
        state[4] = 0
        return <uint32_t>word
    advance_state(state)
    word = word_of(state)
    state[4] = word >> 32 | <uint64_t>1 << 32
    return <uint32_t>word


cdef struct Lanes:
    # States one step apart from each other, which all take as many steps at once: each alone would wait for its product.
    uint64_t states[2 * LANES]
    uint64_t factor[2]
    uint64_t increment[2]


cdef void start_lanes(Lanes *lanes, const uint64_t *state) noexcept nogil:
    # The states that follow this one; and what many steps make of a state, doubling them.
    cdef uint64_t next_one[STATE_WORDS]
    cdef int k
    memcpy(next_one, state, sizeof(next_one))
    for k in range(LANES):
        advance_state(next_one)
        lanes.states[2 * k], lanes.states[2 * k + 1] = next_one[0], next_one[1]
    lanes.factor[0], lanes.factor[1] = <uint64_t>0x2360ED051FC65DA4, <uint64_t>0x4385DF649FCCF645
    lanes.increment[0], lanes.increment[1] = state[2], state[3]
    k = 1
    while k < LANES:
        times_plus(lanes.increment, lanes.factor, lanes.increment, lanes.increment)
        next_one[0] = next_one[1] = 0
        times_plus(lanes.factor, lanes.factor, lanes.factor, next_one)
        k *= 2


cdef void fill_halves(Lanes *lanes, uint64_t *state, uint32_t *halves) noexcept nogil:
    # BLOCK_HALVES of them; the state is then the one of the last.
    cdef uint64_t word
    cdef int j, k
    for j in range(BLOCK_HALVES // (2 * LANES)):
        state[0], state[1] = lanes.states[2 * LANES - 2], lanes.states[2 * LANES - 1]
        for k in range(LANES):
            word = word_of(lanes.states + 2 * k)
            halves[0], halves[1] = <uint32_t>word, <uint32_t>(word >> 32)
            halves += 2
            times_plus(lanes.states + 2 * k, lanes.states + 2 * k, lanes.factor, lanes.increment)


cdef void fill_mask(uint64_t *kept, Py_ssize_t count, uint32_t bound, word value, word *out) noexcept nogil:
    # `value` where the 24 bits of a number are at least `bound`, else 0: a matter of bits, as no processor foresees a
    # branch.
    cdef uint64_t state[STATE_WORDS]
    cdef uint32_t halves[BLOCK_HALVES]
    cdef Lanes lanes
    cdef Py_ssize_t j = 0, k
    memcpy(state, kept, sizeof(state))
    if state[4] and count:
        out[0] = value & (<word>0 - <word>(next_half(state) >> 8 >= bound))
        j = 1
    if count - j >= BLOCK_HALVES:
        start_lanes(&lanes, state)
    while count - j >= BLOCK_HALVES:
        fill_halves(&lanes, state, halves)
        for k in range(BLOCK_HALVES):  # numbers of 24 bits have no sign, and compilers compare those that may have one
            out[j + k] = value & (<word>0 - <word>(<int>(halves[k] >> 8) >= <int>bound))
        j += BLOCK_HALVES
    while j < count:
        out[j] = value & (<word>0 - <word>(next_half(state) >> 8 >= bound))
        j += 1
    memcpy(kept, state, sizeof(state))


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
        with nogil:
            for k in range(n):
                for j in range(count):
                    out[j] = <float>(next_half(state) >> 8) * <float>(1.0 / 16777216.0)
                state += STATE_WORDS
                out += count
        return found

    def masks(self, shape, double rate, dtype):
        """Dropout masks of those numbers: ``1 / (1 - rate)`` where one is at least the rate, in float32, else 0.

        Parameters
        ----------
        shape : sequence of int
        rate : float
            In [0, 1).
        dtype : dtype
            float32 or float64.

        Returns
        -------
        array of shape (counters, *shape)
        """
        cdef cnp.ndarray found = np.empty((len(self.states), *shape), dtype)
        cdef Py_ssize_t n = len(self.states), count = found.size // max(<Py_ssize_t>1, n), k
        cdef uint64_t *state = <uint64_t *>data_of(self.states)
        cdef double least = <double><float>rate * 16777216.0
        cdef uint32_t bound = <uint32_t>least
        cdef char *out = <char *>cnp.PyArray_DATA(found)
        cdef float single = <float>1 / <float>(1 - rate)
        cdef double exact = 1 / (1 - rate)
        cdef uint32_t of_single
        cdef uint64_t of_double
        cdef bint is_single = found.itemsize == sizeof(float)
        memcpy(&of_single, &single, sizeof(single))
        memcpy(&of_double, &exact, sizeof(exact))
        bound += bound < least
        with nogil:
            for k in range(n):
                if is_single:
                    fill_mask(state, count, bound, of_single, <uint32_t *>out)
                    out += count * sizeof(float)
                else:
                    fill_mask(state, count, bound, of_double, <uint64_t *>out)
                    out += count * sizeof(double)
                state += STATE_WORDS
        return found
