# The C leaves as Cython sees them; the meaning of every field is in csrc/leaf.h.

from libc.stdint cimport uint64_t

cdef extern from "leaf.h" nogil:
    enum: RX_MAX_GATES, RX_ALIGNMENT, RX_FULL, RX_BF16, RX_INT8, RX_INT8X16, RX_ROUNDED_HEAD
    ptrdiff_t RX_ROUNDED_ROW(ptrdiff_t K, int bytes)
    void RX_PREFETCH(const void *p)
    void RX_PREFETCH_READ(const void *p)
    enum rx_activation:
        RX_LINEAR, RX_TANH, RX_SIGMOID, RX_RELU, RX_HARD_SIGMOID, RX_HARD_SIGMOID_KERAS2
        RX_ELU, RX_SOFTSIGN, RX_LEAKY_RELU, RX_RELU6
    enum rx_cell:
        RX_LSTM, RX_GRU_AFTER, RX_GRU_BEFORE, RX_SIMPLE_RNN
    ctypedef struct rx_step:
        ptrdiff_t n, H, U, ld, ldg, D
        const ptrdiff_t *starts
        const void *operand[RX_MAX_GATES]
        ptrdiff_t ldo
        void *rounded
        void (*round_rows)(ptrdiff_t n, ptrdiff_t K, const void *A, ptrdiff_t lda, void *rounded,
                           ptrdiff_t ldr) noexcept nogil
        const void *packed
        int planes
        ptrdiff_t plane, plane_x
        const int *kept[RX_MAX_GATES]
        ptrdiff_t kept_count[RX_MAX_GATES]
        const void *x
        ptrdiff_t F, ldx
        const void *packed_x
        const void *bias_x
        const void *bias_q
        void *gates
        const void *h_prev
        const void *c_prev
        void *h
        void *c
        const void *update_mask
        const void *cell_mask
        const void *blend_mask
        const void *zone_h
        const void *zone_c
        const void *state_mask[RX_MAX_GATES]
        void *dh
        void *dc
        void *scratch
        const void *gates_ahead
        const void *peepholes
        double clip
        int coupled, options
        int activation, recurrent_activation, downwards
    ctypedef struct rx_product:
        ptrdiff_t n, K
        int count
        const void **A
        ptrdiff_t lda
        const int *index
        ptrdiff_t first
        const void *B
        ptrdiff_t panel
        int planes
        ptrdiff_t plane
        const void **init
        ptrdiff_t ldi
        void **C
        ptrdiff_t ldc
        const void *mask
        ptrdiff_t ldm
    ctypedef struct rx_outer:
        ptrdiff_t n, M, panels
        const void *A
        ptrdiff_t lda, strip
        const void *B
        ptrdiff_t ldb
        int goes_on
        void *C
        ptrdiff_t ldc
        void *sums
    enum rx_kind:
        RX_WHOLE, RX_FLOATS, RX_BYTES
    ctypedef struct rx_finish:
        ptrdiff_t n, columns
        const int *sums
        ptrdiff_t lds
        const int *of_rows
        const int *of_columns
        const int *added
        const float *scale
        const float *bias
        rx_kind kind
        float low, high
        int zero
        void *out
        ptrdiff_t ldo
    ctypedef struct rx_combine:
        ptrdiff_t count
        const void *a
        const void *b
        int with_sign, product
        float scale_a, scale_b, shift, low, high
        int zero_a, zero_b
        void *out
    ctypedef struct rx_leaf:
        int mr, nr, kc
        int itemsize, weightsize
        int scale_rows, group, operandsize
        void (*pack_b)(ptrdiff_t K, ptrdiff_t N, const void *W, ptrdiff_t ldw, const int *index, const void *scale,
                       void *panels, ptrdiff_t panel) noexcept nogil
        void (*pack_b_transposed)(ptrdiff_t K, ptrdiff_t depth, ptrdiff_t N, const void *W, ptrdiff_t ldw,
                                  const int *index, const void *scale, void *panels, ptrdiff_t panel) noexcept nogil
        void (*product)(const rx_product *what) noexcept nogil
        void (*masked_product)(const rx_product *what) noexcept nogil
        void (*half_product)(const rx_product *what) noexcept nogil
        void (*round_rows)(ptrdiff_t n, ptrdiff_t K, const void *A, ptrdiff_t lda, void *rounded,
                           ptrdiff_t ldr) noexcept nogil
        void (*pack_a)(ptrdiff_t n, ptrdiff_t M, const void *A, ptrdiff_t lda, const int *index, const void *scale,
                       const void *mask, ptrdiff_t ldm, void *strips, ptrdiff_t rows) noexcept nogil
        void (*choose)(ptrdiff_t n, ptrdiff_t M, const void *A, ptrdiff_t lda, const int *index, const void *scale,
                       void *out, ptrdiff_t ldo) noexcept nogil
        void (*mask_panel)(ptrdiff_t n, ptrdiff_t wide, const void *A, ptrdiff_t lda, const void *mask, ptrdiff_t ldm,
                           void *panel) noexcept nogil
        void (*sum_outer)(const rx_outer *what) noexcept nogil
        void (*sum_columns)(ptrdiff_t n, ptrdiff_t panels, const void *B, ptrdiff_t ldb, void *sums) noexcept nogil
        void (*forward[4])(const rx_step *step) noexcept nogil
        void (*backward[4])(const rx_step *step) noexcept nogil
        void (*gather)(ptrdiff_t count, const void *source, ptrdiff_t stride, void *out) noexcept nogil
        void (*scatter_add)(ptrdiff_t n, ptrdiff_t count, const void *a, ptrdiff_t lda, const int *index, void *sum,
                            ptrdiff_t lds) noexcept nogil
        void (*multiply)(ptrdiff_t count, const void *a, const void *b, ptrdiff_t stride_b, void *out) noexcept nogil
        void (*multiply_each)(ptrdiff_t count, int times, const void *a, const void *b, ptrdiff_t ldb, void *out,
                              ptrdiff_t ldo) noexcept nogil
        void (*multiply_add)(ptrdiff_t n, ptrdiff_t count, const void *a, ptrdiff_t lda, const void *b, ptrdiff_t ldb,
                             int first, void *sum, ptrdiff_t lds) noexcept nogil
        void (*add)(ptrdiff_t count, const void *a, void *sum) noexcept nogil
        void (*activate)(ptrdiff_t count, int activation, const void *x, void *y) noexcept nogil
        uint64_t (*fingerprint)(uint64_t seed, ptrdiff_t size, const void *data) noexcept nogil
        void (*whole_product)(const rx_product *what) noexcept nogil
        void (*finish_sums)(const rx_finish *what) noexcept nogil
        void (*bounds)(ptrdiff_t count, const float *x, float *low, float *high) noexcept nogil
        void (*to_bytes)(ptrdiff_t count, const float *x, float scale, float low, float high, int zero,
                         void *out) noexcept nogil
        void (*combine_bytes)(const rx_combine *what) noexcept nogil
    const rx_leaf *rx_leaf_get(const char *isa, int itemsize, int weights)


cdef extern from "pool.h" nogil:
    enum: RX_MAX_PARTS
    ctypedef void (*rx_task)(void *context, int part) noexcept nogil
    int rx_pool_enter(int wanted)
    void rx_pool_leave()
    int rx_pool_busy()
    ctypedef void (*rx_region)(void (*body)(void *) noexcept nogil, void *data, unsigned threads,
                               unsigned flags) noexcept nogil
    void rx_pool_lend(rx_region region)
    void rx_pool_run(rx_task task, void *context, int parts)
