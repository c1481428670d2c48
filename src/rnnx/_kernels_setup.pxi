# Included by _kernels.pyx: which leaves serve this process, aligned buffers, packed weights, plans of ragged batches.

def _choose_isa():
    """The instruction set level in use: ``RNNX_ISA``, or the best this CPU has."""
    wanted = os.environ.get("RNNX_ISA", "")
    known = ("avx512", "avx2", "neon", "generic")
    levels = [name for name in known if rx_leaf_get(name.encode(), 4, RX_FULL) != NULL]
    if not wanted:
        return levels[0], levels
    if wanted not in levels:
        raise ImportError(f"RNNX_ISA must be one of {levels} on this CPU and build, got {wanted!r}")
    return wanted, levels


ISA, ISA_LEVELS = _choose_isa()


cdef inline Py_ssize_t padded(Py_ssize_t count, Py_ssize_t panel) noexcept nogil:
    return (count + panel - 1) // panel * panel


cdef inline Py_ssize_t depth_of(const rx_leaf *leaf, Py_ssize_t rows) noexcept nogil:
    """Rows of a panel for so many rows of weights."""
    return leaf.scale_rows + padded(rows, leaf.group)


WEIGHTS = {"full": RX_FULL, "bf16": RX_BF16, "int8": RX_INT8, "int16": RX_INT8}  # the last in two planes
PLANE_STEP = 254                                         # 16-bit numbers are 254 * high + low, both within +-127
LARGEST = {"int8": 127, "int16": 127 * PLANE_STEP}       # what the largest weight of a column becomes


cdef list planes_of(kernel, str weights):
    """What is packed for a kernel, plane by plane: whole numbers and their columns' scales; or the kernel itself."""
    if weights != "int16":
        return [(kernel, None)]
    scale = np.abs(kernel).max(axis=0, initial=0) / np.float32(LARGEST[weights])
    scale[scale == 0] = 1
    numbers, step = np.rint(kernel / scale), np.float32(PLANE_STEP)
    high = np.rint(numbers / step)
    return [(high, scale * step), (numbers - step * high, scale)]


cdef const rx_leaf *leaf_for(Py_ssize_t units, int itemsize, int weights=RX_FULL):
    """The leaves for a layer: the wide panels of AVX-512 where they do not pad many more units than those of AVX2."""
    cdef const rx_leaf *leaf = rx_leaf_get(ISA.encode(), itemsize, weights)
    cdef const rx_leaf *narrow = rx_leaf_get(b"avx2", itemsize, weights)
    if ISA == "avx512" and padded(units, leaf.nr) > padded(units, narrow.nr) + units // 8:
        return narrow
    return leaf


# ---- Memory: large buffers are kept for the next call, so that training does not fault its pages in at every step -----

cdef enum:
    POOL_SLOTS = 32
    POOLED_FROM = 1 << 16        # smaller buffers are cheap to allocate
    POOL_LIMIT = 1 << 26         # bytes that may lie idle

cdef size_t LARGEST_BLOCK = <size_t>1 << 62  # bytes; sizes are compared with it before they are multiplied out

cdef void *pool_data[POOL_SLOTS]
cdef size_t pool_size[POOL_SLOTS]
cdef int pool_count = 0
cdef size_t pool_bytes = 0


@cython.final
cdef class _Block:
    """The owner of one buffer; the pool gets it back when the last array on it is gone. Guarded by the GIL."""

    cdef void *data
    cdef size_t size

    cdef char *start(self) noexcept:
        """The first cache line of it that is whole."""
        return <char *>self.data + RX_ALIGNMENT - <size_t>self.data % RX_ALIGNMENT

    def __dealloc__(self):
        global pool_count, pool_bytes
        if self.size >= POOLED_FROM and pool_count < POOL_SLOTS and pool_bytes + self.size <= POOL_LIMIT:
            pool_data[pool_count], pool_size[pool_count] = self.data, self.size
            pool_count += 1
            pool_bytes += self.size
        else:
            free(self.data)


