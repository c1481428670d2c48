/* Which leaf sets this CPU can run. */
#include "leaf.h"

#include <string.h>

#define DECLARE(isa)                                                                                           \
    extern const rx_leaf rx_leaf_##isa##_f32, rx_leaf_##isa##_f64, rx_leaf_##isa##_bf16, rx_leaf_##isa##_int8, \
        rx_leaf_##isa##_int8x16
#define CHOOSE(isa)                                                                                            \
    (itemsize == 8           ? weights == RX_FULL ? &rx_leaf_##isa##_f64 : NULL                                \
     : weights == RX_BF16 ? &rx_leaf_##isa##_bf16                                                              \
     : weights == RX_INT8 ? &rx_leaf_##isa##_int8                                                              \
     : weights == RX_INT8X16 ? &rx_leaf_##isa##_int8x16                                                        \
                          : &rx_leaf_##isa##_f32)

DECLARE(generic);
#if defined(RNNX_NEON)
DECLARE(neon);
#endif

#if defined(RNNX_X86)
DECLARE(avx2);
DECLARE(avx512);

#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
/* Level 2 is AVX2 with FMA, 3 is AVX-512 F and DQ, 4 has VNNI too: of the CPU, and of the system, which has to save the registers. */
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
    if ((saved & 0xe6) != 0xe6 || (r[1] & (1 << 16)) == 0 || (r[1] & (1 << 17)) == 0) return 2;
    return (r[2] & (1 << 11)) != 0 ? 4 : 3;
}
#else
static int cpu_level(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 1;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512dq")) return 2;
    return __builtin_cpu_supports("avx512vnni") ? 4 : 3;
}
#endif
#endif

const rx_leaf *rx_leaf_get(const char *isa, int itemsize, int weights) {
    if (strcmp(isa, "generic") == 0) return CHOOSE(generic);
#if defined(RNNX_NEON)
    if (strcmp(isa, "neon") == 0) return CHOOSE(neon);
#endif
#if defined(RNNX_X86)
    if (strcmp(isa, "avx2") == 0 && cpu_level() >= 2) return CHOOSE(avx2);
    if (strcmp(isa, "avx512") == 0 && cpu_level() == 3 && (weights == RX_INT8 || weights == RX_INT8X16))
        return CHOOSE(avx2);
    if (strcmp(isa, "avx512") == 0 && cpu_level() >= 3) return CHOOSE(avx512);
#endif
    return NULL;
}
