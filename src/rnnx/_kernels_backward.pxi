# Included by _kernels.pyx: the way back, in two passes. The first turns the stored activations into gradients of the
# gates, from the last step to the first; the second makes all weight gradients and dx out of these.

cdef struct BackJob:
    const char *wh_back          # panels of the transposed recurrent kernel
    const char *wx_back          # panels of the transposed kernel
    const char *doutputs         # NULL: no gradient from the outputs
    Py_ssize_t sdb, sdt
    const unsigned char *valid   # positions that were computed; NULL: all, or masked outputs were zero
    char *dh
    char *dc
    char *scratch
    char *dwx                    # (F, G*U) slot order, NULL: not wanted; of kept rows only where x_kept says so
    char *dwh                    # (H, G*U) gate order; likewise
    char *dbias_x                # (G*U) sums of dG, slot order
    char *dbias_h                # (G*U) gate order; for the GRU whose recurrent product has a bias, otherwise NULL
    char *dx                     # NULL: not wanted
    Py_ssize_t dxb, dxt


cdef struct BackPart:
    # A part's share of the second pass: panels of the weight gradients, steps of dx.
    Part rows
    BackJob *back
    int number, parts
    char *h_rows                 # chunk of masked states
    char *strips                 # chunk of the left operand, as strips
    char *products               # chunk of dx


cdef void add_doutputs(const Part *part, const BackJob *back, Py_ssize_t s, Py_ssize_t n, real *_) noexcept nogil:
    # The gradient of an output, and of every masked position that repeated it.
    cdef const Job *job = part.job
    cdef Py_ssize_t r, p, b
    cdef real *dh
    for r in range(part.lo, part.lo + n):
        b = batch_of(job, r)
        p = position_of(job, time_of(job, s, r))
        dh = <real *>back.dh + r * job.ld
        while True:
            job.leaf.add(job.H, back.doutputs + b * back.sdb + p * back.sdt, dh)
            p += 1
            if back.valid == NULL or p == job.T or back.valid[b * job.T + p]:
                break


cdef void through_time(const Part *part, BackJob *back, real *_) noexcept nogil:
    cdef const Job *job = part.job
    cdef Py_ssize_t s, n, g, own = part.lo * job.ld
    cdef rx_step step
    start_step(part, &step)
    step.packed, step.scratch = back.wh_back, <real *>back.scratch + own
    step.dh, step.dc = <real *>back.dh + own, <real *>back.dc + own if back.dc != NULL else NULL
    for g in range(job.G if job.state.gates else 0):
        step.state_mask[g] = <real *>job.state_sites[g if job.state.gates > 1 else 0].rows + own
    if job.S:
        fill_sites[real](part, 0, False, NULL)
    for s in range(job.S - 1, -1, -1):
        n = end_at(part, s) - part.lo
        if n == 0:
            continue
        fill_sites[real](part, s, True, NULL)
        if back.doutputs != NULL:
            add_doutputs[real](part, back, s, n, NULL)
        step.n = n
        step.gates = <real *>job.gates + (offset_of(job, s) + part.lo) * job.ldg
        step.gates_ahead = <real *>job.gates + (offset_of(job, s - 1) + part.lo) * job.ldg if s else NULL
        step.h_prev = state_block[real](job, job.h, s - 1, NULL) + own
        if job.c != NULL:
            step.c_prev = state_block[real](job, job.c, s - 1, NULL) + own
            step.c = state_block[real](job, job.c, s, NULL) + own
        job.leaf.backward[job.cell](&step)


cdef const real *packed_h(const BackPart *part, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t gate,
                          real *_) noexcept nogil:
    # The states before each packed row of the steps s0 <= s < s1, under a gate's mask.
    cdef const Job *job = part.rows.job
    cdef Py_ssize_t s, n, r, lo = part.rows.lo
    cdef real *out = <real *>part.h_rows
    cdef const real *h
    if job.state.gates == 0 and (s1 - s0 == 1 or job.counts == NULL):
        return state_block[real](job, job.h, s0 - 1, NULL) + lo * job.ld
    for s in range(s0, s1):
        n = end_at(&part.rows, s) - lo
        h = state_block[real](job, job.h, s - 1, NULL) + lo * job.ld
        if job.state.gates == 0:
            memcpy(out, h, n * job.ld * sizeof(real))
        elif job.state.st == 0:
            job.leaf.multiply(n * job.ld, h, <real *>job.state_sites[gate].rows + lo * job.ld, out)
        else:
            for r in range(lo, lo + n):
                multiply_row[real](job, job.H, <const char *>(h + (r - lo) * job.ld),
                                   mask_row(&job.state, gate, batch_of(job, r), time_of(job, s, r)), job.state.sf,
                                   out + (r - lo) * job.ld)
        out += n * job.ld
    return <const real *>part.h_rows


