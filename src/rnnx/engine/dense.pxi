# One product and one activation, without a time loop.

cdef struct DenseJob:
    const rx_leaf *leaf
    Py_ssize_t features, units, width, ldr  # width: units padded to whole panels; ldr: of rows of rounded operands
    int planes
    const char *panels
    const char *bias


cdef void dense_rows(const DenseJob *job, Py_ssize_t n, const char *x, Py_ssize_t ldx, char *rounded,
                     char *rows) noexcept nogil:
    # rows (n, width) = x W + b; 8-bit weights need room for n rows of ldr
    cdef Py_ssize_t k, panel = job.leaf.nr, stride = depth_of(job.leaf, job.features) * panel
    cdef const void *A = x
    cdef const void *init
    cdef void *C
    cdef rx_product what
    if job.ldr:
        job.leaf.round_rows(n, job.features, x, ldx, rounded, job.ldr)
        A, ldx = rounded, job.ldr
    what.n, what.K, what.count, what.index, what.first, what.mask = n, job.features, 1, NULL, 0, NULL
    what.panel, what.planes, what.plane = stride, job.planes, job.width // panel * stride
    what.A, what.lda, what.init, what.ldi, what.C, what.ldc = &A, ldx, &init, 0, &C, job.width
    for k in range(job.width // panel):
        init, C = job.bias + k * panel * job.leaf.itemsize, rows + k * panel * job.leaf.itemsize
        what.B = job.panels + k * stride * job.leaf.weightsize
        job.leaf.product(&what)


@cython.final
cdef class PackedDense:
    """The kernel and bias of a Dense layer in the layout of the tiles.

    Parameters
    ----------
    kernel : array of shape (features, units)
    bias : array of shape (units,) or None
    weights : str
        As in `Packed`.

    Attributes
    ----------
    dtype : dtype
    features, units : int
    products : int
        Multiplications of one row.
    """

    cdef const rx_leaf *leaf
    cdef readonly Py_ssize_t features, units, products
    cdef Py_ssize_t width, ldr
    cdef int planes
    cdef object kernel, made, bias
    cdef str weights
    cdef readonly object dtype

    def __init__(self, cnp.ndarray kernel, bias, str weights="full"):
        kernel = np.ascontiguousarray(readable(kernel))
        self.kernel, self.weights, self.dtype = kernel, weights, kernel.dtype
        self.leaf = leaf_for(kernel.shape[1], self.dtype.itemsize, WEIGHTS[weights])
        self.features, self.units, self.width = kernel.shape[0], kernel.shape[1], padded(kernel.shape[1], self.leaf.nr)
        self.products = self.features * self.units
        self.planes = 2 if weights == "int16" else 1
        self.ldr = RX_ROUNDED_ROW(self.features, self.leaf.operandsize) if self.leaf.round_rows != NULL else 0
        self.bias = aligned((self.width,), self.dtype, True)
        if bias is not None:
            self.bias[:self.units] = bias

    def panel_forms(self):
        """Shape and dtype of the panels, as a list of one."""
        dtype = self.dtype if self.weights == "full" else np.dtype(f"i{self.leaf.weightsize}")
        return [((self.planes, self.width // self.leaf.nr, depth_of(self.leaf, self.features), self.leaf.nr), dtype)]

    def pack_into(self, int which, cnp.ndarray panels):
        """Fill an array of this form."""
        cdef Py_ssize_t panel = self.leaf.nr, depth = depth_of(self.leaf, self.features), plane = 0
        for numbers, scales in planes_of(self.kernel, self.weights):
            self.leaf.pack_b(self.features, self.units, data_of(numbers), self.units, NULL, data_of(scales),
                             data_of(panels) + plane * depth * self.width * self.leaf.weightsize, depth * panel)
            plane += 1

    def made_panels(self):
        """The panels if they are made, else None, as a list of one."""
        return [self.made]

    def adopt(self, panels):
        """Compute from this array of such a form, which holds what `pack_into` fills in and does not change."""
        self.made, = panels

    def prepare(self):
        """Make the panels, which the first product makes otherwise."""
        self.panels()

    cdef object panels(self):
        made = self.made
        if made is None:
            (shape, dtype), = self.panel_forms()
            made = aligned(shape, dtype)
            self.pack_into(0, made)
            self.made = made
        return made

    cdef object fill(self, DenseJob *job):
        """Say how to multiply; gives the panels, which must live as long as the job."""
        panels = self.panels()
        job.leaf, job.features, job.units, job.width = self.leaf, self.features, self.units, self.width
        job.ldr, job.planes, job.panels, job.bias = self.ldr, self.planes, data_of(panels), data_of(self.bias)
        return panels

    def apply(self, cnp.ndarray x):
        """``x @ kernel + bias``.

        Parameters
        ----------
        x : array of shape (n, features), of the kernel's dtype

        Returns
        -------
        array of shape (n, units)
        """
        cdef Py_ssize_t n = x.shape[0]
        x = np.ascontiguousarray(readable(x))
        rows, operands = aligned((n, self.width), self.dtype), aligned((n, self.ldr), self.dtype)
        cdef char *out = data_of(rows)
        cdef char *rounded = data_of(operands)
        cdef DenseJob job
        panels = self.fill(&job)  # alive, whatever another thread adopts
        with nogil:
            dense_rows(&job, n, <const char *>cnp.PyArray_DATA(x), self.features, rounded, out)
        return rows[:, :self.units]


def product(cnp.ndarray a, cnp.ndarray b):
    """``a @ b`` through the tiles, for tests and benches: shapes (n, K) and (K, N), one dtype."""
    a, b = readable(a), readable(b)
    cdef const rx_leaf *leaf = rx_leaf_get(ISA.encode(), a.dtype.itemsize, RX_FULL)
    cdef Py_ssize_t n = a.shape[0], K = a.shape[1], N = b.shape[1], panel = leaf.nr
    cdef Py_ssize_t panels = (N + panel - 1) // panel, p
    cdef cnp.ndarray packed = aligned((panels, K, panel), a.dtype, True)
    cdef cnp.ndarray out = aligned((n, panels * panel), a.dtype)
    cdef cnp.ndarray zeros = np.zeros(panel, a.dtype)
    a = np.ascontiguousarray(a)
    padded = np.zeros((K, panels * panel), a.dtype)
    padded[:, :N] = b
    packed[...] = padded.reshape(K, panels, panel).transpose(1, 0, 2)
    cdef const void *A = cnp.PyArray_DATA(a)
    cdef const void *init = cnp.PyArray_DATA(zeros)
    cdef void *C
    cdef rx_product what
    what.n, what.K, what.count, what.index, what.first, what.mask = n, K, 1, NULL, 0, NULL
    what.panel, what.planes, what.plane = K * panel, 1, 0
    what.A, what.lda, what.init, what.ldi, what.C, what.ldc = &A, K, &init, 0, &C, panels * panel
    for p in range(panels):
        C = <char *>cnp.PyArray_DATA(out) + p * panel * leaf.itemsize
        what.B = <char *>cnp.PyArray_DATA(packed) + p * K * panel * leaf.itemsize
        leaf.product(&what)
    return out[:, :N]


def activate(str name, x):
    """An activation of the engine on a contiguous float32 or float64 array; for tests and benches."""
    cdef cnp.ndarray a = np.ascontiguousarray(readable(np.asarray(x)))
    cdef cnp.ndarray y = np.empty_like(a)
    cdef const rx_leaf *leaf = rx_leaf_get(ISA.encode(), a.dtype.itemsize, RX_FULL)
    leaf.activate(a.size, ACTIVATIONS[name], cnp.PyArray_DATA(a), cnp.PyArray_DATA(y))
    return y


ctypedef fused real:
    float
    double


cdef void small_rows(const real *x, const real *kernel, const real *bias, real *out, Py_ssize_t n, Py_ssize_t features,
                     Py_ssize_t units) noexcept nogil:
    # out (n, units) = x (n, features) @ kernel + bias, straight from where the weights lie
    cdef Py_ssize_t r, k, j
    cdef real part[8]  # sums of a single column, which do not wait for each other
    if units == 1:
        for r in range(n):
            for j in range(8):
                part[j] = 0
            for k in range(0, features - 7, 8):
                for j in range(8):
                    part[j] += x[k + j] * kernel[k + j]
            for k in range(features - features % 8, features):
                part[k % 8] += x[k] * kernel[k]
            out[r] = ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]))
            if bias != NULL:
                out[r] += bias[0]
            x += features
        return
    for r in range(n):
        for j in range(units):
            out[j] = 0
        for k in range(features):
            for j in range(units):
                out[j] += x[k] * kernel[k * units + j]
        if bias != NULL:  # last, as where BLAS makes the products
            for j in range(units):
                out[j] += bias[j]
        x += features
        out += units


cdef inline cnp.ndarray in_rows(cnp.ndarray array):
    """The array, C-contiguous and as C reads it: itself, or a copy."""
    return array if cnp.PyArray_ISCARRAY_RO(array) else np.ascontiguousarray(readable(array))


def small_dense(cnp.ndarray x, cnp.ndarray kernel, cnp.ndarray bias=None):
    """``x @ kernel + bias`` where a call of BLAS would cost more than the products; the weights are read as they are.

    Parameters
    ----------
    x : array of shape (..., features)
    kernel : array of shape (features, units)
    bias : array of shape (units,) or None

    Returns
    -------
    array of shape (..., units), or None
        None if there are many products, or the arrays do not fit together.
    """
    cdef cnp.npy_intp shape[8]
    cdef int axes = x.ndim, k, number = cnp.PyArray_TYPE(kernel)
    cdef Py_ssize_t n = 1, features, units, most
    cdef cnp.ndarray out
    cdef void *b = NULL
    if axes < 2 or axes > 8 or kernel.ndim != 2 or not (number == cnp.NPY_FLOAT or number == cnp.NPY_DOUBLE):
        return None
    features, units = kernel.shape[0], kernel.shape[1]
    if x.shape[axes - 1] != features or cnp.PyArray_TYPE(x) != number:
        return None
    most = SMALL_PRODUCTS // (units if units == 1 else max(units, <Py_ssize_t>FEWEST_COLUMNS))
    if cnp.PyArray_SIZE(x) > most:
        return None
    for k in range(axes - 1):
        n, shape[k] = n * x.shape[k], x.shape[k]
    # However the arrays lie, the result has the same bits.
    x, kernel = in_rows(x), in_rows(kernel)
    if bias is not None:
        if bias.ndim != 1 or bias.shape[0] != units or cnp.PyArray_TYPE(bias) != number:
            return None
        bias = in_rows(bias)
        b = cnp.PyArray_DATA(bias)
    shape[axes - 1] = units
    out = cnp.PyArray_EMPTY(axes, shape, number, 0)
    if number == cnp.NPY_FLOAT:
        small_rows[float](<const float *>cnp.PyArray_DATA(x), <const float *>cnp.PyArray_DATA(kernel),
                          <const float *>b, <float *>cnp.PyArray_DATA(out), n, features, units)
    else:
        small_rows[double](<const double *>cnp.PyArray_DATA(x), <const double *>cnp.PyArray_DATA(kernel),
                           <const double *>b, <double *>cnp.PyArray_DATA(out), n, features, units)
    return out


cdef bint finite_reals(const real *x, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t k
    cdef real none = 0
    for k in range(count):
        none += x[k] * 0  # NaN as soon as one element is not finite
    return none == 0


def all_finite(cnp.ndarray array):
    """Whether a C-contiguous array of float32 or float64 holds finite numbers alone."""
    cdef Py_ssize_t size = cnp.PyArray_SIZE(array)
    if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT:
        return finite_reals[float](<const float *>cnp.PyArray_DATA(array), size)
    return finite_reals[double](<const double *>cnp.PyArray_DATA(array), size)
