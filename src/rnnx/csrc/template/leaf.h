/* One leaf set: the text that is compiled for every instruction set, element type and kind of weights.
 * Expects ISA, VEC_HEADER, DOUBLE (0: float, 1: double) and WEIGHTS (RX_FULL, RX_BF16, RX_INT8, RX_INT8X16). */
#if DOUBLE
#define REAL double
#else
#define REAL float
#endif
#if WEIGHTS == RX_BF16
#define TYPE bf16
#define WEIGHT unsigned short
#elif WEIGHTS == RX_INT8
#define TYPE int8
#define WEIGHT signed char
#elif WEIGHTS == RX_INT8X16
#define TYPE int8x16
#define WEIGHT signed char
#elif DOUBLE
#define TYPE f64
#define WEIGHT REAL
#else
#define TYPE f32
#define WEIGHT REAL
#endif
#define NAME(stem) RX_JOIN(stem, ISA, TYPE)

/* Four bytes of operands at a time are broadcast to a vector. */
static inline int NAME(four_bytes)(const REAL *p) {
    int bytes;
    memcpy(&bytes, p, sizeof bytes);
    return bytes;
}

#define SCALED (WEIGHTS == RX_INT8 || WEIGHTS == RX_INT8X16)
#include VEC_HEADER

/* What the tiles sum up: products of weights, GROUP rows of them at a time, and of operands, which are broadcast to
 * a vector; SUMS vectors make a sum. */
#if SCALED /* rows of operands and columns of weights have scales; sums are integers */
#define OPERANDSIZE (WEIGHTS == RX_INT8 ? 1 : 2)
#else
#define GROUP 1
#define SUMS 1
#define OPERANDSIZE 0
#define vsum vec
#define vweight vec
#define voperand vec
#define vsum_zero() vset(0)
#define vbroadcast(p) vset(*(p))
#ifndef vmac
#define vmac(x, w, sum) vfma(x, w, sum)
#endif
#endif
#if WEIGHTS == RX_BF16
#define vweights_0(p) vbf16_low(p)
#define vweights_1(p) vbf16_high(p)
#elif SCALED
#define vweights_0(p) vweights(p)
#define vweights_1(p) vweights((p) + GROUP * WIDTH)
#else
#define vweights_0(p) vload(p)
#define vweights_1(p) vload((p) + WIDTH)
#endif
#define SCALE_ROWS (SCALED ? 2 * (int)sizeof(REAL) : 0)
#define DEPTH(K) (SCALE_ROWS + ((K) + GROUP - 1) / GROUP * GROUP) /* rows of a panel for K rows of weights */
#define GRADIENTS (WEIGHTS == RX_FULL) /* narrow weights are for inference */
#ifdef BYTE_OPERANDS
#define WHOLE_NUMBERS (WEIGHTS == RX_INT8)
#else
#define WHOLE_NUMBERS SCALED
#endif
#if WHOLE_NUMBERS
#define FOR_WHOLE_NUMBERS(stem) NAME(stem)
#else
#define FOR_WHOLE_NUMBERS(stem) NULL
#endif
#if GRADIENTS
#define FOR_GRADIENTS(stem) NAME(stem)
#else
#define FOR_GRADIENTS(stem) NULL
#endif

#define NR (2 * WIDTH)
#define MR (TALL_TILES ? 12 : 6)
#define KC (16384 / (int)sizeof(REAL) / NR) /* a panel of so many rows is half of L1 */

#include "template/activation.h"
#include "template/pack.h"
#include "template/tile.h"

/* Elements `stride` bytes apart, side by side. */
static void NAME(gather)(ptrdiff_t count, const void *from, ptrdiff_t stride, void *out) {
    REAL *y = out;
    if (stride == (ptrdiff_t)sizeof(REAL)) {
        memcpy(out, from, count * sizeof(REAL));
        return;
    }
    for (ptrdiff_t j = 0; j < count; ++j) y[j] = *(const REAL *)((const char *)from + j * stride);
}

