# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, auto_pickle=False
# cython: freethreading_compatible=True
"""Typed drivers of the recurrent cells: the time loop, the masks and the backward recursion.

One text serves LSTM, both GRUs and SimpleRNN, float32 and float64. A sequence batch is worked on as *packed rows*:
rows of the batch sorted by falling number of valid steps, and for every compact step ``s`` the first ``counts[s]``
rows. A masked step is simply not among them, so padding, gaps and reversed reading cost nothing and cannot leak.

The shape of the buffers, for ``n`` packed rows in all, ``U`` units padded to whole panels:

========  =====================  ==================================================================
gates     n rows of ldg          x W + b, then activations, then (backward) gradients, in place
states    B + n rows of ld       the initial state, then the state after each packed row
========  =====================  ==================================================================

A call is cut into parts of these rows, one for each thread. Every sum is made in one order wherever the cuts are, so
the number of threads changes no bit of a result: rows do not meet before the gradients of the weights, and of these
each part makes columns of its own.

Validation happens above, in ``rnnx.functional``: nothing here checks a shape.
"""

cimport cython
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.math cimport rint
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from rnnx._leaf cimport *

import functools
import os

import numpy as np

from rnnx._interface import check_interface

cnp.import_array()
check_interface(3, __file__)

ACTIVATIONS = {
    "linear": RX_LINEAR, "tanh": RX_TANH, "sigmoid": RX_SIGMOID, "relu": RX_RELU,
    "hard_sigmoid": RX_HARD_SIGMOID, "hard_sigmoid_keras2": RX_HARD_SIGMOID_KERAS2,
    "elu": RX_ELU, "softsign": RX_SOFTSIGN, "leaky_relu": RX_LEAKY_RELU, "relu6": RX_RELU6,
}
CELLS = {"lstm": RX_LSTM, "gru_after": RX_GRU_AFTER, "gru_before": RX_GRU_BEFORE, "simple_rnn": RX_SIMPLE_RNN}

cdef enum:
    CHUNK_ROWS = 96        # packed rows whose input projection is made at once: it stays in L2
    SMALL_PRODUCTS = 8192    # multiplications that take less time than a call of BLAS
    FEWEST_COLUMNS = 8       # fewer take as long as so many
    PRODUCTS_WORTH_THE_LOCK = 200000  # multiplications; giving up the interpreter's lock for fewer costs more
    ELEMENTS_WORTH_THE_LOCK = 32768   # elements of a weight to be copied or updated; likewise
    MOST_BYTES_ASKED_FOR = 512  # of a row, before it is needed
    BLOCK_BYTES = 400 << 10  # gates of the rows that go through all steps before the next rows do: they stay in L2
    MIN_ROWS_OF_BLOCK = 48   # fewer would read the weights too often; where so many do not fit,
    ROWS_OF_WIDE_BLOCK = 192 # the weights are beyond L3 as well, and more rows are to share what is read
    PRODUCTS_BETWEEN_SIGNALS = 2000000000  # multiplications after which a call looks for Ctrl-C: some 50 ms
    PRODUCTS_OF_A_ROW = 2000 # what a step of a row costs besides, in multiplications
    SHORT_ROWS = 2         # panels that rows of a left operand fill at most to stay as they are, and all of a chunk in L1
    FEWEST_ROWS_ACROSS = 512 # packed rows for which gradients under masks for each gate are made transposed
    MIN_ROWS_TO_PACK = 16  # packed rows for which a shared mask gets panels of its own
    PRODUCTS_WORTH_A_THREAD = 5000000  # multiplications of a step of rows; for fewer a helper wakes up too late
    FEWEST_ROWS_OF_PART = 8  # rows of the batch below which another thread does not pay

MAX_THREADS = RX_MAX_PARTS
MIN_ROWS_OF_PART = FEWEST_ROWS_OF_PART


# ---- What a call is -------------------------------------------------------------------------------------------------

cdef struct Mask:
    # A dropout mask over (gates, batch, timesteps, width), never expanded: axes of size one have stride 0.
    const char *data
    Py_ssize_t gates, sg, sb, st, sf


cdef struct MaskRows:
    # A mask of one gate as dense rows of the current step; refilled each step only if it varies in time.
    Mask *mask
    Py_ssize_t gate
    char *rows


cdef struct Kept:
    # A mask that is one for all rows and steps: for each gate the columns that it keeps and its values there. Only the
    # kernel rows of these columns are packed, and by their mask: the others are neither multiplied nor differentiated.
    Py_ssize_t gates             # 0: no such mask
    const int *index[RX_MAX_GATES]
    const char *scale[RX_MAX_GATES]
    Py_ssize_t count[RX_MAX_GATES]


