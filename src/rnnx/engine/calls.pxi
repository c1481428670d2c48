# From arrays to the parts of a call, which threads share, and back.

@cython.final
cdef class Call:
    """The owner of what a call reads and keeps, and so everything that ``backward`` needs; opaque.

    It refers to the caller's ``x`` and masks without copying them; they must not change before ``backward``. The
    ``backward`` turns the stored activations into gradients in place: a second one first repeats the forward pass.
    With ``recompute`` nothing is stored, and every ``backward`` repeats it.
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
        state_c = initial_block(self, rows, self.c0) if self.packed.cell == RX_LSTM else None
        state_h = initial_block(self, rows, self.h0)
        gates = aligned((self.plan.total, self.packed.ldg), self.packed.dtype)
        if state_c is not None and self.plan.reset_rows is not None:
            job.reset_cells = data_of(self.buffer((len(self.plan.reset_rows), self.packed.ld)))
        self.gates, self.state_h, self.state_c = gates, state_h, state_c  # all, or none if memory ran out
        job.keep, job.gates, job.h, job.c = True, data_of(gates), data_of(state_h), data_of(state_c)

    cdef object buffer(self, shape):
        array = aligned(shape, self.packed.dtype)
        self.alive.append(array)
        return array

    cdef object held(self, array):
        """An array as C reads it, kept as long as the call; None stays None."""
        if array is not None:
            array = readable(array)
            self.alive.append(array)
        return array

    cdef void place(self, array, Mask *mask, MaskRows *rows, int most) except *:
        """Look at a mask where the time loop will, with rows for at most so many of its gates; None stays away."""
        cdef int g
        cdef char *start
        mask[0] = view_mask(array)
        most = min(most, <int>mask.gates)
        if most == 0:
            return
        buffer = aligned((most, self.plan.batch, self.packed.ld), self.packed.dtype, True)
        self.alive.append(buffer)
        start = data_of(buffer)
        for g in range(most):
            rows[g].mask, rows[g].gate, rows[g].rows = mask, g, start + g * self.plan.batch * self.job.row

    cdef void set_masks(self, masks) except *:
        """Where each mask goes: columns of x or h that are left out, or rows that the time loop multiplies by."""
        cdef Job *job = &self.job
        if masks is None:
            return
        inputs, recurrent, mode = self.held(masks.inputs), self.held(masks.recurrent), masks.recurrent_mode
        if not self.packed.narrow:
            self.x_kept = kept_columns(inputs, self.plan.total, job.F)
            if mode == "state" and not masks.masked_blend and self.packed.blocks == 1:
                self.h_kept = kept_columns(recurrent, self.plan.total, job.H)
        job.x_kept, job.h_kept = view_kept(self.x_kept), view_kept(self.h_kept)
        if self.x_kept is None:
            job.inputs = view_mask(inputs)
        if mode == "state" and self.h_kept is None and recurrent is not None:
            self.place(recurrent, &job.state, job.state_rows, RX_MAX_GATES)
            job.operands = data_of(self.buffer((job.state.gates, job.B, job.ld)))
            job.masked_blend = masks.masked_blend and job.G == 3
        elif mode == "update" or mode == "cell":
            self.place(recurrent, &job.update, &job.update_rows, 1)
            job.cell_mode = mode == "cell"
        self.place(self.held(masks.zoneout_hidden), &job.zone_h, &job.zone_h_rows, 1)
        if job.cell == RX_LSTM:
            self.place(self.held(masks.zoneout_cell), &job.zone_c, &job.zone_c_rows, 1)


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


cdef object initial_block(Call call, Py_ssize_t blocks, initial):
    """A state buffer of `blocks` rows whose first batch rows are the initial state in row order."""
    states = aligned((blocks, call.packed.ld), call.packed.dtype)
    start_states(&call.job, data_of(states), initial)
    return states


# ---- The parts of a call ------------------------------------------------------------------------------------------

cdef Py_ssize_t blocks_of(const Part *part) noexcept nogil:
    """A part takes its rows through all steps block by block: states and gates of a block stay in L2."""
    return max(<Py_ssize_t>1, (part.hi - part.lo + part.job.block_rows - 1) // part.job.block_rows)


cdef Part block_of(const Part *part, Py_ssize_t k, Py_ssize_t blocks) noexcept nogil:
    cdef Part block = part[0]
    cdef Py_ssize_t rows = part.hi - part.lo
    block.lo, block.hi = part.lo + k * rows // blocks, part.lo + (k + 1) * rows // blocks
    return block


cdef void forward_task(void *context, int number) noexcept nogil:
    cdef const Part *part = &(<Part *>context)[number]
    cdef Py_ssize_t k, blocks = blocks_of(part)
    cdef Part block
    for k in range(blocks):
        block = block_of(part, k, blocks)
        forward_part(&block)


cdef int cut(const Job *job, int wanted, Py_ssize_t *bounds) noexcept nogil:
    """Bounds of the parts: rows with about the same number of packed rows each, at least MIN_ROWS_OF_PART."""
    cdef Py_ssize_t r = 0, s, rows = 0, B = job.B
    cdef int parts = <int>max(<Py_ssize_t>1, min(<Py_ssize_t>wanted, B // FEWEST_ROWS_OF_PART)), p
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
            int threads=1, bint recompute=False, cnp.ndarray table=None):
    """Run a cell over packed rows.

    A call without validity, masks and gradients needs neither a `Plan` nor a `Call`, and makes none.

    Parameters
    ----------
    packed : Packed
    x : array of shape (batch, timesteps, features), or (rows, features) if the plan says packed data; any strides.
        With a table the numbers of its rows, an intp array of shape (batch, timesteps)
    plan : Plan or None
        None if all steps count.
    backwards : bool
        Whether the steps are read from the last to the first.
    h0, c0 : arrays of shape (batch, units) or None (zeros); ``c0`` is for LSTM only
    masks : DropoutMasks or None
    out : array of shape (batch, timesteps, units) or (rows, units), or None
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
    table : array or None
        ``packed.table(...)``; not with ``keep`` or masks of the input.

    Returns
    -------
    outputs : array of shape (batch, timesteps, units) or (rows, units), or None
    h, c : arrays of shape (batch, units) or None
        ``h`` also without ``sequences``; ``c`` for LSTM only.
    call : Call or None
    """
    cdef Job local
    cdef Job *job = &local
    cdef Call call = None
    cdef list x_kept = None, h_kept = None
    cdef cnp.ndarray h = None, c = None
    cdef cnp.npy_intp shape[3]
    cdef int number = (<cnp.dtype>packed.dtype).num
    cdef const unsigned char *valid = NULL
    x = readable(x)
    if keep or masks is not None:
        plan = Plan(x.shape[0], x.shape[1], None, backwards) if plan is None else plan
        call = Call.__new__(Call)
        job = &call.job
        call.packed, call.plan, call.alive, call.zero_masked = packed, plan, [x], zero_masked
        call.recompute, call.h0, call.c0 = recompute, h0, c0
    memset(job, 0, sizeof(Job))
    packed.fill(job)
    if plan is None:
        job.B, job.T, job.S, job.backwards = x.shape[0], x.shape[1], x.shape[1], backwards
        job.total = job.B * job.T
    else:
        plan.fill(job)
        valid = <const unsigned char *>data_of(plan.valid)
    if table is None:
        set_x(job, x)
    else:
        job.table, job.table_rows = <const char *>cnp.PyArray_DATA(table), table.shape[0]
        job.ids, job.sib, job.sit = <const char *>cnp.PyArray_DATA(x), x.strides[0], x.strides[1]
    if call is not None:
        call.set_masks(masks)
        x_kept, h_kept = call.x_kept, call.h_kept
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
        call.alive.append((wx, wh))
        if not recompute:
            call.hold()
    if sequences:
        shape[0], shape[1] = job.total if job.packed else job.B, job.H if job.packed else job.T
        if out is None and job.total * job.H * job.leaf.itemsize < POOLED_FROM:
            out = cnp.PyArray_EMPTY(2 if job.packed else 3, shape, number, 0)
        elif out is None:
            out = aligned([job.total, job.H] if job.packed else [job.B, job.T, job.H], packed.dtype)
        job.outputs, job.sob = <char *>cnp.PyArray_DATA(out), out.strides[0]
        job.sot = 0 if job.packed else out.strides[1]
    run_forward(job, h0, c0, threads)
    if plan is not None and plan.ended is not None:
        for state in (h, c):
            if state is not None:
                state[plan.ended] = 0
    if sequences and valid != NULL:
        with nogil:
            fill_masked(job.outputs, job.sob, job.sot, valid, job.B, job.T, job.H * job.leaf.itemsize, zero_masked)
    return out, h, c, call if keep else None


cdef void set_x(Job *job, cnp.ndarray x) noexcept:
    job.x = <const char *>cnp.PyArray_DATA(x)
    job.sxb, job.sxt, job.sxf = x.strides[0], 0 if job.packed else x.strides[1], x.strides[1 if job.packed else 2]


cdef int run_forward(Job *job, h0, c0, int threads) except -1:
    """Run the parts of a job; what is not kept for ``backward`` lives in memory of the call."""
    cdef Part all[RX_MAX_PARTS]
    cdef Part *part
    cdef _Block memory
    cdef Py_ssize_t bounds[RX_MAX_PARTS + 1]
    cdef Py_ssize_t rows = 0, size = job.leaf.itemsize, of_part, of_states = 0 if job.keep else 2 * job.B * job.ld
    cdef char *start
    cdef int parts = 1, p
    watch_for_stops(job)
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
        for p in range(parts):
            part = &all[p]
            part.job, part.lo, part.hi = job, bounds[p], bounds[p + 1]
            part.gates = start + (2 * of_states + p * of_part) * size
            part.x_rows = part.gates + (0 if job.keep else rows * job.ldg) * size
            part.rounded = part.x_rows + rows * job.F * size
        if parts == 1 and job.total * job.G * job.H * (job.F + job.H) < PRODUCTS_WORTH_THE_LOCK:
            forward_task(all, 0)
        else:
            with nogil:
                rx_pool_run(forward_task, all, parts)
    finally:
        rx_pool_leave()
    return -1 if job.stopped else 0  # with the exception of the signal's handler


def busy():
    """The number of threads that are computing in the engine now."""
    return rx_pool_busy()


def lend_threads(size_t region):
    """Run parts of calls on the threads of OpenMP: the address of its `GOMP_parallel`, 0 for the engine's own threads."""
    rx_pool_lend(<rx_region>region)