/* sum[index[j]] += a[j] in each row */
static void NAME(scatter_add)(ptrdiff_t n, ptrdiff_t count, const void *a, ptrdiff_t lda, const int *index, void *sum,
                              ptrdiff_t lds) {
    const REAL *x = a;
    REAL *y = sum;
#ifdef vbits
    for (ptrdiff_t done = 0; n > 1 && done < count;) {
        struct NAME(choice) choice;
        const ptrdiff_t next = NAME(choose_columns)(&choice, index, done, count);
        for (ptrdiff_t r = 0; r < n; ++r)
            for (int v = 0; v < choice.vectors; ++v) {
                REAL *to = y + r * lds + choice.column[v];
                const vec sums = vload_some(choice.bits[v], to);
                const vec some = vload_some(choice.first[v], x + r * lda + choice.place[v]);
                vstore_some(choice.bits[v], to, vadd(sums, vexpand(choice.bits[v], some)));
            }
        done = next;
    }
    if (n > 1) return;
#endif
    for (ptrdiff_t r = 0; r < n; ++r)
        for (ptrdiff_t j = 0; j < count; ++j) y[r * lds + index[j]] += x[r * lda + j];
}

static void NAME(multiply)(ptrdiff_t count, const void *a, const void *b, ptrdiff_t stride, void *out) {
    const REAL *x = a, *m = b;
    REAL *y = out;
    ptrdiff_t j = 0;
    if (stride == (ptrdiff_t)sizeof(REAL)) {
        for (; j + WIDTH <= count; j += WIDTH) vstore(y + j, vmul(vload(x + j), vload(m + j)));
        for (; j < count; ++j) y[j] = x[j] * m[j];
        return;
    }
    for (; j < count; ++j) y[j] = x[j] * *(const REAL *)((const char *)b + j * stride);
}

INLINE void NAME(multiply_times)(ptrdiff_t count, const int times, const REAL *x, const REAL *m, ptrdiff_t ldm, REAL *y,
                                 ptrdiff_t ldy) {
    ptrdiff_t j = 0;
    for (; j + WIDTH <= count; j += WIDTH) {
        const vec a = vload(x + j);
        UNROLLED for (int t = 0; t < times; ++t) vstore(y + t * ldy + j, vmul(a, vload(m + t * ldm + j)));
    }
    for (; j < count; ++j)
        for (int t = 0; t < times; ++t) y[t * ldy + j] = x[j] * m[t * ldm + j];
}

static void NAME(multiply_each)(ptrdiff_t count, int times, const void *a, const void *b, ptrdiff_t ldb, void *out,
                                ptrdiff_t ldo) {
    switch (times) {
    case 4: NAME(multiply_times)(count, 4, a, b, ldb, out, ldo); break;
    case 3: NAME(multiply_times)(count, 3, a, b, ldb, out, ldo); break;
    default: NAME(multiply_times)(count, times, a, b, ldb, out, ldo);
    }
}

INLINE void NAME(multiply_rows)(ptrdiff_t n, ptrdiff_t count, const REAL *x, ptrdiff_t ldx, const REAL *m, ptrdiff_t ldm,
                                int first, REAL *y, ptrdiff_t ldy) {
    for (ptrdiff_t r = 0; r < n; ++r, x += ldx, m += ldm, y += ldy) {
        ptrdiff_t j = 0;
        for (; j + 2 * WIDTH <= count; j += 2 * WIDTH)
            UNROLLED for (int w = 0; w < 2 * WIDTH; w += WIDTH) {
                const vec a = vload(x + j + w), b = vload(m + j + w);
                vstore(y + j + w, first ? vmul(a, b) : vfma(a, b, vload(y + j + w)));
            }
        for (; j + WIDTH <= count; j += WIDTH) {
            const vec a = vload(x + j), b = vload(m + j);
            vstore(y + j, first ? vmul(a, b) : vfma(a, b, vload(y + j)));
        }
        for (; j < count; ++j) y[j] = first ? x[j] * m[j] : y[j] + x[j] * m[j];
    }
}

