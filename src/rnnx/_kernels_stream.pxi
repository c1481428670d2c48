# Included by _kernels.pyx: one step at a time, with every buffer made beforehand.

cdef void step_core(Part *part, rx_step *step, real *_) noexcept nogil:
    project[real](part, 0, 1, part.hi, <real *>part.gates)
    operands_of[real](part, <const real *>step.h_prev, part.hi, step)
    part.job.leaf.forward[part.job.cell](step)


cdef int check_step_input(cnp.ndarray x, int number, Py_ssize_t rows, Py_ssize_t width) except -1:
    if x is None or cnp.PyArray_TYPE(x) != number:
        raise TypeError(f"step: `x` must be an array of {cnp.PyArray_DescrFromType(number)}, "
                        f"got {None if x is None else x.dtype}; use .astype")
    if x.ndim != 2 or x.shape[0] != rows or x.shape[1] != width:
        raise ValueError(f"step: `x` must have shape (batch, features) = {(rows, width)}, got {(<object>x).shape}")
    return 0


cdef cnp.ndarray output_of(cnp.ndarray out, cnp.npy_intp *shape, int number):
    """The array that a step fills: the one given, if it fits, or a new one."""
    if out is None:
        return cnp.PyArray_EMPTY(2, shape, number, 0)
    if (cnp.PyArray_TYPE(out) != number or out.ndim != 2 or out.shape[0] != shape[0] or out.shape[1] != shape[1]
            or not cnp.PyArray_ISCARRAY(out)):
        raise ValueError(f"step: `out` must be a writable C-contiguous {cnp.PyArray_DescrFromType(number)} array of "
                         f"shape (batch, units) = {(shape[0], shape[1])}")
    return out


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
        self.large = batch * job.G * job.H * (job.F + job.H) >= PRODUCTS_WORTH_THE_LOCK
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

    cpdef cnp.ndarray step(self, cnp.ndarray x, cnp.ndarray out=None):
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
        check_step_input(x, self.type_number, job.B, job.F)
        shape[0], shape[1] = job.B, job.H
        out = output_of(out, shape, self.type_number)
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


@cython.final
cdef class DenseStepper:
    """``activation(x @ kernel + bias)`` for a batch of fixed size, with every buffer made beforehand.

    Parameters
    ----------
    kernel : C-contiguous array of shape (features, units)
    bias : array of shape (units,) or None
    activation : str
        A name in ``ACTIVATIONS``.
    batch : int
    """

    cdef const rx_leaf *leaf
    cdef Py_ssize_t batch, features, units, width
    cdef int activation, type_number
    cdef tuple alive
    cdef char *panels
    cdef char *bias
    cdef char *rows

    def __init__(self, cnp.ndarray kernel, bias, str activation, Py_ssize_t batch):
        dtype = kernel.dtype
        self.leaf = leaf_for(kernel.shape[1], dtype.itemsize)
        self.type_number = cnp.PyArray_TYPE(kernel)
        self.batch, self.features, self.units = batch, kernel.shape[0], kernel.shape[1]
        self.width = padded(self.units, self.leaf.panel)
        self.activation = ACTIVATIONS[activation]
        panels = aligned((self.width // self.leaf.panel, self.features, self.leaf.panel), dtype)
        start = aligned((self.width,), dtype, True)
        if bias is not None:
            start[:self.units] = bias
        rows = aligned((batch, self.width), dtype)
        self.panels, self.bias, self.rows = data_of(panels), data_of(start), data_of(rows)
        self.leaf.pack(self.features, self.units, cnp.PyArray_DATA(kernel), self.units, NULL, NULL, self.panels,
                       self.features * self.leaf.panel)
        self.alive = panels, start, rows

    cpdef cnp.ndarray step(self, cnp.ndarray x, cnp.ndarray out=None):
        """The output for one step.

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
            If dtype or shape do not fit.
        """
        cdef cnp.npy_intp shape[2]
        cdef Py_ssize_t r, size = self.leaf.itemsize
        cdef char *y
        check_step_input(x, self.type_number, self.batch, self.features)
        if not cnp.PyArray_ISCARRAY_RO(x):
            x = np.ascontiguousarray(x)
        shape[0], shape[1] = self.batch, self.units
        out = output_of(out, shape, self.type_number)
        if self.batch * self.features * self.width < PRODUCTS_WORTH_THE_LOCK:
            self.compute(<const char *>cnp.PyArray_DATA(x), x.strides[0] // size)
        else:
            with nogil:
                self.compute(<const char *>cnp.PyArray_DATA(x), x.strides[0] // size)
        y = <char *>cnp.PyArray_DATA(out)
        for r in range(self.batch):
            memcpy(y + r * self.units * size, self.rows + r * self.width * size, self.units * size)
        return out

    cdef void compute(self, const char *x, Py_ssize_t ldx) noexcept nogil:
        cdef Py_ssize_t k, size = self.leaf.itemsize, panel = self.leaf.panel * size
        cdef const void *A = x
        cdef const void *init
        cdef void *C
        for k in range(self.width * size // panel):
            init = self.bias + k * panel
            C = self.rows + k * panel
            self.leaf.product(self.batch, self.features, 1, &A, ldx, NULL, self.panels + k * self.features * panel, 0,
                              &init, 0, &C, self.width)
        if self.activation != RX_LINEAR:
            self.leaf.activate(self.batch * self.width, self.activation, self.rows, self.rows)


@cython.final
cdef class Chain:
    """Steppers that feed each other: the step of a whole model, which nothing can interrupt half way.

    Parameters
    ----------
    links : list of Stepper and DenseStepper
        At least one; each as wide as the next one's input.
    """

    cdef list links, between

    def __init__(self, list links):
        self.links, self.between = links, []
        for link in links[:len(links) - 1]:
            self.between.append(np.empty(shape_of(link), np.dtype(cnp.PyArray_DescrFromType(type_of(link)))))

    def step(self, cnp.ndarray x not None, cnp.ndarray out=None):
        """Advance by one step; as ``Stepper.step``."""
        cdef Py_ssize_t k, last = len(self.links) - 1
        cdef cnp.npy_intp shape[2]
        if last and out is not None:
            shape[0], shape[1] = shape_of(self.links[last])
            output_of(out, shape, type_of(self.links[last]))
        for k in range(last):
            x = advance(self.links[k], x, self.between[k])
        return advance(self.links[last], x, out)


cdef cnp.ndarray advance(link, cnp.ndarray x, cnp.ndarray out):
    if type(link) is Stepper:
        return (<Stepper>link).step(x, out)
    return (<DenseStepper>link).step(x, out)


cdef tuple shape_of(link):
    if type(link) is Stepper:
        return (<Stepper>link).cache.job.B, (<Stepper>link).cache.job.H
    return (<DenseStepper>link).batch, (<DenseStepper>link).units


cdef int type_of(link):
    return (<Stepper>link).type_number if type(link) is Stepper else (<DenseStepper>link).type_number
