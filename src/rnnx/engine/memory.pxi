# Large buffers are kept for the next call, so that training does not fault its pages in at every step; arrays on them,
# and arrays of the caller as C reads them.

cdef extern from *:
    """
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    #define rx_trim() malloc_trim(0)
    #else
    #define rx_trim() 0
    #endif
    """
    int rx_trim()

cdef enum:
    POOL_SLOTS = 32
    POOLED_FROM = 1 << 16        # smaller buffers are cheap to allocate
    POOL_LIMIT = 1 << 26         # bytes that may lie idle
    MOST_AXES = 4                # of an array on a buffer

cdef size_t LARGEST_BLOCK = <size_t>1 << 62  # bytes; sizes are compared with it before they are multiplied out

cdef void *pool_data[POOL_SLOTS]
cdef size_t pool_size[POOL_SLOTS]
cdef int pool_count = 0
cdef size_t pool_bytes = 0
cdef rx_guard pool_guard   # of the four above


@cython.final
cdef class _Block:
    """The owner of one buffer; the pool gets it back when the last array on it is gone."""

    cdef void *data
    cdef size_t size

    cdef char *start(self) noexcept:
        """The first cache line of it that is whole."""
        return <char *>self.data + RX_ALIGNMENT - <size_t>self.data % RX_ALIGNMENT

    def __dealloc__(self):
        global pool_count, pool_bytes
        cdef bint kept = False
        if self.size >= POOLED_FROM:
            rx_guard_lock(&pool_guard)
            kept = pool_count < POOL_SLOTS and pool_bytes + self.size <= POOL_LIMIT
            if kept:
                pool_data[pool_count], pool_size[pool_count] = self.data, self.size
                pool_count += 1
                pool_bytes += self.size
            rx_guard_unlock(&pool_guard)
        if not kept:
            free(self.data)


cdef _Block take_block(size_t size):
    """A buffer of at least this size, from the pool if one there is not much larger."""
    global pool_count, pool_bytes
    cdef _Block block = _Block.__new__(_Block)
    cdef int k, best = -1
    if size >= POOLED_FROM:
        rx_guard_lock(&pool_guard)
        for k in range(pool_count):
            if size <= pool_size[k] <= size + size // 4 and (best < 0 or pool_size[k] < pool_size[best]):
                best = k
        if best >= 0:
            block.data, block.size = pool_data[best], pool_size[best]
            pool_count -= 1
            pool_bytes -= block.size
            pool_data[best], pool_size[best] = pool_data[pool_count], pool_size[pool_count]
        rx_guard_unlock(&pool_guard)
        if best >= 0:
            return block
    block.data = malloc(size)
    if block.data == NULL:
        raise MemoryError(f"rnnx: cannot allocate {size} bytes")
    block.size = size
    return block


def release_buffers():
    """Give the buffers that lie idle back to the system, and of the C library what it kept of memory that was freed."""
    global pool_count, pool_bytes
    rx_guard_lock(&pool_guard)
    while pool_count:
        pool_count -= 1
        free(pool_data[pool_count])
    pool_bytes = 0
    rx_guard_unlock(&pool_guard)
    rx_trim()


cdef int refuse_axes(shape) except -1:
    raise ValueError(f"rnnx: expected a shape of at most {MOST_AXES} axes, got {len(shape)}: {tuple(shape)}")


cdef cnp.ndarray aligned(shape, dtype, bint zero=False):
    """A C-contiguous array that starts on a cache line, of at most MOST_AXES axes."""
    cdef cnp.npy_intp extents[MOST_AXES]
    cdef size_t size = dtype.itemsize
    cdef int axes = 0
    for extent in shape:
        if axes == MOST_AXES:
            refuse_axes(shape)
        extents[axes] = extent
        if extent and size > LARGEST_BLOCK // <size_t>extents[axes]:
            raise MemoryError(f"rnnx: cannot allocate an array of shape {tuple(shape)}")
        size *= <size_t>extents[axes]
        axes += 1
    cdef _Block block = take_block(size + RX_ALIGNMENT)
    cdef char *start = block.start()
    if zero:
        memset(start, 0, size)
    cdef cnp.ndarray array = cnp.PyArray_SimpleNewFromData(axes, extents, dtype.num, start)
    cnp.set_array_base(array, block)
    return array


cdef inline cnp.ndarray readable(cnp.ndarray array):
    """The array as C reads it, in native byte order with data and strides on whole elements: itself, or a copy."""
    return array if cnp.PyArray_ISBEHAVED_RO(array) else native_copy(array)


cdef cnp.ndarray native_copy(cnp.ndarray array):
    return np.array(array, array.dtype.newbyteorder("="))


ctypedef fused word:
    uint32_t
    uint64_t


