/* Floating-point operations per second of one core: independent fused multiply-adds on registers. */
#include <immintrin.h>

#define LOOP(type, fma, init, lanes)                                        \
    type a[12], x = init(1.0000001f), y = init(1e-9f);                      \
    for (int k = 0; k < 12; ++k) a[k] = init((float)k);                     \
    for (long i = 0; i < rounds; ++i)                                       \
        for (int k = 0; k < 12; ++k) a[k] = fma(a[k], x, y);                \
    float sum = 0;                                                          \
    for (int k = 0; k < 12; ++k) sum += ((float *)&a[k])[0];                \
    *sink = sum;                                                            \
    return 2.0 * lanes * 12 * (double)rounds;

__attribute__((target("avx2,fma"))) double peak_avx2(long rounds, volatile float *sink) {
    LOOP(__m256, _mm256_fmadd_ps, _mm256_set1_ps, 8)
}
__attribute__((target("avx512f"))) double peak_avx512(long rounds, volatile float *sink) {
    LOOP(__m512, _mm512_fmadd_ps, _mm512_set1_ps, 16)
}
