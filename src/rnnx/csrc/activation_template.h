/* Activations and their derivatives (as functions of the activation's own value), one vector at a time. */

#if DOUBLE
#define EXP_FLOOR -708.0
#define EXP_CEILING 710.0
#define TANH_ONE 20.0 /* tanh is 1 from here on */
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#else
#define EXP_FLOOR -87.0
#define EXP_CEILING 89.0
#define TANH_ONE 10.0
#define LN2_HIGH 0.693359375
#define LN2_LOW -2.12194440e-4
#endif
#define C(x) vset((REAL)(x))

/* e^x = 2^n (1 + m): returns m = e^r - 1 for |r| <= ln(2)/2 (Cody-Waite reduction), the polynomial being the minimax
 * of degree 6 (float) or Taylor's of degree 13 (double). x is within EXP_FLOOR and EXP_CEILING. */
INLINE vec NAME(exp_parts)(vec x, vec *power) {
    const vec shifted = vfma(x, C(1.4426950408889634), C(MAGIC)); /* its low bits are n = round(x / ln 2) */
    const vec n = vsub(shifted, C(MAGIC));
    const vec r = vfnma(n, C(LN2_LOW), vfnma(n, C(LN2_HIGH), x)), rr = vmul(r, r);
#if DOUBLE
    vec p = C(1.6059043836821613e-10); /* 1/13! */
    p = vfma(p, r, C(2.0876756987868099e-09));
    p = vfma(p, r, C(2.5052108385441720e-08));
    p = vfma(p, r, C(2.7557319223985893e-07));
    p = vfma(p, r, C(2.7557319223985888e-06));
    p = vfma(p, r, C(2.4801587301587302e-05));
    p = vfma(p, r, C(1.9841269841269841e-04));
    p = vfma(p, r, C(1.3888888888888889e-03));
    p = vfma(p, r, C(8.3333333333333332e-03));
    p = vfma(p, r, C(4.1666666666666664e-02));
    p = vfma(p, r, C(1.6666666666666666e-01));
    p = vfma(p, r, C(0.5));
#else
    const vec low = vfma(C(1.6666517761e-01), r, C(4.9999993254e-01));
    const vec high = vfma(C(8.3690636194e-03), r, C(4.1668421829e-02));
    const vec p = vfma(vfma(C(1.3813880717e-03), rr, high), rr, low);
#endif
    *power = vpow2(shifted);
    return vfma(p, rr, r);
}

/* e^x, at least e^EXP_FLOOR; infinity from EXP_CEILING on; NaN in NaN out. Close to it the power is infinite and m may
 * be negative, so that m * power + power would be NaN. */
INLINE vec NAME(exp)(vec x) {
    vec power;
    const vec m = NAME(exp_parts)(vmin(C(EXP_CEILING), vmax(C(EXP_FLOOR), x)), &power);
    return vmul(vadd(m, C(1.0)), power);
}

INLINE vec NAME(sigmoid)(vec x) { return vdiv(C(1.0), vadd(C(1.0), NAME(exp)(vsub(C(0.0), x)))); }

/* d / (d + 2) with d = e^2|x| - 1, which keeps its relative accuracy at both ends. */
INLINE vec NAME(tanh)(vec x) {
    vec power;
    const vec a = vmin(C(TANH_ONE), vabs(x));
    const vec m = NAME(exp_parts)(vadd(a, a), &power);
    const vec d = vfma(m, power, vsub(power, C(1.0)));
    return vsign(vdiv(d, vadd(d, C(2.0))), x);
}

static vec NAME(act)(int kind, vec x) {
    const vec zero = C(0.0), one = C(1.0);
    switch (kind) {
    case RX_TANH: return NAME(tanh)(x);
    case RX_SIGMOID: return NAME(sigmoid)(x);
    case RX_RELU: return vmax(zero, x);
    case RX_HARD_SIGMOID: return vmin(one, vmax(zero, vadd(vdiv(x, C(6.0)), C(0.5))));
    case RX_HARD_SIGMOID_KERAS2: return vmin(one, vmax(zero, vfma(x, C(0.2), C(0.5))));
    case RX_ELU: return vselect(vless(x, zero), vsub(NAME(exp)(vmin(zero, x)), one), x);
    case RX_SOFTSIGN: return vdiv(x, vadd(one, vabs(x)));
    case RX_LEAKY_RELU: return vselect(vless(x, zero), vmul(x, C(0.2)), x);
    case RX_RELU6: return vmin(C(6.0), vmax(zero, x));
    default: return x;
    }
}

/* d act / dx as a function of y = act(x). */
INLINE vec NAME(act_slope)(int kind, vec y) {
    const vec zero = C(0.0), one = C(1.0);
    switch (kind) {
    case RX_TANH: return vfnma(y, y, one);
    case RX_SIGMOID: return vfnma(y, y, y);
    case RX_RELU: return vselect(vless(zero, y), one, zero);
    case RX_HARD_SIGMOID: return vselect(vless(zero, y), vselect(vless(y, one), C(1.0 / 6.0), zero), zero);
    case RX_HARD_SIGMOID_KERAS2: return vselect(vless(zero, y), vselect(vless(y, one), C(0.2), zero), zero);
    case RX_ELU: return vselect(vless(y, zero), vadd(y, one), one);
    case RX_SOFTSIGN: { const vec d = vsub(one, vabs(y)); return vmul(d, d); }
    case RX_LEAKY_RELU: return vselect(vless(y, zero), C(0.2), one);
    case RX_RELU6: return vselect(vless(zero, y), vselect(vless(y, C(6.0)), one, zero), zero);
    default: return one;
    }
}

#undef C
#undef EXP_FLOOR
#undef EXP_CEILING
#undef TANH_ONE
#undef LN2_HIGH
#undef LN2_LOW
