# What threads need to know of each other: whose turn it is to change shared numbers, and whether Ctrl-C was pressed.

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
    """
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
    int look_for_signals "PyErr_CheckSignals"() noexcept  # leaves the exception of a handler where it is


cdef inline Py_ssize_t products_of_row(const Job *job) noexcept nogil:
    return job.G * job.H * (job.F + job.D) + PRODUCTS_OF_A_ROW


cdef bint is_stopped(const Job *job, Py_ssize_t *work) noexcept nogil:
    # Whether a part is to end here; `work` are the multiplications since it last looked for signals.
    if work[0] > PRODUCTS_BETWEEN_SIGNALS:
        work[0] = 0
        if not job.stopped and PyThread_get_thread_ident() == job.caller:
            with gil:
                (<Job *>job).stopped = look_for_signals() != 0
    return job.stopped
