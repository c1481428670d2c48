# Included by _kernels.pyx: from numpy arrays to jobs and back.

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
        if backwards:
            valid = valid[:, ::-1]
        self.valid = np.ascontiguousarray(valid, np.uint8)
        self.row_counts = np.count_nonzero(valid, axis=1)
        order = np.argsort(-self.row_counts, kind="stable")
        sorted_counts = self.row_counts[order]
        self.steps = sorted_counts[0] if batch else 0
        counts = np.searchsorted(-sorted_counts, -np.arange(self.steps), side="left")
        offsets = np.concatenate([[0], np.cumsum(counts)])
        rows, positions = np.nonzero(self.valid[order])
        step = np.arange(rows.size) - np.concatenate([[0], np.cumsum(sorted_counts)])[rows]
        times = np.empty(rows.size, np.intp)
        times[offsets[step] + rows] = timesteps - 1 - positions if backwards else positions
        self.total = rows.size
        self.order, self.counts = order.astype(np.intp), counts.astype(np.intp)
        self.offsets, self.times = offsets.astype(np.intp), times

    cdef void fill(self, Job *job) noexcept:
        job.B, job.T, job.S, job.total, job.backwards = (self.batch, self.timesteps, self.steps, self.total,
                                                         self.backwards)
        job.order, job.counts = <const Py_ssize_t *>data_of(self.order), <const Py_ssize_t *>data_of(self.counts)
        job.offsets, job.times = <const Py_ssize_t *>data_of(self.offsets), <const Py_ssize_t *>data_of(self.times)


cdef Mask view_mask(object array):
    """A (gates, batch, timesteps, width) or (batch, timesteps, width) mask; axes of size one do not move."""
    cdef Mask mask
    memset(&mask, 0, sizeof(mask))
    if array is None:
        return mask
    cdef cnp.ndarray a = array if array.ndim == 4 else array[None]
    mask.data = <const char *>cnp.PyArray_DATA(a)
    mask.gates = a.shape[0]
    mask.sg = a.strides[0] if a.shape[0] > 1 else 0
    mask.sb = a.strides[1] if a.shape[1] > 1 else 0
    mask.st = a.strides[2] if a.shape[2] > 1 else 0
    mask.sf = a.strides[3] if a.shape[3] > 1 else 0
    return mask


@cython.final
cdef class Cache:
    """Everything a backward call needs; opaque.

    It refers to the caller's ``x`` and masks without copying them; they must not change before ``backward``. The
    backward call turns the stored activations into gradients in place: a second one first repeats the forward pass.
    """

    cdef Job job
    cdef readonly Packed packed
    cdef readonly Plan plan
    cdef list alive
    cdef object gates, state_h, state_c
    cdef readonly bint zero_masked, spent

    cdef void recompute(self) except *:
        cdef Job job = self.job
        h, c = (np.empty((job.B, job.H), self.packed.dtype) for _ in range(2))
        job.outputs, job.h_final, job.c_final = NULL, data_of(h), NULL if job.c == NULL else data_of(c)
        if self.packed.leaf.itemsize == 4:
            forward_core[float](&job, NULL)
        else:
            forward_core[double](&job, NULL)

    cdef object site_rows(self):
        rows = aligned((self.plan.batch, self.packed.ld), self.packed.dtype, True)
        self.alive.append(rows)
        return rows

    cdef object buffer(self, shape):
        array = aligned(shape, self.packed.dtype)
        self.alive.append(array)
        return array

    cdef void set_masks(self, masks) except *:
        cdef Job *job = &self.job
        cdef int g
        if masks is None:
            return
        self.alive.append(masks)
        job.inputs = view_mask(masks.inputs)
        if masks.recurrent is not None and masks.recurrent_mode == "state":
            job.state = view_mask(masks.recurrent)
            for g in range(<int>job.state.gates):
                job.state_sites[g].mask, job.state_sites[g].gate = &job.state, g
                job.state_sites[g].rows = data_of(self.site_rows())
            job.operands = data_of(self.buffer((job.state.gates, job.B, job.ld)))
            job.masked_blend = masks.masked_blend and job.G == 3
        elif masks.recurrent is not None and masks.recurrent_mode != "weights":
            job.update = view_mask(masks.recurrent)
            job.cell_mode = masks.recurrent_mode == "cell"
            job.update_site.mask, job.update_site.rows = &job.update, data_of(self.site_rows())
        if masks.zoneout_hidden is not None:
            job.zone_h = view_mask(masks.zoneout_hidden)
            job.zone_h_site.mask, job.zone_h_site.rows = &job.zone_h, data_of(self.site_rows())
        if masks.zoneout_cell is not None and job.cell == RX_LSTM:
            job.zone_c = view_mask(masks.zoneout_cell)
            job.zone_c_site.mask, job.zone_c_site.rows = &job.zone_c, data_of(self.site_rows())


