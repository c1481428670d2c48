/* The boundary between the typed Cython drivers and the C leaves.
 *
 * A leaf set is one table of functions for one instruction set and one element type. Every pointer is the
 * caller's; nothing here allocates, locks or fails. Dimension letters: n rows, K depth, H units, U padded units; and
 * those of GotoBLAS and BLIS for products: MR x NR is the tile of sums that the micro-kernel keeps in registers, KC the
 * greatest depth of a sum over many rows.
 *
 * Packed B. A weight matrix is cut into panels of NR columns: a panel holds K rows of NR contiguous elements, so that
 * one broadcast of A meets whole vectors of weights. For inference the elements may be narrower than those of A:
 * bfloat16, the two halves of a row interleaved, or 8-bit integers times a scale for each column; the scales fill
 * `scale_rows` rows in front of the others, these lie `group` rows column by column, and A is rounded to integers of 8
 * or 16 bits before (round_rows). Weights of 16 bits are two planes of such panels, whose products are added: one of the high parts of
 * all weights, and one of what remains. The gates of one block of units follow each other, which lets one pass compute
 * all gates of these units and finish them while they are in L1. */
#ifndef RNNX_LEAF_H
#define RNNX_LEAF_H

#include <stddef.h>
#include <stdint.h>

#define RX_MAX_GATES 4
#define RX_ALIGNMENT 64

/* What the panels hold. */
#define RX_FULL 0 /* elements */
#define RX_BF16 1
#define RX_INT8 2    /* meet operands of 8 bits */
#define RX_INT8X16 3 /* meet operands of 16 bits */

/* Elements of a row of K integer operands of so many bytes, and how many of them come before the operands: the scale,
 * and where operands are bytes without a sign the one that stands for zero. */
#define RX_ROUNDED_HEAD 4
#define RX_ROUNDED_ROW(K, bytes) (RX_ROUNDED_HEAD + ((K) + 15) / 16 * 4 * (bytes))

#if defined(__GNUC__)
#define RX_PREFETCH(p) __builtin_prefetch(p, 1, 2) /* to be written */
#define RX_PREFETCH_READ(p) __builtin_prefetch(p, 0, 2)
#else
#define RX_PREFETCH(p) ((void)(p))
#define RX_PREFETCH_READ(p) ((void)(p))
#endif

enum rx_activation {
    RX_LINEAR, RX_TANH, RX_SIGMOID, RX_RELU, RX_HARD_SIGMOID, RX_HARD_SIGMOID_KERAS2,
    RX_ELU, RX_SOFTSIGN, RX_LEAKY_RELU, RX_RELU6
};

enum rx_cell { RX_LSTM, RX_GRU_AFTER, RX_GRU_BEFORE, RX_SIMPLE_RNN };

/* One time step of one cell, forward or backward, for `n` rows. Rows of every state and mask are `ld` apart,
 * rows of the gate buffer `ldg`; slot s of a row starts at s * U.
 *
 *                slots of the gate buffer              recurrent gates (packed order)
 *   LSTM         i  f  c  o                            i f c o -> slots 0..3
 *   GRU          h  z  r  q                            z r h   -> slots 1..3
 *   SimpleRNN    h                                     h       -> slot 0
 *
 * q is h R_h + b of the reset-after GRU, and r * h (the operand of R_h) of the reset-before GRU.
 * A NULL mask means "no mask". */
typedef struct rx_step {
    ptrdiff_t n, H, U, ld, ldg;
    ptrdiff_t D;                       /* rows of R's panels: H, or fewer where R is block-diagonal; a panel's are then */
    const ptrdiff_t *starts;           /* those of the units from starts[panel] on, also of its transpose; NULL: all */
    const void *operand[RX_MAX_GATES]; /* forward: h of the previous step for each recurrent gate, masked, perhaps */
    ptrdiff_t ldo;                     /* rounded; ldo apart (of reset-before GRUs the last is as it is, ld apart) */
    void *rounded;                     /* room for n rounded rows, where weights have 8 bits, and what rounds them */
    void (*round_rows)(ptrdiff_t n, ptrdiff_t K, const void *A, ptrdiff_t lda, void *rounded, ptrdiff_t ldr);
    const void *packed;                /* forward: panels of R; backward: panels of its transpose */
    int planes;                        /* of the panels of R and W, and how many weights lie between two planes */
    ptrdiff_t plane, plane_x;
    const int *kept[RX_MAX_GATES];     /* units of the operand that a shared mask keeps, for each recurrent gate */
    ptrdiff_t kept_count[RX_MAX_GATES]; /* (NULL: all). Only these rows of R are packed, times their mask. */
    const void *x;                     /* forward: n rows of x, still to be projected; NULL: `gates` has x W + b */
    ptrdiff_t F, ldx;
    const void *packed_x, *bias_x;     /* panels of W; its bias, U elements a slot */
    const void *bias_q;                /* reset-after GRU: recurrent bias of the candidate, U elements */
    void *gates;                       /* forward: x W + b in, activations out; backward: activations in, dG out */
    const void *h_prev, *c_prev;       /* state before the step, unmasked */
    void *h, *c;                       /* state after the step */
    const void *update_mask;           /* dropout of the new content */
    const void *cell_mask;             /* dropout of the whole cell */
    const void *blend_mask;            /* GRU: mask on the state inside the blend (old Keras) */
    const void *zone_h, *zone_c;       /* zoneout: share of the old state that is kept */
    const void *state_mask[RX_MAX_GATES]; /* backward: mask of each recurrent gate's operand; NULL = none */
    void *dh, *dc;                     /* backward: gradient of the state, in place: after the step -> before it */
    void *scratch;                     /* backward: n * ld elements */
    const void *gates_ahead;           /* backward: `gates` of the step that follows; NULL = none */
    const void *peepholes;             /* forward, LSTM: weights of the gates on the cell, U elements a slot (the */
                                       /* candidate's are not used); NULL = none */
    double clip;                       /* forward: bound of what the gates' activations take; 0 = none */
    int coupled;                       /* forward, LSTM: f = 1 - i */
    int options;                       /* whether there is any of these three */
    int activation, recurrent_activation;
    int downwards;                     /* forward: blocks of units from the last to the first */
} rx_step;

