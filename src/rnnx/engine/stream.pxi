# One step at a time, with every buffer made beforehand.

@cython.final
cdef class Turn:
    """Lets one thread at a time in where buffers are shared; a thread that is in may come in again.

    A ``with`` block takes a turn. Who finds nobody there pays a comparison: the lock is only taken when a thread has to
    wait, by that thread for the one that is in. All fields change under the interpreter's lock, or the guard where
    there is none.
    """

    cdef PyThread_type_lock lock
    cdef rx_guard guard
    cdef unsigned long owner
    cdef Py_ssize_t depth, waiting
    cdef bint locked

    def __cinit__(self):
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError()

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    cdef int take(self) except -1:
        cdef unsigned long me = PyThread_get_thread_ident()
        rx_guard_lock(&self.guard)
        if self.depth:
            if self.owner != me:
                return self.wait(me)
            self.depth += 1
        elif self.waiting:
            return self.wait(me)
        else:
            self.owner, self.depth = me, 1
        rx_guard_unlock(&self.guard)
        return 0

    cdef int wait(self, unsigned long me) except -1:
        # With the guard, which is given up here.
        cdef int found = PY_LOCK_ACQUIRED
        if not (self.locked or self.waiting):
            PyThread_acquire_lock_timed(self.lock, 0, 0)  # for the thread that is in, which will release it
            self.locked = True
        self.waiting += 1
        rx_guard_unlock(&self.guard)
        try:
            while True:
                with nogil:
                    found = PyThread_acquire_lock_timed(self.lock, -1, 1)
                if found == PY_LOCK_ACQUIRED:
                    break
                PyErr_CheckSignals()
        finally:
            rx_guard_lock(&self.guard)
            self.waiting -= 1
            if found == PY_LOCK_ACQUIRED:
                self.locked, self.owner, self.depth = True, me, 1
            rx_guard_unlock(&self.guard)
        return 0

    cdef void leave(self) noexcept:
        rx_guard_lock(&self.guard)
        self.depth -= 1
        if self.depth == 0 and self.locked:
            self.locked = False
            PyThread_release_lock(self.lock)
        rx_guard_unlock(&self.guard)

    def __enter__(self):
        self.take()
        return self

    def __exit__(self, *_):
        self.leave()


cdef void step_core(Part *part, rx_step *step) noexcept nogil:
    cdef const Job *job = part.job
    cdef Py_ssize_t ldx
    if job.inputs.gates > 1 or job.x_kept.gates or job.table != NULL:
        step.x = NULL
        project(part, 0, 1, part.hi, part.gates)
    else:
        step.x = packed_x(part, 0, 1, 0, &ldx)
        step.ldx = ldx
    step.downwards = not step.downwards
    operands_of(part, <const char *>step.h_prev, part.hi, step)
    job.leaf.forward[job.cell](step)


cdef class Link:
    """What can stand in a `Chain`: a step over a batch of fixed size, with buffers that belong to a turn."""

    cdef Turn turn
    cdef Py_ssize_t batch, features, units
    cdef int type_number

    cdef int compute(self, cnp.ndarray x, cnp.ndarray out) except -1:
        """Fill ``out``, checked by the caller as ``x`` is, while the turn is taken."""
        raise NotImplementedError()


cdef cnp.ndarray array_of(x, int number, cast):
    """An array of this type: ``x`` itself, or what ``cast`` makes of it where there is one."""
    if cast is not None and not (cnp.PyArray_CheckExact(x) and cnp.PyArray_TYPE(<cnp.ndarray>x) == number):
        x = cast(x)
    if not cnp.PyArray_Check(x) or cnp.PyArray_TYPE(<cnp.ndarray>x) != number:
        raise TypeError(f"step: `x` must be an array of {cnp.PyArray_DescrFromType(number)}, "
                        f"got {getattr(x, 'dtype', type(x).__name__)}; use .astype")
    return x


cdef cnp.ndarray step_input(x, Link link, cast):
    """The input of a step as C reads it, if it fits."""
    cdef cnp.ndarray array
    if cnp.PyArray_CheckExact(x) and cnp.PyArray_TYPE(<cnp.ndarray>x) == link.type_number:
        array = <cnp.ndarray>x  # a call that would find no more than that costs a small step some of its time
    else:
        array = array_of(x, link.type_number, cast)
    if array.ndim != 2 or array.shape[0] != link.batch or array.shape[1] != link.features:
        raise ValueError(f"step: `x` must have shape (batch, features) = {(link.batch, link.features)}, "
                         f"got {(<object>array).shape}")
    return readable(array)


