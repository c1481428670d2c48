# Which rows of the batch are computed at which step.

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
    reset : bool array of shape (batch, timesteps) or None
        True where a new sequence begins, in input order; of packed data of shape (rows,).
    batch_sizes : int array of shape (timesteps,) or None
        Of packed data, without ``valid``: so many rows stand at each step, in falling numbers, and the arrays of the
        call have these rows, one step after the other, as their first axis.

    Attributes
    ----------
    valid : uint8 array of shape (batch, timesteps) or None
        In processing order: 1 where a step counts; a masked step is 0, or 2 where a new sequence begins.
    row_counts : array of shape (batch,) or None
        Steps that count.
    ended : bool array of shape (batch,) or None
        Rows in which a new sequence begins after the last step that counts.
    """

    cdef readonly Py_ssize_t batch, timesteps, steps, total
    cdef readonly bint backwards
    cdef readonly object valid, row_counts, ended
    cdef object order, counts, offsets, times
    cdef readonly bint packed
    cdef object reset_rows, reset_offsets   # packed rows that start from zero, step by step, and where each step begins

    def __init__(self, Py_ssize_t batch, Py_ssize_t timesteps, valid=None, bint backwards=False, reset=None,
                 batch_sizes=None):
        self.batch, self.timesteps, self.backwards = batch, timesteps, backwards
        self.steps, self.total = timesteps, batch * timesteps
        if valid is not None and not valid.all():
            self.valid = np.ascontiguousarray(valid[:, ::-1] if backwards else valid, np.uint8)
            self._sort()
        if batch_sizes is not None:
            self._pack(batch_sizes)
        if reset is not None and reset.any():
            self._begin(reset)

    cdef void _pack(self, batch_sizes) except *:
        # Packed data is in the order of the engine. Backwards, each row begins with its own last step.
        cdef Py_ssize_t r, s, last = 0
        self.packed = True
        self.counts = np.ascontiguousarray(batch_sizes, np.intp)
        self.offsets = np.zeros(self.steps + 1, np.intp)
        np.cumsum(self.counts, out=self.offsets[1:])
        cdef const Py_ssize_t *counts = <const Py_ssize_t *>data_of(self.counts)
        cdef const Py_ssize_t *offsets = <const Py_ssize_t *>data_of(self.offsets)
        self.total = offsets[self.steps]
        if not self.backwards:
            return
        self.times = np.empty(self.total, np.intp)
        cdef Py_ssize_t *times = <Py_ssize_t *>data_of(self.times)
        for r in range(self.batch - 1, -1, -1):
            while last < self.steps and counts[last] > r:
                last += 1
            for s in range(last):
                times[offsets[s] + r] = last - 1 - s

    def _begin(self, reset):
        """Which packed rows start from zero: the first that counts after each beginning."""
        begins = reset
        if self.backwards and not self.packed:  # the state that leaves a beginning is lost before the next step
            begins = np.zeros_like(reset)
            begins[:, 1:] = reset[:, :0:-1]
        if self.packed:
            place = np.flatnonzero(reset)
            step = np.searchsorted(self.offsets, place, "right") - 1
            row = place - self.offsets[step]
            if self.backwards:  # the same, from the last step of each row on
                row, step = row[step > 0], (np.searchsorted(-self.counts, -row) - step)[step > 0]
                sequence = np.lexsort((row, step))
                row, step = row[sequence], step[sequence]
        elif self.valid is None:
            step, row = np.nonzero(begins.T)
        else:
            valid = self.valid.astype(bool)
            passed = np.cumsum(begins, axis=1)
            known = np.maximum.accumulate(np.where(valid, passed, 0), axis=1)
            before = np.zeros_like(known)
            before[:, 1:] = known[:, :-1]
            batch, place = np.nonzero(valid & (passed > before))
            row = np.argsort(self.order)[batch]
            step = np.cumsum(valid, axis=1)[batch, place] - 1
            sequence = np.lexsort((row, step))
            row, step = row[sequence], step[sequence]
            self.ended = passed[:, -1] > known[:, -1]
            self.valid[begins & ~valid] = 2
        self.reset_rows = np.ascontiguousarray(row, np.intp)
        self.reset_offsets = np.searchsorted(step, np.arange(self.steps + 1)).astype(np.intp)

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
        job.packed = self.packed
        job.offsets, job.times = <const Py_ssize_t *>data_of(self.offsets), <const Py_ssize_t *>data_of(self.times)
        job.reset_rows = <const Py_ssize_t *>data_of(self.reset_rows)
        job.reset_offsets = <const Py_ssize_t *>data_of(self.reset_offsets)


cdef inline Py_ssize_t rows_at(const Job *job, Py_ssize_t s) noexcept nogil:
    return job.B if job.counts == NULL else job.counts[s]


cdef inline Py_ssize_t end_at(const Part *part, Py_ssize_t s) noexcept nogil:
    # The rows lo <= r < end_at(s) of step s belong to this part.
    return max(part.lo, min(part.hi, rows_at(part.job, s)))


cdef inline Py_ssize_t offset_of(const Job *job, Py_ssize_t s) noexcept nogil:
    return s * job.B if job.offsets == NULL else job.offsets[s]


cdef inline Py_ssize_t batch_of(const Job *job, Py_ssize_t r) noexcept nogil:
    return r if job.order == NULL else job.order[r]


cdef inline Py_ssize_t time_of(const Job *job, Py_ssize_t s, Py_ssize_t r) noexcept nogil:
    if job.times != NULL:
        return job.times[job.offsets[s] + r]
    return job.T - 1 - s if job.backwards else s


cdef inline Py_ssize_t position_of(const Job *job, Py_ssize_t t) noexcept nogil:
    # Outputs stand in processing order; those of packed data where their input stands.
    return job.T - 1 - t if job.backwards and not job.packed else t


cdef inline Py_ssize_t place_of(const Job *job, Py_ssize_t b, Py_ssize_t t, Py_ssize_t sb, Py_ssize_t st) noexcept nogil:
    # How many bytes into x, the outputs or a gradient of these the row b of time or position t is.
    return (job.offsets[t] + b) * sb if job.packed else b * sb + t * st


cdef Py_ssize_t chunk_end(const Part *part, Py_ssize_t s0, Py_ssize_t limit, Py_ssize_t *rows) noexcept nogil:
    # The steps s0 <= s < chunk_end have at most `limit` rows of this part, or are one step.
    cdef Py_ssize_t s = s0, n = end_at(part, s0) - part.lo
    rows[0] = 0
    while rows[0] == 0 or rows[0] + n <= limit:
        rows[0] += n
        s += 1
        n = end_at(part, s) - part.lo if s < part.job.S else 0
        if n == 0:
            break
    return s
