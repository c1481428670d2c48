/* Which leaf sets this CPU can run. */
#include "leaf.h"

#include <string.h>

extern const rx_leaf rx_leaf_generic_f32, rx_leaf_generic_f64;

#if defined(RNNX_HAVE_AVX2)
extern const rx_leaf rx_leaf_avx2_f32, rx_leaf_avx2_f64;

#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
static int cpu_has_avx2(void) {
    int r[4];
    __cpuid(r, 0);
    if (r[0] < 7) return 0;
    __cpuid(r, 1);
    /* FMA, OSXSAVE, AVX; then: does the system save the upper halves of the registers? */
    if ((r[2] & (1 << 12)) == 0 || (r[2] & (1 << 27)) == 0 || (r[2] & (1 << 28)) == 0) return 0;
    if ((_xgetbv(0) & 6) != 6) return 0;
    __cpuidex(r, 7, 0);
    return (r[1] & (1 << 5)) != 0;
}
#else
static int cpu_has_avx2(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif
#endif

const rx_leaf *rx_leaf_get(const char *isa, int itemsize) {
    if (strcmp(isa, "generic") == 0) return itemsize == 4 ? &rx_leaf_generic_f32 : &rx_leaf_generic_f64;
#if defined(RNNX_HAVE_AVX2)
    if (strcmp(isa, "avx2") == 0 && cpu_has_avx2())
        return itemsize == 4 ? &rx_leaf_avx2_f32 : &rx_leaf_avx2_f64;
#endif
    return NULL;
}