cdef enum Left:
    # What is transposed in a weight gradient: x, h, or r * h of a reset-before GRU.
    LEFT_X, LEFT_H, LEFT_RESET


cdef void pack_left(const BackPart *part, Left left, const Kept *kept, Py_ssize_t gate, Py_ssize_t s0, Py_ssize_t s1,
                    Py_ssize_t n, Py_ssize_t M, real *_) noexcept nogil:
    # The M columns of a left operand, n rows of the steps s0 <= s < s1, into strips: step by step, so that what a mask
    # makes of a step is still in L1. One row at a time has all steps together.
    cdef const Job *job = part.rows.job
    cdef Py_ssize_t s = s0, after, done = 0, count, ld = job.ld
    cdef const real *rows
    while s < s1:
        after = s1 if job.B == 1 else s + 1
        count = n if job.B == 1 else end_at(&part.rows, s) - part.rows.lo
        if left == LEFT_X:
            rows = plain_x[real](&part.rows, s, after, gate, &ld, NULL)
        elif left == LEFT_H:
            rows = packed_h[real](part, s, after, gate, NULL)
        else:
            rows, ld = <const real *>job.gates + (offset_of(job, s) + part.rows.lo) * job.ldg + 3 * job.U, job.ldg
        job.leaf.pack_a(count, M, rows, ld, kept.index[gate], kept.scale[gate],
                             <real *>part.strips + done * job.leaf.mr, n)
        done += count
        s = after


