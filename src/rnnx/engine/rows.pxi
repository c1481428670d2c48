# Steps of chosen rows: the states of many streams, of which those that have input advance.

cdef struct RowLink:
    # A link of a `RowChain` with the buffers of one thread; `part` is NULL where it is a product without a memory.
    Part *part
    rx_step *step
    Job *job
    char *states_h               # of all rows
    char *states_c
    char *before_h               # of the rows of a block
    char *before_c
    char *after_h
    char *after_c
    DenseJob dense
    int activation
    char *rounded
    char *rows


cdef struct RowCall:
    RowLink *links
    Py_ssize_t count, n, size, features, units, sxb
    int parts
    const Py_ssize_t *rows
    const char *x
    bint ids                     # x are rows of a table
    char *out


cdef inline bint side_by_side(const Py_ssize_t *rows, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(1, n):
        if rows[k] != rows[0] + k:
            return False
    return True


cdef inline void take_rows(const char *states, const Py_ssize_t *rows, Py_ssize_t n, Py_ssize_t row,
                           char *out) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(n):
        memcpy(out + k * row, states + rows[k] * row, row)


cdef inline void put_rows(const char *block, const Py_ssize_t *rows, Py_ssize_t n, Py_ssize_t row,
                          char *states) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(n):
        memcpy(states + rows[k] * row, block + k * row, row)


cdef const char *advance_rows(RowLink *link, const Py_ssize_t *rows, Py_ssize_t n) noexcept nogil:
    # The step of a recurrent link for a block of rows, whose input is in its job; the outputs, job.row bytes apart.
    # Where the rows lie side by side the new states are written there; the old h is needed until the end.
    cdef Job *job = link.job
    cdef rx_step *step = link.step
    cdef Py_ssize_t row = job.row
    cdef bint beside = side_by_side(rows, n)
    cdef bint plain = step.zone_h == NULL and step.zone_c == NULL
    step.h_prev, step.h = link.before_h, link.states_h + rows[0] * row if beside else link.after_h
    if beside:
        memcpy(link.before_h, step.h, n * row)
    else:
        take_rows(link.states_h, rows, n, row, link.before_h)
    if job.c != NULL:
        step.c = link.states_c + rows[0] * row if beside else link.after_c
        step.c_prev = step.c
        if not (beside and plain):
            take_rows(link.states_c, rows, n, row, link.before_c)
            step.c_prev = link.before_c
    step.n = link.part.hi = n
    step_core(link.part, step)
    if not beside:
        put_rows(link.after_h, rows, n, row, link.states_h)
        if job.c != NULL:
            put_rows(link.after_c, rows, n, row, link.states_c)
    return <const char *>step.h


cdef void rows_task(void *context, int number) noexcept nogil:
    # The share of one thread, block by block through all links, so that what a block needs stays in L2.
    cdef const RowCall *call = <const RowCall *>context
    cdef Py_ssize_t lo = number * call.n // call.parts, hi = (number + 1) * call.n // call.parts
    cdef Py_ssize_t blocks = (hi - lo + CHUNK_ROWS - 1) // CHUNK_ROWS, b, k, r, r0, n, distance, size = call.size
    cdef const char *x
    cdef char *y
    cdef RowLink *link
    for b in range(blocks):
        r0 = lo + b * (hi - lo) // blocks
        n = lo + (b + 1) * (hi - lo) // blocks - r0
        x, distance = call.x + r0 * call.sxb, call.sxb
        for k in range(call.count):
            link = call.links + number * call.count + k
            if link.part == NULL:
                dense_rows(&link.dense, n, x, distance // size, link.rounded, link.rows)
                if link.activation != RX_LINEAR:
                    link.dense.leaf.activate(n * link.dense.width, link.activation, link.rows, link.rows)
                x, distance = link.rows, link.dense.width * size
                continue
            if call.ids and k == 0:
                link.job.ids, link.job.sib = x, distance
            else:
                link.job.x, link.job.sxb, link.job.sxf = x, distance, size
            x, distance = advance_rows(link, call.rows + r0, n), link.job.row
        y = call.out + r0 * call.units * size
        if distance == call.units * size:
            memcpy(y, x, n * distance)
            continue
        for r in range(n):
            memcpy(y + r * call.units * size, x + r * distance, call.units * size)


@cython.final
cdef class RowStates:
    """The states of many rows of one recurrent layer, (capacity, units) for each part of the state.

    Parameters
    ----------
    packed : Packed

    Attributes
    ----------
    packed : Packed
    """

    cdef readonly Packed packed
    cdef Py_ssize_t capacity
    cdef object h, c

    def __init__(self, Packed packed):
        self.packed = packed
        self.reserve(1)

    def look_at(self, Stepper stepper):
        """Be the states of a stepper, until its next step."""
        cdef Py_ssize_t B = stepper.batch
        block = 0 if <char *>stepper.one.h_prev == stepper.call.job.h else B
        self.h, self.c = stepper.call.state_h[block:block + B], stepper.call.state_c
        if self.c is not None:
            self.c = self.c[block:block + B]

    def reserve(self, Py_ssize_t capacity):
        """Make room for at least so many rows; those there are stay."""
        cdef Packed packed = self.packed
        made = []
        for states in (self.h, self.c):
            more = None
            if states is not None or (self.h is None and (packed.cell == RX_LSTM or not made)):
                more = aligned((capacity, packed.ld), packed.dtype, True)
                if states is not None:
                    more[:self.capacity] = states
            made.append(more)
        (self.h, self.c), self.capacity = made, capacity

    def clear(self, cnp.ndarray rows):
        """Zeros in rows, an intp array."""
        cdef Py_ssize_t k, size = self.packed.ld * self.packed.leaf.itemsize
        cdef const Py_ssize_t *row = <const Py_ssize_t *>cnp.PyArray_DATA(rows)
        for k in range(rows.shape[0]):
            memset(data_of(self.h) + row[k] * size, 0, size)
            if self.c is not None:
                memset(data_of(self.c) + row[k] * size, 0, size)

    def read(self, rows):
        """Copies of the states of some rows: ``(h,)`` or ``(h, c)`` of shape (len(rows), units)."""
        return tuple(states[rows, :self.packed.H] for states in (self.h, self.c) if states is not None)

    def write(self, rows, parts):
        """Assign what `read` gives."""
        for states, part in zip((self.h, self.c), parts):
            states[rows, :self.packed.H] = part


@cython.final
cdef class RowChain:
    """Recurrent and Dense layers that feed each other, whose step advances some rows out of many.

    Whoever calls it makes sure that one thread is in at a time, and that rows are there and each is named once.

    Parameters
    ----------
    links : list of tuple
        At least one, each as wide as the next one's input: ``(packed, states, masks)`` of a recurrent layer, with
        constant masks of `rows` rows or None; ``(packed, activation)`` of a Dense layer.
    table : array or None
        ``Packed.table(...)`` for the first link, a recurrent one, which then takes ids of its rows.
    """

    cdef list specification, owners
    cdef object table
    cdef RowLink *links
    cdef Py_ssize_t count, itemsize
    cdef readonly Py_ssize_t products, features, units
    cdef int type_number, parts

    def __cinit__(self):
        self.links = NULL

    def __dealloc__(self):
        free(self.links)

    def __init__(self, list links, table=None):
        cdef Py_ssize_t width = 0
        self.specification, self.table, self.owners, self.count = links, table, [], len(links)
        dtype = links[0][0].dtype
        self.type_number, self.itemsize = dtype.num, dtype.itemsize
        for k, link in enumerate(links):
            packed = link[0]
            if packed.dtype != dtype or (k and packed.features != width):
                raise ValueError(f"RowChain: a link of {packed.features} features cannot follow one of {width} units")
            width = packed.units
            self.products += packed.products
        self.features, self.units = links[0][0].features, width
        self._make_parts(1)

    cdef int _make_parts(self, int parts) except -1:
        """Buffers for so many threads."""
        cdef RowLink *links = <RowLink *>malloc(parts * self.count * sizeof(RowLink))
        cdef RowLink *link
        cdef Py_ssize_t k
        cdef int part
        if links == NULL:
            raise MemoryError("rnnx: cannot allocate the links of a RowChain")
        try:
            if self.links != NULL:
                memcpy(links, self.links, self.parts * self.count * sizeof(RowLink))
            for part in range(self.parts, parts):
                for k in range(self.count):
                    link = links + part * self.count + k
                    memset(link, 0, sizeof(RowLink))
                    if len(self.specification[k]) == 3:
                        packed, states, masks = self.specification[k]
                        self._recurrent(link, packed, masks, self.table if k == 0 else None)
                    else:
                        packed, activation = self.specification[k]
                        self._dense(link, packed, activation)
        except BaseException:
            free(links)
            raise
        free(self.links)
        self.links, self.parts = links, parts
        return 0

    cdef int _recurrent(self, RowLink *link, Packed packed, masks, table) except -1:
        cdef Stepper stepper = Stepper(packed, CHUNK_ROWS, masks)
        cdef Job *job = &stepper.call.job
        if table is not None:
            stepper.look_up(table)
            job.table, job.table_rows = data_of(table), len(table)
        link.part, link.step, link.job = &stepper.all, &stepper.one, job
        link.before_h, link.after_h = job.h, job.h + CHUNK_ROWS * job.row
        if job.c != NULL:
            link.before_c, link.after_c = job.c, job.c + CHUNK_ROWS * job.row
        self.owners.append(stepper)
        return 0

    cdef int _dense(self, RowLink *link, PackedDense packed, str activation) except -1:
        rounded = aligned((CHUNK_ROWS, packed.ldr), packed.dtype)
        rows = aligned((CHUNK_ROWS, packed.width), packed.dtype)
        panels = packed.fill(&link.dense)
        link.activation, link.rounded, link.rows = ACTIVATIONS[activation], data_of(rounded), data_of(rows)
        self.owners.append((packed, panels, rounded, rows))
        return 0

    def step(self, cnp.ndarray rows, x, cnp.ndarray out=None, int threads=1, cast=None):
        """Advance some rows by one step.

        Parameters
        ----------
        rows : intp array of shape (n,)
        x : array of shape (n, features), or (n,) of ids
        out : C-contiguous array of shape (n, units), optional
        threads : int
            At most so many work on it.
        cast : callable, optional
            Makes an array of the right type out of any other input.

        Returns
        -------
        array of shape (n, units)

        Raises
        ------
        TypeError, ValueError
            If dtype or shape do not fit; the states are unchanged then.
        """
        cdef RowCall call
        cdef RowStates states
        cdef cnp.ndarray given
        cdef cnp.npy_intp shape[2]
        cdef Py_ssize_t n = rows.shape[0], k
        cdef bint padding = False
        cdef int part
        if self.table is not None:
            given = checked_ids(x, n, len(self.table), cast, &padding)
        else:
            given = array_of(x, self.type_number, cast)
            if given.ndim != 2 or given.shape[0] != n or given.shape[1] != self.features:
                raise ValueError(f"step: `x` must have shape (streams, features) = {(n, self.features)}, "
                                 f"got {(<object>given).shape}")
            if not cnp.PyArray_ISBEHAVED_RO(given) or given.strides[1] != self.itemsize:
                given = np.array(given, self.dtype, order="C")
        shape[0], shape[1] = n, self.units
        if out is None:
            out = cnp.PyArray_EMPTY(2, shape, self.type_number, 0)
        elif (cnp.PyArray_TYPE(out) != self.type_number or out.ndim != 2 or out.shape[0] != n
                or out.shape[1] != self.units or not cnp.PyArray_ISCARRAY(out)):
            raise ValueError(f"step: `out` must be a writable C-contiguous {self.dtype} array of shape "
                             f"(streams, units) = {(n, self.units)}")
        if n == 0:
            return out
        if n < 2 * FEWEST_ROWS_OF_PART or n * self.products < PRODUCTS_WORTH_A_THREAD:
            threads = 1
        elif self.parts < min(threads, RX_MAX_PARTS):
            self._make_parts(min(threads, RX_MAX_PARTS))
        threads = min(threads, self.parts)
        call.links, call.count, call.n, call.size = self.links, self.count, n, self.itemsize
        call.features, call.units = self.features, self.units
        call.sxb, call.ids = given.strides[0], self.table is not None
        call.rows, call.x = <const Py_ssize_t *>cnp.PyArray_DATA(rows), <const char *>cnp.PyArray_DATA(given)
        call.out = <char *>cnp.PyArray_DATA(out)
        for k in range(self.count):
            if len(self.specification[k]) == 3:
                states = self.specification[k][1]
                for part in range(self.parts):
                    self.links[part * self.count + k].states_h = data_of(states.h)
                    self.links[part * self.count + k].states_c = data_of(states.c)
        call.parts = rx_pool_enter(threads)
        call.parts = <int>min(<Py_ssize_t>call.parts, n // FEWEST_ROWS_OF_PART) if call.parts > 1 else 1
        if call.parts > 1 or n * self.products >= PRODUCTS_WORTH_THE_LOCK:
            with nogil:
                rx_pool_run(rows_task, &call, call.parts)
        else:
            rows_task(&call, 0)
        rx_pool_leave()
        return out

    @property
    def dtype(self):
        return np.dtype(cnp.PyArray_DescrFromType(self.type_number))


cdef enum:
    ROW_BITS = 24                # of an id; the others count how often the row was given away
    MOST_ROWS_LESS_ONE = (1 << 24) - 1

ROWS_TOGETHER = CHUNK_ROWS
MOST_ROWS = 1 << ROW_BITS


@cython.final
cdef class Roster:
    """Which rows are taken, under which ids, and which of them have been idle the longest.

    An id is the row and how often it was given away before, so that the id of a row that was freed is not that of the
    one who has it now.

    Attributes
    ----------
    capacity, count : int
        Rows, and those that are taken.
    """

    cdef readonly Py_ssize_t capacity, count
    cdef object taken, behind, ahead, times, marks, spare  # by row; a ring by time of use, whose ends meet at -1
    cdef Py_ssize_t first, last, spares
    cdef int64_t mark

    def __init__(self):
        self.first = self.last = -1

    def reserve(self, Py_ssize_t capacity):
        """Make room for at least so many rows."""
        cdef Py_ssize_t old = self.capacity
        if capacity > MOST_ROWS:
            raise MemoryError(f"StreamPool: there are {MOST_ROWS} rows at most, {capacity} wanted")
        arrays = []
        for array, kind, value in ((self.taken, np.int64, 0), (self.behind, np.intp, -2), (self.ahead, np.intp, -2),
                                   (self.times, np.float64, 0), (self.marks, np.int64, 0), (self.spare, np.intp, 0)):
            more = np.full(capacity, value, kind)
            if old:
                more[:old] = array
            arrays.append(more)
        self.taken, self.behind, self.ahead, self.times, self.marks, self.spare = arrays
        self.spare[capacity - old:capacity - old + self.spares] = self.spare[:self.spares].copy()
        self.spare[:capacity - old] = np.arange(capacity - 1, old - 1, -1)  # for when the others are gone
        self.spares += capacity - old
        self.capacity = capacity

    cdef inline void link(self, Py_ssize_t row, double now) noexcept:
        # The row was used last.
        cdef Py_ssize_t *behind = <Py_ssize_t *>data_of(self.behind)
        cdef Py_ssize_t *ahead = <Py_ssize_t *>data_of(self.ahead)
        behind[row], ahead[row] = self.last, -1
        if self.last >= 0:
            ahead[self.last] = row
        else:
            self.first = row
        self.last = row
        (<double *>data_of(self.times))[row] = now

    cdef inline void unlink(self, Py_ssize_t row) noexcept:
        cdef Py_ssize_t *behind = <Py_ssize_t *>data_of(self.behind)
        cdef Py_ssize_t *ahead = <Py_ssize_t *>data_of(self.ahead)
        if behind[row] >= 0:
            ahead[behind[row]] = ahead[row]
        else:
            self.first = ahead[row]
        if ahead[row] >= 0:
            behind[ahead[row]] = behind[row]
        else:
            self.last = behind[row]

    cdef inline int64_t id_of(self, Py_ssize_t row) noexcept:
        return (<int64_t *>data_of(self.taken))[row] << ROW_BITS | row

    cdef Py_ssize_t row(self, int64_t id) noexcept:
        # -1 if there is none of this id.
        cdef Py_ssize_t row = id & (MOST_ROWS_LESS_ONE)
        if id < 0 or row >= self.capacity or (<Py_ssize_t *>data_of(self.behind))[row] == -2:
            return -1
        return row if self.id_of(row) == id else -1

    def open(self, double now):
        """The id of a row that was free; there must be one."""
        cdef Py_ssize_t row
        if self.spares == 0:
            raise IndexError("Roster: no row is free")
        self.spares -= 1
        row = (<Py_ssize_t *>data_of(self.spare))[self.spares]
        self.link(row, now)
        self.count += 1
        return self.id_of(row)

    def close(self, cnp.ndarray rows):
        """Free these rows, which are taken."""
        cdef Py_ssize_t k, row
        for k in range(rows.shape[0]):
            row = (<const Py_ssize_t *>cnp.PyArray_DATA(rows))[k]
            self.unlink(row)
            (<Py_ssize_t *>data_of(self.behind))[row] = -2
            (<int64_t *>data_of(self.taken))[row] += 1
            (<Py_ssize_t *>data_of(self.spare))[self.spares] = row
            self.spares += 1
            self.count -= 1

    def has(self, int64_t id):
        """Whether there is a row of this id."""
        return self.row(id) >= 0

    def rows(self, cnp.ndarray ids, str who):
        """The rows of ids, an int64 array of one axis; each may come once.

        Raises
        ------
        LookupError
            If there is no such row.
        ValueError
            If one comes twice.
        """
        cdef Py_ssize_t k, row, n = ids.shape[0]
        cdef cnp.npy_intp shape[1]
        cdef const int64_t *id = <const int64_t *>cnp.PyArray_DATA(ids)
        cdef int64_t *marks = <int64_t *>data_of(self.marks)
        cdef cnp.ndarray found
        cdef Py_ssize_t *out
        shape[0] = n
        found = cnp.PyArray_EMPTY(1, shape, cnp.NPY_INTP, 0)
        out = <Py_ssize_t *>cnp.PyArray_DATA(found)
        self.mark += 1
        for k in range(n):
            row = self.row(id[k])
            if row < 0:
                raise LookupError(f"{who}: no stream {id[k]} is open; it was closed or evicted, or never opened here")
            if marks[row] == self.mark:
                raise ValueError(f"{who}: stream {id[k]} comes twice; give each stream one step at a time")
            marks[row], out[k] = self.mark, row
        return found

    def touch(self, cnp.ndarray rows, double now):
        """These rows have been used now."""
        cdef Py_ssize_t k
        cdef const Py_ssize_t *row = <const Py_ssize_t *>cnp.PyArray_DATA(rows)
        for k in range(rows.shape[0]):
            self.unlink(row[k])
            self.link(row[k], now)

    def ids(self, double until=float("inf"), Py_ssize_t most=-1):
        """At most so many ids of those not used after ``until``, by the time of their last use, the oldest first."""
        cdef Py_ssize_t row = self.first, n = 0
        cdef const double *times = <const double *>data_of(self.times)
        found = np.empty(self.count if most < 0 else min(most, self.count), np.int64)
        cdef int64_t *out = <int64_t *>data_of(found)
        while row >= 0 and n < len(found) and times[row] <= until:
            out[n] = self.id_of(row)
            n += 1
            row = (<Py_ssize_t *>data_of(self.ahead))[row]
        return found[:n]

    def snapshot(self):
        """What `restore` takes: how often each row was given away, and ids and times in the order of `ids`."""
        ids = self.ids()
        return self.taken.copy(), ids, self.times[ids & MOST_ROWS_LESS_ONE]

    def restore(self, taken, ids, times):
        """Have the rows and ids of another roster; this one must be new."""
        cdef Py_ssize_t row
        self.reserve(len(taken))
        self.taken[...] = taken
        for id, now in zip(ids, times):
            row = id & MOST_ROWS_LESS_ONE
            self.link(row, now)
            self.count += 1
        free_rows = np.flatnonzero(self.behind == -2)[::-1]
        self.spares = len(free_rows)
        self.spare[:self.spares] = free_rows


def ids_of_list(list values):
    """An int64 array of ids in a list; None if one is no int, or too large for an id."""
    cdef Py_ssize_t k, n = len(values)
    cdef cnp.npy_intp shape[1]
    cdef cnp.ndarray found
    cdef int64_t *out
    cdef int overflow = 0
    shape[0] = n
    found = cnp.PyArray_EMPTY(1, shape, cnp.NPY_INT64, 0)
    out = <int64_t *>cnp.PyArray_DATA(found)
    for k in range(n):
        value = values[k]
        if type(value) is not int:
            return None
        out[k] = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow:
            return None
    return found


def rows_by_name(list names, cnp.ndarray y):
    """A dict of names to the rows of a C-contiguous array of two axes, views of it."""
    cdef Py_ssize_t k, n = len(names), size = y.strides[0]
    cdef cnp.npy_intp width = y.shape[1]
    cdef int number = cnp.PyArray_TYPE(y)
    cdef cnp.ndarray row
    cdef dict found = {}
    for k in range(n):
        row = cnp.PyArray_SimpleNewFromData(1, &width, number, <char *>cnp.PyArray_DATA(y) + k * size)
        cnp.set_array_base(row, y)
        found[names[k]] = row
    return found


def stack_rows(list values, Py_ssize_t width, dtype):
    """One array of the rows in a list; None if one is not an array of this dtype, of shape (width,) or (1, width)."""
    cdef int number = (<cnp.dtype>dtype).num
    cdef Py_ssize_t k, n = len(values), size = width * (<cnp.dtype>dtype).itemsize
    cdef cnp.npy_intp shape[2]
    cdef cnp.ndarray row
    cdef cnp.ndarray out
    cdef char *at
    shape[0], shape[1] = n, width
    out = cnp.PyArray_EMPTY(2, shape, number, 0)
    at = <char *>cnp.PyArray_DATA(out)
    for k in range(n):
        value = values[k]
        if not cnp.PyArray_CheckExact(value):
            return None
        row = <cnp.ndarray>value
        if (cnp.PyArray_TYPE(row) != number or not cnp.PyArray_ISCARRAY_RO(row) or row.ndim < 1 or row.ndim > 2
                or row.shape[row.ndim - 1] != width or (row.ndim == 2 and row.shape[0] != 1)):
            return None
        memcpy(at + k * size, cnp.PyArray_DATA(row), size)
    return out
