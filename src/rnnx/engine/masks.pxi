# Dropout masks: what the caller gave, as the time loop and the leaves read it.

cdef list kept_columns(object array, Py_ssize_t rows, Py_ssize_t width):
    """For each gate of a (gates, batch, timesteps, width or 1) mask: where it is not zero, and its values there.

    None if the mask is not one for all rows and steps, drops nothing, or serves too few packed rows to be worth
    panels of its own.
    """
    if array is None or rows < MIN_ROWS_TO_PACK:
        return None
    masks = array if array.ndim == 4 else array[None]
    if masks.shape[1] != 1 or masks.shape[2] != 1:
        return None
    cdef Mask view = view_mask(masks)  # one number may stand for all columns
    cdef Py_ssize_t g, j, count, size = masks.itemsize
    cdef bint drops = False
    cdef const char *value
    cdef int *index
    cdef char *found
    kept = []
    for g in range(view.gates):
        columns, values = np.empty(width, np.intc), np.empty(width, masks.dtype)
        index, found, count = <int *>data_of(columns), data_of(values), 0
        for j in range(width):
            value = view.data + g * view.sg + j * view.sf
            if (<const float *>value)[0] if size == sizeof(float) else (<const double *>value)[0]:
                index[count] = <int>j
                memcpy(found + count * size, value, size)
                count += 1
        drops |= count < width
        kept.append((columns[:count], values[:count]))
    return kept if drops else None


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


cdef inline bint under_mask_rows(const Job *job) noexcept nogil:
    # Whether x has a mask, and the rows of a step lie at one distance in both, their elements side by side.
    return (job.inputs.gates and job.inputs.sf == job.size and job.sxf == job.size and job.order == NULL
            and not job.packed)


cdef inline const char *mask_row(const Mask *mask, Py_ssize_t gate, Py_ssize_t b, Py_ssize_t t) noexcept nogil:
    return mask.data + gate * mask.sg + b * mask.sb + t * mask.st


cdef void fill_mask_rows(const Job *job, const MaskRows *to, Py_ssize_t s, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
    cdef Py_ssize_t r
    cdef const char *source
    for r in range(lo, hi):
        source = mask_row(to.mask, to.gate, batch_of(job, r), time_of(job, s, r))
        job.leaf.gather(job.H, source, to.mask.sf, to.rows + r * job.row)


cdef inline void fill_masks(const Part *part, Py_ssize_t s, bint varying) noexcept nogil:
    # All masks that vary in time (at every step) or all that do not (once, before the first step).
    cdef const Job *job = part.job
    cdef int g
    cdef Py_ssize_t lo = part.lo, hi = end_at(part, s)
    for g in range(<int>job.state.gates):
        if (job.state.st != 0) == varying:
            fill_mask_rows(job, &job.state_rows[g], s, lo, hi)
    if job.update.gates and (job.update.st != 0) == varying:
        fill_mask_rows(job, &job.update_rows, s, lo, hi)
    if job.zone_h.gates and (job.zone_h.st != 0) == varying:
        fill_mask_rows(job, &job.zone_h_rows, s, lo, hi)
    if job.zone_c.gates and (job.zone_c.st != 0) == varying:
        fill_mask_rows(job, &job.zone_c_rows, s, lo, hi)


cdef inline char *own_rows(const Part *part, const MaskRows *of) noexcept nogil:
    return of.rows + part.lo * part.job.row


cdef void give_masks(const Part *part, rx_step *step) noexcept nogil:
    # The masks of a part, where the cells look for them.
    cdef const Job *job = part.job
    cdef Py_ssize_t g
    if job.update.gates and job.cell_mode:
        step.cell_mask = own_rows(part, &job.update_rows)
    elif job.update.gates:
        step.update_mask = own_rows(part, &job.update_rows)
    if job.masked_blend:
        step.blend_mask = own_rows(part, &job.state_rows[0])
    if job.zone_h.gates:
        step.zone_h = own_rows(part, &job.zone_h_rows)
    if job.zone_c.gates:
        step.zone_c = own_rows(part, &job.zone_c_rows)
    for g in range(job.G if job.h_kept.gates else 0):
        step.kept[g] = job.h_kept.index[g if job.h_kept.gates > 1 else 0]
        step.kept_count[g] = job.h_kept.count[g if job.h_kept.gates > 1 else 0]
