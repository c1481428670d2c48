# Products of bytes, as whole numbers or scaled, and bytes from floats: the tiles of 8-bit weights.

cdef enum:
    ROWS_OF_PRODUCT = 48  # of the left side, which are laid out and multiplied while they are in the cache
    MOST_AT_ONCE = 4      # panels of a tile of one row; of two rows 3, of three rows 2
    MOST_SUMS = 6         # at least so many rows of a panel are the sums of such tiles

cdef const rx_leaf *BYTES = rx_leaf_get(ISA.encode(), 4, RX_INT8)


cdef struct ByteJob:
    const rx_leaf *leaf
    Py_ssize_t n, terms, columns, width, ldr  # width: columns padded to whole panels; ldr: of rows of operands
    const char *panels
    const unsigned char *left  # rows of bytes, or NULL: `inner` of them `ld` apart, and so on after `outer` bytes
    Py_ssize_t inner, ld, outer
    const float *x             # rows of floats, which become bytes by x_scale
    float x_scale
    int flip                   # what is added to bytes so that they have no sign, 128 or 0
    int zero                   # the byte that stands for 0, of all rows, without a sign
    const int *zeros           # or of each
    rx_finish finish           # its arrays have `width` elements
    Py_ssize_t itemsize        # of a result
    int activation             # of floats; -1: none
    rx_combine then            # the row of bytes that is added to every row of the result, unless NULL,
    const unsigned char *table # and what its bytes become, unless NULL