cdef cnp.ndarray output_of(cnp.ndarray out, Link link):
    """The array that a step fills: the one given, if it fits, or a new one."""
    cdef int number = link.type_number
    cdef cnp.npy_intp shape[2]
    shape[0], shape[1] = link.batch, link.units
    if out is None:
        return cnp.PyArray_EMPTY(2, shape, number, 0)
    if (cnp.PyArray_TYPE(out) != number or out.ndim != 2 or out.shape[0] != shape[0] or out.shape[1] != shape[1]
            or not cnp.PyArray_ISCARRAY(out)):
        raise ValueError(f"step: `out` must be a writable C-contiguous {cnp.PyArray_DescrFromType(number)} array of "
                         f"shape (batch, units) = {(shape[0], shape[1])}")
    return out


@cython.final
cdef class Stepper(Link):
    """A recurrent layer that is fed step by step; its state lives here, the weights are shared.

    Parameters
    ----------
    packed : Packed
    batch : int
    masks : DropoutMasks or None
        Constant in time (the expectation of zoneout); None for plain inference.
    turn : Turn, optional
        What threads wait for; to be given if other buffers belong to the same turn.

    Attributes
    ----------
    moved : bool
        Whether there was a step since the state was assigned.
    changes : int
        Steps and assignments of the state so far.
    cast : callable or None
        Makes an array of the right type out of any other input; without it that is refused.
    """

    cdef readonly bint moved
    cdef readonly Py_ssize_t changes
    cdef public object cast
    cdef Call call
    cdef rx_step one
    cdef Part all
    cdef bint large
    cdef object table
    cdef Py_ssize_t table_rows

    def __init__(self, Packed packed, Py_ssize_t batch, masks=None, Turn turn=None):
        cdef Call call = Call.__new__(Call)
        cdef Job *job = &call.job
        cdef rx_step *one = &self.one
        memset(job, 0, sizeof(Job))
        call.packed, call.plan, call.alive = packed, Plan(batch, 1), []
        packed.fill(job)
        call.plan.fill(job)
        call.set_masks(masks)
        wx, wh = packed.panels(False, True, call.x_kept), packed.panels(False, False, call.h_kept)
        call.alive.append((wx, wh))
        job.wx, job.wh = data_of(wx), data_of(wh)
        call.gates = aligned((batch, packed.ldg), packed.dtype)
        call.state_h = initial_block(call, 2 * batch, None)
        job.h = data_of(call.state_h)
        self.all.job, self.all.lo, self.all.hi, self.all.gates = job, 0, batch, data_of(call.gates)
        self.all.x_rows = data_of(call.buffer((batch, packed.F)))
        self.all.rounded = data_of(call.buffer((batch * (job.G + 1), job.ldr)))
        if packed.cell == RX_LSTM:
            call.state_c = initial_block(call, 2 * batch, None)
            job.c = data_of(call.state_c)
        start_step(&self.all, one)
        one.F, one.packed_x, one.bias_x = job.F, job.wx, job.bias_x
        one.n, one.packed, one.bias_q, one.gates = batch, job.wh, job.bias_q, self.all.gates
        self.type_number, self.batch, self.features, self.units = packed.dtype.num, batch, job.F, job.H
        self.large = batch * job.G * job.H * (job.F + job.H) >= PRODUCTS_WORTH_THE_LOCK
        if batch:
            fill_masks(&self.all, 0, False)
        self.call, self.turn = call, Turn() if turn is None else turn
        self._point(0)

    cdef void _point(self, Py_ssize_t block) noexcept:
        # The state is in `block` (0 or 1) of the two; the next step writes the other.
        cdef Job *job = &self.call.job
        cdef Py_ssize_t size = job.B * job.row
        self.one.h_prev, self.one.h = job.h + block * size, job.h + (1 - block) * size
        if job.c != NULL:
            self.one.c_prev, self.one.c = job.c + block * size, job.c + (1 - block) * size

    cpdef cnp.ndarray step(self, x, cnp.ndarray out=None):
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
        cdef cnp.ndarray given = step_input(x, self, self.cast)
        out = output_of(out, self)
        self.turn.take()
        self._advance(given, out)
        self.turn.leave()
        return out

    def look_up(self, table):
        """Take ids too, which stand for rows of a table (of ``Packed.table``)."""
        self.call.alive.append(table)
        self.table, self.table_rows = table, len(table)

    cdef int compute(self, cnp.ndarray x, cnp.ndarray out) except -1:
        self._advance(x, out)
        return 0

    cdef inline void _advance(self, cnp.ndarray x, cnp.ndarray out) noexcept:
        cdef Job *job = &self.call.job
        cdef Py_ssize_t r, size = job.H * job.leaf.itemsize
        cdef char *y = <char *>cnp.PyArray_DATA(out)
        if x.ndim == 1:
            job.table, job.table_rows = data_of(self.table), self.table_rows
            job.ids, job.sib = <const char *>cnp.PyArray_DATA(x), x.strides[0]
        else:
            job.table = NULL
            job.x, job.sxb, job.sxf = <const char *>cnp.PyArray_DATA(x), x.strides[0], x.strides[1]
        if self.large:
            with nogil:
                step_core(&self.all, &self.one)
        else:
            step_core(&self.all, &self.one)
        for r in range(job.B):
            memcpy(y + r * size, <char *>self.one.h + r * job.row, size)
        self._point(1 if <char *>self.one.h != job.h else 0)
        self.moved = True
        self.changes += 1

    cdef tuple _views(self):
        cdef Py_ssize_t B = self.call.plan.batch, H = self.call.packed.H
        block = 0 if <char *>self.one.h_prev == self.call.job.h else B
        return tuple(states[block:block + B, :H] for states in (self.call.state_h, self.call.state_c)
                     if states is not None)

    @property
    def packed(self):
        """The weights."""
        return self.call.packed

    def clear(self, cnp.ndarray rows):
        """Zeros in some rows of the state, an intp array."""
        cdef Py_ssize_t k
        cdef const Py_ssize_t *row = <const Py_ssize_t *>cnp.PyArray_DATA(rows)
        self.turn.take()
        for k in range(rows.shape[0]):
            memset(<char *>self.one.h_prev + row[k] * self.call.job.row, 0, self.call.job.row)
            if self.one.c_prev != NULL:
                memset(<char *>self.one.c_prev + row[k] * self.call.job.row, 0, self.call.job.row)
        self.moved = False
        self.changes += 1
        self.turn.leave()

    @property
    def state(self):
        """Copies of the state: a tuple ``(h,)`` or ``(h, c)`` of arrays of shape (batch, units)."""
        with self.turn:
            return tuple(view.copy() for view in self._views())

    @state.setter
    def state(self, parts):
        parts = [np.asarray(part) for part in parts]
        with self.turn:
            views = self._views()
            if [part.shape for part in parts] != [view.shape for view in views]:
                raise ValueError(f"state: expected {len(views)} arrays of shape {views[0].shape}, "
                                 f"got {[part.shape for part in parts]}")
            for view, part in zip(views, parts):
                view[...] = part
            self.moved = False
            self.changes += 1