cdef struct Job:
    const rx_leaf *leaf
    int cell, activation, recurrent_activation
    Py_ssize_t B, T, S, F, H, U, G, first, ld, ldg, total, block_rows
    Py_ssize_t D                 # units that a panel of the recurrent kernel meets, from starts[panel] on; NULL: all
    const Py_ssize_t *starts
    Py_ssize_t size, row, gate_row  # bytes of an element, of a row of a state or mask, and of the gates of a row
    Py_ssize_t ldr               # 8-bit weights: length of the rows that operands are rounded to
    int planes                   # of panels, and how many weights lie between two of them
    Py_ssize_t plane_x, plane_h
    bint backwards, keep, masked_blend
    bint packed                  # x, outputs and their gradients have the packed rows as their first axis
    const Py_ssize_t *order      # NULL: rows as they come
    const Py_ssize_t *counts     # NULL: B rows at every step
    const Py_ssize_t *offsets
    const Py_ssize_t *times
    const Py_ssize_t *reset_rows     # NULL: no row starts from zero on the way
    const Py_ssize_t *reset_offsets  # which of them are of a step
    char *reset_cells                # what was in their cells, for the gradients of the step before; NULL: not kept
    const char *x
    Py_ssize_t sxb, sxt, sxf
    const char *table            # rows of x W + b, one for each id; NULL: x is projected
    Py_ssize_t table_rows
    const char *ids              # instead of x: which row each step has
    Py_ssize_t sib, sit
    const char *wx
    const char *wh
    const char *bias_x
    const char *bias_q
    const char *peepholes        # NULL: none
    double clip
    bint coupled
    char *gates
    char *h
    char *c
    char *operands               # masked copies of h, one per recurrent gate
    Kept x_kept, h_kept
    Mask inputs, state, update, zone_h, zone_c
    MaskRows state_rows[RX_MAX_GATES]
    MaskRows update_rows, zone_h_rows, zone_c_rows
    bint cell_mode
    char *outputs
    Py_ssize_t sob, sot
    char *h_final
    char *c_final
    unsigned long caller         # the thread of the call, which is the one that signals may be for
    const int *stop              # what another thread says; NULL: nobody does
    bint stopped                 # by a signal or that: no part begins another chunk


cdef struct Part:
    # The rows lo <= r < hi of every step, and memory for whoever works on them.
    const Job *job
    Py_ssize_t lo, hi
    char *x_rows                 # packed rows of x for one chunk
    char *gates                  # gates of one chunk, where they are not kept
    char *rounded                # 8-bit weights: room for rounded rows of a chunk, or of a step for all gates


include "engine/threading.pxi"
include "engine/memory.pxi"
include "engine/packed.pxi"
include "engine/plan.pxi"
include "engine/masks.pxi"


cdef void start_step(const Part *part, rx_step *step) noexcept nogil:
    # What all steps of a part have in common.
    cdef const Job *job = part.job
    memset(step, 0, sizeof(rx_step))
    step.H, step.U, step.ld, step.ldg, step.ldo = job.H, job.U, job.ld, job.ldg, job.ldr or job.ld
    step.D, step.starts = job.D, <const ptrdiff_t *>job.starts
    step.planes, step.plane, step.plane_x = job.planes, job.plane_h, job.plane_x
    step.activation, step.recurrent_activation = job.activation, job.recurrent_activation
    step.round_rows = job.leaf.round_rows
    step.peepholes, step.clip, step.coupled = job.peepholes, job.clip, job.coupled
    step.options = job.peepholes != NULL or job.clip > 0 or job.coupled
    give_masks(part, step)


# ---- Rows of x and of the states ----------------------------------------------------------------------------------

cdef inline const char *packed_x(const Part *part, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t gate,
                          Py_ssize_t *ldx) noexcept nogil:
    # The packed rows of x for the steps s0 <= s < s1, times the input mask of a gate, as products take them.
    cdef const Job *job = part.job
    cdef Py_ssize_t s, n = 0
    cdef const char *rows = rows_of_x(part, s0, s1, gate, ldx)
    if job.ldr == 0:
        return rows
    for s in range(s0, s1):
        n += end_at(part, s) - part.lo
    job.leaf.round_rows(n, job.F, rows, ldx[0], part.rounded, job.ldr)
    ldx[0] = job.ldr
    return part.rounded