cdef _Block take_block(size_t size):
    """A buffer of at least this size, from the pool if one there is not much larger."""
    global pool_count, pool_bytes
    cdef _Block block = _Block.__new__(_Block)
    cdef int k, best = -1
    if size >= POOLED_FROM:
        for k in range(pool_count):
            if size <= pool_size[k] <= size + size // 4 and (best < 0 or pool_size[k] < pool_size[best]):
                best = k
    if best >= 0:
        block.data, block.size = pool_data[best], pool_size[best]
        pool_count -= 1
        pool_bytes -= block.size
        pool_data[best], pool_size[best] = pool_data[pool_count], pool_size[pool_count]
        return block
    block.data = malloc(size)
    if block.data == NULL:
        raise MemoryError(f"rnnx: cannot allocate {size} bytes")
    block.size = size
    return block


cdef cnp.ndarray aligned(shape, dtype, bint zero=False):
    """A C-contiguous array that starts on a cache line."""
    cdef cnp.npy_intp extents[4]
    cdef size_t size = dtype.itemsize
    cdef int axes = 0
    for extent in shape:
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
    return first < high and low < last


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


cdef inline char *data_of(object array) noexcept:
    return NULL if array is None else <char *>cnp.PyArray_DATA(<cnp.ndarray>array)


cdef Py_ssize_t spread(Py_ssize_t width, Py_ssize_t itemsize) noexcept:
    """A row length that does not put all rows of a tile into the same cache sets."""
    return width + RX_ALIGNMENT // itemsize if width * itemsize % 1024 == 0 else width