def empty(shape, dtype):
    """An uninitialised C-contiguous array of up to four axes, from the pool of the engine's buffers."""
    return aligned(shape, np.dtype(dtype))


def project_table(Packed packed, cnp.ndarray rows):
    """What the input weights make of many rows, with the bits that they give inside of a call; see `Packed.table`."""
    cdef Job job
    cdef Part part
    cdef Py_ssize_t ldx, count = rows.shape[0]
    cdef const char *x
    cdef char *out
    rows = readable(rows)
    memset(&job, 0, sizeof(Job))
    memset(&part, 0, sizeof(Part))
    packed.fill(&job)
    job.B = job.total = count
    job.T = job.S = 1
    job.x, job.sxb, job.sxf = <const char *>cnp.PyArray_DATA(rows), rows.strides[0], rows.strides[1]
    wx = packed.panels(False, True, None)
    job.wx = data_of(wx)
    job.ldg = job.G * job.U
    found = aligned((count, job.ldg), packed.dtype)
    x_rows, rounded = aligned((CHUNK_ROWS, job.F), packed.dtype), aligned((CHUNK_ROWS, job.ldr), packed.dtype)
    out = data_of(found)
    part.job, part.x_rows, part.rounded = &job, data_of(x_rows), data_of(rounded)
    with nogil:
        while part.lo < count:
            part.hi = min(count, part.lo + CHUNK_ROWS)
            x = packed_x(&part, 0, 1, 0, &ldx)
            project_rows(&job, x, part.hi - part.lo, ldx, 0, <int>job.G, out + part.lo * job.ldg * job.size)
            part.lo = part.hi
    return found
