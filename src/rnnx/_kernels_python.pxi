# Included by _kernels.pyx: from numpy arrays to jobs and back.

cdef list kept_columns(object array, Py_ssize_t rows, Py_ssize_t width):
    """For each gate of a (gates, batch, timesteps, width or 1) mask: where it is not zero, and its values there.

    None if the mask is not one for all rows and steps, drops nothing, or serves too few packed rows to be worth
    panels of its own.
    """
    if array is None or rows < MIN_ROWS_TO_PACK:
        return None
    masks = array if array.ndim == 4 else array[None]
    if masks.shape[1] != 1 or masks.shape[2] != 1 or masks.all():
        return None
    kept = []
    for mask in np.broadcast_to(masks[:, 0, 0], (len(masks), width)):  # one number may stand for all columns
        index = np.flatnonzero(mask).astype(np.intc)
        kept.append((index, mask[index]))
    return kept


cdef Kept view_kept(list kept):
    cdef Kept view
    cdef Py_ssize_t g
    memset(&view, 0, sizeof(view))
    if kept is None:
        return view
    view.gates = len(kept)
    for g in range(view.gates):
        index, scale = kept[g]
        view.index[g], view.scale[g], view.count[g] = <const int *>data_of(index), data_of(scale), len(index)
    return view


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
    With ``recompute`` nothing is stored, and every backward call repeats it.
    """

    cdef Job job
    cdef readonly Packed packed
    cdef readonly Plan plan
    cdef list alive, x_kept, h_kept
    cdef object gates, state_h, state_c, h0, c0
    cdef readonly bint zero_masked, recompute, spent

    cdef void hold(self) except *:
        """Make room for all gates and states."""
        cdef Job *job = &self.job
        cdef Py_ssize_t rows = self.plan.batch + self.plan.total
        self.gates = aligned((self.plan.total, self.packed.ldg), self.packed.dtype)
        self.state_h = initial_block(self, rows, self.h0)
        job.keep, job.gates, job.h = True, data_of(self.gates), data_of(self.state_h)
        if self.packed.cell == RX_LSTM:
            self.state_c = initial_block(self, rows, self.c0)
            job.c = data_of(self.state_c)

    cdef object site_rows(self):
        rows = aligned((self.plan.batch, self.packed.ld), self.packed.dtype, True)
        self.alive.append(rows)
        return rows

    cdef object buffer(self, shape):
        array = aligned(shape, self.packed.dtype)
        self.alive.append(array)
        return array

    cdef object held(self, array):
        """An array as C reads it, kept as long as the cache; None stays None."""
        if array is not None:
            array = readable(array)
            self.alive.append(array)
        return array

    cdef void set_masks(self, masks) except *:
        cdef Job *job = &self.job
        cdef int g
        if masks is None:
            return
        inputs, recurrent = self.held(masks.inputs), self.held(masks.recurrent)
        zoneout_hidden, zoneout_cell = self.held(masks.zoneout_hidden), self.held(masks.zoneout_cell)
        self.x_kept = None if self.packed.narrow else kept_columns(inputs, self.plan.total, job.F)
        if self.x_kept is None:
            job.inputs = view_mask(inputs)
        if not (recurrent is None or masks.recurrent_mode != "state" or masks.masked_blend or self.packed.narrow):
            self.h_kept = kept_columns(recurrent, self.plan.total, job.H)
        job.x_kept, job.h_kept = view_kept(self.x_kept), view_kept(self.h_kept)
        if self.h_kept is not None:
            pass
        elif recurrent is not None and masks.recurrent_mode == "state":
            job.state = view_mask(recurrent)
            for g in range(<int>job.state.gates):
                job.state_sites[g].mask, job.state_sites[g].gate = &job.state, g
                job.state_sites[g].rows = data_of(self.site_rows())
            job.operands = data_of(self.buffer((job.state.gates, job.B, job.ld)))
            job.masked_blend = masks.masked_blend and job.G == 3
        elif recurrent is not None and masks.recurrent_mode != "weights":
            job.update = view_mask(recurrent)
            job.cell_mode = masks.recurrent_mode == "cell"
            job.update_site.mask, job.update_site.rows = &job.update, data_of(self.site_rows())
        if zoneout_hidden is not None:
            job.zone_h = view_mask(zoneout_hidden)
            job.zone_h_site.mask, job.zone_h_site.rows = &job.zone_h, data_of(self.site_rows())
        if zoneout_cell is not None and job.cell == RX_LSTM:
            job.zone_c = view_mask(zoneout_cell)
            job.zone_c_site.mask, job.zone_c_site.rows = &job.zone_c, data_of(self.site_rows())


cdef int start_states(const Job *job, char *states, object initial) except -1:
    """Fill the first block of a state buffer: zeros, or the initial state in row order."""
    cdef Py_ssize_t b, size = job.H * job.leaf.itemsize, step = job.ld * job.leaf.itemsize
    cdef const char *rows
    if initial is None or job.ld > job.H:
        memset(states, 0, job.B * step)
    if initial is not None:
        initial = np.ascontiguousarray(readable(initial))
        rows = data_of(initial)
        for b in range(job.B):
            memcpy(states + b * step, rows + batch_of(job, b) * size, size)
    return 0


cdef object initial_block(Cache cache, Py_ssize_t blocks, initial):
    """A state buffer of `blocks` rows whose first batch rows are the initial state in row order."""
    states = aligned((blocks, cache.packed.ld), cache.packed.dtype)
    start_states(&cache.job, data_of(states), initial)
    return states


# ---- The parts of a call ------------------------------------------------------------------------------------------

cdef struct Forward:
    bint is_float
    Part parts[RX_MAX_PARTS]


cdef struct Backward:
    bint is_float
    BackPart parts[RX_MAX_PARTS]


cdef Py_ssize_t blocks_of(const Part *part) noexcept nogil:
    """A part takes its rows through all steps block by block: states and gates of a block stay in L2."""
    return max(<Py_ssize_t>1, (part.hi - part.lo + part.job.block_rows - 1) // part.job.block_rows)


cdef Part block_of(const Part *part, Py_ssize_t k, Py_ssize_t blocks) noexcept nogil:
    cdef Part block = part[0]
    cdef Py_ssize_t rows = part.hi - part.lo
    block.lo, block.hi = part.lo + k * rows // blocks, part.lo + (k + 1) * rows // blocks
    return block


cdef void forward_task(void *context, int number) noexcept nogil:
    cdef Forward *call = <Forward *>context
    cdef const Part *part = &call.parts[number]
    cdef Py_ssize_t k, blocks = blocks_of(part)
    cdef Part block
    for k in range(blocks):
        block = block_of(part, k, blocks)
        if call.is_float:
            forward_part[float](&block, NULL)
        else:
            forward_part[double](&block, NULL)


cdef void through_time_task(void *context, int number) noexcept nogil:
    cdef Backward *call = <Backward *>context
    cdef const Part *part = &call.parts[number].rows
    cdef Py_ssize_t k, blocks = blocks_of(part)
    cdef Part block
    for k in range(blocks):
        block = block_of(part, k, blocks)
        if call.is_float:
            through_time[float](&block, call.parts[number].back, NULL)
        else:
            through_time[double](&block, call.parts[number].back, NULL)


cdef void gradients_task(void *context, int number) noexcept nogil:
    cdef Backward *call = <Backward *>context
    if call.is_float:
        make_gradients[float](&call.parts[number], NULL)
    else:
        make_gradients[double](&call.parts[number], NULL)


cdef int cut(const Job *job, int wanted, Py_ssize_t *bounds) noexcept nogil:
    """Bounds of the parts: rows with about the same number of packed rows each, at least MIN_ROWS_OF_PART."""
    cdef Py_ssize_t r = 0, s, rows = 0, B = job.B
    cdef int parts = <int>max(<Py_ssize_t>1, min(<Py_ssize_t>wanted, B // min_rows_of_part)), p
    bounds[0] = 0
    bounds[parts] = B
    for p in range(1, parts):
        if job.counts == NULL:
            bounds[p] = p * B // parts
            continue
        while r < B and rows * parts < p * job.total:
            s = 0
            while s < job.S and job.counts[s] > r:
                s += 1
            rows += s
            r += 1
        bounds[p] = r
    return parts


def forward(Packed packed, cnp.ndarray x, Plan plan=None, bint backwards=False, h0=None, c0=None, masks=None,
            cnp.ndarray out=None, bint sequences=True, bint states=True, bint keep=False, bint zero_masked=False,
            int threads=1, bint recompute=False):
    """Run a cell over packed rows.

    A call without validity, masks and gradients needs neither plan nor cache, and makes none.

    Parameters
    ----------
    packed : Packed
    x : array of shape (batch, timesteps, features), any strides
    plan : Plan or None
        None if all steps count.
    backwards : bool
        Whether the steps are read from the last to the first.
    h0, c0 : arrays of shape (batch, units) or None (zeros); ``c0`` is for LSTM only
    masks : DropoutMasks or None
    out : array of shape (batch, timesteps, units) or None
        Where to put every output, in processing order: of the packed dtype, its last axis contiguous.
    sequences, states : bool
        Whether every output, and whether the final states are wanted.
    keep : bool
        Whether to return what ``backward`` needs.
    zero_masked : bool
        Whether masked positions give 0 instead of repeating the output before them.
    threads : int
        At most so many work on it; the result does not depend on their number.
    recompute : bool
        Whether ``backward`` is to make again what it needs.

    Returns
    -------
    outputs : array of shape (batch, timesteps, units) or None
    h, c : arrays of shape (batch, units) or None
        ``h`` also without ``sequences``; ``c`` for LSTM only.
    cache : Cache or None
    """
    cdef Job local
    cdef Job *job = &local
    cdef Cache cache = None
    cdef list x_kept = None, h_kept = None
    cdef cnp.ndarray h = None, c = None
    cdef cnp.npy_intp shape[3]
    cdef int number = (<cnp.dtype>packed.dtype).num
    cdef const unsigned char *valid = NULL
    x = readable(x)
    if keep or masks is not None:
        plan = Plan(x.shape[0], x.shape[1], None, backwards) if plan is None else plan
        cache = Cache.__new__(Cache)
        job = &cache.job
        cache.packed, cache.plan, cache.alive, cache.zero_masked = packed, plan, [x], zero_masked
        cache.recompute, cache.h0, cache.c0 = recompute, h0, c0
    memset(job, 0, sizeof(Job))
    packed.fill(job)
    job.B, job.T, job.S, job.total, job.backwards = x.shape[0], x.shape[1], x.shape[1], x.shape[0] * x.shape[1], backwards
    if plan is not None:
        plan.fill(job)
        valid = <const unsigned char *>data_of(plan.valid)
    set_x(job, x)
    if cache is not None:
        cache.set_masks(masks)
        x_kept, h_kept = cache.x_kept, cache.h_kept
    wx, wh = packed.panels(False, True, x_kept), packed.panels(False, False, h_kept)
    job.wx, job.wh = data_of(wx), data_of(wh)
    shape[0], shape[1], shape[2] = job.B, job.H, job.H
    if states or not sequences:
        h = cnp.PyArray_EMPTY(2, shape, number, 0)
        job.h_final = <char *>cnp.PyArray_DATA(h)
    if states and packed.cell == RX_LSTM:
        c = cnp.PyArray_EMPTY(2, shape, number, 0)
        job.c_final = <char *>cnp.PyArray_DATA(c)
    if keep:
        cache.alive.append((wx, wh))
        if not recompute:
            cache.hold()
    if sequences:
        shape[1] = job.T
        if out is None and job.total * job.H * job.leaf.itemsize < POOLED_FROM:
            out = cnp.PyArray_EMPTY(3, shape, number, 0)
        elif out is None:
            out = aligned((job.B, job.T, job.H), packed.dtype)
        job.outputs, job.sob, job.sot = <char *>cnp.PyArray_DATA(out), out.strides[0], out.strides[1]
    run_forward(job, h0, c0, threads)
    if sequences and valid != NULL:
        with nogil:
            fill_masked(job.outputs, job.sob, job.sot, valid, job.B, job.T, job.H * job.leaf.itemsize, zero_masked)
    return out, h, c, cache if keep else None


cdef void set_x(Job *job, cnp.ndarray x) noexcept:
    job.x = <const char *>cnp.PyArray_DATA(x)
    job.sxb, job.sxt, job.sxf = x.strides[0], x.strides[1], x.strides[2]


cdef int run_forward(Job *job, h0, c0, int threads) except -1:
    """Run the parts of a job; what is not kept for ``backward`` lives in memory of the call."""
    cdef Forward call
    cdef Part *part
    cdef _Block memory
    cdef Py_ssize_t bounds[RX_MAX_PARTS + 1]
    cdef Py_ssize_t rows = 0, size = job.leaf.itemsize, of_part, of_states = 0 if job.keep else 2 * job.B * job.ld
    cdef char *start
    cdef int parts = 1, p
    if threads > 1:
        with nogil:
            threads = rx_pool_enter(threads)
    else:
        rx_pool_enter(1)
    try:
        parts = cut(job, threads, bounds)
        for p in range(parts):
            rows = max(rows, bounds[p + 1] - bounds[p])
        rows = min(max(rows, <Py_ssize_t>CHUNK_ROWS), max(rows, job.total))
        if <double>rows * (job.F + job.ldg + (job.G + 1) * job.ldr) * size * parts > LARGEST_BLOCK // 4:
            raise MemoryError(f"rnnx: cannot allocate buffers for {job.B} rows of {job.F} features and {job.H} units")
        of_part = padded(rows * (job.F + (0 if job.keep else job.ldg) + (job.G + 1) * job.ldr), RX_ALIGNMENT)
        memory = take_block((2 * of_states + parts * of_part) * size + RX_ALIGNMENT)
        start = memory.start()
        if not job.keep:
            job.h = start
            start_states(job, job.h, h0)
            if job.cell == RX_LSTM:
                job.c = start + of_states * size
                start_states(job, job.c, c0)
        call.is_float = size == 4
        for p in range(parts):
            part = &call.parts[p]
            part.job, part.lo, part.hi = job, bounds[p], bounds[p + 1]
            part.gates = start + (2 * of_states + p * of_part) * size
            part.x_rows = part.gates + (0 if job.keep else rows * job.ldg) * size
            part.rounded = part.x_rows + rows * job.F * size
        if parts == 1 and job.total * job.G * job.H * (job.F + job.H) < PRODUCTS_WORTH_THE_LOCK:
            forward_task(&call, 0)
        else:
            with nogil:
                rx_pool_run(forward_task, &call, parts)
    finally:
        rx_pool_leave()
    return 0


def busy():
    """The number of threads that are computing in the engine now."""
    return rx_pool_busy()


def backward(Cache cache, doutputs, dh_final, dc_final, bint need_dx, bint need_dparams, int threads=1):
    """Gradients of one forward call.

    Parameters
    ----------
    cache : Cache
    doutputs : array of shape (batch, timesteps, units) or None
        In processing order, last axis contiguous.
    dh_final, dc_final : arrays of shape (batch, units) or None
    need_dx, need_dparams : bool
    threads : int
        As in ``forward``.

    Returns
    -------
    dx : array of shape (batch, timesteps, features) or None
    dh0, dc0 : arrays of shape (batch, units); dc0 is None but for LSTM
    dkernel, drecurrent_kernel, dbias : arrays or None
    """
    cdef Packed packed = cache.packed
    cdef Plan plan = cache.plan
    cdef Job *job = &cache.job
    cdef BackJob back
    cdef Py_ssize_t B = plan.batch, G = packed.G, H = packed.H, U = packed.U, F = packed.F
    cdef cnp.ndarray array
    memset(&back, 0, sizeof(back))
    if cache.gates is None:
        cache.hold()
        cache.spent = True
    if cache.spent:  # its activations have become gradients: make them again
        job.outputs = job.h_final = job.c_final = NULL
        run_forward(job, None, None, threads)
    cache.spent = True
    if doutputs is not None:
        array = doutputs = readable(doutputs)
        back.doutputs = <const char *>cnp.PyArray_DATA(array)
        back.sdb, back.sdt = array.strides[0], array.strides[1]
        if not cache.zero_masked:
            back.valid = <const unsigned char *>data_of(plan.valid)
    dh = initial_block(cache, B, dh_final)
    dc = initial_block(cache, B, dc_final) if packed.cell == RX_LSTM else None
    scratch = aligned((B, packed.ld), packed.dtype)
    wh_back = packed.panels(True, False, cache.h_kept)
    back.dh, back.dc, back.scratch, back.wh_back = data_of(dh), data_of(dc), data_of(scratch), data_of(wh_back)
    dwx = dwh = sums = dx = wx_back = None
    if need_dparams:
        dwx = aligned((F, G * U), packed.dtype, True)
        dwh = aligned((H, G * U), packed.dtype, True)
        sums = aligned((2, G * U), packed.dtype, True)
        back.dwx, back.dwh, back.dbias_x = data_of(dwx), data_of(dwh), data_of(sums)
        if packed.cell == RX_GRU_AFTER:
            back.dbias_h = data_of(sums[1])
    if need_dx:
        wx_back = packed.panels(True, True, cache.x_kept)
        array = aligned((B, plan.timesteps, F), packed.dtype, plan.valid is not None or cache.x_kept is not None)
        dx = array
        back.wx_back = data_of(wx_back)
        back.dx, back.dxb, back.dxt = <char *>cnp.PyArray_DATA(array), array.strides[0], array.strides[1]
    run_backward(cache, &back, threads)
    if cache.recompute:
        cache.gates = cache.state_h = cache.state_c = None
    inverse = None if plan.order is None else np.argsort(plan.order)
    dh0 = np.ascontiguousarray(dh[:, :H] if inverse is None else dh[inverse, :H])
    dc0 = None
    if dc is not None:
        dc0 = np.ascontiguousarray(dc[:, :H] if inverse is None else dc[inverse, :H])
    if not need_dparams:
        return dx, dh0, dc0, None, None, None
    dkernel, drecurrent = packed.in_gate_order(dwx, True), packed.in_gate_order(dwh, False)
    if cache.x_kept is not None:
        dkernel = spread_rows(dkernel, cache.x_kept, G)
    if cache.h_kept is not None:
        drecurrent = spread_rows(drecurrent, cache.h_kept, G)
    dbias = packed.in_gate_order(sums[:1], True)[0]
    if packed.cell == RX_GRU_AFTER:
        dbias = np.stack([dbias, packed.in_gate_order(sums[1:], False)[0]])
    return dx, dh0, dc0, dkernel, drecurrent, dbias


cdef object spread_rows(compact, list kept, Py_ssize_t G):
    """Gradients of the kept rows, side by side at the top -> at their places, zero elsewhere."""
    full = np.zeros_like(compact)
    H = compact.shape[1] // G
    for g, (index, _) in zip(range(G), kept * G):
        full[index, g * H:(g + 1) * H] = compact[:len(index), g * H:(g + 1) * H]
    return full


cdef void run_backward(Cache cache, BackJob *back, int threads) except *:
    cdef Job *job = &cache.job
    cdef Packed packed = cache.packed
    cdef Backward call
    cdef BackPart *part
    cdef Py_ssize_t bounds[RX_MAX_PARTS + 1]
    cdef Py_ssize_t rows = min(<Py_ssize_t>job.leaf.kc, job.total), size = packed.leaf.itemsize
    cdef Py_ssize_t strips = (max(packed.F, packed.H) + packed.leaf.mr) * rows
    cdef Py_ssize_t products = (packed.F + packed.leaf.nr) * rows
    cdef int wanted, parts, p
    with nogil:
        wanted = rx_pool_enter(threads)
        parts = cut(job, wanted, bounds)
    try:
        memory = aligned((wanted, rows * packed.F + rows * packed.ld + strips + products), packed.dtype)
        call.is_float = size == 4
        for p in range(wanted):
            part = &call.parts[p]
            part.rows.job, part.back, part.number, part.parts = job, back, p, wanted
            part.rows.lo, part.rows.hi = bounds[min(p, parts - 1)], bounds[min(p, parts - 1) + 1]
            part.rows.gates = NULL
            part.rows.x_rows = data_of(memory) + p * memory.strides[0]
            part.h_rows = part.rows.x_rows + rows * packed.F * size
            part.strips = part.h_rows + rows * packed.ld * size
            part.products = part.strips + strips * size
        with nogil:
            rx_pool_run(through_time_task, &call, parts)
            rx_pool_run(gradients_task, &call, wanted)
    finally:
        rx_pool_leave()


def empty(shape, dtype):
    """An uninitialised C-contiguous array of up to four axes, from the pool of the engine's buffers."""
    return aligned(shape, np.dtype(dtype))


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
    for p in range(panels):
        C = <char *>cnp.PyArray_DATA(out) + p * panel * leaf.itemsize
        leaf.product(n, K, 1, &A, K, NULL, <char *>cnp.PyArray_DATA(packed) + p * K * panel * leaf.itemsize, K * panel,
                     1, 0, &init, 0, &C, panels * panel)
    return out[:, :N]


def activate(str name, x):
    """An activation of the engine on a contiguous float32 or float64 array; for tests and benches."""
    cdef cnp.ndarray a = np.ascontiguousarray(readable(np.asarray(x)))
    cdef cnp.ndarray y = np.empty_like(a)
    cdef const rx_leaf *leaf = rx_leaf_get(ISA.encode(), a.dtype.itemsize, RX_FULL)
    leaf.activate(a.size, ACTIVATIONS[name], cnp.PyArray_DATA(a), cnp.PyArray_DATA(y))
    return y