cdef object initial_block(Cache cache, Py_ssize_t blocks, initial):
    """State buffer of `blocks` rows whose first batch rows are the initial state in row order."""
    cdef Py_ssize_t B = cache.plan.batch
    cdef cnp.ndarray states = aligned((blocks, cache.packed.ld), cache.packed.dtype)
    if initial is None:
        states[:B] = 0
    else:
        states[:B, cache.packed.H:] = 0
        states[:B, :cache.packed.H] = initial if cache.plan.order is None else initial[cache.plan.order]
    return states


def forward(Packed packed, cnp.ndarray x, Plan plan, h0, c0, masks, outputs, bint keep, bint zero_masked):
    """Run a cell over packed rows.

    Parameters
    ----------
    packed : Packed
    x : array of shape (batch, timesteps, features), any strides
    plan : Plan
    h0, c0 : arrays of shape (batch, units) or None (zeros); ``c0`` is for LSTM only
    masks : DropoutMasks or None
    outputs : array of shape (batch, timesteps, units) or None
        Filled in processing order; its last axis is contiguous.
    keep : bool
        Whether to return what ``backward`` needs.
    zero_masked : bool
        Whether masked positions give 0 instead of repeating the output before them.

    Returns
    -------
    h, c : arrays of shape (batch, units); c is None but for LSTM
    cache : Cache or None
    """
    cdef Cache cache = Cache.__new__(Cache)
    cdef Job *job = &cache.job
    cdef Py_ssize_t B = plan.batch, rows = max(B, <Py_ssize_t>CHUNK_FORWARD)
    cdef cnp.ndarray out
    memset(job, 0, sizeof(Job))
    cache.packed, cache.plan, cache.alive, cache.zero_masked = packed, plan, [x], zero_masked
    packed.fill(job)
    plan.fill(job)
    if keep:
        packed.prepare_backward()
        rows = max(rows, <Py_ssize_t>CHUNK_BACKWARD)
    job.keep = keep
    job.x = <const char *>cnp.PyArray_DATA(x)
    job.sxb, job.sxt, job.sxf = x.strides[0], x.strides[1], x.strides[2]
    cache.set_masks(masks)
    job.x_rows = data_of(cache.buffer((min(rows, max(B, plan.total)), packed.F)))
    cache.gates = aligned((plan.total if keep else min(rows, max(B, plan.total)), packed.ldg), packed.dtype)
    cache.state_h = initial_block(cache, B + plan.total if keep else 2 * B, h0)
    job.gates, job.h = data_of(cache.gates), data_of(cache.state_h)
    h = np.empty((B, packed.H), packed.dtype)
    c = None
    job.h_final = data_of(h)
    if packed.cell == RX_LSTM:
        cache.state_c = initial_block(cache, B + plan.total if keep else 2 * B, c0)
        c = np.empty((B, packed.H), packed.dtype)
        job.c, job.c_final = data_of(cache.state_c), data_of(c)
    if outputs is not None:
        out = outputs
        job.outputs = <char *>cnp.PyArray_DATA(out)
        job.sob, job.sot = out.strides[0], out.strides[1]
    cdef const unsigned char *valid = <const unsigned char *>data_of(plan.valid)
    cdef bint is_float = packed.leaf.itemsize == 4
    with nogil:
        if is_float:
            forward_core[float](job, NULL)
        else:
            forward_core[double](job, NULL)
        if job.outputs != NULL and valid != NULL:
            fill_masked(job.outputs, job.sob, job.sot, valid, B, job.T, job.H * job.leaf.itemsize, zero_masked)
    return h, c, cache if keep else None


