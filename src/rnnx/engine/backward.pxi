# The backward pass, in two: the first turns the stored activations into gradients of the gates, from the last step to
# the first; the second makes all weight gradients and dx out of these.

cdef struct BackJob:
    const char *wh_back          # panels of the transposed recurrent kernel
    const char *wx_back          # panels of the transposed kernel
    const char *doutputs         # NULL: no gradient from the outputs
    Py_ssize_t sdb, sdt
    const unsigned char *valid   # positions that repeat no output; NULL: all, or masked outputs were zero
    char *dh
    char *dc
    char *scratch
    char *dwx                    # (F, G*U) slot order, NULL: not wanted; of kept rows only where x_kept says so
    char *dwh                    # (D, G*U) gate order; likewise
    bint x_across, h_across      # whether dwx and dwh are transposed, of whole panels of columns; see `across`
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
    char *strips                 # chunk of the left operand, packed
    char *products               # chunk of dx


cdef void add_doutputs(const Part *part, const BackJob *back, Py_ssize_t s, Py_ssize_t n) noexcept nogil:
    # The gradient of an output, and of every masked position that repeated it.
    cdef const Job *job = part.job
    cdef Py_ssize_t r, p, b
    cdef char *dh
    for r in range(part.lo, part.lo + n):
        b = batch_of(job, r)
        p = position_of(job, time_of(job, s, r))
        dh = back.dh + r * job.row
        while True:
            job.leaf.add(job.H, back.doutputs + place_of(job, b, p, back.sdb, back.sdt), dh)
            p += 1
            if back.valid == NULL or p == job.T or back.valid[b * job.T + p]:
                break


cdef void end_rows(const Part *part, BackJob *back, Py_ssize_t s) noexcept nogil:
    # Backward of `start_rows`: no gradient leaves the rows that start at step s, and the step before finds its cells.
    cdef const Job *job = part.job
    cdef Py_ssize_t k, r
    for k in range(job.reset_offsets[s], job.reset_offsets[s + 1]):
        r = job.reset_rows[k]
        if r < part.lo or r >= part.hi:
            continue
        memset(back.dh + r * job.row, 0, job.row)
        if job.c != NULL:
            memset(back.dc + r * job.row, 0, job.row)
            memcpy(state_block(job, job.c, s - 1) + r * job.row, job.reset_cells + k * job.row, job.row)


cdef void through_time(const Part *part, BackJob *back) noexcept nogil:
    cdef const Job *job = part.job
    cdef Py_ssize_t s, n, g, own = part.lo * job.row, work = 0
    cdef rx_step step
    start_step(part, &step)
    step.packed, step.scratch = back.wh_back, back.scratch + own
    step.dh, step.dc = back.dh + own, back.dc + own if back.dc != NULL else NULL
    for g in range(job.G if job.state.gates else 0):
        step.state_mask[g] = own_rows(part, &job.state_rows[g if job.state.gates > 1 else 0])
    if job.S:
        fill_masks(part, 0, False)
    for s in range(job.S - 1, -1, -1):
        n = end_at(part, s) - part.lo
        if n == 0:
            continue
        if is_stopped(job, &work):
            return
        work += n * products_of_row(job)
        fill_masks(part, s, True)
        if back.doutputs != NULL:
            add_doutputs(part, back, s, n)
            if s:
                expect_rows(part, s - 1, n, back.doutputs, back.sdb, back.sdt, job.H * job.size, True, False)
        step.n = n
        step.gates = job.gates + (offset_of(job, s) + part.lo) * job.gate_row
        step.gates_ahead = job.gates + (offset_of(job, s - 1) + part.lo) * job.gate_row if s else NULL
        step.h_prev = state_block(job, job.h, s - 1) + own
        if job.c != NULL:
            step.c_prev = state_block(job, job.c, s - 1) + own
            step.c = state_block(job, job.c, s) + own
        job.leaf.backward[job.cell](&step)
        if job.reset_rows != NULL:
            end_rows(part, back, s)