cdef inline bint in_one_run(const Part *part, Py_ssize_t s0, Py_ssize_t s1) noexcept nogil:
    # Whether the rows of these steps lie at one distance in x, where the rows of the batch come as they are.
    cdef const Job *job = part.job
    if job.packed:
        return not job.backwards and (s1 - s0 == 1 or part.lo == 0 and part.hi >= rows_at(job, s0))
    return s1 - s0 == 1 or job.B == 1 and not job.backwards


cdef const char *rows_of_x(const Part *part, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t gate,
                           Py_ssize_t *ldx) noexcept nogil:
    # Those rows before they are rounded; x itself where that serves.
    cdef const Job *job = part.job
    cdef Py_ssize_t s, r, b, t
    cdef const char *source
    cdef char *out = part.x_rows
    if job.inputs.gates == 0 and job.sxf == job.size and job.order == NULL and in_one_run(part, s0, s1):
        ldx[0] = (job.sxt if job.B == 1 and not job.packed else job.sxb) // job.size
        return job.x + place_of(job, part.lo, time_of(job, s0, 0), job.sxb, job.sxt)
    ldx[0] = job.F
    for s in range(s0, s1):
        if under_mask_rows(job):
            t, r = time_of(job, s, part.lo), end_at(part, s) - part.lo
            job.leaf.multiply_add(r, job.F, job.x + part.lo * job.sxb + t * job.sxt, job.sxb // job.size,
                                  mask_row(&job.inputs, gate, part.lo, t), job.inputs.sb // job.size, True, out, job.F)
            out += r * job.F * job.size
            continue
        for r in range(part.lo, end_at(part, s)):
            b = batch_of(job, r)
            t = time_of(job, s, r)
            source = job.x + place_of(job, b, t, job.sxb, job.sxt)
            if job.sxf != job.size or job.inputs.gates == 0:
                job.leaf.gather(job.F, source, job.sxf, out)
                source = out
            if job.inputs.gates:
                job.leaf.multiply(job.F, source, mask_row(&job.inputs, gate, b, t), job.inputs.sf, out)
            out += job.F * job.size
    return part.x_rows


cdef inline char *state_block(const Job *job, char *states, Py_ssize_t s) noexcept nogil:
    # The block of rows after step s; s = -1 is the initial state. Without a cache two blocks take turns.
    if not job.keep:
        return states + ((s + 1) % 2) * job.B * job.row
    return states + (0 if s < 0 else job.B + offset_of(job, s)) * job.row


cdef inline void expect_row(const char *row, Py_ssize_t size, bint write) noexcept nogil:
    # Ask for a row that lies alone, which no prefetcher of the processor expects: what follows it, they see.
    cdef const char *end = row + min(size, <Py_ssize_t>MOST_BYTES_ASKED_FOR)
    while row < end:
        if write:
            RX_PREFETCH(row)
        else:
            RX_PREFETCH_READ(row)
        row += RX_ALIGNMENT


cdef inline void expect_rows(const Part *part, Py_ssize_t s, Py_ssize_t n, const char *rows, Py_ssize_t sb,
                             Py_ssize_t st, Py_ssize_t size, bint in_order, bint write) noexcept nogil:
    # The first n rows of a step, of outputs (`in_order` of the steps) or x, where they come as they are; those of a
    # single one lie side by side.
    cdef const Job *job = part.job
    cdef const char *row
    cdef Py_ssize_t r
    if job.order != NULL or job.packed or job.B == 1:
        return
    row = rows + part.lo * sb + (s if in_order else time_of(job, s, part.lo)) * st
    for r in range(n):
        expect_row(row, size, write)
        row += sb


cdef inline void finish_rows(const Job *job, Py_ssize_t s, Py_ssize_t r0, Py_ssize_t r1) noexcept nogil:
    # The rows r0 <= r < r1 end after step s: hand out their states.
    cdef Py_ssize_t r, size = job.H * job.size
    for r in range(r0, r1):
        if job.h_final != NULL:
            memcpy(job.h_final + batch_of(job, r) * size, state_block(job, job.h, s) + r * job.row, size)
        if job.c_final != NULL:
            memcpy(job.c_final + batch_of(job, r) * size, state_block(job, job.c, s) + r * job.row, size)


# ---- Forward ------------------------------------------------------------------------------------------------------

cdef inline Py_ssize_t gate_of_slot(const Job *job, Py_ssize_t slot) noexcept nogil:
    # GRU slots hold h z r of the gates z r h; the other cells hold the gates in order.
    if job.cell == RX_GRU_AFTER or job.cell == RX_GRU_BEFORE:
        return (slot + 2) % 3
    return slot


cdef void project_rows(const Job *job, const char *rows, Py_ssize_t n, Py_ssize_t ldx, int first, int count,
                       char *gates) noexcept nogil:
    # gates = rows W + b for n rows and `count` slots.
    cdef Py_ssize_t panel = depth_of(job.leaf, job.F) * job.leaf.nr, depth = job.F, block, gate, column
    cdef const int *index = NULL
    cdef int slot
    cdef const void *A[RX_MAX_GATES]
    cdef const void *init[RX_MAX_GATES]
    cdef void *C[RX_MAX_GATES]
    cdef rx_product what
    if job.x_kept.gates:
        gate = gate_of_slot(job, first) if job.x_kept.gates > 1 else 0
        index, depth = job.x_kept.index[gate], job.x_kept.count[gate]
    what.n, what.K, what.count, what.index, what.lda, what.mask = n, depth, count, index, ldx, NULL
    what.first = 0
    what.panel, what.planes, what.plane = panel, job.planes, job.plane_x
    what.A, what.init, what.ldi, what.C, what.ldc = A, init, 0, C, job.ldg
    for slot in range(count):
        A[slot] = rows
    for block in range(job.U // job.leaf.nr):
        for slot in range(count):
            column = ((first + slot) * job.U + block * job.leaf.nr) * job.size
            C[slot], init[slot] = gates + column, job.bias_x + column
        what.B = job.wx + (block * job.G + first) * panel * job.leaf.weightsize
        job.leaf.product(&what)


cdef void look_up(const Part *part, Py_ssize_t s0, Py_ssize_t s1, char *gates) noexcept nogil:
    # gates[:, :G*U] = the rows of the table for the packed rows of the steps s0 <= s < s1.
    cdef const Job *job = part.job
    cdef Py_ssize_t s, r, row, size = job.G * job.U * job.size
    for s in range(s0, s1):
        for r in range(part.lo, end_at(part, s)):
            row = (<const Py_ssize_t *>(job.ids + batch_of(job, r) * job.sib + time_of(job, s, r) * job.sit))[0]
            if row < 0 or row >= job.table_rows:  # an array that another thread has changed since it was checked
                row = 0
            memcpy(gates, job.table + row * size, size)
            gates += job.gate_row


cdef inline void project(const Part *part, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t n, char *gates) noexcept nogil:
    # gates[:, :G*U] = (x * mask) W + b for the n packed rows of the steps s0 <= s < s1; one gate after the other where
    # their masks differ.
    cdef const Job *job = part.job
    cdef Py_ssize_t ldx, s, m, done
    cdef int first = 0, count = <int>job.G if max(job.inputs.gates, job.x_kept.gates) <= 1 else 1
    cdef bint adjacent = not job.keep or (part.lo == 0 and part.hi == job.B)
    cdef const char *rows
    if job.table != NULL:
        look_up(part, s0, s1, gates)
        return
    while first < job.G:
        if first == 0 or job.inputs.gates > 1:
            rows = packed_x(part, s0, s1, gate_of_slot(job, first) if job.inputs.gates > 1 else 0, &ldx)
        if adjacent:
            project_rows(job, rows, n, ldx, first, count, gates)
        else:
            done = 0
            for s in range(s0, s1):
                m = end_at(part, s) - part.lo
                project_rows(job, rows + done * ldx * job.size, m, ldx, first, count,
                             gates + (offset_of(job, s) - offset_of(job, s0)) * job.gate_row)
                done += m
        first += count


cdef inline void operands_of(const Part *part, const char *h_prev, Py_ssize_t n, rx_step *step) noexcept nogil:
    # What each recurrent gate multiplies: the state, or the state under that gate's mask.
    cdef const Job *job = part.job
    cdef Py_ssize_t g
    cdef char *masked = job.operands + part.lo * job.row
    if job.state.gates:
        job.leaf.multiply_each(n * job.ld, <int>job.state.gates, h_prev, own_rows(part, &job.state_rows[0]),
                               job.B * job.ld, masked, job.B * job.ld)
    for g in range(job.G):
        step.operand[g] = h_prev
        if job.state.gates:
            step.operand[g] = masked + (g if job.state.gates > 1 else 0) * job.B * job.row
    if job.ldr:
        round_operands(part, n, step)


cdef void round_operands(const Part *part, Py_ssize_t n, rx_step *step) noexcept nogil:
    # The operands of 8-bit weights, one after the other. The last of a reset-before GRU is made during the step.
    cdef const Job *job = part.job
    cdef const void *made = NULL
    cdef Py_ssize_t g, size = n * job.ldr * job.size
    step.rounded = part.rounded
    for g in range(job.G - 1 if job.cell == RX_GRU_BEFORE else job.G):
        if step.operand[g] != made:
            made = step.operand[g]
            step.rounded = <char *>step.rounded + size
            job.leaf.round_rows(n, job.H, made, job.ld, step.rounded, job.ldr)
        step.operand[g] = step.rounded
    step.rounded = part.rounded


cdef void start_rows(const Part *part, Py_ssize_t s) noexcept nogil:
    # The state before step s is zero in the rows that start there.
    cdef const Job *job = part.job
    cdef Py_ssize_t k, r
    cdef char *c
    for k in range(job.reset_offsets[s], job.reset_offsets[s + 1]):
        r = job.reset_rows[k]
        if r < part.lo or r >= part.hi:
            continue
        memset(state_block(job, job.h, s - 1) + r * job.row, 0, job.row)
        if job.c != NULL:
            c = state_block(job, job.c, s - 1) + r * job.row
            if job.reset_cells != NULL:
                memcpy(job.reset_cells + k * job.row, c, job.row)
            memset(c, 0, job.row)


cdef void forward_part(const Part *part) noexcept nogil:
    cdef const Job *job = part.job
    cdef Py_ssize_t s, s0 = 0, s1, n, chunk, before = part.hi, r, t, size = job.H * job.size, own = part.lo * job.row
    cdef Py_ssize_t work = 0, ahead
    cdef char *gates
    cdef rx_step step
    start_step(part, &step)
    step.packed, step.bias_q = job.wh, job.bias_q
    if job.S:
        fill_masks(part, 0, False)
    while s0 < job.S and end_at(part, s0) > part.lo:
        if is_stopped(job, &work):
            return
        s1 = chunk_end(part, s0, CHUNK_ROWS, &chunk)
        work += chunk * products_of_row(job)
        gates = part.gates
        if job.keep:
            gates = job.gates + (offset_of(job, s0) + part.lo) * job.gate_row
        project(part, s0, s1, chunk, gates)
        for s in range(s0, s1):
            n = end_at(part, s) - part.lo
            ahead = s + s1 - s0  # of the next chunk
            if ahead < job.S and job.table == NULL:
                expect_rows(part, ahead, n, job.x, job.sxb, job.sxt, job.F * job.sxf, False, False)
            if s + 1 < job.S and job.outputs != NULL:
                expect_rows(part, s + 1, n, job.outputs, job.sob, job.sot, size, True, True)
            finish_rows(job, s - 1, part.lo + n, before)
            before = part.lo + n
            if job.reset_rows != NULL:
                start_rows(part, s)
            fill_masks(part, s, True)
            step.n, step.gates, step.downwards = n, gates, s % 2
            step.h_prev = state_block(job, job.h, s - 1) + own
            step.h = state_block(job, job.h, s) + own
            if job.c != NULL:
                step.c_prev = state_block(job, job.c, s - 1) + own
                step.c = state_block(job, job.c, s) + own
            operands_of(part, <const char *>step.h_prev, n, &step)
            job.leaf.forward[job.cell](&step)
            gates += (rows_at(job, s) if job.keep else n) * job.gate_row
            if job.outputs != NULL:
                for r in range(part.lo, part.lo + n):
                    t = position_of(job, time_of(job, s, r))
                    memcpy(job.outputs + place_of(job, batch_of(job, r), t, job.sob, job.sot),
                           <char *>step.h + (r - part.lo) * job.row, size)
        s0 = s1
    finish_rows(job, s0 - 1, part.lo, before)


cdef void fill_masked(char *outputs, Py_ssize_t sob, Py_ssize_t sot, const unsigned char *valid, Py_ssize_t B,
                      Py_ssize_t T, Py_ssize_t size, bint zero) noexcept nogil:
    # Masked positions repeat the output before them; zeros where a sequence begins, or everywhere on demand.
    cdef Py_ssize_t b, p
    cdef char *row
    for b in range(B):
        for p in range(T):
            if valid[b * T + p] == 1:
                continue
            row = outputs + b * sob + p * sot
            if zero or p == 0 or valid[b * T + p]:
                memset(row, 0, size)
            else:
                memcpy(row, row - sot, size)


include "engine/backward.pxi"
include "engine/calls.pxi"
include "engine/dense.pxi"
include "engine/bytes.pxi"
include "engine/stream.pxi"
include "engine/rows.pxi"
include "engine/noise.pxi"
include "engine/updates.pxi"
