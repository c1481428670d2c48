# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, auto_pickle=False
"""Typed drivers of the recurrent cells: the time loop, the masks and the backward recursion.

One text serves LSTM, both GRUs and SimpleRNN, float32 and float64. A sequence batch is worked on as *packed rows*:
rows of the batch sorted by falling number of valid steps, and for every compact step ``s`` the first ``counts[s]``
rows. A masked step is simply not among them, so padding, gaps and reversed reading cost nothing and cannot leak.

The shape of the buffers, for ``n`` packed rows in all, ``U`` units padded to whole panels:

========  =====================  ==================================================================
gates     n rows of ldg          x W + b, then activations, then (backward) gradients, in place
states    B + n rows of ld       the initial state, then the state after each packed row
========  =====================  ==================================================================

Validation happens above, in ``rnnx.functional``: nothing here checks a shape.
"""

cimport cython
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from rnnx._leaf cimport *

import os

import numpy as np

cnp.import_array()

ctypedef fused real:
    float
    double

ACTIVATIONS = {
    "linear": RX_LINEAR, "tanh": RX_TANH, "sigmoid": RX_SIGMOID, "relu": RX_RELU,
    "hard_sigmoid": RX_HARD_SIGMOID, "hard_sigmoid_keras2": RX_HARD_SIGMOID_KERAS2,
    "elu": RX_ELU, "softsign": RX_SOFTSIGN, "leaky_relu": RX_LEAKY_RELU, "relu6": RX_RELU6,
}
CELLS = {"lstm": RX_LSTM, "gru_after": RX_GRU_AFTER, "gru_before": RX_GRU_BEFORE, "simple_rnn": RX_SIMPLE_RNN}

cdef enum:
    CHUNK_FORWARD = 96     # packed rows whose input projection is made at once: it stays in L2
    CHUNK_BACKWARD = 256   # packed rows of one product of the weight gradients

include "_kernels_setup.pxi"


# ---- Masks ------------------------------------------------------------------------------------------------------

cdef struct Mask:
    # A dropout mask over (gates, batch, timesteps, width), never expanded: axes of size one have stride 0.
    const char *data
    Py_ssize_t gates, sg, sb, st, sf


cdef struct Site:
    # A mask of one gate as dense rows of the current step; refilled each step only if it varies in time.
    Mask *mask
    Py_ssize_t gate
    char *rows


cdef struct Job:
    const rx_leaf *leaf
    int cell, activation, recurrent_activation
    Py_ssize_t B, T, S, F, H, U, G, slots, first, ld, ldg, total
    bint backwards, keep, shared_state, masked_blend
    const Py_ssize_t *order      # NULL: rows as they come
    const Py_ssize_t *counts     # NULL: B rows at every step
    const Py_ssize_t *offsets
    const Py_ssize_t *times
    const char *x
    Py_ssize_t sxb, sxt, sxf
    const char *wx
    const char *wh
    const char *bias_x
    const char *bias_q
    char *gates
    char *h
    char *c
    char *x_rows                 # packed rows of x for one chunk
    char *operands               # masked copies of h, one per recurrent gate
    Mask inputs, state, update, zone_h, zone_c
    Site state_sites[4]
    Site update_site, zone_h_site, zone_c_site
    bint cell_mode
    char *outputs
    Py_ssize_t sob, sot
    char *h_final
    char *c_final


cdef inline Py_ssize_t rows_at(const Job *job, Py_ssize_t s) noexcept nogil:
    return job.B if job.counts == NULL else job.counts[s]


cdef inline Py_ssize_t offset_of(const Job *job, Py_ssize_t s) noexcept nogil:
    return s * job.B if job.offsets == NULL else job.offsets[s]


cdef inline Py_ssize_t batch_of(const Job *job, Py_ssize_t r) noexcept nogil:
    return r if job.order == NULL else job.order[r]