cdef const char *packed_h(const BackPart *part, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t gate) noexcept nogil:
    # The states before each packed row of the steps s0 <= s < s1, under a gate's mask.
    cdef const Job *job = part.rows.job
    cdef Py_ssize_t s, n, r, lo = part.rows.lo
    cdef char *out = part.h_rows
    cdef const char *h
    if job.state.gates == 0 and (s1 - s0 == 1 or job.counts == NULL):
        return state_block(job, job.h, s0 - 1) + lo * job.row
    for s in range(s0, s1):
        n = end_at(&part.rows, s) - lo
        h = state_block(job, job.h, s - 1) + lo * job.row
        if job.state.gates == 0:
            memcpy(out, h, n * job.row)
        elif job.state.st == 0:
            job.leaf.multiply(n * job.ld, h, own_rows(&part.rows, &job.state_rows[gate]), job.size, out)
        else:
            for r in range(lo, lo + n):
                job.leaf.multiply(job.H, h + (r - lo) * job.row,
                                  mask_row(&job.state, gate, batch_of(job, r), time_of(job, s, r)), job.state.sf,
                                  out + (r - lo) * job.row)
        out += n * job.row
    return part.h_rows


cdef enum Left:
    # What is transposed in a weight gradient: x, h, or r * h of a reset-before GRU.
    LEFT_X, LEFT_H, LEFT_RESET


cdef void pack_left(const BackPart *part, Left left, const Kept *kept, Py_ssize_t gate, Py_ssize_t s0, Py_ssize_t s1,
                    Py_ssize_t n, Py_ssize_t M, Py_ssize_t first) noexcept nogil:
    # M columns of a left operand from the first on, n rows of the steps s0 <= s < s1, into strips: step by step, so that
    # what a mask makes of a step is still in L1. One row at a time has all steps together.
    cdef const Job *job = part.rows.job
    cdef Py_ssize_t s = s0, after, done = 0, count, ld = job.ld
    cdef Py_ssize_t t, ldm
    cdef const char *rows
    cdef const char *mask
    while s < s1:
        after = s1 if job.B == 1 else s + 1
        count = n if job.B == 1 else end_at(&part.rows, s) - part.rows.lo
        mask, ldm = NULL, 0
        if left == LEFT_X and job.B > 1 and under_mask_rows(job):
            t = time_of(job, s, part.rows.lo)
            rows, ld = job.x + part.rows.lo * job.sxb + t * job.sxt, job.sxb // job.size
            mask, ldm = mask_row(&job.inputs, gate, part.rows.lo, t), job.inputs.sb // job.size
        elif left == LEFT_X:
            rows = rows_of_x(&part.rows, s, after, gate, &ld)
        elif left == LEFT_H and job.B > 1 and job.state.gates and job.state.st == 0:
            rows = state_block(job, job.h, s - 1) + part.rows.lo * job.row
            mask, ldm = own_rows(&part.rows, &job.state_rows[gate]), ld
        elif left == LEFT_H:
            rows = packed_h(part, s, after, gate)
        else:
            rows, ld = job.gates + (offset_of(job, s) + part.rows.lo) * job.gate_row + 3 * job.U * job.size, job.ldg
        rows += first * job.size
        if mask != NULL:
            mask += first * job.size
        job.leaf.pack_a(count, M, rows, ld, kept.index[gate], kept.scale[gate], mask, ldm,
                             part.strips + done * job.leaf.mr * job.size, n)
        done += count
        s = after


cdef void left_operand(const BackPart *part, Left left, const Kept *kept, Py_ssize_t gate, Py_ssize_t s0, Py_ssize_t s1,
                       Py_ssize_t n, Py_ssize_t M, Py_ssize_t first, rx_outer *what) noexcept nogil:
    # The left operand of a product: short rows as they lie or as a mask makes them, longer ones in strips.
    cdef const Job *job = part.rows.job
    cdef Py_ssize_t s = s0, after, done = 0, count, ld = job.ld
    cdef const char *rows
    what.n, what.M, what.strip = n, M, job.leaf.mr
    if M > SHORT_ROWS * job.leaf.nr:
        pack_left(part, left, kept, gate, s0, s1, n, M, first)
        what.A, what.lda, what.strip = part.strips, job.leaf.mr, job.leaf.mr * n
        return
    if left == LEFT_X and kept.gates:
        while s < s1:  # of x itself, where its rows lie at one distance
            after = s1 if job.B == 1 else s + 1
            count = n if job.B == 1 else end_at(&part.rows, s) - part.rows.lo
            rows = rows_of_x(&part.rows, s, after, gate, &ld)
            job.leaf.choose(count, M, rows, ld, kept.index[gate], kept.scale[gate], part.strips + done * M * job.size, M)
            done += count
            s = after
        what.A, what.lda = part.strips, M
        return
    if left == LEFT_X:
        rows = rows_of_x(&part.rows, s0, s1, gate, &ld)
    elif left == LEFT_H:
        rows = packed_h(part, s0, s1, gate)
    else:
        rows, ld = job.gates + (offset_of(job, s0) + part.rows.lo) * job.gate_row + 3 * job.U * job.size, job.ldg
    if kept.gates:
        job.leaf.choose(n, M, rows, ld, kept.index[gate], kept.scale[gate], part.strips, M)
        rows, ld = part.strips, M
    what.A, what.lda = rows + first * job.size, ld


