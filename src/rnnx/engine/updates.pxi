# Updates of an optimizer in one pass over a weight and what is kept for it: the same operations in the same order as
# those of NumPy above, each rounded by itself, so that the bits are the same too.

cdef extern from *:
    """
    #include <math.h>
    #define RX_ADAM(name, real, root)                                                               \\
        static void name(Py_ssize_t count, real *value, const real *grad, real *mean, real *square, \\
                          real one, real two, real rate, real epsilon) {                            \\
            for (Py_ssize_t k = 0; k < count; k++) {                                                \\
                const real g = grad[k], m = mean[k] + (g - mean[k]) * one;                          \\
                const real s = square[k] + (g * g - square[k]) * two;                               \\
                mean[k] = m;                                                                        \\
                square[k] = s;                                                                      \\
                value[k] -= m * rate / (root(s) + epsilon);                                         \\
            }                                                                                       \\
        }
    RX_ADAM(rx_adam_float, float, sqrtf)
    RX_ADAM(rx_adam_double, double, sqrt)
    """
    void rx_adam_float(Py_ssize_t count, float *value, const float *grad, float *mean, float *square, float one,
                       float two, float rate, float epsilon) noexcept nogil
    void rx_adam_double(Py_ssize_t count, double *value, const double *grad, double *mean, double *square, double one,
                        double two, double rate, double epsilon) noexcept nogil


def adam(cnp.ndarray value, cnp.ndarray grad, cnp.ndarray mean, cnp.ndarray square, double one, double two, double rate,
         double epsilon):
    """One step of Adam, in place.

    Parameters
    ----------
    value, grad, mean, square : arrays of one shape and dtype
        The weight, its gradient, and the running means of the gradient and of its square.
    one, two : float
        What a step moves the two means by.
    rate : float
        The learning rate, corrected for means that began at zero.
    epsilon : float

    Returns
    -------
    bool
        Whether it was made; False, and nothing has changed, where the arrays are not all contiguous in one order, or the
        gradient shares memory with another.
    """
    cdef int number = cnp.PyArray_TYPE(value)
    cdef Py_ssize_t count = cnp.PyArray_SIZE(value)
    cdef bint across = not cnp.PyArray_IS_C_CONTIGUOUS(value)
    if number != cnp.NPY_FLOAT and number != cnp.NPY_DOUBLE:
        return False
    for array in (value, grad, mean, square):
        if not lies_alike(array, number, count, across) or array is not grad and may_share(array, grad):
            return False
    for array in (value, mean, square):
        if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>array):
            return False
    cdef void *v = cnp.PyArray_DATA(value)
    cdef void *g = cnp.PyArray_DATA(grad)
    cdef void *m = cnp.PyArray_DATA(mean)
    cdef void *s = cnp.PyArray_DATA(square)
    if count < ELEMENTS_WORTH_THE_LOCK:
        move_adam(number, count, v, g, m, s, one, two, rate, epsilon)
    else:
        with nogil:
            move_adam(number, count, v, g, m, s, one, two, rate, epsilon)
    return True


cdef bint lies_alike(cnp.ndarray array, int number, Py_ssize_t count, bint across) noexcept:
    # Whether the elements of an array lie one after the other, in the order of the others, as C reads them.
    if cnp.PyArray_TYPE(array) != number or cnp.PyArray_SIZE(array) != count or not cnp.PyArray_ISBEHAVED_RO(array):
        return False
    return cnp.PyArray_IS_F_CONTIGUOUS(array) if across else cnp.PyArray_IS_C_CONTIGUOUS(array)


cdef void move_adam(int number, Py_ssize_t count, void *value, const void *grad, void *mean, void *square, double one,
                    double two, double rate, double epsilon) noexcept nogil:
    if number == cnp.NPY_FLOAT:
        rx_adam_float(count, <float *>value, <const float *>grad, <float *>mean, <float *>square, <float>one,
                      <float>two, <float>rate, <float>epsilon)
    else:
        rx_adam_double(count, <double *>value, <const double *>grad, <double *>mean, <double *>square, one, two, rate,
                       epsilon)