@cython.final
cdef class Packed:
    """Weights of one recurrent layer in the layout of the tiles; see ``csrc/leaf.h``.

    Parameters
    ----------
    cell : str
        ``"lstm"``, ``"gru_after"``, ``"gru_before"`` or ``"simple_rnn"``.
    kernel, recurrent_kernel, bias : arrays or None
        As in the ``*Params`` classes; already validated.
    activation, recurrent_activation : str
        Names in ``ACTIVATIONS``.
    weights : str
        What the tiles read, a name in ``WEIGHTS``: ``"full"``, or of float32 kernels ``"bf16"``, or ``"int8"`` or
        ``"int16"`` with a scale for each column, for inference only.

    Attributes
    ----------
    dtype : dtype
    features, units : int
    products : int
        Multiplications of one row and step.
    """

    cdef const rx_leaf *leaf
    cdef int cell, activation, recurrent_activation
    cdef readonly bint narrow
    cdef str weights
    cdef Py_ssize_t F, H, U, G, slots, first, ld, ldg
    cdef object kernel, recurrent_kernel, bias_x, bias_q
    cdef dict made
    cdef readonly object dtype
    cdef readonly Py_ssize_t products

    def __init__(self, str cell, kernel, recurrent_kernel, bias, str activation, str recurrent_activation,
                 str weights="full"):
        self.cell = CELLS[cell]
        self.activation = ACTIVATIONS[activation]
        self.recurrent_activation = ACTIVATIONS[recurrent_activation]
        kernel, recurrent_kernel = (np.ascontiguousarray(readable(array)) for array in (kernel, recurrent_kernel))
        self.dtype = kernel.dtype
        self.leaf = leaf_for(recurrent_kernel.shape[0], self.dtype.itemsize, WEIGHTS[weights])
        self.narrow, self.weights = weights != "full", weights
        self.kernel, self.recurrent_kernel = kernel, recurrent_kernel
        self.F, self.H = kernel.shape[0], recurrent_kernel.shape[0]
        self.U = padded(self.H, self.leaf.nr)
        self.G = 4 if cell == "lstm" else 1 if cell == "simple_rnn" else 3
        self.products = (self.F + self.H) * self.G * self.H
        self.slots = 1 if cell == "simple_rnn" else 4
        self.first = 1 if self.G == 3 else 0
        self.ld = spread(self.U, self.dtype.itemsize)
        self.ldg = spread(self.slots * self.U, self.dtype.itemsize)
        self.made = {}
        self._fold_bias(bias)

    @property
    def features(self):
        return self.F

    @property
    def units(self):
        return self.H

    cdef object _fold_bias(self, bias):
        """One bias per slot; the recurrent bias joins it wherever it is simply added."""
        cdef Py_ssize_t G = self.G, H = self.H
        self.bias_x = aligned((G, self.U), self.dtype, True)
        self.bias_q = aligned((self.U,), self.dtype, True)
        if bias is None:
            return None
        rows = bias.reshape(-1, G, H)
        total = rows[0].copy()
        if self.cell == RX_GRU_AFTER:
            total[:2] += rows[1, :2]
            self.bias_q[:H] = rows[1, 2]
        self.bias_x[:, :H] = total[[2, 0, 1]] if G == 3 else total

    cdef object panels(self, bint backward, bint of_x, list kept):
        """The panels of one kernel for one direction, made on first use.

        Forward they are (panels, G, rows, panel) for each plane, the rows after those of the head; backward, of the
        transpose, (panels, G, units, panel), where the kernel's gates come in slot order: the GRU has h z r, so that
        the gates of x and those of h are runs. ``kept`` is None, or for each gate of a shared mask the indices of the
        rows that it keeps and its values there: then the panels have these rows alone, times the mask, and serve this
        call only.
        """
        cdef Py_ssize_t rows = self.F if of_x else self.H, panel = self.leaf.nr, H = self.H, G = self.G
        cdef Py_ssize_t depth = rows if not backward else self.U if of_x else H, slot, gate, count = rows
        cdef Py_ssize_t panels = ((rows if backward else H) + panel - 1) // panel, size = self.leaf.weightsize, stride
        cdef const int *index = NULL
        cdef const char *scale = NULL
        cdef const char *block
        cdef char *out
        made = self.made.get((backward, of_x)) if kept is None else None
        if made is not None:
            return made
        depth = depth_of(self.leaf, depth)
        stride = G * depth * panel
        planes = planes_of(self.kernel if of_x else self.recurrent_kernel, self.weights)
        made = aligned((len(planes) * panels, G, depth, panel), np.dtype(f"i{size}") if self.narrow else self.dtype)
        for plane, (numbers, scales) in enumerate(planes):
            for slot in range(G):
                gate = (slot + 2) % 3 if of_x and G == 3 else slot
                block = data_of(numbers) + gate * H * self.leaf.itemsize
                out = data_of(made) + (<Py_ssize_t>plane * panels * G + slot) * depth * panel * size
                if scales is not None:
                    scale = data_of(scales) + gate * H * self.leaf.itemsize
                if kept is not None:
                    columns, values = kept[gate if len(kept) > 1 else 0]
                    index, scale, count = <const int *>data_of(columns), data_of(values), len(columns)
                if backward:
                    self.leaf.pack_b_transposed(H, depth, count, block, G * H, index, scale, out, stride)
                else:
                    self.leaf.pack_b(count, H, block, G * H, index, scale, out, stride)
        if kept is None:
            self.made[backward, of_x] = made
        return made

    cdef void fill(self, Job *job) noexcept:
        cdef Py_ssize_t rows = BLOCK_BYTES // (self.ldg * self.leaf.itemsize)
        job.block_rows = rows if rows >= MIN_ROWS_OF_BLOCK else ROWS_OF_WIDE_BLOCK
        job.leaf, job.cell = self.leaf, self.cell
        job.activation, job.recurrent_activation = self.activation, self.recurrent_activation
        job.F, job.H, job.U, job.G = self.F, self.H, self.U, self.G
        job.slots, job.first, job.ld, job.ldg = self.slots, self.first, self.ld, self.ldg
        job.ldr = RX_ROUNDED_ROW(max(self.F, self.H)) if self.leaf.round_rows != NULL else 0
        job.planes = 2 if self.weights == "int16" else 1
        job.plane_x = self.U * self.G * depth_of(self.leaf, self.F)
        job.plane_h = self.U * self.G * depth_of(self.leaf, self.H)
        job.bias_x, job.bias_q = data_of(self.bias_x), data_of(self.bias_q)

    cdef object in_gate_order(self, rows, bint slot_order):
        """(n, G*U), its gates perhaps in slot order -> (n, G*H) in gate order."""
        blocks = rows.reshape(-1, self.G, self.U)[:, :, :self.H]
        if slot_order and self.G == 3:
            blocks = blocks[:, [1, 2, 0]]
        return np.ascontiguousarray(blocks).reshape(-1, self.G * self.H)