cdef inline Py_ssize_t time_of(const Job *job, Py_ssize_t s, Py_ssize_t r) noexcept nogil:
    if job.times != NULL:
        return job.times[job.offsets[s] + r]
    return job.T - 1 - s if job.backwards else s


cdef inline Py_ssize_t position_of(const Job *job, Py_ssize_t t) noexcept nogil:
    # Outputs stand in processing order.
    return job.T - 1 - t if job.backwards else t


cdef void multiply_row(const Job *job, Py_ssize_t count, const char *a, const char *m, Py_ssize_t sm,
                       real *out) noexcept nogil:
    cdef Py_ssize_t j
    if sm == <Py_ssize_t>sizeof(real):
        job.leaf.multiply(count, a, m, out)
    else:
        for j in range(count):
            out[j] = (<const real *>a)[j] * (<const real *>(m + j * sm))[0]


cdef inline const char *mask_row(const Mask *mask, Py_ssize_t gate, Py_ssize_t b, Py_ssize_t t) noexcept nogil:
    return mask.data + gate * mask.sg + b * mask.sb + t * mask.st


cdef void fill_site(const Job *job, const Site *site, Py_ssize_t s, Py_ssize_t n, real *_) noexcept nogil:
    cdef Py_ssize_t r, j
    cdef const char *source
    cdef real *out
    for r in range(n):
        source = mask_row(site.mask, site.gate, batch_of(job, r), time_of(job, s, r))
        out = <real *>site.rows + r * job.ld
        if site.mask.sf == <Py_ssize_t>sizeof(real):
            memcpy(out, source, job.H * sizeof(real))
        else:
            for j in range(job.H):
                out[j] = (<const real *>(source + j * site.mask.sf))[0]


cdef void fill_sites(const Job *job, Py_ssize_t s, bint varying, real *_) noexcept nogil:
    # All sites that vary in time (at every step) or all that do not (once, before the first step).
    cdef int g
    cdef Py_ssize_t n = rows_at(job, s)
    for g in range(<int>job.state.gates):
        if (job.state.st != 0) == varying:
            fill_site[real](job, &job.state_sites[g], s, n, NULL)
    if job.update.gates and (job.update.st != 0) == varying:
        fill_site[real](job, &job.update_site, s, n, NULL)
    if job.zone_h.gates and (job.zone_h.st != 0) == varying:
        fill_site[real](job, &job.zone_h_site, s, n, NULL)
    if job.zone_c.gates and (job.zone_c.st != 0) == varying:
        fill_site[real](job, &job.zone_c_site, s, n, NULL)


cdef void set_masks(const Job *job, rx_step *step) noexcept nogil:
    cdef const char *update = job.update_site.rows if job.update.gates else NULL
    step.update_mask = NULL if job.cell_mode else update
    step.cell_mask = update if job.cell_mode else NULL
    step.blend_mask = job.state_sites[0].rows if job.masked_blend else NULL
    step.zone_h = job.zone_h_site.rows if job.zone_h.gates else NULL
    step.zone_c = job.zone_c_site.rows if job.zone_c.gates else NULL


# ---- Rows of x and of the states ----------------------------------------------------------------------------------

cdef const real *packed_x(const Job *job, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t gate, Py_ssize_t *ldx,
                          real *_) noexcept nogil:
    # The packed rows of x for the steps s0 <= s < s1, times the input mask of a gate; x itself where that serves.
    cdef Py_ssize_t s, r, j, b, t, size = sizeof(real)
    cdef const char *source
    cdef const char *m
    cdef real *out = <real *>job.x_rows
    if (job.inputs.gates == 0 and job.sxf == size and job.order == NULL and not job.backwards
            and (job.B == 1 or s1 - s0 == 1)):
        ldx[0] = (job.sxt if job.B == 1 else job.sxb) // size
        return <const real *>(job.x + s0 * job.sxt)
    ldx[0] = job.F
    for s in range(s0, s1):
        for r in range(rows_at(job, s)):
            b = batch_of(job, r)
            t = time_of(job, s, r)
            source = job.x + b * job.sxb + t * job.sxt
            if job.sxf == size:
                if job.inputs.gates == 0:
                    memcpy(out, source, job.F * size)
                else:
                    multiply_row[real](job, job.F, source, mask_row(&job.inputs, gate, b, t), job.inputs.sf, out)
            else:
                for j in range(job.F):
                    out[j] = (<const real *>(source + j * job.sxf))[0]
                if job.inputs.gates:
                    m = mask_row(&job.inputs, gate, b, t)
                    multiply_row[real](job, job.F, <const char *>out, m, job.inputs.sf, out)
            out += job.F
    return <const real *>job.x_rows