static void NAME(multiply_add)(ptrdiff_t n, ptrdiff_t count, const void *a, ptrdiff_t lda, const void *b, ptrdiff_t ldb,
                               int first, void *sum, ptrdiff_t lds) {
    if (first) NAME(multiply_rows)(n, count, a, lda, b, ldb, 1, sum, lds);
    else NAME(multiply_rows)(n, count, a, lda, b, ldb, 0, sum, lds);
}

static void NAME(add)(ptrdiff_t count, const void *a, void *sum) {
    const REAL *x = a;
    REAL *y = sum;
    ptrdiff_t j = 0;
    for (; j + WIDTH <= count; j += WIDTH) vstore(y + j, vadd(vload(y + j), vload(x + j)));
    for (; j < count; ++j) y[j] += x[j];
}

#include "template/cell.h"
#if WHOLE_NUMBERS
#include "template/whole.h"
#endif

/* `whole` vectors of an activation that is known when this is compiled, or of any. */
INLINE void NAME(activate_vectors)(ptrdiff_t whole, int activation, int known, const REAL *x, REAL *y) {
    for (ptrdiff_t j = 0; j < whole * WIDTH; j += WIDTH) {
        const vec in = vload(x + j);
        vstore(y + j, !known ? NAME(act)(activation, in) : activation == RX_TANH ? NAME(tanh)(in) : NAME(sigmoid)(in));
    }
}

static void NAME(activate)(ptrdiff_t count, int activation, const void *x, void *y) {
    const ptrdiff_t whole = count / WIDTH, rest = count % WIDTH;
    REAL tail[WIDTH] = {0};
    if (activation == RX_TANH) NAME(activate_vectors)(whole, RX_TANH, 1, x, y);
    else if (activation == RX_SIGMOID) NAME(activate_vectors)(whole, RX_SIGMOID, 1, x, y);
    else NAME(activate_vectors)(whole, activation, 0, x, y);
    if (!rest) return;
    memcpy(tail, (const REAL *)x + whole * WIDTH, rest * sizeof(REAL));
    vstore(tail, NAME(act)(activation, vload(tail)));
    memcpy((REAL *)y + whole * WIDTH, tail, rest * sizeof(REAL));
}

#if GRADIENTS
/* Words of 64 bits go to lanes in turn, which a compiler turns into vectors. A lane is a one-to-one function of each of
 * its words, and depends on their order. */
static uint64_t NAME(fingerprint)(uint64_t seed, ptrdiff_t bytes, const void *data) {
    enum { LANES = 32 };
    const uint64_t odd = 0x9FB21C651E98DF25u;
    const unsigned char *p = data;
    uint64_t lane[LANES], word = 0, mixed = seed ^ (uint64_t)bytes * 0x9E3779B97F4A7C15u;
    ptrdiff_t done = 0;
    if (bytes >= (ptrdiff_t)sizeof lane) {
        for (int j = 0; j < LANES; ++j) lane[j] = 0x9E3779B97F4A7C15u * (uint64_t)(2 * j + 1);
        for (; done + (ptrdiff_t)sizeof lane <= bytes; done += sizeof lane)
            for (int j = 0; j < LANES; ++j) {
                uint64_t x;
                memcpy(&x, p + done + 8 * j, 8);
                x ^= lane[j];
                lane[j] = (x << 27 | x >> 37) * odd;
            }
        for (int j = 0; j < LANES; ++j) {
            mixed = (mixed << 23 | mixed >> 41) ^ lane[j];
            mixed = (mixed ^ mixed >> 32) * odd;
        }
    }
    for (; done < bytes; done += 8) {
        word = 0;
        memcpy(&word, p + done, bytes - done < 8 ? (size_t)(bytes - done) : 8);
        mixed = (mixed << 27 | mixed >> 37) ^ word;
        mixed = (mixed ^ mixed >> 32) * odd;
    }
    return mixed ^ mixed >> 29;
}
#endif

