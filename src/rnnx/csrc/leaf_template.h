/* One leaf set: the text that is compiled for every pair of instruction set and element type.
 * Expects ISA, ISA_NAME, VEC_HEADER and DOUBLE (0: float, 1: double). */
#if DOUBLE
#define REAL double
#define TYPE f64
#else
#define REAL float
#define TYPE f32
#endif
#define NAME(stem) RX_JOIN(stem, ISA, TYPE)

#include VEC_HEADER

#define PANEL (2 * WIDTH)
#define STRIP (TALL_TILES ? 12 : 6)
#define SUM_ROWS (16384 / (int)sizeof(REAL) / PANEL) /* a panel of them is half of L1 */

#if defined(_MSC_VER)
#define INLINE static __forceinline
#else
#define INLINE static inline __attribute__((always_inline))
#endif

#include "activation_template.h"
#include "pack_template.h"
#include "tile_template.h"
#include "cell_template.h"

static void NAME(multiply)(ptrdiff_t count, const void *a, const void *b, void *out) {
    const REAL *x = a, *m = b;
    REAL *y = out;
    ptrdiff_t j = 0;
    for (; j + WIDTH <= count; j += WIDTH) vstore(y + j, vmul(vload(x + j), vload(m + j)));
    for (; j < count; ++j) y[j] = x[j] * m[j];
}

static void NAME(add)(ptrdiff_t count, const void *a, void *sum) {
    const REAL *x = a;
    REAL *y = sum;
    ptrdiff_t j = 0;
    for (; j + WIDTH <= count; j += WIDTH) vstore(y + j, vadd(vload(y + j), vload(x + j)));
    for (; j < count; ++j) y[j] += x[j];
}

static void NAME(activate)(ptrdiff_t count, int activation, const void *x, void *y) {
    const REAL *in = x;
    REAL *out = y;
    REAL tail[PANEL];
    ptrdiff_t j = 0;
    for (; j + WIDTH <= count; j += WIDTH) vstore(out + j, NAME(act)(activation, vload(in + j)));
    if (j == count) return;
    for (ptrdiff_t k = 0; k < WIDTH; ++k) tail[k] = j + k < count ? in[j + k] : 0;
    vstore(tail, NAME(act)(activation, vload(tail)));
    for (ptrdiff_t k = 0; j + k < count; ++k) out[j + k] = tail[k];
}

const rx_leaf RX_JOIN(rx_leaf, ISA, TYPE) = {
    ISA_NAME,
    PANEL,
    (int)sizeof(REAL),
    STRIP,
    SUM_ROWS,
    NAME(pack),
    NAME(pack_transposed),
    NAME(product),
    NAME(pack_strips),
    NAME(sum_outer),
    {NAME(lstm_forward), NAME(gru_after_forward), NAME(gru_before_forward), NAME(rnn_forward)},
    {NAME(lstm_backward), NAME(gru_after_backward), NAME(gru_before_backward), NAME(rnn_backward)},
    NAME(multiply),
    NAME(add),
    NAME(activate),
};

#undef PANEL
#undef STRIP
#undef SUM_ROWS
#undef TALL_TILES
#undef INLINE
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
#undef TYPE
#undef REAL