/* C[p] = init[p] + A[p] B[p] for `count` panels p of packed B, and all planes of each. */
typedef struct rx_product {
    ptrdiff_t n, K;
    int count;
    const void *const *A;    /* n rows of each panel's operand, lda apart */
    ptrdiff_t lda;
    const int *index;        /* the K columns of A that count; NULL: the first K */
    ptrdiff_t first;         /* 8-bit weights: the operand that the first row of weights meets */
    const void *B;
    ptrdiff_t panel;         /* weights from one panel to the next */
    int planes;
    ptrdiff_t plane;         /* weights from one plane to the next */
    const void *const *init; /* n rows, ldi apart (0: one row for all) */
    ptrdiff_t ldi;
    void *const *C;          /* n rows, ldc apart */
    ptrdiff_t ldc;
    const void *mask;        /* what the sums are multiplied by before they are added; NULL: nothing */
    ptrdiff_t ldm;           /* from one row of the mask to the next */
} rx_product;

/* C (M, panels of NR columns) += A^T B over n rows, at most KC; sums += the columns of B, unless NULL. A lies in strips
 * of MR columns: the element (row r, column m) is `strip` m / MR + m % MR + `lda` r elements from its start. Rows as they
 * are have strips of MR; packed ones lie MR apart. */
typedef struct rx_outer {
    ptrdiff_t n, M, panels;
    const void *A;
    ptrdiff_t lda, strip;
    const void *B;
    ptrdiff_t ldb;
    int goes_on;             /* whether the panel of B behind the last one is wanted next */
    void *C;
    ptrdiff_t ldc;
    void *sums;
} rx_outer;

/* What becomes of integer sums, `columns` of them (at most NR) in each of n rows: less what a row has times what a column
 * has, plus what is added to a column; then as they are, or times the scale of the column, plus a bias, as floats; or
 * those to the nearest bytes. NULL leaves a part out. Arrays of columns have NR elements. */
enum rx_kind { RX_WHOLE, RX_FLOATS, RX_BYTES };
typedef struct rx_finish {
    ptrdiff_t n, columns;
    const int *sums;         /* lds apart */
    ptrdiff_t lds;
    const int *of_rows, *of_columns, *added;
    const float *scale, *bias;
    enum rx_kind kind;
    float low, high;         /* of a byte less `zero` */
    int zero;
    void *out;               /* elements, ldo apart */
    ptrdiff_t ldo;
} rx_finish;

/* out = a * scale_a + b * scale_b + shift, or (a - zero_a)(b - zero_b) * scale_a + shift, of bytes and to the nearest. */
typedef struct rx_combine {
    ptrdiff_t count;
    const void *a, *b;
    int with_sign, product;
    float scale_a, scale_b, shift, low, high;
    int zero_a, zero_b;
    void *out;
} rx_combine;