def backward(Cache cache, doutputs, dh_final, dc_final, bint need_dx, bint need_dparams):
    """Gradients of one forward call.

    Parameters
    ----------
    cache : Cache
    doutputs : array of shape (batch, timesteps, units) or None
        In processing order, last axis contiguous.
    dh_final, dc_final : arrays of shape (batch, units) or None
    need_dx, need_dparams : bool

    Returns
    -------
    dx : array of shape (batch, timesteps, features) or None
    dh0, dc0 : arrays of shape (batch, units); dc0 is None but for LSTM
    dkernel, drecurrent_kernel, dbias : arrays or None
    """
    cdef Packed packed = cache.packed
    cdef Plan plan = cache.plan
    cdef Job job = cache.job
    cdef BackJob back
    cdef Py_ssize_t B = plan.batch, G = packed.G, H = packed.H, U = packed.U, F = packed.F
    cdef Py_ssize_t rows = min(max(B, <Py_ssize_t>CHUNK_BACKWARD), max(B, plan.total))
    cdef cnp.ndarray array
    memset(&back, 0, sizeof(back))
    cdef bint is_float = packed.leaf.itemsize == 4
    if cache.spent:
        cache.recompute()
    cache.spent = True
    if doutputs is not None:
        array = doutputs
        back.doutputs = <const char *>cnp.PyArray_DATA(array)
        back.sdb, back.sdt = array.strides[0], array.strides[1]
        if not cache.zero_masked:
            back.valid = <const unsigned char *>data_of(plan.valid)
    dh = initial_block(cache, B, dh_final)
    dc = initial_block(cache, B, dc_final) if packed.cell == RX_LSTM else None
    scratch = aligned((B, packed.ld), packed.dtype)
    back.dh, back.dc, back.scratch = data_of(dh), data_of(dc), data_of(scratch)
    back.wh_back, back.wx_slots = data_of(packed.wh_back), data_of(packed.wx_slots)
    back.gemm = blas_sgemm if packed.leaf.itemsize == 4 else blas_dgemm
    chunk = aligned((rows, max(packed.ld, F)), packed.dtype)
    more = aligned((rows, F), packed.dtype) if need_dx else None
    back.rows, back.more_rows = data_of(chunk), data_of(more)
    dwx = dwh = sums = dx = None
    if need_dparams:
        dwx = aligned((F, G * U), packed.dtype, True)
        dwh = aligned((H, G * U), packed.dtype, True)
        sums = aligned((packed.slots, U), packed.dtype, True)
        back.dwx, back.dwh, back.dbias = data_of(dwx), data_of(dwh), data_of(sums)
    if need_dx:
        array = aligned((B, plan.timesteps, F), packed.dtype, plan.valid is not None)
        dx = array
        back.dx, back.dxb, back.dxt = <char *>cnp.PyArray_DATA(array), array.strides[0], array.strides[1]
    with nogil:
        if is_float:
            backward_core[float](&job, &back, NULL)
        else:
            backward_core[double](&job, &back, NULL)
    inverse = None if plan.order is None else np.argsort(plan.order)
    dh0 = np.ascontiguousarray(dh[:, :H] if inverse is None else dh[inverse, :H])
    dc0 = None
    if dc is not None:
        dc0 = np.ascontiguousarray(dc[:, :H] if inverse is None else dc[inverse, :H])
    if not need_dparams:
        return dx, dh0, dc0, None, None, None
    dkernel = packed.in_gate_order(dwx)
    drecurrent = np.ascontiguousarray(dwh.reshape(H, G, U)[:, :, :H]).reshape(H, G * H)
    dbias = packed.in_gate_order(sums[:G])[0]
    if packed.cell == RX_GRU_AFTER:
        dbias = np.stack([dbias, sums[1:, :H].reshape(-1)])
    return dx, dh0, dc0, dkernel, drecurrent, dbias


def empty(shape, dtype):
    """An uninitialised C-contiguous array of up to four axes, from the pool of the engine's buffers."""
    return aligned(shape, np.dtype(dtype))


def product(cnp.ndarray a, cnp.ndarray b):
    """``a @ b`` through the tiles, for tests and benches: shapes (n, K) and (K, N), one dtype."""
    cdef const rx_leaf *leaf = rx_leaf_get(ISA.encode(), a.dtype.itemsize)
    cdef Py_ssize_t n = a.shape[0], K = a.shape[1], N = b.shape[1], panel = leaf.panel
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
    for p in range(panels):
        C = <char *>cnp.PyArray_DATA(out) + p * panel * leaf.itemsize
        leaf.product(n, K, 1, &A, K, <char *>cnp.PyArray_DATA(packed) + p * K * panel * leaf.itemsize, K * panel, &init,
                     0, &C, panels * panel)
    return out[:, :N]


def activate(str name, x):
    """An activation of the engine on a contiguous float32 or float64 array; for tests and benches."""
    cdef cnp.ndarray a = np.ascontiguousarray(x)
    cdef cnp.ndarray y = np.empty_like(a)
    cdef const rx_leaf *leaf = rx_leaf_get(ISA.encode(), a.dtype.itemsize)
    leaf.activate(a.size, ACTIVATIONS[name], cnp.PyArray_DATA(a), cnp.PyArray_DATA(y))
    return y