cdef void add_outer(const BackPart *part, Left left, Py_ssize_t gate, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t n,
                    Py_ssize_t slot, Py_ssize_t column, Py_ssize_t count, const char *dG, char *dw,
                    char *sums) noexcept nogil:
    # dw[:, column...] += left^T dG[:, slot...], over `count` gates; of these this part's share of panels.
    cdef const Job *job = part.rows.job
    cdef const Kept *kept = &job.x_kept if left == LEFT_X else &job.h_kept
    cdef Py_ssize_t U = job.U, wide = job.G * U, panel = job.leaf.nr, panels = job.G * U // panel
    cdef Py_ssize_t M = kept.count[gate] if kept.gates else job.F if left == LEFT_X else job.D
    cdef Py_ssize_t low = max(column * U // panel, part.number * panels // part.parts)
    cdef Py_ssize_t mine = (part.number + 1) * panels // part.parts, high = min((column + count) * U // panel, mine)
    cdef Py_ssize_t each = U // panel, p0, p1, g, at, end
    cdef bint is_ready
    cdef rx_outer what
    dG += (slot - column) * U * job.size
    what.ldb, what.ldc = job.ldg, wide
    if left == LEFT_X or job.starts == NULL:
        if low < high:
            left_operand(part, left, kept, gate, s0, s1, n, M, 0, &what)
            at = low * panel * job.size
            what.panels, what.B, what.C, what.sums = high - low, dG + at, dw + at, NULL if sums == NULL else sums + at
            what.goes_on = high < mine
            job.leaf.sum_outer(&what)
        return
    what.goes_on = False
    p0 = 0
    while p0 < each:  # panels that meet the same units, of all gates
        p1 = p0 + 1
        while p1 < each and job.starts[p1] == job.starts[p0]:
            p1 += 1
        is_ready = False
        for g in range(column, column + count):
            at, end = max(low, g * each + p0), min(high, g * each + p1)
            if at >= end:
                continue
            if not is_ready:
                left_operand(part, left, kept, gate, s0, s1, n, M, job.starts[p0], &what)
                is_ready = True
            what.panels = end - at
            at *= panel * job.size
            what.B, what.C, what.sums = dG + at, dw + at, NULL if sums == NULL else sums + at
            job.leaf.sum_outer(&what)
        p0 = p1


cdef bint across(const Job *job, Left left) noexcept nogil:
    # Whether the gradient of a kernel is made transposed, dG^T (mask left): each gate has its own masked left operand,
    # which is a panel as soon as it is made then, and dG is packed once for both kernels, or never. What fills no whole
    # panels would be padded, and of few rows turning the sums costs more than this saves.
    cdef Py_ssize_t width = job.F if left == LEFT_X else job.D
    if job.B == 1 or job.total < FEWEST_ROWS_ACROSS or 8 * padded(width, job.leaf.nr) > 9 * width:
        return False
    if left == LEFT_X:
        return job.inputs.gates > 1 and under_mask_rows(job)
    return job.state.gates > 1 and job.state.st == 0 and job.starts == NULL and job.cell != RX_GRU_BEFORE


cdef void add_across(const BackPart *part, Left left, Py_ssize_t slot, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t n,
                     const char *dG, char *dw, char *sums, bint *is_packed, bint fetches) noexcept nogil:
    # dw^T[slot, :] += dG[:, slot]^T (mask left); of the units this part's share. They are packed once for both kernels.
    # With `fetches` those of the next slot are asked for meanwhile.
    cdef const Job *job = part.rows.job
    cdef Py_ssize_t nr = job.leaf.nr, size = job.size, lo = part.rows.lo, each = job.U // nr
    cdef Py_ssize_t panels = (job.G + job.first) * each
    cdef Py_ssize_t low = max(slot * each, part.number * panels // part.parts)
    cdef Py_ssize_t high = min((slot + 1) * each, (part.number + 1) * panels // part.parts)
    cdef Py_ssize_t gate = gate_of_slot(job, slot) if left == LEFT_X else slot - job.first
    cdef Py_ssize_t row = (slot if left == LEFT_X else gate) * job.U + low * nr - slot * job.U
    cdef Py_ssize_t width = job.F if left == LEFT_X else job.D, ld = job.ld, ldm = job.ld
    cdef Py_ssize_t block, column, r, s, t, count
    cdef const char *rows
    cdef const char *mask
    cdef char *panel
    cdef rx_outer what
    if low >= high:
        return
    dG += low * nr * size
    if sums != NULL:
        job.leaf.sum_columns(n, high - low, dG, job.ldg, sums + row * size)
    what.n, what.M, what.panels = n, min(high * nr, slot * job.U + job.H) - low * nr, 1
    what.A, what.lda, what.strip = dG, job.ldg, job.leaf.mr
    if what.M > SHORT_ROWS * nr:
        if not is_packed[0]:
            job.leaf.pack_a(n, what.M, dG, job.ldg, NULL, NULL, NULL, 0, part.strips, n)
            is_packed[0] = True
        what.A, what.lda, what.strip = part.strips, job.leaf.mr, job.leaf.mr * n
    what.B, what.ldb, what.goes_on, what.sums = part.h_rows, nr, False, NULL
    what.ldc = padded(width, nr)
    for block in range(what.ldc // nr):
        column = block * nr
        for r in range(n if fetches and block < each else 0):
            expect_row(dG + r * job.gate_row + (job.U + column) * size, nr * size, False)
        panel = part.h_rows
        for s in range(s0, s1):
            count = end_at(&part.rows, s) - lo
            if left == LEFT_X:
                t = time_of(job, s, lo)
                rows, ld = job.x + lo * job.sxb + t * job.sxt, job.sxb // size
                mask, ldm = mask_row(&job.inputs, gate, lo, t), job.inputs.sb // size
            else:
                rows = state_block(job, job.h, s - 1) + lo * job.row
                mask = own_rows(&part.rows, &job.state_rows[gate])
            job.leaf.mask_panel(count, min(nr, width - column), rows + column * size, ld, mask + column * size, ldm, panel)
            panel += count * nr * size
        what.C = dw + (row * what.ldc + column) * size
        job.leaf.sum_outer(&what)


cdef void weight_gradients(BackPart *part, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t n, const char *dG) noexcept nogil:
    # dW += x^T dG, dR += h^T dG and db += sum dG for the n packed rows of a chunk.
    cdef const Job *job = part.rows.job
    cdef const BackJob *back = part.back
    cdef Py_ssize_t slot = 0, gate = 0, gates_of_h = 2 if job.cell == RX_GRU_BEFORE else job.G
    cdef bint x_masks = max(job.inputs.gates, job.x_kept.gates) > 1
    cdef bint h_masks = max(job.state.gates, job.h_kept.gates) > 1
    cdef Py_ssize_t count = 1 if x_masks else job.G
    cdef bint is_packed
    for slot in range(job.G + job.first if back.x_across or back.h_across else 0):
        is_packed = False
        if back.x_across and slot < job.G:
            add_across(part, LEFT_X, slot, s0, s1, n, dG, back.dwx, back.dbias_x, &is_packed,
                       not back.h_across and slot + 1 < job.G)
        if back.h_across and slot >= job.first:
            add_across(part, LEFT_H, slot, s0, s1, n, dG, back.dwh, back.dbias_h, &is_packed,
                       slot + 1 < job.G + job.first)
    slot = job.G if back.x_across else 0
    while slot < job.G:
        add_outer(part, LEFT_X, gate_of_slot(job, slot) if x_masks else 0, s0, s1, n, slot, slot, count, dG,
                  back.dwx, back.dbias_x)
        slot += count
    count = 1 if h_masks else gates_of_h
    gate = gates_of_h if back.h_across else 0
    while gate < gates_of_h:
        add_outer(part, LEFT_H, gate if h_masks else 0, s0, s1, n, job.first + gate, gate, count, dG,
                  back.dwh, back.dbias_h)
        gate += count
    if job.cell == RX_GRU_BEFORE:
        add_outer(part, LEFT_RESET, 2 if h_masks else 0, s0, s1, n, 0, 2, 1, dG, back.dwh, NULL)


cdef void scatter_dx(const BackPart *part, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t gate, bint first,
                     Py_ssize_t ld) noexcept nogil:
    # dx (+)= mask * product, at the places that the packed rows of a chunk came from.
    cdef const Job *job = part.rows.job
    cdef const BackJob *back = part.back
    cdef Py_ssize_t s, r, b, t
    cdef char *product = part.products
    cdef char *out
    cdef const char *mask
    for s in range(s0, s1):
        if under_mask_rows(job):
            t, r = time_of(job, s, part.rows.lo), end_at(&part.rows, s) - part.rows.lo
            job.leaf.multiply_add(r, job.F, product, ld, mask_row(&job.inputs, gate, part.rows.lo, t),
                                  job.inputs.sb // job.size, first,
                                  back.dx + part.rows.lo * back.dxb + t * back.dxt, back.dxb // job.size)
            product += r * ld * job.size
            continue
        if job.x_kept.gates and job.order == NULL and not job.packed:
            t, r = time_of(job, s, part.rows.lo), end_at(&part.rows, s) - part.rows.lo
            job.leaf.scatter_add(r, job.x_kept.count[gate], product, ld, job.x_kept.index[gate],
                                 back.dx + part.rows.lo * back.dxb + t * back.dxt, back.dxb // job.size)
            product += r * ld * job.size
            continue
        for r in range(part.rows.lo, end_at(&part.rows, s)):
            b = batch_of(job, r)
            t = time_of(job, s, r)
            out = back.dx + place_of(job, b, t, back.dxb, back.dxt)
            mask = mask_row(&job.inputs, gate, b, t)
            if job.x_kept.gates:
                job.leaf.scatter_add(1, job.x_kept.count[gate], product, 0, job.x_kept.index[gate], out, 0)
            elif job.inputs.gates == 0:
                memcpy(out, product, job.F * job.size)
            elif job.inputs.sf == job.size:
                job.leaf.multiply_add(1, job.F, product, 0, mask, 0, first, out, 0)
            else:
                if first:
                    memset(out, 0, job.F * job.size)
                job.leaf.multiply(job.F, product, mask, job.inputs.sf, product)
                job.leaf.add(job.F, product, out)
            product += ld * job.size


cdef void masked_input_gradients(const BackPart *part, Py_ssize_t s0, Py_ssize_t s1, const char *dG) noexcept nogil:
    # The same where each gate has a mask and panels fill the rows: the sums go to dx itself, under the masks.
    cdef const Job *job = part.rows.job
    cdef const BackJob *back = part.back
    cdef Py_ssize_t panel = job.U * job.leaf.nr, slot, block, s, t, gate, lo = part.rows.lo, column
    cdef double zeros[64]
    cdef const void *A
    cdef const void *init
    cdef void *C
    cdef rx_product what
    memset(zeros, 0, sizeof(zeros))
    what.K, what.count, what.index, what.first, what.panel = job.U, 1, NULL, 0, 0
    what.planes, what.plane = 1, 0
    what.A, what.lda, what.init, what.C = &A, job.ldg, &init, &C
    what.ldc, what.ldm = back.dxb // job.size, job.inputs.sb // job.size
    for slot in range(job.G):
        gate = gate_of_slot(job, slot)
        what.ldi = what.ldc if slot else 0
        for block in range(job.F // job.leaf.nr):
            column = block * job.leaf.nr * job.size
            what.B = back.wx_back + (block * job.G + slot) * panel * job.size
            A = dG + slot * job.U * job.size
            for s in range(s0, s1):
                t, what.n = time_of(job, s, lo), end_at(&part.rows, s) - lo
                what.mask = mask_row(&job.inputs, gate, lo, t) + column
                C = back.dx + lo * back.dxb + t * back.dxt + column
                if slot == 0:
                    init = zeros
                else:
                    init = C
                job.leaf.masked_product(&what)
                A = <const char *>A + what.n * job.gate_row


cdef void input_gradients(const BackPart *part, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t n,
                          const char *dG) noexcept nogil:
    # dx = sum over gates of mask_g * (dG_g W_g^T) for the n packed rows of a chunk.
    cdef const Job *job = part.rows.job
    cdef Py_ssize_t nr = job.leaf.nr, masks = max(job.inputs.gates, job.x_kept.gates), panel = job.U * nr
    cdef Py_ssize_t count = job.G if masks <= 1 else 1, slot = 0, gate, block, width, g
    cdef Py_ssize_t ld = padded(job.F, nr)
    cdef double zeros[64]
    cdef const void *A
    cdef const void *init
    cdef void *C
    cdef rx_product what
    if job.inputs.gates > 1 and job.F % nr == 0 and under_mask_rows(job):
        masked_input_gradients(part, s0, s1, dG)
        return
    memset(zeros, 0, sizeof(zeros))
    what.n, what.K, what.count, what.index, what.first, what.mask = n, job.U, 1, NULL, 0, NULL
    what.panel, what.planes, what.plane = 0, 1, 0
    what.A, what.lda, what.init, what.C, what.ldc = &A, job.ldg, &init, &C, ld
    while slot < job.G:
        gate = gate_of_slot(job, slot) if masks > 1 else 0
        width = job.x_kept.count[gate] if job.x_kept.gates else job.F
        for g in range(slot, slot + count):
            A = dG + g * job.U * job.size
            for block in range(padded(width, nr) // nr):
                C = part.products + block * nr * job.size
                init = <const void *>zeros if g == slot else C
                what.B, what.ldi = part.back.wx_back + (block * job.G + g) * panel * job.size, 0 if g == slot else ld
                if 2 * (width - block * nr) <= nr:
                    job.leaf.half_product(&what)
                else:
                    job.leaf.product(&what)
        scatter_dx(part, s0, s1, gate, slot == 0, ld)
        slot += count


cdef void make_gradients(BackPart *part) noexcept nogil:
    # The second pass: chunks of at most KC packed rows, in their order.
    cdef const Job *job = part.rows.job
    cdef Py_ssize_t s0 = 0, s1, n, chunk = 0, first, last, s, ahead, count, work = 0
    cdef const char *dG
    part.rows.lo = 0
    while s0 < job.S:
        if is_stopped(job, &work):
            return
        if rows_at(job, s0) > job.leaf.kc:
            part.rows.hi, s1 = min(part.rows.lo + <Py_ssize_t>job.leaf.kc, rows_at(job, s0)), s0 + 1
            n = part.rows.hi - part.rows.lo
        else:
            part.rows.lo, part.rows.hi = 0, job.B
            s1 = chunk_end(&part.rows, s0, job.leaf.kc, &n)
        work += n * products_of_row(job)
        dG = job.gates + (offset_of(job, s0) + part.rows.lo) * job.gate_row
        for s in range(s0, s1):
            count, ahead = end_at(&part.rows, s) - part.rows.lo, s + s1 - s0
            if part.back.dx != NULL:
                expect_rows(&part.rows, s, count, part.back.dx, part.back.dxb, part.back.dxt, job.F * job.size, False,
                            True)
            if part.back.dwx != NULL and ahead < job.S:
                expect_rows(&part.rows, ahead, count, job.x, job.sxb, job.sxt, job.F * job.sxf, False, False)
        if part.back.dwx != NULL:
            weight_gradients(part, s0, s1, n, dG)
        if part.back.dx != NULL and part.rows.hi - part.rows.lo == job.B and s1 - s0 >= part.parts:
            # a share of the steps of the chunk
            first = s0 + (s1 - s0) * part.number // part.parts
            last = s0 + (s1 - s0) * (part.number + 1) // part.parts
            n = offset_of(job, last - 1) + rows_at(job, last - 1) - offset_of(job, first)
            dG = job.gates + offset_of(job, first) * job.gate_row
            input_gradients(part, first, last, n, dG)
        elif part.back.dx != NULL and chunk % part.parts == part.number:
            input_gradients(part, s0, s1, n, dG)
        chunk += 1
        part.rows.lo = part.rows.hi
        if s1 > s0 + 1 or part.rows.lo >= rows_at(job, s0):
            s0, part.rows.lo = s1, 0


# ---- The call ---------------------------------------------------------------------------------------------------

cdef void through_time_task(void *context, int number) noexcept nogil:
    cdef BackPart *back = &(<BackPart *>context)[number]
    cdef const Part *part = &back.rows
    cdef Py_ssize_t k, blocks = blocks_of(part)
    cdef Part block
    for k in range(blocks):
        block = block_of(part, k, blocks)
        through_time(&block, back.back)


cdef void gradients_task(void *context, int number) noexcept nogil:
    make_gradients(&(<BackPart *>context)[number])


def backward(Call call, doutputs, dh_final, dc_final, bint need_dx, bint need_dparams, int threads=1):
    """Gradients of one forward call.

    Parameters
    ----------
    call : Call
    doutputs : array of the shape of the outputs, or None
        In processing order, last axis contiguous.
    dh_final, dc_final : arrays of shape (batch, units) or None
    need_dx, need_dparams : bool
    threads : int
        As in ``forward``.

    Returns
    -------
    dx : array of the shape of x, or None
    dh0, dc0 : arrays of shape (batch, units); dc0 is None but for LSTM
    dkernel, drecurrent_kernel, dbias : arrays or None
    """
    cdef Packed packed = call.packed
    cdef Plan plan = call.plan
    cdef Job *job = &call.job
    cdef BackJob back
    cdef Py_ssize_t B = plan.batch, G = packed.G, H = packed.H, U = packed.U, F = packed.F
    cdef Py_ssize_t nr = packed.leaf.nr
    cdef cnp.ndarray array
    memset(&back, 0, sizeof(back))
    if call.gates is None:
        call.hold()
        call.spent = True
    if call.spent:  # its activations have become gradients: make them again
        job.outputs = job.h_final = job.c_final = NULL
        run_forward(job, None, None, threads)
    call.spent = True
    if doutputs is not None:
        array = doutputs = readable(doutputs)
        back.doutputs = <const char *>cnp.PyArray_DATA(array)
        back.sdb, back.sdt = array.strides[0], 0 if plan.packed else array.strides[1]
        if not call.zero_masked:
            back.valid = <const unsigned char *>data_of(plan.valid)
    dh = initial_block(call, B, without_rows(dh_final, plan.ended))
    dc = initial_block(call, B, without_rows(dc_final, plan.ended)) if packed.cell == RX_LSTM else None
    scratch = aligned((B, packed.ld), packed.dtype)
    wh_back = packed.panels(True, False, call.h_kept)
    back.dh, back.dc, back.scratch, back.wh_back = data_of(dh), data_of(dc), data_of(scratch), data_of(wh_back)
    dwx = dwh = sums = dx = wx_back = None
    if need_dparams:
        back.x_across, back.h_across = across(job, LEFT_X), across(job, LEFT_H)
        dwx = aligned((G * U, padded(F, nr)) if back.x_across else (F, G * U), packed.dtype, True)
        dwh = aligned((G * U, padded(H, nr)) if back.h_across else (packed.D, G * U), packed.dtype, True)
        sums = aligned((2, G * U), packed.dtype, True)
        back.dwx, back.dwh, back.dbias_x = data_of(dwx), data_of(dwh), data_of(sums)
        if packed.cell == RX_GRU_AFTER:
            back.dbias_h = data_of(sums[1])
    if need_dx:
        wx_back = packed.panels(True, True, call.x_kept)
        shape = [plan.total, F] if plan.packed else [B, plan.timesteps, F]
        array = aligned(shape, packed.dtype, plan.valid is not None or call.x_kept is not None)
        dx = array
        back.wx_back = data_of(wx_back)
        back.dx, back.dxb = <char *>cnp.PyArray_DATA(array), array.strides[0]
        back.dxt = 0 if plan.packed else array.strides[1]
    try:
        run_backward(call, &back, threads)
    finally:
        if call.recompute:
            call.gates = call.state_h = call.state_c = None
    inverse = None if plan.order is None else np.argsort(plan.order)
    dh0 = np.ascontiguousarray(dh[:, :H] if inverse is None else dh[inverse, :H])
    dc0 = None
    if dc is not None:
        dc0 = np.ascontiguousarray(dc[:, :H] if inverse is None else dc[inverse, :H])
    if not need_dparams:
        return dx, dh0, dc0, None, None, None
    dkernel, drecurrent = packed.as_kernel(dwx, True, back.x_across), packed.as_kernel(dwh, False, back.h_across)
    if packed.blocks > 1:
        drecurrent = packed._out_of_windows(drecurrent)
    if call.x_kept is not None:
        dkernel = scatter_rows(packed, dkernel, call.x_kept)
    if call.h_kept is not None:
        drecurrent = scatter_rows(packed, drecurrent, call.h_kept)
    dbias = packed.as_bias(sums[0], True)
    if packed.cell == RX_GRU_AFTER:
        dbias = np.stack([dbias, packed.as_bias(sums[1], False)])
    return dx, dh0, dc0, dkernel, drecurrent, dbias


cdef object without_rows(array, rows):
    """An array, or None, with zeros in the rows where a bool array, or None, is True."""
    if array is None or rows is None:
        return array
    return np.where(rows[:, None], np.zeros((), array.dtype), array)


cdef object scatter_rows(Packed packed, cnp.ndarray compact, list kept):
    """Gradients of the kept rows, side by side at the top -> at their places, zero elsewhere."""
    cdef cnp.ndarray full = np.zeros_like(compact)  # in the same order
    cdef Py_ssize_t row = compact.strides[0], unit = compact.strides[1], size = packed.leaf.itemsize, g, k, of, j
    cdef Kept view = view_kept(kept)
    cdef const char *source
    cdef char *out
    for g in range(packed.G):
        of = g if view.gates > 1 else 0
        for k in range(view.count[of]):
            source = <const char *>cnp.PyArray_DATA(compact) + k * row + packed.column[g] * packed.H * unit
            out = <char *>cnp.PyArray_DATA(full) + view.index[of][k] * row + packed.column[g] * packed.H * unit
            if unit == size:
                memcpy(out, source, packed.H * size)
                continue
            for j in range(packed.H):
                memcpy(out + j * unit, source + j * unit, size)
    return full


cdef int run_backward(Call call, BackJob *back, int threads) except -1:
    cdef Job *job = &call.job
    cdef Packed packed = call.packed
    cdef BackPart all[RX_MAX_PARTS]
    cdef BackPart *part
    cdef Py_ssize_t bounds[RX_MAX_PARTS + 1]
    cdef Py_ssize_t rows = min(<Py_ssize_t>job.leaf.kc, job.total), size = packed.leaf.itemsize
    cdef Py_ssize_t strips = (max(packed.F, packed.H) + packed.leaf.mr) * rows
    cdef Py_ssize_t products = (packed.F + packed.leaf.nr) * rows
    cdef int wanted, parts, p
    watch_for_stops(job)
    if threads > 1:
        with nogil:
            wanted = rx_pool_enter(threads)
            parts = cut(job, wanted, bounds)
    else:  # the interpreter's lock is not given up for that: another thread would take it
        wanted = rx_pool_enter(1)
        parts = cut(job, wanted, bounds)
    try:
        memory = aligned((wanted, rows * packed.F + rows * packed.ld + strips + products), packed.dtype)
        for p in range(wanted):
            part = &all[p]
            part.rows.job, part.back, part.number, part.parts = job, back, p, wanted
            part.rows.lo, part.rows.hi = bounds[min(p, parts - 1)], bounds[min(p, parts - 1) + 1]
            part.rows.gates = NULL
            part.rows.x_rows = data_of(memory) + p * memory.strides[0]
            part.h_rows = part.rows.x_rows + rows * packed.F * size
            part.strips = part.h_rows + rows * packed.ld * size
            part.products = part.strips + strips * size
        with nogil:
            rx_pool_run(through_time_task, all, parts)
            rx_pool_run(gradients_task, all, wanted)
    finally:
        rx_pool_leave()
    return -1 if job.stopped else 0  # with the exception of the signal's handler
