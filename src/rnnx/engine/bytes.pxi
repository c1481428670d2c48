# Products of bytes, as whole numbers: the tiles of 8-bit weights, with scales of 1.

# Rows of weights that are summed up in one go: a float32 holds any sum of so many products of a byte, its zero taken
# off, and a byte with a sign: 512 * 255 * 128 < 2**24.
cdef enum:
    ROWS_OF_SUM = 512
    ROWS_OF_BLOCK = 48  # of the left side, which are laid out and multiplied while they are in the cache


@cython.final
cdef class PackedBytes:
    """The right side of products of bytes, in the layout of the tiles.

    Parameters
    ----------
    right : int8 array of shape (terms, columns)

    Attributes
    ----------
    terms, columns : int

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx._kernels import PackedBytes
    >>> PackedBytes(np.array([[1], [-128]], np.int8)).apply(np.array([[255, 3]], np.uint8), 3)
    array([[252]], dtype=int32)
    """

    cdef const rx_leaf *leaf
    cdef readonly Py_ssize_t terms, columns
    cdef Py_ssize_t width, ldr
    cdef object parts, zeros, dtype

    def __init__(self, right):
        cdef cnp.ndarray numbers, panels
        cdef cnp.ndarray whole = np.ascontiguousarray(right)
        if whole.ndim != 2 or whole.dtype != np.int8:
            raise TypeError(f"PackedBytes: `right` must be int8 with two axes, got {whole.dtype} with {whole.ndim}")
        cdef Py_ssize_t panel, depth, start, rows
        self.terms, self.columns = whole.shape[0], whole.shape[1]
        self.leaf = leaf_for(self.columns, 4, RX_INT8)
        panel = self.leaf.nr
        self.width = padded(self.columns, panel)
        self.ldr = RX_ROUNDED_ROW(min(self.terms, <Py_ssize_t>ROWS_OF_SUM), self.leaf.operandsize)
        ones, self.parts = np.ones(self.columns, np.float32), []
        for start in range(0, self.terms, ROWS_OF_SUM):
            numbers = np.ascontiguousarray(whole[start:start + ROWS_OF_SUM], np.float32)
            rows = numbers.shape[0]
            depth = depth_of(self.leaf, rows)
            panels = aligned((self.width // panel, depth, panel), np.dtype(np.int8))
            self.leaf.pack_b(rows, self.columns, data_of(numbers), self.columns, NULL, data_of(ones),
                             data_of(panels), depth * panel)
            self.parts.append(panels)
        self.dtype = np.dtype(np.float32)
        self.zeros = aligned((panel,), self.dtype, True)

    def apply(self, cnp.ndarray left, zero=0):
        """The sums of ``(left - zero) @ right``, modulo 2**32.

        Parameters
        ----------
        left : uint8 array of shape (n, terms)
        zero : int, or int array of shape (n,)
            0 to 255: the byte that stands for 0, in all rows or in each.

        Returns
        -------
        int32 array of shape (n, columns)
        """
        cdef Py_ssize_t n, start, rows, first, count, stride, panel = self.leaf.nr, k
        cdef cnp.npy_intp shape[2]
        if left.ndim != 2 or cnp.PyArray_TYPE(left) != cnp.NPY_UBYTE or left.shape[1] != self.terms:
            raise TypeError(f"PackedBytes: `left` must be uint8 of shape (n, {self.terms}), got {left.dtype} of "
                            f"{np.shape(left)}")
        left, n = in_rows(left), left.shape[0]
        cdef int same = 0
        cdef const int *zeros = NULL
        cdef cnp.ndarray of_rows
        if isinstance(zero, int):
            same = zero
        else:
            of_rows = np.ascontiguousarray(np.broadcast_to(np.asarray(zero, np.int32), (n,)))
            zeros = <const int *>cnp.PyArray_DATA(of_rows)
        shape[0], shape[1] = n, self.columns
        cdef cnp.ndarray out = cnp.PyArray_EMPTY(2, shape, cnp.NPY_INT, 0)
        if self.terms == 0:
            out[...] = 0
        count = min(n, <Py_ssize_t>ROWS_OF_BLOCK)
        room = aligned((count, self.ldr + self.width), self.dtype)
        cdef float *rounded = <float *>data_of(room)
        cdef float *products = rounded + count * self.ldr
        cdef const unsigned char *bytes_of_left = <const unsigned char *>cnp.PyArray_DATA(left)
        cdef int *whole = <int *>cnp.PyArray_DATA(out)
        cdef const char *panels
        cdef const void *A = rounded
        cdef const void *init = data_of(self.zeros)
        cdef void *C
        cdef rx_product what
        for first in range(0, n, ROWS_OF_BLOCK):
            count, start = min(n - first, <Py_ssize_t>ROWS_OF_BLOCK), 0
            for part in self.parts:
                panels, rows = data_of(part), min(self.terms - start, <Py_ssize_t>ROWS_OF_SUM)
                stride = depth_of(self.leaf, rows) * panel
                what.n, what.K, what.count, what.index, what.first, what.mask = count, rows, 1, NULL, 0, NULL
                what.panel, what.planes, what.plane = stride, 1, 0
                what.A, what.lda, what.init, what.ldi, what.C, what.ldc = &A, self.ldr, &init, 0, &C, self.width
                with nogil:
                    lay_out(count, rows, bytes_of_left + first * self.terms + start, self.terms, same,
                            zeros, self.leaf.operandsize, rounded, self.ldr)
                    for k in range(self.width // panel):
                        C, what.B = products + k * panel, panels + k * stride
                        self.leaf.product(&what)
                    add_whole(count, self.columns, products, self.width, start == 0, whole + first * self.columns)
                start += rows
            if zeros != NULL:
                zeros += count
        return out


cdef void lay_out(Py_ssize_t n, Py_ssize_t K, const unsigned char *left, Py_ssize_t ld, int same, const int *zeros,
                  int size, float *rounded, Py_ssize_t ldr) noexcept nogil:
    # rows of operands as the tiles take them (see RX_ROUNDED_ROW): bytes and the one for zero, or what it leaves
    cdef Py_ssize_t r, k
    cdef int zero
    cdef int *head
    cdef char *operands
    for r in range(n):
        zero = same if zeros == NULL else zeros[r]
        head, operands = <int *>(rounded + r * ldr), <char *>(rounded + r * ldr + RX_ROUNDED_HEAD)
        rounded[r * ldr] = 1
        head[1] = zero if size == 1 else 0
        if size == 1:
            memcpy(operands, left + r * ld, K)
        else:
            for k in range(K):
                (<short *>operands)[k] = <short>(left[r * ld + k] - zero)
        memset(operands + K * size, 0, (padded(K, 4) - K) * size)  # the last group, which meets weights of zero


cdef void add_whole(Py_ssize_t n, Py_ssize_t columns, const float *sums, Py_ssize_t ld, bint first,
                    int *out) noexcept nogil:
    cdef Py_ssize_t r, j
    for r in range(n):
        if first:
            for j in range(columns):
                out[j] = <int>sums[j]
        else:
            for j in range(columns):
                out[j] = <int>(<unsigned int>out[j] + <unsigned int><int>sums[j])
        out += columns
        sums += ld


cdef inline unsigned char to_byte(float x, float low, float high, int zero) noexcept nogil:
    # rounded to even by a sum that has no room for fractions; what is no number becomes the lowest byte
    x = x if x > low else low
    x = x if x < high else high
    return <unsigned char>(<int>(x + <float>12582912.0 - <float>12582912.0) + zero)


cdef void rounded_rows(Py_ssize_t n, Py_ssize_t columns, const int *sums, const float *scale, Py_ssize_t step,
                       float low, float high, int zero, unsigned char *out) noexcept nogil:
    cdef Py_ssize_t r, j
    for r in range(n):
        for j in range(columns):
            out[j] = to_byte(<float>sums[j] * scale[j * step], low, high, zero)
        sums += columns
        out += columns


def rounded_sums(cnp.ndarray sums, cnp.ndarray scale, int zero, bint with_sign):
    """``sums * scale`` rounded to the nearest integers, to even on a tie, plus ``zero``, within the bounds of a byte.

    Parameters
    ----------
    sums : int32 array of shape (n, columns)
    scale : float32 array of shape (1,) or (columns,)
    zero : int
        A byte.
    with_sign : bool
        Whether the bytes are -128 to 127, or 0 to 255.

    Returns
    -------
    int8 or uint8 array of shape (n, columns)
    """
    cdef int number = cnp.NPY_BYTE if with_sign else cnp.NPY_UBYTE
    cdef float low = (-128 if with_sign else 0) - zero
    cdef float high = low + 255
    cdef Py_ssize_t wide = scale.shape[0]
    if (sums.ndim != 2 or cnp.PyArray_TYPE(sums) != cnp.NPY_INT or scale.ndim != 1
            or cnp.PyArray_TYPE(scale) != cnp.NPY_FLOAT or (wide != 1 and wide != sums.shape[1])):
        raise TypeError(f"rounded_sums: expected int32 sums of two axes and float32 scales for the columns, got "
                        f"{sums.dtype} {np.shape(sums)} and {scale.dtype} {np.shape(scale)}")
    sums, scale = in_rows(sums), in_rows(scale)
    cdef cnp.ndarray out = cnp.PyArray_EMPTY(2, cnp.PyArray_DIMS(sums), number, 0)
    cdef Py_ssize_t n = sums.shape[0], columns = sums.shape[1]
    cdef const int *from_sums = <const int *>cnp.PyArray_DATA(sums)
    cdef const float *factors = <const float *>cnp.PyArray_DATA(scale)
    cdef unsigned char *to = <unsigned char *>cnp.PyArray_DATA(out)
    with nogil:
        if wide == 1:
            rounded_rows(1, n * columns, from_sums, factors, 0, low, high, zero, to)
        else:
            rounded_rows(n, columns, from_sums, factors, 1, low, high, zero, to)
    return out


cdef void rounded_numbers(Py_ssize_t n, const float *x, float scale, float low, float high, int zero,
                          unsigned char *out) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        out[j] = to_byte(x[j] / scale, low, high, zero)


def rounded_floats(cnp.ndarray x, float scale, int zero, bint with_sign):
    """``x / scale`` rounded to the nearest integers, to even on a tie, plus ``zero``, within the bounds of a byte.

    Parameters
    ----------
    x : float32 array
    scale : float
    zero : int
        A byte.
    with_sign : bool
        Whether the bytes are -128 to 127, or 0 to 255.

    Returns
    -------
    int8 or uint8 array of the shape of x
    """
    if cnp.PyArray_TYPE(x) != cnp.NPY_FLOAT:
        raise TypeError(f"rounded_floats: `x` must be float32, got {x.dtype}")
    x = in_rows(x)
    cdef float low = (-128 if with_sign else 0) - zero
    cdef cnp.ndarray out = cnp.PyArray_EMPTY(x.ndim, cnp.PyArray_DIMS(x), cnp.NPY_BYTE if with_sign else cnp.NPY_UBYTE,
                                             0)
    cdef const float *numbers = <const float *>cnp.PyArray_DATA(x)
    cdef unsigned char *to = <unsigned char *>cnp.PyArray_DATA(out)
    with nogil:
        rounded_numbers(cnp.PyArray_SIZE(x), numbers, scale, low, low + 255, zero, to)
    return out