@cython.final
cdef class PackedBytes:
    """The right side of products of bytes, in the layout of the tiles.

    Parameters
    ----------
    right : int8 array of shape (terms, columns)
    zeros : int32 array of shape (columns,), optional
        What is taken off every element of a column before it is multiplied.

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
    cdef cnp.ndarray panels, of_columns

    def __init__(self, right, zeros=None):
        cdef cnp.ndarray whole = np.ascontiguousarray(right)
        if whole.ndim != 2 or whole.dtype != np.int8:
            raise TypeError(f"PackedBytes: `right` must be int8 with two axes, got {whole.dtype} with {whole.ndim}")
        cdef Py_ssize_t panel, depth
        cdef cnp.ndarray numbers = np.ascontiguousarray(whole, np.float32)
        self.terms, self.columns = whole.shape[0], whole.shape[1]
        self.leaf = leaf_for(self.columns, 4, RX_INT8)
        panel = self.leaf.nr
        self.width = padded(self.columns, panel)
        self.ldr = RX_ROUNDED_ROW(self.terms, self.leaf.operandsize)
        ones = np.ones(self.columns, np.float32)
        depth = depth_of(self.leaf, self.terms)
        self.panels = aligned((self.width // panel, depth, panel), np.dtype(np.int8))
        self.leaf.pack_b(self.terms, self.columns, data_of(numbers), self.columns, NULL, data_of(ones),
                         data_of(self.panels), depth * panel)
        if zeros is not None:
            self.of_columns = aligned((self.width,), np.dtype(np.int32), True)
            self.of_columns[:self.columns] = zeros

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
        if left.ndim != 2 or cnp.PyArray_TYPE(left) != cnp.NPY_UBYTE or left.shape[1] != self.terms:
            raise TypeError(f"PackedBytes: `left` must be uint8 of shape (n, {self.terms}), got {left.dtype} of "
                            f"{np.shape(left)}")
        return self.sums(left, zero)

    def sums(self, cnp.ndarray left, zero=0):
        """As `apply`, for uint8 or int8 with any leading axes, the zero being one of these bytes.

        Parameters
        ----------
        left : uint8 or int8 array of shape (..., terms)
        zero : int, or int array with an element for each row

        Returns
        -------
        int32 array of shape (..., columns)
        """
        cdef ByteJob job
        cdef cnp.ndarray of_rows
        left = self.begin(&job, left)
        if isinstance(zero, int):
            job.zero = <int>zero + job.flip
        else:
            of_rows = np.ascontiguousarray(np.broadcast_to(np.reshape(np.asarray(zero, np.int32), -1), (job.n,)))
            if job.flip:
                of_rows = of_rows + np.int32(job.flip)
            job.zeros = <const int *>cnp.PyArray_DATA(of_rows)
        job.finish.kind = RX_WHOLE
        return self.run(&job, left, None, None, None, 1, cnp.NPY_INT)

    def floats(self, cnp.ndarray left, int zero, cnp.ndarray scale, cnp.ndarray bias=None, cnp.ndarray added=None,
               str activation=None):
        """``((left - zero) @ right + added) * scale + bias``, each rounded to float32, and an activation of it.

        Parameters
        ----------
        left : uint8 or int8 array of shape (..., terms)
        zero : int
            One of these bytes.
        scale, bias : float32 arrays of shape (1,) or (columns,)
        added : int32 array of shape (1,) or (columns,), optional
        activation : str, optional
            A name in ``ACTIVATIONS``.

        Returns
        -------
        float32 array of shape (..., columns)
        """
        cdef ByteJob job
        left = self.begin(&job, left)
        job.zero, job.finish.kind = zero + job.flip, RX_FLOATS
        if activation is not None:
            job.activation = ACTIVATIONS[activation]
        return self.run(&job, left, scale, bias, added, 1, cnp.NPY_FLOAT)

    def rounded(self, cnp.ndarray left, int zero, cnp.ndarray scale, int shift, bint with_sign,
                cnp.ndarray added=None, tuple then=None, cnp.ndarray table=None):
        """``((left - zero) @ right + added) * scale`` as the nearest bytes, which start at ``shift``.

        Parameters
        ----------
        left : uint8 or int8 array of shape (..., terms)
        zero : int
            One of these bytes.
        scale : float32 array of shape (1,) or (columns,)
        shift : int
            The byte of the result that stands for 0.
        with_sign : bool
            Whether the bytes of the result are -128 to 127, or 0 to 255.
        added : int32 array of shape (1,) or (columns,), optional
        then : tuple of an array of the bytes of the result, of shape (columns,), and three floats, optional
            ``b, by_a, by_b, plus``: ``result * by_a + b * by_b + plus`` as the nearest bytes is the result then.
        table : array of 256 of the bytes of the result, optional
            What they become in the end, read as if they had no sign.

        Returns
        -------
        int8 or uint8 array of shape (..., columns)
        """
        cdef ByteJob job
        cdef int number = cnp.NPY_BYTE if with_sign else cnp.NPY_UBYTE
        cdef cnp.ndarray b = None
        left = self.begin(&job, left)
        job.zero, job.finish.kind, job.finish.zero = zero + job.flip, RX_BYTES, shift
        job.finish.low = (-128 if with_sign else 0) - shift
        job.finish.high = job.finish.low + 255
        if then is not None:
            b, job.then.scale_a, job.then.scale_b, job.then.shift = then
            b = bytes_of(b, number, self.columns, "then")
            job.then.b, job.then.count, job.then.with_sign = cnp.PyArray_DATA(b), self.columns, with_sign
            job.then.low = -128 if with_sign else 0
            job.then.high = job.then.low + 255
        if table is not None:
            table = bytes_of(table, number, 256, "table")
            job.table = <const unsigned char *>cnp.PyArray_DATA(table)
        return self.run(&job, left, scale, None, added, 1, number)

    def of_floats(self, cnp.ndarray x, cnp.ndarray scale, cnp.ndarray bias=None, str activation=None):
        """What ``x`` rounded to bytes by its own range (see `ranged_bytes`) times ``right`` times both scales gives.

        Parameters
        ----------
        x : float32 array of shape (..., terms)
        scale, bias : float32 arrays of shape (1,) or (columns,)
        activation : str, optional
            Of that, a name in ``ACTIVATIONS``.

        Returns
        -------
        float32 array of shape (..., columns)
        """
        cdef ByteJob job
        x = self.begin(&job, x)
        job.finish.kind = RX_FLOATS
        if activation is not None:
            job.activation = ACTIVATIONS[activation]
        return self.run(&job, x, scale, bias, None, 0, cnp.NPY_FLOAT)

    cdef cnp.ndarray begin(self, ByteJob *job, cnp.ndarray left):
        cdef int axes = left.ndim, number = cnp.PyArray_TYPE(left)
        memset(job, 0, sizeof(ByteJob))
        if axes < 1 or left.shape[axes - 1] != self.terms:
            raise ValueError(f"A of shape {np.shape(left)} does not fit B of {(self.terms, self.columns)}")
        if number == cnp.NPY_BYTE:
            job.flip = 128
        elif number != cnp.NPY_UBYTE and number != cnp.NPY_FLOAT:
            raise TypeError(f"PackedBytes: expected bytes or float32, got {left.dtype}")
        job.n = 1
        for k in range(axes - 1):
            job.n *= left.shape[k]
        if axes == 3 and number != cnp.NPY_FLOAT and left.strides[2] == 1 and left.shape[1] > 0:  # windows may overlap
            job.inner, job.ld, job.outer = left.shape[1], left.strides[1], left.strides[0]
        else:
            left = in_rows(left)
            job.inner, job.ld = max(job.n, 1), self.terms
        if number == cnp.NPY_FLOAT:
            job.x = <const float *>cnp.PyArray_DATA(left)
        else:
            job.left = <const unsigned char *>cnp.PyArray_DATA(left)
        job.leaf, job.terms, job.columns, job.width, job.ldr = self.leaf, self.terms, self.columns, self.width, self.ldr
        job.panels, job.activation = data_of(self.panels), -1
        if self.of_columns is not None:
            job.finish.of_columns = <const int *>cnp.PyArray_DATA(self.of_columns)
        return left

    cdef cnp.ndarray run(self, ByteJob *job, cnp.ndarray left, cnp.ndarray scale, cnp.ndarray bias, cnp.ndarray added,
                         bint of_bytes, int number):
        cdef cnp.npy_intp shape[64]
        cdef int axes = left.ndim, k, high
        cdef float low, most, factor = 1
        cdef Py_ssize_t rows = min(job.n, <Py_ssize_t>ROWS_OF_PRODUCT), panel = self.leaf.nr
        if of_bytes == (job.x != NULL):
            raise TypeError(f"PackedBytes: expected {'bytes' if of_bytes else 'float32'}, got {left.dtype}")
        for k in range(axes - 1):
            shape[k] = left.shape[k]
        shape[axes - 1] = self.columns
        cdef cnp.ndarray out = cnp.PyArray_EMPTY(axes, shape, number, 0)
        job.finish.out, job.itemsize = cnp.PyArray_DATA(out), cnp.PyArray_ITEMSIZE(out)
        if job.n == 0 or self.columns == 0:
            return out
        cdef Py_ssize_t many = 3 * self.width + rows * (self.ldr + 1) + max(rows, <Py_ssize_t>MOST_SUMS) * panel
        cdef _Block room = take_block((many + self.terms // 4 + 1) * sizeof(float) + RX_ALIGNMENT)
        cdef float *place = <float *>room.start()
        if job.x != NULL:
            self.leaf.bounds(job.n * self.terms, job.x, &low, &most)
            job.x_scale = scale_of(low, most)
            job.zero, factor = zero_of(low, job.x_scale), job.x_scale
        if scale is not None:
            of_all_columns(place, columns_of(scale, self.columns, cnp.NPY_FLOAT, "scale"), self.columns, self.width)
            for k in range(self.width):
                place[k] *= factor
            job.finish.scale, place = place, place + self.width
        if bias is not None:
            of_all_columns(place, columns_of(bias, self.columns, cnp.NPY_FLOAT, "bias"), self.columns, self.width)
            job.finish.bias, place = place, place + self.width
        if added is not None:
            of_all_columns(place, columns_of(added, self.columns, cnp.NPY_INT, "added"), self.columns, self.width)
            job.finish.added, place = <const int *>place, place + self.width
        place = <float *>room.start() + 3 * self.width
        if job.n * self.terms * self.columns < PRODUCTS_WORTH_THE_LOCK:
            multiply_bytes(job, place, place + rows * self.ldr)
        else:
            with nogil:
                multiply_bytes(job, place, place + rows * self.ldr)
        return out


cdef cnp.ndarray bytes_of(cnp.ndarray given, int number, Py_ssize_t count, str name):
    if cnp.PyArray_TYPE(given) != number or given.ndim != 1 or cnp.PyArray_SIZE(given) != count:
        raise TypeError(f"PackedBytes: `{name}` must have {count} bytes of the type of the result, got {given.dtype} of "
                        f"{np.shape(given)}")
    return in_rows(given)


cdef cnp.ndarray columns_of(cnp.ndarray given, Py_ssize_t columns, int number, str name):
    # an array with a number for each column, or one for all
    if cnp.PyArray_TYPE(given) != number or given.ndim > 1 or cnp.PyArray_SIZE(given) not in (1, columns):
        raise TypeError(f"PackedBytes: `{name}` must have one number, or one for each of {columns} columns, got "
                        f"{given.dtype} of {np.shape(given)}")
    return in_rows(given)


cdef void of_all_columns(float *out, cnp.ndarray given, Py_ssize_t columns, Py_ssize_t width) noexcept:
    # elements of four bytes
    cdef const unsigned int *numbers = <const unsigned int *>cnp.PyArray_DATA(given)
    cdef unsigned int *to = <unsigned int *>out
    cdef Py_ssize_t k
    if cnp.PyArray_SIZE(given) == 1:
        for k in range(columns):
            to[k] = numbers[0]
    else:
        memcpy(to, numbers, columns * 4)
    memset(to + columns, 0, (width - columns) * 4)


cdef void multiply_bytes(const ByteJob *job, float *operands, float *rest) noexcept nogil:
    cdef Py_ssize_t first = 0, rows, k, p, some, panel = job.leaf.nr
    cdef Py_ssize_t stride = depth_of(job.leaf, job.terms) * panel, panels = job.width // panel
    cdef Py_ssize_t most = min(job.n, <Py_ssize_t>ROWS_OF_PRODUCT), at_once
    cdef int *of_rows = <int *>rest
    cdef int *sums = of_rows + most
    cdef unsigned char *narrow = <unsigned char *>(sums + max(most, <Py_ssize_t>MOST_SUMS) * panel)
    cdef const void *A[MOST_AT_ONCE]
    cdef void *C[MOST_AT_ONCE]
    cdef rx_product what
    cdef rx_finish finish = job.finish
    memset(&what, 0, sizeof(rx_product))
    what.K, what.planes, what.panel, what.A, what.lda, what.C = job.terms, 1, stride, A, job.ldr, C
    finish.ldo = job.columns
    if finish.of_columns != NULL:
        finish.of_rows = of_rows
    for p in range(MOST_AT_ONCE):
        A[p], C[p] = operands, sums + p * panel
    while first < job.n:
        rows = min(job.n - first, <Py_ssize_t>ROWS_OF_PRODUCT)
        lay_out(job, first, rows, operands, of_rows, narrow)
        # several panels where the sums of one are too few to hide how long each takes
        at_once, k = MOST_AT_ONCE + 1 - rows if rows <= 3 else 1, 0
        what.n, finish.n, what.ldc, finish.lds = rows, rows, at_once * panel, at_once * panel
        while k < panels:
            some = min(panels - k, at_once)
            what.count, what.B = <int>some, job.panels + k * stride
            job.leaf.whole_product(&what)
            for p in range(k, k + some):
                finish.sums, finish.columns = <const int *>C[p - k], min(panel, job.columns - p * panel)
                finish.out = <char *>job.finish.out + (first * job.columns + p * panel) * job.itemsize
                if job.finish.scale != NULL:
                    finish.scale = job.finish.scale + p * panel
                if job.finish.bias != NULL:
                    finish.bias = job.finish.bias + p * panel
                if job.finish.added != NULL:
                    finish.added = job.finish.added + p * panel
                if job.finish.of_columns != NULL:
                    finish.of_columns = job.finish.of_columns + p * panel
                job.leaf.finish_sums(&finish)
            k += some
        go_on(job, rows, <char *>job.finish.out + first * job.columns * job.itemsize)
        first += rows


cdef void go_on(const ByteJob *job, Py_ssize_t rows, char *out) noexcept nogil:
    # what becomes of rows of a result, in place
    cdef Py_ssize_t r, k, columns = job.columns
    cdef rx_combine then = job.then
    cdef unsigned char *found = <unsigned char *>out
    if job.activation >= 0:
        job.leaf.activate(rows * columns, job.activation, out, out)
    if then.b != NULL:
        for r in range(rows):
            then.a, then.out = out + r * columns, out + r * columns
            job.leaf.combine_bytes(&then)
    if job.table != NULL:
        for k in range(rows * columns):
            found[k] = job.table[found[k]]


cdef void lay_out(const ByteJob *job, Py_ssize_t first, Py_ssize_t rows, float *operands, int *of_rows,
                  unsigned char *narrow) noexcept nogil:
    # rows of operands as the tiles take them (see RX_ROUNDED_ROW): bytes and the one for zero, or what it leaves; and
    # the sums of rows, where columns have zeros of their own. `narrow` has room for the bytes of a row.
    cdef Py_ssize_t r, k, K = job.terms
    cdef int zero, size = job.leaf.operandsize, sum
    cdef float *row
    cdef const unsigned char *left
    cdef unsigned char *bytes_of_row
    cdef short *pairs
    for r in range(rows):
        zero = job.zero if job.zeros == NULL else job.zeros[first + r]
        row, left = operands + r * job.ldr, NULL
        if job.x == NULL:
            left = job.left + (first + r) // job.inner * job.outer + (first + r) % job.inner * job.ld
        bytes_of_row = <unsigned char *>(row + RX_ROUNDED_HEAD)
        if job.x != NULL:
            if size == 1:
                narrow = bytes_of_row
            job.leaf.to_bytes(K, job.x + (first + r) * K, job.x_scale, -zero, 255 - zero, zero, narrow)
            left = narrow
        row[0], (<int *>row)[1] = 1, zero if size == 1 else 0
        if of_rows != NULL and job.finish.of_columns != NULL:
            sum = 0
            for k in range(K):
                sum += left[k] ^ job.flip
            of_rows[r] = <int>(<unsigned int>sum - <unsigned int>zero * <unsigned int>K)
        if size == 1:
            if job.flip:
                for k in range(K):
                    bytes_of_row[k] = left[k] ^ 128
            elif job.x == NULL:
                memcpy(bytes_of_row, left, K)
        else:
            pairs = <short *>bytes_of_row
            for k in range(K):
                pairs[k] = <short>((left[k] ^ job.flip) - zero)
        memset(bytes_of_row + K * size, 0, (padded(K, 4) - K) * size)  # the last group, which meets weights of zero


cdef inline float scale_of(float low, float high) noexcept nogil:
    # of bytes that reach from one number to another
    return (1 if high == low else high - low) / <float>255


cdef inline int zero_of(float low, float scale) noexcept nogil:
    # the byte that stands for 0
    cdef float place = -low / scale
    return <int>rint(place) if place > 0 and place < 255 else 255 if place >= 255 else 0


def ranged_bytes(cnp.ndarray x):
    """Floats as bytes: 255 steps from the smallest to the largest of them or 0, which is one of the steps.

    Parameters
    ----------
    x : float32 array

    Returns
    -------
    uint8 array of the shape of x
    scale : float
        A step, a float32.
    zero : int
        The byte of 0.
    """
    if cnp.PyArray_TYPE(x) != cnp.NPY_FLOAT:
        raise TypeError(f"ranged_bytes: `x` must be float32, got {x.dtype}")
    x = in_rows(x)
    cdef float low, high, scale
    BYTES.bounds(cnp.PyArray_SIZE(x), <const float *>cnp.PyArray_DATA(x), &low, &high)
    scale = scale_of(low, high)
    cdef int zero = zero_of(low, scale)
    return rounded_floats(x, scale, zero, False), scale, zero


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
    cdef void *to = cnp.PyArray_DATA(out)
    cdef Py_ssize_t count = cnp.PyArray_SIZE(x)
    if count < SMALL_PRODUCTS:
        BYTES.to_bytes(count, numbers, scale, low, low + 255, zero, to)
    else:
        with nogil:
            BYTES.to_bytes(count, numbers, scale, low, low + 255, zero, to)
    return out


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


def combined_bytes(cnp.ndarray a, cnp.ndarray b, bint product, float scale_a, float scale_b, float shift, int zero_a,
                   int zero_b, int zero, bint with_sign):
    """``a * scale_a + b * scale_b + shift``, or ``(a - zero_a) * (b - zero_b) * scale_a + zero``, as the nearest bytes.

    Parameters
    ----------
    a, b : int8 or uint8 arrays of one type
        Of one shape, or b with the last axes of a alone.
    product : bool
    scale_a, scale_b, shift : float
    zero_a, zero_b, zero : int
        Of a product.
    with_sign : bool
        Whether the bytes are -128 to 127, or 0 to 255.

    Returns
    -------
    int8 or uint8 array of the shape of a
    """
    cdef int number = cnp.NPY_BYTE if with_sign else cnp.NPY_UBYTE, k
    cdef bint fits = cnp.PyArray_TYPE(a) == number and cnp.PyArray_TYPE(b) == number and b.ndim <= a.ndim
    if fits:
        for k in range(b.ndim):
            fits &= a.shape[a.ndim - 1 - k] == b.shape[b.ndim - 1 - k]
    if not fits:
        raise TypeError(f"combined_bytes: expected bytes of one type, the shape of b being the end of that of a, got "
                        f"{a.dtype} {np.shape(a)} and {b.dtype} {np.shape(b)}")
    a, b = in_rows(a), in_rows(b)
    cdef cnp.ndarray out = cnp.PyArray_EMPTY(a.ndim, cnp.PyArray_DIMS(a), number, 0)
    cdef rx_combine what
    cdef Py_ssize_t total = cnp.PyArray_SIZE(a), first = 0
    what.count, what.b, what.with_sign, what.product = cnp.PyArray_SIZE(b), cnp.PyArray_DATA(b), with_sign, product
    what.scale_a, what.scale_b, what.shift = scale_a, scale_b, zero if product else shift
    what.low = -128 if with_sign else 0
    what.high = what.low + 255
    what.zero_a, what.zero_b = zero_a, zero_b
    cdef const char *left = <const char *>cnp.PyArray_DATA(a)
    cdef char *to = <char *>cnp.PyArray_DATA(out)
    if total:
        with nogil:
            while first < total:
                what.a, what.out = left + first, to + first
                BYTES.combine_bytes(&what)
                first += what.count
    return out


def looked_up(cnp.ndarray x, cnp.ndarray table):
    """The entries of a table for bytes without a sign.

    Parameters
    ----------
    x : uint8 or int8 array
        One with a sign is read as if it had none.
    table : int8 or uint8 array of shape (256,)

    Returns
    -------
    array of the type of the table and the shape of x
    """
    if (x.dtype.itemsize != 1 or table.dtype.itemsize != 1 or table.ndim != 1 or table.shape[0] != 256
            or x.dtype.kind not in "iu" or table.dtype.kind not in "iu"):
        raise TypeError(f"looked_up: expected bytes and a table of 256 bytes, got {x.dtype} and {table.dtype} "
                        f"{np.shape(table)}")
    x, table = in_rows(x), in_rows(table)
    cdef cnp.ndarray out = cnp.PyArray_EMPTY(x.ndim, cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(table), 0)
    cdef const unsigned char *places = <const unsigned char *>cnp.PyArray_DATA(x)
    cdef const unsigned char *entries = <const unsigned char *>cnp.PyArray_DATA(table)
    cdef unsigned char *to = <unsigned char *>cnp.PyArray_DATA(out)
    cdef Py_ssize_t k, count = cnp.PyArray_SIZE(x)
    with nogil:
        for k in range(count):
            to[k] = entries[places[k]]
    return out
