/* Vectors of AVX2 for the element type chosen by DOUBLE. vbf16_low and vbf16_high are the even and the odd ones of
 * 2 * WIDTH bfloat16 numbers. vmin(c, x) and vmax(c, x) return x when x is NaN;
 * vsign(a, b) is a >= 0 with the sign of b; vpow2(n + MAGIC) is 2^n for an integer n, infinity where n is one above
 * the largest exponent. */
#include <immintrin.h>

#define TALL_TILES 0

#if DOUBLE
#define WIDTH 4
#define vec __m256d
#define vload(p) _mm256_loadu_pd(p)
#define vstore(p, a) _mm256_storeu_pd(p, a)
#define vset(s) _mm256_set1_pd(s)
#define vadd(a, b) _mm256_add_pd(a, b)
#define vsub(a, b) _mm256_sub_pd(a, b)
#define vmul(a, b) _mm256_mul_pd(a, b)
#define vdiv(a, b) _mm256_div_pd(a, b)
#define vfma(a, b, c) _mm256_fmadd_pd(a, b, c)   /* a * b + c */
#define vfnma(a, b, c) _mm256_fnmadd_pd(a, b, c) /* c - a * b */
#define vmin(a, b) _mm256_min_pd(a, b)
#define vmax(a, b) _mm256_max_pd(a, b)
#define vabs(a) _mm256_andnot_pd(_mm256_set1_pd(-0.0), a)
#define vsign(a, b) _mm256_or_pd(a, _mm256_and_pd(b, _mm256_set1_pd(-0.0)))
#define vless(a, b) _mm256_cmp_pd(a, b, _CMP_LT_OQ) /* a mask for vselect */
#define vselect(mask, a, b) _mm256_blendv_pd(b, a, mask)
#define MAGIC 6755399441055744.0 /* n + MAGIC has the integer n in its low bits */
#define vpow2(shifted)                                                                                  \
    _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_add_epi64(_mm256_castpd_si256(shifted), _mm256_set1_epi64x(1023)), 52))
#else
#define WIDTH 8
#define vec __m256
#define vload(p) _mm256_loadu_ps(p)
#define vstore(p, a) _mm256_storeu_ps(p, a)
#define vset(s) _mm256_set1_ps(s)
#define vadd(a, b) _mm256_add_ps(a, b)
#define vsub(a, b) _mm256_sub_ps(a, b)
#define vmul(a, b) _mm256_mul_ps(a, b)
#define vdiv(a, b) _mm256_div_ps(a, b)
#define vfma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define vfnma(a, b, c) _mm256_fnmadd_ps(a, b, c)
#define vmin(a, b) _mm256_min_ps(a, b)
#define vmax(a, b) _mm256_max_ps(a, b)
#define vabs(a) _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a)
#define vsign(a, b) _mm256_or_ps(a, _mm256_and_ps(b, _mm256_set1_ps(-0.0f)))
#define vless(a, b) _mm256_cmp_ps(a, b, _CMP_LT_OQ)
#define vselect(mask, a, b) _mm256_blendv_ps(b, a, mask)
#define vbf16_low(p) _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256((const __m256i *)(p)), 16))
#define vbf16_high(p)                                                                                   \
    _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256((const __m256i *)(p)), _mm256_set1_epi32(-65536)))
#define MAGIC 12582912.0f
#define vpow2(shifted)                                                                                  \
    _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(127)), 23))
#endif

#if SCALED
/* Two weights of each column, widened, times two 16-bit operands. */
#define GROUP 2
#define OPERAND_BIAS 0
#define SUMS 1
#define vsum __m256i
#define vweight __m256i
#define voperand __m256i
#define vsum_zero() _mm256_setzero_si256()
#define vweights(p) _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(p)))
#define vbroadcast(p) _mm256_set1_epi32(NAME(four_bytes)(p))
#define vmac(x, w, sum) NAME(mac)(x, w, sum)
static inline __m256i NAME(mac)(__m256i x, __m256i w, __m256i sum) {
    const __m256i product = _mm256_madd_epi16(x, w);
#if defined(__GNUC__) /* which copies the sums to and fro around the intrinsic, or keeps some in memory */
    __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(product));
    return sum;
#else
    return _mm256_add_epi32(sum, product);
#endif
}
#define vwhole(sum, column_sums, row) ((sum)[0])
#define vfloats(whole) _mm256_cvtepi32_ps(whole)
#define vload_whole(p) _mm256_loadu_si256((const __m256i *)(p))
#define vstore_whole(p, a) _mm256_storeu_si256((__m256i *)(p), a)
static inline void NAME(store_operands)(void *p, vec shifted) {
    const __m256i q = _mm256_sub_epi32(_mm256_castps_si256(shifted), _mm256_castps_si256(vset(MAGIC)));
    _mm_storeu_si128(p, _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1)));
}
#endif
