# What threads need to know of each other: whose turn it is to change shared numbers, and whether a call is to end early.

cdef extern from *:
    """
    /* A lock for a few instructions, which the interpreter's own lock makes needless where there is one. */
    #ifdef Py_GIL_DISABLED
    typedef PyMutex rx_guard;
    #define rx_guard_lock(guard) PyMutex_Lock(guard)
    #define rx_guard_unlock(guard) PyMutex_Unlock(guard)
    #else
    typedef char rx_guard;
    #define rx_guard_lock(guard) ((void)(guard))
    #define rx_guard_unlock(guard) ((void)(guard))
    #endif
    #ifdef _MSC_VER
    static __declspec(thread) const int *rx_stop_of_now;
    #else
    static __thread const int *rx_stop_of_now;
    #endif
    """
    const int *rx_stop_of_now  # of the calls of this thread; NULL: only signals end them
    ctypedef struct rx_guard:
        pass
    void rx_guard_lock(rx_guard *)
    void rx_guard_unlock(rx_guard *)

cdef extern from "pythread.h":
    ctypedef void *PyThread_type_lock
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock)
    void PyThread_release_lock(PyThread_type_lock)
    int PyThread_acquire_lock_timed(PyThread_type_lock, long long microseconds, int wakes_for_signals) nogil
    unsigned long PyThread_get_thread_ident() nogil
    int PY_LOCK_ACQUIRED

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    void PyErr_SetNone(object)
    int look_for_signals "PyErr_CheckSignals"() noexcept  # leaves the exception of a handler where it is


@cython.final
cdef class Stop:
    """Ends the calls of another thread, which no signal reaches, as soon as they look.

    The other thread makes its calls within a ``with`` block; `ask` may be called by any.
    """

    cdef int asked
    cdef const int *before

    def ask(self):
        """Let calls within the block, now and from now on, raise KeyboardInterrupt."""
        self.asked = 1

    def __enter__(self):
        global rx_stop_of_now
        self.before = rx_stop_of_now
        rx_stop_of_now = &self.asked
        return self

    def __exit__(self, *_):
        global rx_stop_of_now
        rx_stop_of_now = self.before


cdef inline int watch_for_stops(Job *job) except -1:
    job.caller, job.stop, job.stopped = PyThread_get_thread_ident(), rx_stop_of_now, False
    if job.stop != NULL and job.stop[0]:
        raise KeyboardInterrupt
    return 0


cdef inline Py_ssize_t products_of_row(const Job *job) noexcept nogil:
    return job.G * job.H * (job.F + job.D) + PRODUCTS_OF_A_ROW


cdef int look_for_stops(const Job *job) noexcept with gil:
    # Whether the thread of a call, which this is, has an exception now.
    if job.stop != NULL and job.stop[0]:
        PyErr_SetNone(KeyboardInterrupt)
        return 1
    return look_for_signals() != 0


cdef bint is_stopped(const Job *job, Py_ssize_t *work) noexcept nogil:
    # Whether a part is to end here; `work` are the multiplications since it last looked.
    if work[0] > PRODUCTS_BETWEEN_SIGNALS:
        work[0] = 0
        if not job.stopped and PyThread_get_thread_ident() == job.caller:
            (<Job *>job).stopped = look_for_stops(job)
    return job.stopped
