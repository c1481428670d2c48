# Included by _kernels.pyx: which leaves and which BLAS serve this process, aligned buffers, packed weights.

ctypedef void (*gemm_pointer)(char *, char *, int *, int *, int *, void *, void *, int *, void *, int *, void *,
                              void *, int *) noexcept nogil


def _choose_isa():
    """The instruction set level in use: ``RNNX_ISA``, or the best this CPU has."""
    wanted = os.environ.get("RNNX_ISA", "")
    levels = [name for name in ("avx2", "generic") if rx_leaf_get(name.encode(), 4) != NULL]
    if not wanted:
        return levels[0], levels
    if wanted not in levels:
        raise ImportError(f"RNNX_ISA must be one of {levels} on this CPU and build, got {wanted!r}")
    return wanted, levels


ISA, ISA_LEVELS = _choose_isa()

cdef gemm_pointer blas_sgemm = NULL
cdef gemm_pointer blas_dgemm = NULL


cdef int load_blas() except -1:
    """Fetch sgemm and dgemm from scipy on first use: importing scipy.linalg takes a tenth of a second."""
    global blas_sgemm, blas_dgemm
    if blas_dgemm != NULL:
        return 0
    from scipy.linalg import cython_blas

    cdef object capsule
    for name in ("sgemm", "dgemm"):
        capsule = cython_blas.__pyx_capi__[name]
        signature = PyCapsule_GetName(capsule)
        if signature.decode().count("int *") < 6:
            raise ImportError(f"scipy's {name} does not take 32-bit integers: {signature.decode()}")
        if name == "sgemm":
            blas_sgemm = <gemm_pointer>PyCapsule_GetPointer(capsule, signature)
        else:
            blas_dgemm = <gemm_pointer>PyCapsule_GetPointer(capsule, signature)
    return 0


# ---- Memory: large buffers are kept for the next call, so that training does not fault its pages in at every step -----

cdef enum:
    POOL_SLOTS = 32
    POOLED_FROM = 1 << 16        # smaller buffers are cheap to allocate
    POOL_LIMIT = 1 << 26         # bytes that may lie idle

cdef void *pool_data[POOL_SLOTS]
cdef size_t pool_size[POOL_SLOTS]
cdef int pool_count = 0
cdef size_t pool_bytes = 0


@cython.final
cdef class _Block:
    """The owner of one buffer; the pool gets it back when the last array on it is gone. Guarded by the GIL."""

    cdef void *data
    cdef size_t size

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
        size *= <size_t>extents[axes]
        axes += 1
    cdef _Block block = take_block(size + RX_ALIGNMENT)
    cdef char *start = <char *>block.data + RX_ALIGNMENT - <size_t>block.data % RX_ALIGNMENT
    if zero:
        memset(start, 0, size)
    cdef cnp.ndarray array = cnp.PyArray_SimpleNewFromData(axes, extents, dtype.num, start)
    cnp.set_array_base(array, block)
    return array


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
    """

    cdef const rx_leaf *leaf
    cdef int cell, activation, recurrent_activation
    cdef Py_ssize_t F, H, U, G, slots, first, ld, ldg
    cdef object kernel, recurrent_kernel, wx, wh, bias_x, bias_q, wh_back, wx_slots
    cdef readonly object dtype

    def __init__(self, str cell, kernel, recurrent_kernel, bias, str activation, str recurrent_activation):
        self.cell = CELLS[cell]
        self.activation = ACTIVATIONS[activation]
        self.recurrent_activation = ACTIVATIONS[recurrent_activation]
        self.dtype = kernel.dtype
        self.leaf = rx_leaf_get(ISA.encode(), self.dtype.itemsize)
        self.kernel, self.recurrent_kernel = kernel, recurrent_kernel
        self.F, self.H = kernel.shape[0], recurrent_kernel.shape[0]
        self.U = (self.H + self.leaf.panel - 1) // self.leaf.panel * self.leaf.panel
        self.G = 4 if cell == "lstm" else 1 if cell == "simple_rnn" else 3
        self.slots = 1 if cell == "simple_rnn" else 4
        self.first = 1 if self.G == 3 else 0
        self.ld = spread(self.U, self.dtype.itemsize)
        self.ldg = spread(self.slots * self.U, self.dtype.itemsize)
        self.wx = self._panels(self._slot_order(kernel))
        self.wh = self._panels(self._padded(recurrent_kernel.reshape(self.H, self.G, self.H)))
        self._fold_bias(bias)

    cdef object _padded(self, weights):
        """(rows, G, H) -> (rows, G, U), new units being zero."""
        cdef cnp.ndarray out = aligned((weights.shape[0], self.G, self.U), self.dtype, self.U != self.H)
        out[:, :, :self.H] = weights
        return out

    cdef object _slot_order(self, kernel):
        """(F, G*H) in gate order -> (F, G, U) in slot order: the GRU keeps h z r, so that x and h gates are runs."""
        blocks = kernel.reshape(kernel.shape[0], self.G, self.H)
        return self._padded(blocks[:, [2, 0, 1]] if self.G == 3 else blocks)

    cdef object _panels(self, weights):
        """(K, G, U) -> (panels, G, K, panel), contiguous."""
        cdef Py_ssize_t K = weights.shape[0], panel = self.leaf.panel
        cdef cnp.ndarray out = aligned((self.U // panel, self.G, K, panel), self.dtype)
        out[...] = weights.reshape(K, self.G, self.U // panel, panel).transpose(2, 1, 0, 3)
        return out

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

    cdef object prepare_backward(self):
        """Pack the transposed recurrent kernel and the kernel in slot order, once."""
        cdef Py_ssize_t panel = self.leaf.panel, G = self.G, H = self.H
        if self.wh_back is not None:
            return None
        load_blas()
        rows = aligned((self.U, G, H), self.dtype, self.U != H)
        rows[:H] = self.recurrent_kernel.reshape(H, G, H)
        wh_back = aligned((self.U // panel, G, H, panel), self.dtype)
        wh_back[...] = rows.reshape(self.U // panel, panel, G, H).transpose(0, 2, 3, 1)
        self.wx_slots = self._slot_order(self.kernel)
        self.wh_back = wh_back

    cdef void fill(self, Job *job) noexcept:
        job.leaf, job.cell = self.leaf, self.cell
        job.activation, job.recurrent_activation = self.activation, self.recurrent_activation
        job.F, job.H, job.U, job.G = self.F, self.H, self.U, self.G
        job.slots, job.first, job.ld, job.ldg = self.slots, self.first, self.ld, self.ldg
        job.wx, job.wh = data_of(self.wx), data_of(self.wh)
        job.bias_x, job.bias_q = data_of(self.bias_x), data_of(self.bias_q)

    cdef object in_gate_order(self, rows):
        """(n, G*U) in slot order -> (n, G*H) in gate order."""
        blocks = rows.reshape(-1, self.G, self.U)[:, :, :self.H]
        if self.G == 3:
            blocks = blocks[:, [1, 2, 0]]
        return np.ascontiguousarray(blocks).reshape(-1, self.G * self.H)
