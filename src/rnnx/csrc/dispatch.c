/* Which leaf sets this CPU can run. */
#include "leaf.h"

#include <string.h>

extern const rx_leaf rx_leaf_generic_f32, rx_leaf_generic_f64;

#if defined(RNNX_X86)
extern const rx_leaf rx_leaf_avx2_f32, rx_leaf_avx2_f64, rx_leaf_avx512_f32, rx_leaf_avx512_f64;

#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
/* Level 2 is AVX2 with FMA, 3 is AVX-512 F and DQ: of the CPU, and of the system, which has to save the registers. */
static int cpu_level(void) {
    int r[4];
    unsigned long long saved;
    __cpuid(r, 0);
    if (r[0] < 7) return 1;
    __cpuid(r, 1);
    if ((r[2] & (1 << 12)) == 0 || (r[2] & (1 << 27)) == 0 || (r[2] & (1 << 28)) == 0) return 1; /* FMA OSXSAVE AVX */
    saved = _xgetbv(0);
    __cpuidex(r, 7, 0);
    if ((saved & 6) != 6 || (r[1] & (1 << 5)) == 0) return 1;
    return (saved & 0xe6) == 0xe6 && (r[1] & (1 << 16)) != 0 && (r[1] & (1 << 17)) != 0 ? 3 : 2;
}
#else
static int cpu_level(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 1;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") ? 3 : 2;
}
#endif
#endif

const rx_leaf *rx_leaf_get(const char *isa, int itemsize) {
    if (strcmp(isa, "generic") == 0) return itemsize == 4 ? &rx_leaf_generic_f32 : &rx_leaf_generic_f64;
#if defined(RNNX_X86)
    if (strcmp(isa, "avx2") == 0 && cpu_level() >= 2) return itemsize == 4 ? &rx_leaf_avx2_f32 : &rx_leaf_avx2_f64;
    if (strcmp(isa, "avx512") == 0 && cpu_level() >= 3)
        return itemsize == 4 ? &rx_leaf_avx512_f32 : &rx_leaf_avx512_f64;
#endif
    return NULL;
}