typedef struct rx_leaf {
    int mr, nr, kc;
    int itemsize;   /* bytes of an element */
    int weightsize; /* bytes of a weight in a panel */
    int scale_rows; /* rows in front of a panel's weights */
    int group;      /* rows of weights that lie together; a panel is filled up with zeros to whole groups */
    int operandsize; /* bytes of an operand that 8-bit weights meet; 0: elements */
    /* Weights, and transposed weights, into panels (see template/pack.h). 8-bit ones are whole numbers already,
     * and come with the scales of their columns. */
    void (*pack_b)(ptrdiff_t K, ptrdiff_t N, const void *W, ptrdiff_t ldw, const int *index, const void *scale,
                   void *panels, ptrdiff_t panel);
    void (*pack_b_transposed)(ptrdiff_t K, ptrdiff_t depth, ptrdiff_t N, const void *W, ptrdiff_t ldw, const int *index,
                              const void *scale, void *panels, ptrdiff_t panel);
    void (*product)(const rx_product *what);        /* without a mask */
    void (*masked_product)(const rx_product *what); /* with one, of full weights: of a single plane */
    void (*half_product)(const rx_product *what);   /* without one, of full weights: NR / 2 columns of each panel */
    /* A (n, K) -> rows of RX_ROUNDED_ROW(K, operandsize) elements or more, ldr apart, which products with 8-bit weights
     * take for A. NULL with other weights. */
    void (*round_rows)(ptrdiff_t n, ptrdiff_t K, const void *A, ptrdiff_t lda, void *rounded, ptrdiff_t ldr);
    /* Sums over rows, for gradients: A packed in strips of MR columns and `rows` rows, and such sums. A may be multiplied
     * by a mask (NULL: none), of rows ldm apart. With an index its columns `index` times `scale` are packed; `choose`
     * puts those side by side in rows instead, which lie `ldo` >= M apart. */
    void (*pack_a)(ptrdiff_t n, ptrdiff_t M, const void *A, ptrdiff_t lda, const int *index, const void *scale,
                   const void *mask, ptrdiff_t ldm, void *strips, ptrdiff_t rows);
    void (*choose)(ptrdiff_t n, ptrdiff_t M, const void *A, ptrdiff_t lda, const int *index, const void *scale,
                   void *out, ptrdiff_t ldo);
    /* A (n, `wide` columns) times a mask, of rows ldm apart, into rows of NR elements, zero behind the last column: a
     * panel of sum_outer's B, which is then read from there. */
    void (*mask_panel)(ptrdiff_t n, ptrdiff_t wide, const void *A, ptrdiff_t lda, const void *mask, ptrdiff_t ldm,
                       void *panel);
    void (*sum_outer)(const rx_outer *what);
    /* sums += the columns of `panels` panels of B, n rows, as sum_outer adds them */
    void (*sum_columns)(ptrdiff_t n, ptrdiff_t panels, const void *B, ptrdiff_t ldb, void *sums);
    void (*forward[4])(const rx_step *step);  /* indexed by enum rx_cell */
    void (*backward[4])(const rx_step *step);
    /* Rows of `count` elements. Strides are in bytes. */
    void (*gather)(ptrdiff_t count, const void *from, ptrdiff_t stride, void *out);
    /* sum[index[j]] += a[j] for rising indices; n rows of them, lda and lds elements apart */
    void (*scatter_add)(ptrdiff_t n, ptrdiff_t count, const void *a, ptrdiff_t lda, const int *index, void *sum,
                        ptrdiff_t lds);
    void (*multiply)(ptrdiff_t count, const void *a, const void *b, ptrdiff_t stride_b, void *out);
    /* out = a * b for `times` rows of b and out, ldb and ldo elements apart */
    void (*multiply_each)(ptrdiff_t count, int times, const void *a, const void *b, ptrdiff_t ldb, void *out,
                          ptrdiff_t ldo);
    /* sum = a * b, or sum += a * b unless `first`; n rows of them, lda, ldb and lds elements apart */
    void (*multiply_add)(ptrdiff_t n, ptrdiff_t count, const void *a, ptrdiff_t lda, const void *b, ptrdiff_t ldb,
                         int first, void *sum, ptrdiff_t lds);
    void (*add)(ptrdiff_t count, const void *a, void *sum); /* sum += a */
    void (*activate)(ptrdiff_t count, int activation, const void *x, void *y);
    /* A number of 64 bits, out of `seed` and so many bytes, that other bytes do not have, but for chance. */
    uint64_t (*fingerprint)(uint64_t seed, ptrdiff_t bytes, const void *data);
    /* Products of bytes and what is around them; NULL but with 8-bit weights and operands (see template/whole.h).
     * Integer sums are modulo 2^32, `init` is not read. */
    void (*whole_product)(const rx_product *what);
    void (*finish_sums)(const rx_finish *what);
    /* The smallest and the largest of 0 and these numbers; what is no number counts as any. */
    void (*bounds)(ptrdiff_t count, const float *x, float *low, float *high);
    /* x / scale rounded to integers, to even on a tie, between low and high (no number: low), plus zero */
    void (*to_bytes)(ptrdiff_t count, const float *x, float scale, float low, float high, int zero, void *out);
    void (*combine_bytes)(const rx_combine *what);
} rx_leaf;

/* The leaf set for an element size (4 or 8) and kind of weights (narrow ones with float elements only, and without the
 * functions for gradients) at an instruction set level ("generic", "avx2", "avx512", "neon"); NULL when this build or
 * this CPU lacks it. */
const rx_leaf *rx_leaf_get(const char *isa, int itemsize, int weights);

#endif