#define LEAF(rounding)                                                                                     \
    {                                                                                                      \
        .mr = MR, .nr = NR, .kc = KC, .itemsize = (int)sizeof(REAL), .weightsize = (int)sizeof(WEIGHT),    \
        .scale_rows = SCALE_ROWS, .group = GROUP, .operandsize = OPERANDSIZE, .pack_b = NAME(pack_b),      \
        .pack_b_transposed = FOR_GRADIENTS(pack_b_transposed),                                             \
        .product = NAME(product), .masked_product = FOR_GRADIENTS(masked_product),                         \
        .half_product = FOR_GRADIENTS(half_product),                                                       \
        .round_rows = rounding, .pack_a = FOR_GRADIENTS(pack_a), .choose = FOR_GRADIENTS(choose),          \
        .mask_panel = FOR_GRADIENTS(mask_panel), .sum_outer = FOR_GRADIENTS(sum_outer),                    \
        .sum_columns = FOR_GRADIENTS(sum_columns), .multiply_each = NAME(multiply_each),                   \
        .forward = {NAME(lstm_forward), NAME(gru_after_forward), NAME(gru_before_forward),                 \
                    NAME(rnn_forward)},                                                                    \
        .backward = {FOR_GRADIENTS(lstm_backward), FOR_GRADIENTS(gru_after_backward),                      \
                     FOR_GRADIENTS(gru_before_backward), FOR_GRADIENTS(rnn_backward)},                     \
        .gather = NAME(gather), .scatter_add = NAME(scatter_add), .multiply = NAME(multiply),              \
        .multiply_add = NAME(multiply_add), .add = NAME(add), .activate = NAME(activate),                  \
        .fingerprint = FOR_GRADIENTS(fingerprint),                                                         \
        .whole_product = FOR_WHOLE_NUMBERS(whole_product), .finish_sums = FOR_WHOLE_NUMBERS(finish_sums),  \
        .bounds = FOR_WHOLE_NUMBERS(bounds), .to_bytes = FOR_WHOLE_NUMBERS(to_bytes),                      \
        .combine_bytes = FOR_WHOLE_NUMBERS(combine_bytes),                                                 \
    }
#if WEIGHTS == RX_INT8
const rx_leaf RX_JOIN(rx_leaf, ISA, int8) = LEAF(NAME(round_to_8));
#elif WEIGHTS == RX_INT8X16
const rx_leaf RX_JOIN(rx_leaf, ISA, int8x16) = LEAF(NAME(round_to_16));
#ifndef BYTE_OPERANDS /* operands of 8 bits, each in 16 of them */
const rx_leaf RX_JOIN(rx_leaf, ISA, int8) = LEAF(NAME(round_to_8));
#endif
#else
const rx_leaf RX_JOIN(rx_leaf, ISA, TYPE) = LEAF(NULL);
#endif
#undef LEAF

#undef FOR_GRADIENTS
#undef FOR_WHOLE_NUMBERS
#undef WHOLE_NUMBERS
#undef vsum
#undef vweight
#undef voperand
#undef vsum_zero
#undef vbroadcast
#undef vmac
#undef vweights
#undef vwhole
#undef vfloats
#undef vload_whole
#undef vstore_whole
#undef vseparate
#undef GROUP
#undef SUMS
#undef OPERAND_BIAS
#undef OPERANDSIZE
#undef DEPTH
#undef vweights_0
#undef vweights_1
#undef vbf16_low
#undef vbf16_high
#undef WEIGHT
#undef SCALED
#undef SCALE_ROWS
#undef NR
#undef MR
#undef KC
#undef GRADIENTS
#undef TALL_TILES
#undef BITS
#undef MANTISSA
#undef BIAS
#undef MAGIC
#undef WIDTH
#undef vec
#undef vload
#undef vstore
#undef vset
#undef vadd
#undef vsub
#undef vmul
#undef vdiv
#undef vfma
#undef vfnma
#undef vmin
#undef vmax
#undef vabs
#undef vsign
#undef vpow2
#undef vless
#undef vselect
#undef NAME
#undef vbits
#undef vcompress
#undef vexpand
#undef vload_some
#undef vstore_some
#undef TYPE
#undef REAL
