# Included by _kernels.pyx: one step at a time, with every buffer made beforehand.

cdef void step_core(Part *part, rx_step *step, real *_) noexcept nogil:
    project[real](part, 0, 1, part.hi, <real *>part.gates)
    operands_of[real](part, <const real *>step.h_prev, part.hi, step)
    part.job.leaf.forward[part.job.cell](step)


@cython.final
cdef class Stepper:
    """A recurrent layer that is fed step by step; its state lives here, the weights are shared.

    Parameters
    ----------
    packed : Packed
    batch : int
    masks : DropoutMasks or None
        Constant in time (the expectation of zoneout); None for plain inference.
    """

    cdef Cache cache
    cdef rx_step one
    cdef Part all
    cdef bint is_float, large
    cdef int type_number

    def __init__(self, Packed packed, Py_ssize_t batch, masks=None):
        cdef Cache cache = Cache.__new__(Cache)
        cdef Job *job = &cache.job
        cdef rx_step *one = &self.one
        memset(job, 0, sizeof(Job))
        cache.packed, cache.plan, cache.alive = packed, Plan(batch, 1), []
        packed.fill(job)
        cache.plan.fill(job)
        cache.set_masks(masks)
        wx, wh = packed.panels(False, True, cache.x_kept), packed.panels(False, False, cache.h_kept)
        cache.alive.append((wx, wh))
        job.wx, job.wh = data_of(wx), data_of(wh)
        cache.gates = aligned((batch, packed.ldg), packed.dtype)
        cache.state_h = initial_block(cache, 2 * batch, None)
        job.h = data_of(cache.state_h)
        self.all.job, self.all.lo, self.all.hi, self.all.gates = job, 0, batch, data_of(cache.gates)
        self.all.x_rows = data_of(cache.buffer((batch, packed.F)))
        if packed.cell == RX_LSTM:
            cache.state_c = initial_block(cache, 2 * batch, None)
            job.c = data_of(cache.state_c)
        start_step(&self.all, one)
        one.n, one.packed, one.bias_q, one.gates = batch, job.wh, job.bias_q, self.all.gates
        self.is_float = packed.leaf.itemsize == 4
        self.type_number = packed.dtype.num
        # Below this much arithmetic, giving up the interpreter lock costs more than the step.
        self.large = batch * job.G * job.U * (job.F + job.H) > 200000
        if batch:
            if self.is_float:
                fill_sites[float](&self.all, 0, False, NULL)
            else:
                fill_sites[double](&self.all, 0, False, NULL)
        self.cache = cache
        self._point(0)

    cdef void _point(self, Py_ssize_t block) noexcept:
        # The state is in `block` (0 or 1) of the two; the next step writes the other.
        cdef Job *job = &self.cache.job
        cdef Py_ssize_t size = job.B * job.ld * job.leaf.itemsize
        self.one.h_prev, self.one.h = job.h + block * size, job.h + (1 - block) * size
        if job.c != NULL:
            self.one.c_prev, self.one.c = job.c + block * size, job.c + (1 - block) * size

    def step(self, cnp.ndarray x not None, cnp.ndarray out=None):
        """Advance by one step.

        Parameters
        ----------
        x : array of shape (batch, features)
        out : C-contiguous array of shape (batch, units), optional

        Returns
        -------
        array of shape (batch, units)
            ``out``, or a new array.

        Raises
        ------
        TypeError, ValueError
            If dtype or shape do not fit; the state is unchanged then.
        """
        cdef Job *job = &self.cache.job
        cdef cnp.npy_intp shape[2]
        cdef Py_ssize_t r, size = job.H * job.leaf.itemsize
        cdef char *y
        if cnp.PyArray_TYPE(x) != self.type_number:
            raise TypeError(f"step: `x` must be {self.cache.packed.dtype}, got {x.dtype}; use .astype")
        if x.ndim != 2 or x.shape[0] != job.B or x.shape[1] != job.F:
            raise ValueError(
                f"step: `x` must have shape (batch, features) = {(job.B, job.F)}, got {(<object>x).shape}")
        shape[0], shape[1] = job.B, job.H
        if out is None:
            out = cnp.PyArray_EMPTY(2, shape, self.type_number, 0)
        elif (cnp.PyArray_TYPE(out) != self.type_number or out.ndim != 2 or out.shape[0] != job.B
                or out.shape[1] != job.H or not cnp.PyArray_ISCARRAY(out)):
            raise ValueError(f"step: `out` must be a writable C-contiguous {self.cache.packed.dtype} array of shape "
                             f"(batch, units) = {(job.B, job.H)}")
        job.x, job.sxb, job.sxf = <const char *>cnp.PyArray_DATA(x), x.strides[0], x.strides[1]
        if self.large:
            with nogil:
                self._run()
        else:
            self._run()
        y = <char *>cnp.PyArray_DATA(out)
        for r in range(job.B):
            memcpy(y + r * size, <char *>self.one.h + r * job.ld * job.leaf.itemsize, size)
        self._point(1 if <char *>self.one.h != job.h else 0)
        return out

    cdef void _run(self) noexcept nogil:
        if self.is_float:
            step_core[float](&self.all, &self.one, NULL)
        else:
            step_core[double](&self.all, &self.one, NULL)

    cdef tuple _views(self):
        cdef Py_ssize_t B = self.cache.plan.batch, H = self.cache.packed.H
        block = 0 if <char *>self.one.h_prev == self.cache.job.h else B
        return tuple(states[block:block + B, :H] for states in (self.cache.state_h, self.cache.state_c)
                     if states is not None)

    @property
    def state(self):
        """Copies of the state: a tuple ``(h,)`` or ``(h, c)`` of arrays of shape (batch, units)."""
        return tuple(view.copy() for view in self._views())

    @state.setter
    def state(self, parts):
        views = self._views()
        parts = [np.asarray(part) for part in parts]
        if [part.shape for part in parts] != [view.shape for view in views]:
            raise ValueError(f"state: expected {len(views)} arrays of shape {views[0].shape}, "
                             f"got {[part.shape for part in parts]}")
        for view, part in zip(views, parts):
            view[...] = part
