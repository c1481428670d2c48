/* What one core can do: independent fused multiply-adds on registers, and reading the same bytes again and again. */

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

/* What the compiler's baseline has: SSE2, NEON with fused operations, ... */
typedef float vec __attribute__((vector_size(16)));
#define MULTIPLY_ADD(a, x, y) ((a) * (x) + (y))
#define SPREAD(number) ((vec){number, number, number, number})
#define LOAD(p) (*(const vec *)(p))
#define ADD(a, b) ((a) + (b))
#define ZERO() ((vec){0})
double peak_baseline(long rounds, volatile float *sink) { LOOP(vec, MULTIPLY_ADD, SPREAD, 4) }
void read_baseline(const float *numbers, long count, long rounds, volatile float *sink) {
    READ(vec, LOAD, ADD, ZERO, 4)
}

#if defined(__x86_64__)
#include <immintrin.h>
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
#endif
