/* Vectors in plain C: an array in a struct, loops of constant length. Same width as AVX2, so that the packed
 * weights and every buffer have one layout on all machines. */
#include <math.h>
#include <string.h>

#if DOUBLE
#define WIDTH 4
#define BITS unsigned long long
#define MANTISSA 52
#define BIAS 1023
#else
#define WIDTH 8
#define BITS unsigned int
#define MANTISSA 23
#define BIAS 127
#endif

typedef struct { REAL lane[WIDTH]; } NAME(vector);
typedef struct { unsigned char lane[WIDTH]; } NAME(choice);

#define LANES(expression)                       \
    NAME(vector) r;                             \
    for (int i = 0; i < WIDTH; ++i) r.lane[i] = (expression); \
    return r
static inline NAME(vector) NAME(load)(const REAL *p) { LANES(p[i]); }
static inline NAME(vector) NAME(set)(REAL s) { LANES(s); }
static inline void NAME(store)(REAL *p, NAME(vector) a) { for (int i = 0; i < WIDTH; ++i) p[i] = a.lane[i]; }
static inline NAME(vector) NAME(add)(NAME(vector) a, NAME(vector) b) { LANES(a.lane[i] + b.lane[i]); }
static inline NAME(vector) NAME(sub)(NAME(vector) a, NAME(vector) b) { LANES(a.lane[i] - b.lane[i]); }
static inline NAME(vector) NAME(mul)(NAME(vector) a, NAME(vector) b) { LANES(a.lane[i] * b.lane[i]); }
static inline NAME(vector) NAME(div)(NAME(vector) a, NAME(vector) b) { LANES(a.lane[i] / b.lane[i]); }
static inline NAME(vector) NAME(fma)(NAME(vector) a, NAME(vector) b, NAME(vector) c) { LANES(c.lane[i] + a.lane[i] * b.lane[i]); }
static inline NAME(vector) NAME(fnma)(NAME(vector) a, NAME(vector) b, NAME(vector) c) { LANES(c.lane[i] - a.lane[i] * b.lane[i]); }
static inline NAME(vector) NAME(min)(NAME(vector) a, NAME(vector) b) { LANES(a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]); }
static inline NAME(vector) NAME(max)(NAME(vector) a, NAME(vector) b) { LANES(a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]); }
static inline NAME(vector) NAME(abs)(NAME(vector) a) { LANES(a.lane[i] < 0 ? -a.lane[i] : a.lane[i]); }
/* Round to nearest by the addition that drops the fraction; arguments are far below 2^MANTISSA. */
static inline NAME(vector) NAME(round)(NAME(vector) a) {
    const volatile REAL magic = (REAL)3 * (REAL)((BITS)1 << (MANTISSA - 1));
    const REAL m = magic;
    LANES((a.lane[i] + m) - m);
}
static inline NAME(vector) NAME(pow2)(NAME(vector) n) {
    NAME(vector) r;
    for (int i = 0; i < WIDTH; ++i) {
        BITS bits = (BITS)(int)(n.lane[i] == n.lane[i] ? n.lane[i] + BIAS : 0) << MANTISSA;
        memcpy(&r.lane[i], &bits, sizeof bits);
    }
    return r;
}
static inline NAME(choice) NAME(less)(NAME(vector) a, NAME(vector) b) {
    NAME(choice) r;
    for (int i = 0; i < WIDTH; ++i) r.lane[i] = a.lane[i] < b.lane[i];
    return r;
}
static inline NAME(vector) NAME(select)(NAME(choice) m, NAME(vector) a, NAME(vector) b) {
    LANES(m.lane[i] ? a.lane[i] : b.lane[i]);
}
#undef LANES
#undef BIAS
#undef MANTISSA
#undef BITS

#define vec NAME(vector)
#define vload(p) NAME(load)(p)
#define vstore(p, a) NAME(store)(p, a)
#define vset(s) NAME(set)(s)
#define vadd(a, b) NAME(add)(a, b)
#define vsub(a, b) NAME(sub)(a, b)
#define vmul(a, b) NAME(mul)(a, b)
#define vdiv(a, b) NAME(div)(a, b)
#define vfma(a, b, c) NAME(fma)(a, b, c)
#define vfnma(a, b, c) NAME(fnma)(a, b, c)
#define vmin(a, b) NAME(min)(a, b)
#define vmax(a, b) NAME(max)(a, b)
#define vabs(a) NAME(abs)(a)
#define vround(a) NAME(round)(a)
#define vpow2(n) NAME(pow2)(n)
#define vless(a, b) NAME(less)(a, b)
#define vselect(m, a, b) NAME(select)(m, a, b)