@cython.final
cdef class DenseStepper(Link):
    """``activation(x @ kernel + bias)`` for a batch of fixed size, with every buffer made beforehand.

    Parameters
    ----------
    packed : PackedDense
    activation : str
        A name in ``ACTIVATIONS``.
    batch : int
    turn : Turn, optional
        As for `Stepper`.
    """

    cdef PackedDense packed
    cdef int activation
    cdef object rows, rounded

    def __init__(self, PackedDense packed, str activation, Py_ssize_t batch, Turn turn=None):
        self.packed, self.activation, self.turn = packed, ACTIVATIONS[activation], Turn() if turn is None else turn
        self.type_number, self.batch = packed.dtype.num, batch
        self.features, self.units = packed.features, packed.units
        self.rows = aligned((batch, packed.width), packed.dtype)
        self.rounded = aligned((batch, packed.ldr), packed.dtype)

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
        x = step_input(x, self, None)
        out = output_of(out, self)
        self.turn.take()
        try:
            self.compute(x, out)
        finally:
            self.turn.leave()
        return out

    cdef int compute(self, cnp.ndarray x, cnp.ndarray out) except -1:
        cdef PackedDense packed = self.packed
        cdef Py_ssize_t r, size = packed.leaf.itemsize
        cdef const char *start
        cdef char *rows = data_of(self.rows)
        cdef char *rounded = data_of(self.rounded)
        cdef DenseJob job
        cdef char *y = <char *>cnp.PyArray_DATA(out)
        if not cnp.PyArray_ISCARRAY_RO(x):
            x = np.ascontiguousarray(x)
        start = <const char *>cnp.PyArray_DATA(x)
        panels = packed.fill(&job)  # alive, whatever another thread adopts
        if self.batch * packed.features * packed.width < PRODUCTS_WORTH_THE_LOCK:
            dense_rows(&job, self.batch, start, packed.features, rounded, rows)
        else:
            with nogil:
                dense_rows(&job, self.batch, start, packed.features, rounded, rows)
        if self.activation != RX_LINEAR:
            packed.leaf.activate(self.batch * packed.width, self.activation, rows, rows)
        for r in range(self.batch):
            memcpy(y + r * packed.units * size, rows + r * packed.width * size, packed.units * size)
        return 0