@cython.final
cdef class Plan:
    """Which rows and times are computed, in which order.

    Parameters
    ----------
    batch, timesteps : int
    valid : bool array of shape (batch, timesteps) or None
        True where a step counts, in input order; None if all do.
    backwards : bool
        Whether the steps are read from the last to the first.
    """

    cdef readonly Py_ssize_t batch, timesteps, steps, total
    cdef readonly bint backwards
    cdef readonly object valid, row_counts
    cdef object order, counts, offsets, times

    def __init__(self, Py_ssize_t batch, Py_ssize_t timesteps, valid=None, bint backwards=False):
        self.batch, self.timesteps, self.backwards = batch, timesteps, backwards
        self.steps, self.total = timesteps, batch * timesteps
        if valid is None or valid.all():
            return
        self.valid = np.ascontiguousarray(valid[:, ::-1] if backwards else valid, np.uint8)
        self._sort()

    cdef void _sort(self) except *:
        # Rows by falling number of steps, equal ones as they come; then where and when each packed row is.
        cdef Py_ssize_t B = self.batch, T = self.timesteps, r, s, t
        cdef const unsigned char *valid = <const unsigned char *>data_of(self.valid)
        self.row_counts = np.count_nonzero(self.valid, axis=1).astype(np.intp)
        self.order = np.argsort(-self.row_counts, kind="stable").astype(np.intp)
        cdef const Py_ssize_t *row_counts = <const Py_ssize_t *>data_of(self.row_counts)
        cdef const Py_ssize_t *order = <const Py_ssize_t *>data_of(self.order)
        self.steps = row_counts[order[0]] if B else 0
        self.counts, self.offsets = np.empty(self.steps, np.intp), np.zeros(self.steps + 1, np.intp)
        cdef Py_ssize_t *counts = <Py_ssize_t *>data_of(self.counts)
        cdef Py_ssize_t *offsets = <Py_ssize_t *>data_of(self.offsets)
        r = B
        for s in range(self.steps):
            while row_counts[order[r - 1]] <= s:
                r -= 1
            counts[s] = r
            offsets[s + 1] = offsets[s] + r
        self.total = offsets[self.steps]
        self.times = np.empty(self.total, np.intp)
        cdef Py_ssize_t *times = <Py_ssize_t *>data_of(self.times)
        for r in range(B):
            s = 0
            for t in range(T):
                if valid[order[r] * T + t]:
                    times[offsets[s] + r] = T - 1 - t if self.backwards else t
                    s += 1

    cdef void fill(self, Job *job) noexcept:
        job.B, job.T, job.S, job.total, job.backwards = (self.batch, self.timesteps, self.steps, self.total,
                                                         self.backwards)
        job.order, job.counts = <const Py_ssize_t *>data_of(self.order), <const Py_ssize_t *>data_of(self.counts)
        job.offsets, job.times = <const Py_ssize_t *>data_of(self.offsets), <const Py_ssize_t *>data_of(self.times)