cdef void transpose(const word *rows, Py_ssize_t n, Py_ssize_t m, Py_ssize_t ld, word *out, Py_ssize_t ldo) noexcept nogil:
    # out (m, n) = the transpose of rows (n, m), tile by tile, so that what is read and written stays in L1.
    cdef Py_ssize_t r0, c0, r, c
    for r0 in range(0, n, 8):
        for c0 in range(0, m, 16):
            for c in range(c0, min(c0 + 16, m)):
                for r in range(r0, min(r0 + 8, n)):
                    out[c * ldo + r] = rows[r * ld + c]


cdef void copy_block(const char *rows, Py_ssize_t n, Py_ssize_t m, Py_ssize_t ld, bint across, char *out,
                     Py_ssize_t ldo, Py_ssize_t size) noexcept nogil:
    # out = rows (n, m), or its transpose; rows are ld and ldo elements of so many bytes apart.
    cdef Py_ssize_t r
    if not across:
        for r in range(n):
            memcpy(out + r * ldo * size, rows + r * ld * size, m * size)
    elif size == 4:
        transpose(<const uint32_t *>rows, n, m, ld, <uint32_t *>out, ldo)
    else:
        transpose(<const uint64_t *>rows, n, m, ld, <uint64_t *>out, ldo)


cdef void bounds_of(cnp.ndarray array, char **low, char **high) noexcept:
    # The first byte of an array and the one behind its last, for strides of either sign.
    cdef Py_ssize_t k, reach
    low[0] = high[0] = <char *>cnp.PyArray_DATA(array)
    high[0] += cnp.PyArray_ITEMSIZE(array)
    for k in range(array.ndim):
        if array.shape[k] == 0:
            high[0] = low[0]
            return
        reach = array.strides[k] * (array.shape[k] - 1)
        if reach > 0:
            high[0] += reach
        else:
            low[0] += reach


def may_share(cnp.ndarray out, cnp.ndarray array):
    """Whether the bounds of two arrays in memory meet; what ``np.may_share_memory`` says, in a tenth of the time."""
    cdef char *low
    cdef char *high
    cdef char *first
    cdef char *last
    if array is None:
        return False
    bounds_of(out, &low, &high)
    bounds_of(array, &first, &last)
    return (low if first < low else first) < (high if high < last else last)  # an empty array has no bytes to share


def has_own_places(cnp.ndarray out):
    """Whether no two elements of an array share a byte, as far as its strides one by one tell."""
    cdef Py_ssize_t k, best, axes = 0, reach = 0, size = cnp.PyArray_ITEMSIZE(out)
    cdef Py_ssize_t stride[64]
    cdef Py_ssize_t count[64]
    for k in range(out.ndim):
        if out.shape[k] == 0:
            return True
        if out.shape[k] > 1:
            stride[axes], count[axes] = abs(out.strides[k]), out.shape[k]
            axes += 1
    while axes:  # from the smallest stride on: each must step over all elements of the axes before it
        best = 0
        for k in range(1, axes):
            if stride[k] < stride[best]:
                best = k
        if stride[best] < reach + size:
            return False
        reach += stride[best] * (count[best] - 1)
        axes -= 1
        stride[best], count[best] = stride[axes], count[axes]
    return True


def same_bytes(cnp.ndarray one, cnp.ndarray other):
    """Whether two C-contiguous arrays have the same bytes."""
    cdef Py_ssize_t size = cnp.PyArray_NBYTES(one)
    cdef bint same = size == cnp.PyArray_NBYTES(other)
    cdef const void *a = cnp.PyArray_DATA(one)
    cdef const void *b = cnp.PyArray_DATA(other)
    if same:
        with nogil:
            same = memcmp(a, b, size) == 0
    return same


def fingerprint(arrays):
    """A number of 64 bits that other contents of these arrays do not have, but for chance; at the speed of memory."""
    cdef const rx_leaf *leaf = rx_leaf_get(ISA.encode(), 4, RX_FULL)
    cdef uint64_t found = 0
    cdef cnp.ndarray array
    cdef const void *data
    cdef Py_ssize_t size
    for given in arrays:
        array = given
        if not cnp.PyArray_IS_C_CONTIGUOUS(array):
            if cnp.PyArray_IS_F_CONTIGUOUS(array):
                found = ~found  # the bytes are those of the transpose, which has other contents
            else:
                array = np.ascontiguousarray(array)
        data, size = cnp.PyArray_DATA(array), cnp.PyArray_NBYTES(array)
        with nogil:
            found = leaf.fingerprint(found, size, data)
    return found


cdef inline char *data_of(object array) noexcept:
    return NULL if array is None else <char *>cnp.PyArray_DATA(<cnp.ndarray>array)


cdef inline Py_ssize_t padded(Py_ssize_t count, Py_ssize_t panel) noexcept nogil:
    return (count + panel - 1) // panel * panel


cdef Py_ssize_t pad_stride(Py_ssize_t width, Py_ssize_t itemsize) noexcept:
    """A row length that does not put all rows of a tile into the same cache sets."""
    return width + RX_ALIGNMENT // itemsize if width * itemsize % 1024 == 0 else width
