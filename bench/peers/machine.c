/* What one core can do: independent fused multiply-adds on registers, and reading the same bytes again and again. */
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

#define READ(type, load, add, zero, lanes)                                  \
    type a[8];                                                              \
    for (int k = 0; k < 8; ++k) a[k] = zero();                              \
    for (long i = 0; i < rounds; ++i)                                       \
        for (long j = 0; j + 8 * lanes <= count; j += 8 * lanes)            \
            for (int k = 0; k < 8; ++k) a[k] = add(a[k], load(numbers + j + k * lanes)); \
    float sum = 0;                                                          \
    for (int k = 0; k < 8; ++k) sum += ((float *)&a[k])[0];                 \
    *sink = sum;

__attribute__((target("avx2,fma"))) double peak_avx2(long rounds, volatile float *sink) {
    LOOP(__m256, _mm256_fmadd_ps, _mm256_set1_ps, 8)
}
__attribute__((target("avx512f"))) double peak_avx512(long rounds, volatile float *sink) {
    LOOP(__m512, _mm512_fmadd_ps, _mm512_set1_ps, 16)
}
__attribute__((target("avx2"))) void read_avx2(const float *numbers, long count, long rounds, volatile float *sink) {
    READ(__m256, _mm256_load_ps, _mm256_add_ps, _mm256_setzero_ps, 8)
}
__attribute__((target("avx512f"))) void read_avx512(const float *numbers, long count, long rounds, volatile float *sink) {
    READ(__m512, _mm512_load_ps, _mm512_add_ps, _mm512_setzero_ps, 16)
}