cdef void add_outer(const BackPart *part, Left left, Py_ssize_t gate, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t n,
                    Py_ssize_t slot, Py_ssize_t column, Py_ssize_t count, const real *dG, real *dw,
                    real *sums) noexcept nogil:
    # dw[:, column...] += left^T dG[:, slot...], over `count` gates; of these this part's share of panels.
    cdef const Job *job = part.rows.job
    cdef const Kept *kept = &job.x_kept if left == LEFT_X else &job.h_kept
    cdef Py_ssize_t U = job.U, wide = job.G * U, panel = job.leaf.nr, panels = job.G * U // panel
    cdef Py_ssize_t M = kept.count[gate] if kept.gates else job.F if left == LEFT_X else job.H
    cdef Py_ssize_t low = max(column * U // panel, part.number * panels // part.parts)
    cdef Py_ssize_t high = min((column + count) * U // panel, (part.number + 1) * panels // part.parts)
    if low >= high:
        return
    pack_left[real](part, left, kept, gate, s0, s1, n, M, NULL)
    dG += slot * U + low * panel - column * U
    job.leaf.sum_outer(n, M, high - low, part.strips, dG, job.ldg, dw + low * panel, wide,
                       NULL if sums == NULL else sums + low * panel)


cdef void weight_gradients(BackPart *part, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t n, real *dG) noexcept nogil:
    # dW += x^T dG, dR += h^T dG and db += sum dG for the n packed rows of a chunk.
    cdef const Job *job = part.rows.job
    cdef const BackJob *back = part.back
    cdef Py_ssize_t slot = 0, gate = 0, gates_of_h = 2 if job.cell == RX_GRU_BEFORE else job.G
    cdef bint x_masks = max(job.inputs.gates, job.x_kept.gates) > 1, h_masks = max(job.state.gates, job.h_kept.gates) > 1
    cdef Py_ssize_t count = 1 if x_masks else job.G
    while slot < job.G:
        add_outer[real](part, LEFT_X, gate_of_slot(job, slot) if x_masks else 0, s0, s1, n, slot, slot, count, dG,
                        <real *>back.dwx, <real *>back.dbias_x)
        slot += count
    count = 1 if h_masks else gates_of_h
    while gate < gates_of_h:
        add_outer[real](part, LEFT_H, gate if h_masks else 0, s0, s1, n, job.first + gate, gate, count, dG,
                        <real *>back.dwh, <real *>back.dbias_h)
        gate += count
    if job.cell == RX_GRU_BEFORE:
        add_outer[real](part, LEFT_RESET, 2 if h_masks else 0, s0, s1, n, 0, 2, 1, dG, <real *>back.dwh, NULL)


cdef void spread_dx(const BackPart *part, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t gate, bint first, Py_ssize_t ld,
                    real *_) noexcept nogil:
    # dx (+)= mask * product, at the places that the packed rows of a chunk came from.
    cdef const Job *job = part.rows.job
    cdef const BackJob *back = part.back
    cdef Py_ssize_t s, r, b, t, j, F = job.F, sf = job.inputs.sf, count = job.x_kept.count[gate]
    cdef const int *index = job.x_kept.index[gate]
    cdef const real *product = <const real *>part.products
    cdef real *out
    cdef const char *m
    for s in range(s0, s1):
        for r in range(part.rows.lo, end_at(&part.rows, s)):
            b = batch_of(job, r)
            t = time_of(job, s, r)
            out = <real *>(back.dx + b * back.dxb + t * back.dxt)
            if job.x_kept.gates:
                for j in range(count):
                    out[index[j]] += product[j]
            elif job.inputs.gates == 0:
                memcpy(out, product, F * sizeof(real))
            elif sf == <Py_ssize_t>sizeof(real):
                job.leaf.multiply_add(F, product, mask_row(&job.inputs, gate, b, t), first, out)
            else:
                m = mask_row(&job.inputs, gate, b, t)
                for j in range(F):
                    out[j] = (<real>0 if first else out[j]) + product[j] * (<const real *>(m + j * sf))[0]
            product += ld


cdef void input_gradients(const BackPart *part, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t n, const real *dG) noexcept nogil:
    # dx = sum over gates of mask_g * (dG_g W_g^T) for the n packed rows of a chunk.
    cdef const Job *job = part.rows.job
    cdef Py_ssize_t U = job.U, panel = job.leaf.nr, masks = max(job.inputs.gates, job.x_kept.gates)
    cdef Py_ssize_t count = job.G if masks <= 1 else 1, slot = 0, gate, block, width, g, stride = job.G * U * panel
    cdef Py_ssize_t ld = (job.F + panel - 1) // panel * panel
    cdef real zeros[64]
    cdef const void *A
    cdef const void *init
    cdef void *C
    memset(zeros, 0, sizeof(zeros))
    while slot < job.G:
        gate = gate_of_slot(job, slot) if masks > 1 else 0
        width = job.x_kept.count[gate] if job.x_kept.gates else job.F
        for g in range(slot, slot + count):
            A = dG + g * U
            for block in range((width + panel - 1) // panel):
                C = <real *>part.products + block * panel
                init = zeros if g == slot else C
                job.leaf.product(n, U, 1, &A, job.ldg, NULL, <const real *>part.back.wx_back + block * stride + g * U * panel,
                                 0, 1, 0, &init, 0 if g == slot else ld, &C, ld)
        spread_dx[real](part, s0, s1, gate, slot == 0, ld, NULL)
        slot += count


cdef void make_gradients(BackPart *part, real *_) noexcept nogil:
    # The second pass: chunks of at most KC packed rows, in their order.
    cdef const Job *job = part.rows.job
    cdef Py_ssize_t s0 = 0, s1, n, chunk = 0, first, last
    cdef real *dG
    part.rows.lo = 0
    while s0 < job.S:
        if rows_at(job, s0) > job.leaf.kc:
            part.rows.hi, s1 = min(part.rows.lo + <Py_ssize_t>job.leaf.kc, rows_at(job, s0)), s0 + 1
            n = part.rows.hi - part.rows.lo
        else:
            part.rows.lo, part.rows.hi = 0, job.B
            s1 = chunk_end(&part.rows, s0, job.leaf.kc, &n)
        dG = <real *>job.gates + (offset_of(job, s0) + part.rows.lo) * job.ldg
        if part.back.dwx != NULL:
            weight_gradients[real](part, s0, s1, n, dG)
        if part.back.dx != NULL and part.rows.hi - part.rows.lo == job.B and s1 - s0 >= part.parts:
            # a share of the steps of the chunk
            first = s0 + (s1 - s0) * part.number // part.parts
            last = s0 + (s1 - s0) * (part.number + 1) // part.parts
            n = offset_of(job, last - 1) + rows_at(job, last - 1) - offset_of(job, first)
            dG = <real *>job.gates + offset_of(job, first) * job.ldg
            input_gradients[real](part, first, last, n, dG)
        elif part.back.dx != NULL and chunk % part.parts == part.number:
            input_gradients[real](part, s0, s1, n, dG)
        chunk += 1
        part.rows.lo = part.rows.hi
        if s1 > s0 + 1 or part.rows.lo >= rows_at(job, s0):
            s0, part.rows.lo = s1, 0