cdef cnp.ndarray checked_ids(x, Py_ssize_t batch, Py_ssize_t count, cast, bint *padding):
    """Ids of rows of a table of so many as C reads them, and whether one is 0; ``cast`` says what is wrong with them."""
    cdef cnp.ndarray found
    cdef const Py_ssize_t *id
    cdef Py_ssize_t k
    if not cnp.PyArray_CheckExact(x) or cnp.PyArray_TYPE(<cnp.ndarray>x) != cnp.NPY_INTP:
        x = cast(x)
    found = np.ascontiguousarray(x, np.intp)
    if (<cnp.ndarray?>x).ndim != 1 or found.shape[0] != batch:
        raise ValueError(f"step: `x` must hold ids of shape (batch,) = ({batch},), got {x.shape}")
    id = <const Py_ssize_t *>cnp.PyArray_DATA(found)
    for k in range(batch):
        if id[k] < 0 or id[k] >= count:
            cast(x)  # says what is wrong
            raise ValueError(f"step: `x` must hold ids in 0..{count - 1}, got {id[k]}")
        padding[0] |= id[k] == 0
    return found


@cython.final
cdef class Chain:
    """Steppers that feed each other: the step of a whole model, which nothing can interrupt half way.

    Parameters
    ----------
    links : list of Stepper and DenseStepper
        At least one; each as wide as the next one's input. From now on all wait for the turn of the first.
    ids : int
        If the input are ids: how many there are. The first link knows a table of them.
    mask_zero : bool
        Whether id 0 is padding; steps that have it are left to somebody else.

    Attributes
    ----------
    cast : callable or None
        As for `Stepper`; of ids it also refuses those that there are not.
    """

    cdef Link first, last
    cdef list rest, between
    cdef public object cast
    cdef Py_ssize_t ids
    cdef bint mask_zero

    def __init__(self, list links, Py_ssize_t ids=0, bint mask_zero=False):
        cdef Link link
        cdef Link before
        self.ids, self.mask_zero = ids, mask_zero
        self.first, self.last, self.rest, self.between = links[0], links[len(links) - 1], links[1:], []
        before = self.first
        for link in self.rest:
            if (link.batch, link.features, link.type_number) != (before.batch, before.units, before.type_number):
                raise ValueError(f"Chain: a link of {link.features} features cannot follow one of {before.units} units")
            link_type = np.dtype(cnp.PyArray_DescrFromType(link.type_number))
            self.between.append(np.empty((before.batch, before.units), link_type))
            link.turn, before = self.first.turn, link

    cdef cnp.ndarray ids_of(self, x):
        """The ids of a step as C reads them; None if one is padding."""
        cdef bint padding = False
        cdef cnp.ndarray found = checked_ids(x, self.first.batch, self.ids, self.cast, &padding)
        return None if padding and self.mask_zero else found

    def step(self, x, cnp.ndarray out=None):
        """Advance by one step; as ``Stepper.step``. None, and nothing has happened, if an id is padding."""
        cdef Py_ssize_t k, count = len(self.rest)
        cdef cnp.ndarray following
        cdef cnp.ndarray value
        if self.ids:
            value = self.ids_of(x)
            if value is None:
                return None
        else:
            value = step_input(x, self.first, self.cast)
        out = output_of(out, self.last)  # before the first link moves: nothing can fail between them then
        self.first.turn.take()
        try:
            following = <cnp.ndarray>self.between[0] if count else out
            self.first.compute(value, following)
            for k in range(count):
                value, following = following, <cnp.ndarray>self.between[k + 1] if k + 1 < count else out
                (<Link>self.rest[k]).compute(value, following)
        finally:
            self.first.turn.leave()
        return out
