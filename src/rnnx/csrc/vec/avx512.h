/* Vectors of AVX-512 for the element type chosen by DOUBLE; the same operations, with the same roundings, as those of
 * AVX2. Thirty-two registers hold a tile of twelve rows, or of six where a sum takes two of them. */
#include <immintrin.h>

#define TALL_TILES (WEIGHTS != RX_INT8X16)

/* The elements that a mask of bits chooses, side by side; its part of a row read, and written. */
#if DOUBLE
#define vbits __mmask8
#define vcompress(bits, a) _mm512_maskz_compress_pd(bits, a)
#define vexpand(bits, a) _mm512_maskz_expand_pd(bits, a)
#define vload_some(bits, p) _mm512_maskz_loadu_pd(bits, p)
#define vstore_some(bits, p, a) _mm512_mask_storeu_pd(p, bits, a)
#else
#define vbits __mmask16
#define vcompress(bits, a) _mm512_maskz_compress_ps(bits, a)
#define vexpand(bits, a) _mm512_maskz_expand_ps(bits, a)
#define vload_some(bits, p) _mm512_maskz_loadu_ps(bits, p)
#define vstore_some(bits, p, a) _mm512_mask_storeu_ps(p, bits, a)
#endif

#if DOUBLE
#define WIDTH 8
#define vec __m512d
#define vload(p) _mm512_loadu_pd(p)
#define vstore(p, a) _mm512_storeu_pd(p, a)
#define vset(s) _mm512_set1_pd(s)
#define vadd(a, b) _mm512_add_pd(a, b)
#define vsub(a, b) _mm512_sub_pd(a, b)
#define vmul(a, b) _mm512_mul_pd(a, b)
#define vdiv(a, b) _mm512_div_pd(a, b)
#define vfma(a, b, c) _mm512_fmadd_pd(a, b, c)   /* a * b + c */
#define vfnma(a, b, c) _mm512_fnmadd_pd(a, b, c) /* c - a * b */
#define vmin(a, b) _mm512_min_pd(a, b)
#define vmax(a, b) _mm512_max_pd(a, b)
#define vabs(a) _mm512_andnot_pd(_mm512_set1_pd(-0.0), a)
#define vsign(a, b) _mm512_or_pd(a, _mm512_and_pd(b, _mm512_set1_pd(-0.0)))
#define vless(a, b) _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ) /* a mask for vselect */
#define vselect(mask, a, b) _mm512_mask_blend_pd(mask, b, a)
#define MAGIC 6755399441055744.0 /* n + MAGIC has the integer n in its low bits */
#define vpow2(shifted)                                                                                  \
    _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_add_epi64(_mm512_castpd_si512(shifted), _mm512_set1_epi64(1023)), 52))
#else
#define WIDTH 16
#define vec __m512
#define vload(p) _mm512_loadu_ps(p)
#define vstore(p, a) _mm512_storeu_ps(p, a)
#define vset(s) _mm512_set1_ps(s)
#define vadd(a, b) _mm512_add_ps(a, b)
#define vsub(a, b) _mm512_sub_ps(a, b)
#define vmul(a, b) _mm512_mul_ps(a, b)
#define vdiv(a, b) _mm512_div_ps(a, b)
#define vfma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define vfnma(a, b, c) _mm512_fnmadd_ps(a, b, c)
#define vmin(a, b) _mm512_min_ps(a, b)
#define vmax(a, b) _mm512_max_ps(a, b)
#define vabs(a) _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a)
#define vsign(a, b) _mm512_or_ps(a, _mm512_and_ps(b, _mm512_set1_ps(-0.0f)))
#define vless(a, b) _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ)
#define vselect(mask, a, b) _mm512_mask_blend_ps(mask, b, a)
#define vbf16_low(p) _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16))
#define vbf16_high(p) _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(-65536)))
#define MAGIC 12582912.0f
#define vpow2(shifted)                                                                                  \
    _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(127)), 23))
#endif

#if SCALED
/* VNNI multiplies bytes without a sign and bytes with one. All sums are modulo 2^32. */
#define GROUP 4
#define vsum __m512i
#define vweight __m512i
#define voperand __m512i
#define vsum_zero() _mm512_setzero_si512()
#define vfloats(whole) _mm512_cvtepi32_ps(whole)
#define vload_whole(p) _mm512_loadu_si512(p)
#define vstore_whole(p, a) _mm512_storeu_si512(p, a)
#define vweights(p) _mm512_loadu_si512(p)
#define vbroadcast(p) _mm512_set1_epi32(NAME(four_bytes)(p))
#define vmac(x, w, sum) NAME(mac)(x, w, sum)
static inline __m512i NAME(mac)(__m512i x, __m512i w, __m512i sum) {
#if defined(__GNUC__) /* which copies the sums to and fro around the intrinsic */
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
    return sum;
#else
    return _mm512_dpbusd_epi32(sum, x, w);
#endif
}
#endif
#if WEIGHTS == RX_INT8X16
/* An operand q is stored as the high and the low bytes of q + 32768, and 32768 times the sum of a column's weights is
 * taken off in the end. */
#define OPERAND_BIAS 32768
#define SUMS 2
#define vwhole(sum, column_sums, row)                                                                   \
    _mm512_sub_epi32(_mm512_add_epi32(_mm512_slli_epi32((sum)[0], 8), (sum)[1]), _mm512_loadu_si512(column_sums))
static inline void NAME(store_operands)(void *p, vec shifted) {
    const __m512i q = _mm512_sub_epi32(_mm512_castps_si512(shifted), _mm512_castps_si512(vset(MAGIC - OPERAND_BIAS)));
    const __m128i high = _mm512_cvtepi32_epi8(_mm512_srli_epi32(q, 8)), low = _mm512_cvtepi32_epi8(q);
    _mm_storeu_si128((__m128i *)p, _mm_unpacklo_epi32(high, low));
    _mm_storeu_si128((__m128i *)p + 1, _mm_unpackhi_epi32(high, low));
}
#elif WEIGHTS == RX_INT8
/* An operand is stored as one byte, plus what stands for zero in its row; that times the sum of a column's weights is
 * taken off in the end. */
#define OPERAND_BIAS 1
#define SUMS 1
#define vwhole(sum, column_sums, row)                                                                   \
    _mm512_sub_epi32((sum)[0], _mm512_mullo_epi32(vbroadcast((row) + 1), _mm512_loadu_si512(column_sums)))
static inline void NAME(store_operands)(void *p, vec shifted) {
    const __m512i q = _mm512_sub_epi32(_mm512_castps_si512(shifted), _mm512_castps_si512(vset(MAGIC)));
    _mm_storeu_si128(p, _mm512_cvtepi32_epi8(q));
}
#endif
