/* Vectors of arm64's NEON for the element type chosen by DOUBLE; the same operations, with the same roundings, as those
 * of AVX2. Minimum and maximum are NaN if either number is, and no bound is. Thirty-two registers hold a tile of twelve
 * rows, or of six where Clang takes two registers for a sum. */
#include <arm_neon.h>

#define TALL_TILES !SCALED

#if DOUBLE
#define WIDTH 2
#define vec float64x2_t
#define vload(p) vld1q_f64(p)
#define vstore(p, a) vst1q_f64(p, a)
#define vset(s) vdupq_n_f64(s)
#define vadd(a, b) vaddq_f64(a, b)
#define vsub(a, b) vsubq_f64(a, b)
#define vmul(a, b) vmulq_f64(a, b)
#define vdiv(a, b) vdivq_f64(a, b)
#define vfma(a, b, c) vfmaq_f64(c, a, b)  /* a * b + c */
#define vfnma(a, b, c) vfmsq_f64(c, a, b) /* c - a * b */
#define vmin(a, b) vminq_f64(a, b)
#define vmax(a, b) vmaxq_f64(a, b)
#define vabs(a) vabsq_f64(a)
#define vsign(a, b) vbslq_f64(vdupq_n_u64(1ULL << 63), b, a)
#define vless(a, b) vcltq_f64(a, b) /* a mask for vselect */
#define vselect(mask, a, b) vbslq_f64(mask, a, b)
#define MAGIC 6755399441055744.0 /* n + MAGIC has the integer n in its low bits */
#define vpow2(shifted)                                                                                  \
    vreinterpretq_f64_s64(vshlq_n_s64(vaddq_s64(vreinterpretq_s64_f64(shifted), vdupq_n_s64(1023)), 52))
#else
#define WIDTH 4
#define vec float32x4_t
#define vload(p) vld1q_f32(p)
#define vstore(p, a) vst1q_f32(p, a)
#define vset(s) vdupq_n_f32(s)
#define vadd(a, b) vaddq_f32(a, b)
#define vsub(a, b) vsubq_f32(a, b)
#define vmul(a, b) vmulq_f32(a, b)
#define vdiv(a, b) vdivq_f32(a, b)
#define vfma(a, b, c) vfmaq_f32(c, a, b)
#define vfnma(a, b, c) vfmsq_f32(c, a, b)
#define vmin(a, b) vminq_f32(a, b)
#define vmax(a, b) vmaxq_f32(a, b)
#define vabs(a) vabsq_f32(a)
#define vsign(a, b) vbslq_f32(vdupq_n_u32(1U << 31), b, a)
#define vless(a, b) vcltq_f32(a, b)
#define vselect(mask, a, b) vbslq_f32(mask, a, b)
#define vbf16_low(p) vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_u16(vld1q_u16(p)), 16))
#define vbf16_high(p) vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_u16(vld1q_u16(p)), vdupq_n_u32(0xffff0000)))
#define MAGIC 12582912.0f
#define vpow2(shifted)                                                                                  \
    vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vreinterpretq_s32_f32(shifted), vdupq_n_s32(127)), 23))
#endif

#if SCALED
/* Two weights of each column, widened and taken apart, times one 16-bit operand each. */
#define GROUP 2
#define OPERAND_BIAS 0
#define SUMS 1
typedef struct {
    int16x4_t first, second;
} NAME(weights);
#define vsum int32x4_t
#define vweight NAME(weights)
#define voperand int16x4_t
#define vsum_zero() vdupq_n_s32(0)
static inline NAME(weights) NAME(load_weights)(const signed char *p) {
    const int16x4_t pairs = vreinterpret_s16_s8(vld1_s8(p));
    const NAME(weights) w = {vshr_n_s16(vshl_n_s16(pairs, 8), 8), vshr_n_s16(pairs, 8)};
    return w;
}
#define vweights(p) NAME(load_weights)(p)
#define vbroadcast(p) vcreate_s16((unsigned)NAME(four_bytes)(p))
#define vmac(x, w, sum) vmlal_lane_s16(vmlal_lane_s16(sum, (w).first, x, 0), (w).second, x, 1)
#define vwhole(sum, column_sums, row) ((sum)[0])
#define vfloats(whole) vcvtq_f32_s32(whole)
#define vload_whole(p) vld1q_s32(p)
#define vstore_whole(p, a) vst1q_s32(p, a)
static inline void NAME(store_operands)(void *p, vec shifted) {
    vst1_s16(p, vqmovn_s32(vsubq_s32(vreinterpretq_s32_f32(shifted), vreinterpretq_s32_f32(vset(MAGIC)))));
}
#else
/* One fused instruction too. GCC takes the intrinsic for a reader of memory and would store sums in every turn. */
#define vmac(x, w, sum) ((sum) + (x) * (w))
#endif