cdef Py_ssize_t chunk_end(const Job *job, Py_ssize_t s0, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t s = s0 + 1
    while s < job.S and offset_of(job, s) + rows_at(job, s) - offset_of(job, s0) <= rows:
        s += 1
    return s


cdef inline real *state_block(const Job *job, char *states, Py_ssize_t s, real *_) noexcept nogil:
    # The block of rows after step s; s = -1 is the initial state. Without a cache two blocks take turns.
    if not job.keep:
        return <real *>states + ((s + 1) % 2) * job.B * job.ld
    return <real *>states + (0 if s < 0 else job.B + offset_of(job, s)) * job.ld


cdef void finish_rows(const Job *job, Py_ssize_t s, Py_ssize_t r0, Py_ssize_t r1, real *_) noexcept nogil:
    # The rows r0 <= r < r1 end after step s: hand out their states.
    cdef Py_ssize_t r, size = job.H * sizeof(real)
    for r in range(r0, r1):
        memcpy(job.h_final + batch_of(job, r) * size, state_block[real](job, job.h, s, NULL) + r * job.ld, size)
        if job.c_final != NULL:
            memcpy(job.c_final + batch_of(job, r) * size, state_block[real](job, job.c, s, NULL) + r * job.ld, size)


# ---- Forward ------------------------------------------------------------------------------------------------------

cdef void project(const Job *job, Py_ssize_t s0, Py_ssize_t s1, real *gates) noexcept nogil:
    # gates[:, :G*U] = (x * mask) W + b for the packed rows of the steps s0 <= s < s1, gate by gate where masks differ.
    cdef Py_ssize_t n = offset_of(job, s1 - 1) + rows_at(job, s1 - 1) - offset_of(job, s0)
    cdef Py_ssize_t panel = job.leaf.panel, stride = job.F * panel, block, ldx
    cdef int slot, first, count
    cdef const void *A[4]
    cdef const void *init[4]
    cdef void *C[4]
    cdef const real *rows
    first = 0
    while first < job.G:
        count = <int>job.G if job.inputs.gates <= 1 else 1
        rows = packed_x[real](job, s0, s1, gate_of_slot(job, first) if count == 1 and job.inputs.gates > 1 else 0, &ldx,
                               NULL)
        for block in range(job.U // panel):
            for slot in range(count):
                A[slot] = rows
                C[slot] = gates + (first + slot) * job.U + block * panel
                init[slot] = <const real *>job.bias_x + (first + slot) * job.U + block * panel
            job.leaf.product(n, job.F, count, A, ldx, <const real *>job.wx + (block * job.G + first) * stride, stride,
                             init, 0, C, job.ldg)
        first += count


cdef inline Py_ssize_t gate_of_slot(const Job *job, int slot) noexcept nogil:
    # GRU slots hold h z r of the gates z r h; the other cells hold the gates in order.
    if job.cell == RX_GRU_AFTER or job.cell == RX_GRU_BEFORE:
        return (slot + 2) % 3
    return slot


cdef void operands_of(const Job *job, const real *h_prev, Py_ssize_t n, rx_step *step) noexcept nogil:
    # What each recurrent gate multiplies: the state, or the state under that gate's mask.
    cdef Py_ssize_t g
    cdef real *masked
    for g in range(job.G):
        step.operand[g] = h_prev
        if job.state.gates:
            masked = <real *>job.operands + (g if job.state.gates > 1 else 0) * job.B * job.ld
            if g < job.state.gates:
                job.leaf.multiply(n * job.ld, h_prev, job.state_sites[g].rows, masked)
            step.operand[g] = masked


cdef void forward_core(Job *job, real *_) noexcept nogil:
    cdef Py_ssize_t s, s0 = 0, s1, n, before = job.B, r, t, size = job.H * sizeof(real)
    cdef real *gates
    cdef rx_step step
    memset(&step, 0, sizeof(step))
    step.H, step.U, step.ld, step.ldg = job.H, job.U, job.ld, job.ldg
    step.packed, step.bias_q = job.wh, job.bias_q
    step.activation, step.recurrent_activation = job.activation, job.recurrent_activation
    set_masks(job, &step)
    if job.S:
        fill_sites[real](job, 0, False, NULL)
    while s0 < job.S:
        s1 = chunk_end(job, s0, CHUNK_FORWARD)
        gates = <real *>job.gates + (offset_of(job, s0) * job.ldg if job.keep else 0)
        project[real](job, s0, s1, gates)
        for s in range(s0, s1):
            n = rows_at(job, s)
            finish_rows[real](job, s - 1, n, before, NULL)
            before = n
            fill_sites[real](job, s, True, NULL)
            step.n = n
            step.gates = gates + (offset_of(job, s) - offset_of(job, s0)) * job.ldg
            step.h_prev = state_block[real](job, job.h, s - 1, NULL)
            step.h = state_block[real](job, job.h, s, NULL)
            if job.c != NULL:
                step.c_prev = state_block[real](job, job.c, s - 1, NULL)
                step.c = state_block[real](job, job.c, s, NULL)
            operands_of[real](job, <const real *>step.h_prev, n, &step)
            job.leaf.forward[job.cell](&step)
            if job.outputs != NULL:
                for r in range(n):
                    t = position_of(job, time_of(job, s, r))
                    memcpy(job.outputs + batch_of(job, r) * job.sob + t * job.sot,
                           <real *>step.h + r * job.ld, size)
        s0 = s1
    finish_rows[real](job, job.S - 1, 0, before, NULL)


cdef void fill_masked(char *outputs, Py_ssize_t sob, Py_ssize_t sot, const unsigned char *valid, Py_ssize_t B,
                      Py_ssize_t T, Py_ssize_t size, bint zero) noexcept nogil:
    # Masked positions repeat the output before them; zeros at the start of a row, or everywhere on demand.
    cdef Py_ssize_t b, p
    cdef char *row
    for b in range(B):
        for p in range(T):
            if valid[b * T + p]:
                continue
            row = outputs + b * sob + p * sot
            if zero or p == 0:
                memset(row, 0, size)
            else:
                memcpy(row, row - sot, size)


# ---- Backward -----------------------------------------------------------------------------------------------------

cdef struct BackJob:
    const char *wh_back          # panels of the transposed recurrent kernel
    const char *wx_slots         # (F, G*U), gates in slot order
    const char *doutputs         # NULL: no gradient from the outputs
    Py_ssize_t sdb, sdt
    const unsigned char *valid   # positions that were computed; NULL: all, or masked outputs were zero
    char *dh
    char *dc
    char *scratch
    char *rows                   # chunk of masked states, or of dx
    char *more_rows
    char *dwx                    # (F, G*U) slot order, NULL: not wanted
    char *dwh                    # (H, G*U) gate order
    char *dbias                  # (slots*U)
    char *dx                     # NULL: not wanted
    Py_ssize_t dxb, dxt
    gemm_pointer gemm


cdef void add_doutputs(const Job *job, const BackJob *back, Py_ssize_t s, Py_ssize_t n, real *_) noexcept nogil:
    # The gradient of an output, and of every masked position that repeated it.
    cdef Py_ssize_t r, p, b, j
    cdef real *dh
    cdef const real *source
    for r in range(n):
        b = batch_of(job, r)
        p = position_of(job, time_of(job, s, r))
        dh = <real *>back.dh + r * job.ld
        while True:
            source = <const real *>(back.doutputs + b * back.sdb + p * back.sdt)
            for j in range(job.H):
                dh[j] += source[j]
            p += 1
            if back.valid == NULL or p == job.T or back.valid[b * job.T + p]:
                break


cdef void backward_core(Job *job, BackJob *back, real *_) noexcept nogil:
    cdef Py_ssize_t s, n, g
    cdef rx_step step
    memset(&step, 0, sizeof(step))
    step.H, step.U, step.ld, step.ldg = job.H, job.U, job.ld, job.ldg
    step.packed, step.scratch = back.wh_back, back.scratch
    step.activation, step.recurrent_activation = job.activation, job.recurrent_activation
    step.dh, step.dc = back.dh, back.dc
    step.shared_mask = job.state.gates == 1
    for g in range(job.G if job.state.gates else 0):
        step.state_mask[g] = job.state_sites[g if job.state.gates > 1 else 0].rows
    set_masks(job, &step)
    if job.S:
        fill_sites[real](job, 0, False, NULL)
    for s in range(job.S - 1, -1, -1):
        n = rows_at(job, s)
        fill_sites[real](job, s, True, NULL)
        if back.doutputs != NULL:
            add_doutputs[real](job, back, s, n, NULL)
        step.n = n
        step.gates = <real *>job.gates + offset_of(job, s) * job.ldg
        step.h_prev = state_block[real](job, job.h, s - 1, NULL)
        if job.c != NULL:
            step.c_prev = state_block[real](job, job.c, s - 1, NULL)
            step.c = state_block[real](job, job.c, s, NULL)
        job.leaf.backward[job.cell](&step)
    if back.dwx != NULL or back.dx != NULL:
        weight_products[real](job, back, NULL)


cdef void gemm(gemm_pointer blas, char ta, char tb, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const real *a,
               Py_ssize_t lda, const real *b, Py_ssize_t ldb, real beta, real *c, Py_ssize_t ldc) noexcept nogil:
    # Row-major C = op(A) op(B) + beta C, as the column-major product of the transposes.
    cdef int m_ = <int>m, n_ = <int>n, k_ = <int>k, lda_ = <int>lda, ldb_ = <int>ldb, ldc_ = <int>ldc
    cdef real alpha = 1
    blas(&tb, &ta, &n_, &m_, &k_, &alpha, <void *>b, &ldb_, <void *>a, &lda_, &beta, c, &ldc_)


cdef const real *packed_h(const Job *job, const BackJob *back, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t gate,
                          real *_) noexcept nogil:
    # The states before each packed row, under a gate's mask: the operand of the recurrent product.
    cdef Py_ssize_t s, n, size = job.ld * sizeof(real)
    cdef real *out = <real *>back.rows
    cdef const real *h
    if job.state.gates == 0 and job.counts == NULL:
        return <const real *>job.h + offset_of(job, s0) * job.ld
    for s in range(s0, s1):
        n = rows_at(job, s)
        h = state_block[real](job, job.h, s - 1, NULL)
        if job.state.gates:
            if job.state.st != 0:
                fill_site[real](job, &job.state_sites[gate], s, n, NULL)
            job.leaf.multiply(n * job.ld, h, job.state_sites[gate].rows, out)
        else:
            memcpy(out, h, n * size)
        out += n * job.ld
    return <const real *>back.rows


cdef void weight_products(const Job *job, const BackJob *back, real *_) noexcept nogil:
    # dW = x^T dG, dR = h^T dG, db = sum dG and dx = dG W^T, in chunks of packed rows.
    cdef Py_ssize_t s0 = 0, s1, n, g, count, slot, ldx, U = job.U, wide = job.G * job.U, r, j
    cdef Py_ssize_t gates_of_h = 2 if job.cell == RX_GRU_BEFORE else job.G
    cdef const real *rows
    cdef real *dG
    cdef real *sums = <real *>back.dbias
    while s0 < job.S:
        s1 = chunk_end(job, s0, CHUNK_BACKWARD)
        n = offset_of(job, s1 - 1) + rows_at(job, s1 - 1) - offset_of(job, s0)
        dG = <real *>job.gates + offset_of(job, s0) * job.ldg
        if back.dwx != NULL:
            count = job.G if job.inputs.gates <= 1 else 1
            slot = 0
            while slot < job.G:
                rows = packed_x[real](job, s0, s1, 0 if job.inputs.gates <= 1 else gate_of_slot(job, <int>slot),
                                      &ldx, NULL)
                gemm[real](back.gemm, b'T', b'N', job.F, count * U, n, rows, ldx, dG + slot * U, job.ldg, 1,
                           <real *>back.dwx + slot * U, wide)
                slot += count
            count = gates_of_h if job.state.gates <= 1 else 1
            g = 0
            while g < gates_of_h:
                rows = packed_h[real](job, back, s0, s1, g if job.state.gates > 1 else 0, NULL)
                gemm[real](back.gemm, b'T', b'N', job.H, count * U, n, rows, job.ld, dG + (job.first + g) * U, job.ldg,
                           1, <real *>back.dwh + g * U, wide)
                g += count
            if job.cell == RX_GRU_BEFORE:
                gemm[real](back.gemm, b'T', b'N', job.H, U, n, dG + 3 * U, job.ldg, dG, job.ldg, 1,
                           <real *>back.dwh + 2 * U, wide)
            column_sums[real](n, job.slots * U, dG, job.ldg, sums)
        if back.dx != NULL:
            input_gradients[real](job, back, s0, s1, n, dG)
        s0 = s1


cdef void column_sums(Py_ssize_t n, Py_ssize_t width, const real *a, Py_ssize_t lda, real *sums) noexcept nogil:
    # In blocks of 64 columns, which stay in registers or L1; the caller's chunks keep the partial sums short.
    cdef Py_ssize_t r, j
    cdef real part[64]
    cdef Py_ssize_t j0, w
    for j0 in range(0, width, 64):
        w = min(<Py_ssize_t>64, width - j0)
        memset(part, 0, sizeof(part))
        for r in range(n):
            for j in range(w):
                part[j] += a[r * lda + j0 + j]
        for j in range(w):
            sums[j0 + j] += part[j]


cdef void input_gradients(const Job *job, const BackJob *back, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t n,
                          const real *dG) noexcept nogil:
    # dx = sum over gates of mask_g * (dG_g W_g^T), back at the place each packed row came from.
    cdef Py_ssize_t s, r, b, t, j, slot, row, U = job.U, count = job.G if job.inputs.gates <= 1 else 1
    cdef real *product = <real *>back.more_rows
    cdef real *out
    cdef const char *m
    slot = 0
    while slot < job.G:
        gemm[real](back.gemm, b'N', b'T', n, job.F, count * U, dG + slot * U, job.ldg,
                   <const real *>back.wx_slots + slot * U, job.G * U, 0, product, job.F)
        row = 0
        for s in range(s0, s1):
            for r in range(rows_at(job, s)):
                b = batch_of(job, r)
                t = time_of(job, s, r)
                out = <real *>(back.dx + b * back.dxb + t * back.dxt)
                if job.inputs.gates == 0:
                    memcpy(out, product + row * job.F, job.F * sizeof(real))
                else:
                    m = mask_row(&job.inputs, 0 if job.inputs.gates == 1 else gate_of_slot(job, <int>slot), b, t)
                    for j in range(job.F):
                        out[j] = ((<real>0 if slot == 0 else out[j])
                                  + product[row * job.F + j] * (<const real *>(m + j * job.inputs.sf))[0])
                row += 1
        slot += count


include "_kernels_python.pxi"
include "_kernels_stream.pxi"
