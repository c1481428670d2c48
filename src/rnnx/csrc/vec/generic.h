/* The portable vectors: 16 bytes by the vector extensions of GCC and Clang (SSE2, NEON, or whatever the baseline
 * has), one element with any other compiler. vmin(c, x) and vmax(c, x) return x when x is NaN. */
#include <string.h>

#define TALL_TILES 0

#if DOUBLE
#define BITS long long
#define MANTISSA 52
#define BIAS 1023
#else
#define BITS int
#define MANTISSA 23
#define BIAS 127
#endif
#define MAGIC ((REAL)3 * (REAL)((BITS)1 << (MANTISSA - 1))) /* n + MAGIC has the integer n in its low bits */

#if defined(__GNUC__)
#define WIDTH (DOUBLE ? 2 : 4)
typedef REAL NAME(vector) __attribute__((vector_size(16)));
typedef BITS NAME(bits) __attribute__((vector_size(16)));
#define vec NAME(vector)
#define vset(s) ((REAL)(s) - (vec){0})
#define vabs(a) ((vec)((NAME(bits))(a) & ~(NAME(bits))vset(-0.0)))
#define vsign(a, b) ((vec)((NAME(bits))(a) | ((NAME(bits))(b) & (NAME(bits))vset(-0.0))))
#define vless(a, b) ((NAME(bits))((a) < (b)))
static inline vec NAME(select)(NAME(bits) m, vec a, vec b) {
    return (vec)((m & (NAME(bits))a) | (~m & (NAME(bits))b));
}
static inline vec NAME(pow2)(vec shifted) { return (vec)(((NAME(bits))shifted + BIAS) << MANTISSA); }
#else
#define WIDTH 1
#define vec REAL
#define vset(s) ((REAL)(s))
#define vabs(a) ((a) < 0 ? -(a) : (a))
#define vsign(a, b) ((b) < 0 ? -(a) : (a))
#define vless(a, b) ((a) < (b))
static __inline vec NAME(select)(int m, vec a, vec b) { return m ? a : b; }
static __inline vec NAME(pow2)(vec shifted) {
    unsigned BITS bits;
    vec power;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + BIAS) << MANTISSA;
    memcpy(&power, &bits, sizeof bits);
    return power;
}
#endif

static inline vec NAME(load)(const REAL *p) {
    vec a;
    memcpy(&a, p, sizeof a);
    return a;
}
static inline void NAME(store)(REAL *p, vec a) { memcpy(p, &a, sizeof a); }
#if !DOUBLE
static inline vec NAME(from_bf16)(const unsigned short *p) {
    unsigned bits[WIDTH];
    vec a;
    for (int j = 0; j < WIDTH; ++j) bits[j] = (unsigned)p[2 * j] << 16;
    memcpy(&a, bits, sizeof a);
    return a;
}
#endif

#define vload(p) NAME(load)(p)
#define vbf16_low(p) NAME(from_bf16)(p)
#define vbf16_high(p) NAME(from_bf16)((p) + 1)
#define vstore(p, a) NAME(store)(p, a)
#define vadd(a, b) ((a) + (b))
#define vsub(a, b) ((a) - (b))
#define vmul(a, b) ((a) * (b))
#define vdiv(a, b) ((a) / (b))
#define vfma(a, b, c) ((c) + (a) * (b))
#define vfnma(a, b, c) ((c) - (a) * (b))
#define vmin(a, b) NAME(select)(vless(a, b), a, b)
#define vmax(a, b) NAME(select)(vless(b, a), a, b)
#define vselect(m, a, b) NAME(select)(m, a, b)
#define vpow2(shifted) NAME(pow2)(shifted)

#if SCALED
/* Two weights of each column times two 16-bit operands. */
#define GROUP 2
#define OPERAND_BIAS 0
#define SUMS 1
typedef struct {
    unsigned column[WIDTH];
} NAME(sums);
typedef struct {
    short pair[2];
} NAME(operands);
typedef const signed char *NAME(weights);
#define vsum NAME(sums)
#define vweight NAME(weights)
#define voperand NAME(operands)
#define vsum_zero() ((NAME(sums)){{0}})
#define vweights(p) (p)
static inline NAME(operands) NAME(broadcast)(const REAL *p) {
    NAME(operands) two;
    memcpy(&two, p, sizeof two);
    return two;
}
#define vbroadcast(p) NAME(broadcast)(p)
static inline NAME(sums) NAME(add_products)(NAME(operands) x, const signed char *w, NAME(sums) sum) {
    for (int j = 0; j < WIDTH; ++j) sum.column[j] += (unsigned)(x.pair[0] * w[2 * j] + x.pair[1] * w[2 * j + 1]);
    return sum;
}
static inline vec NAME(floats)(NAME(sums) sum) {
    REAL a[WIDTH];
    for (int j = 0; j < WIDTH; ++j) a[j] = (REAL)(int)sum.column[j];
    return NAME(load)(a);
}
static inline NAME(sums) NAME(load_whole)(const int *p) {
    NAME(sums) a;
    memcpy(&a, p, sizeof a);
    return a;
}
static inline void NAME(store_whole)(int *p, NAME(sums) a) { memcpy(p, &a, sizeof a); }
#define vmac(x, w, sum) NAME(add_products)(x, w, sum)
#define vwhole(sum, column_sums, row) ((sum)[0])
#define vfloats(whole) NAME(floats)(whole)
#define vload_whole(p) NAME(load_whole)(p)
#define vstore_whole(p, a) NAME(store_whole)(p, a)
static inline void NAME(store_operands)(void *p, vec shifted) {
    REAL a[WIDTH];
    short *q = p;
    NAME(store)(a, shifted);
    for (int j = 0; j < WIDTH; ++j) q[j] = (short)(a[j] - MAGIC);
}
#endif
