/* Activations and their derivatives (as functions of the activation's own value), one vector at a time.
 * exp: Cody-Waite reduction and a Taylor polynomial on |r| <= ln(2)/2, degree 7 (float) and 13 (double). */

#if DOUBLE
#define EXP_FLOOR -708.0
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#else
#define EXP_FLOOR -87.0
#define LN2_HIGH 0.693359375
#define LN2_LOW -2.12194440e-4
#endif
#define C(x) vset((REAL)(x))

/* e^x for x <= 0; 0 below EXP_FLOOR, NaN in NaN out. */
static inline vec NAME(exp_negative)(vec x) {
    const vec bounded = vmax(C(EXP_FLOOR), x);
    const vec n = vround(vmul(bounded, C(1.4426950408889634)));
    const vec r = vfnma(n, C(LN2_LOW), vfnma(n, C(LN2_HIGH), bounded));
#if DOUBLE
    vec p = C(1.6059043836821613e-10); /* 1/13! */
    p = vfma(p, r, C(2.0876756987868099e-09));
    p = vfma(p, r, C(2.5052108385441720e-08));
    p = vfma(p, r, C(2.7557319223985893e-07));
    p = vfma(p, r, C(2.7557319223985888e-06));
    p = vfma(p, r, C(2.4801587301587302e-05));
    p = vfma(p, r, C(1.9841269841269841e-04));
#else
    vec p = C(1.9841269841269841e-04); /* 1/7! */
#endif
    p = vfma(p, r, C(1.3888888888888889e-03));
    p = vfma(p, r, C(8.3333333333333332e-03));
    p = vfma(p, r, C(4.1666666666666664e-02));
    p = vfma(p, r, C(1.6666666666666666e-01));
    p = vfma(p, r, C(0.5));
    p = vfma(p, r, C(1.0));
    p = vfma(p, r, C(1.0));
    return vselect(vless(x, C(EXP_FLOOR)), C(0.0), vmul(p, vpow2(n)));
}

/* 1 / (1 + e^-x), from e = e^-|x| so that both tails keep their relative accuracy. */
static inline vec NAME(sigmoid)(vec x) {
    const vec e = NAME(exp_negative)(vsub(C(0.0), vabs(x)));
    const vec numerator = vselect(vless(x, C(0.0)), e, C(1.0));
    return vdiv(numerator, vadd(C(1.0), e));
}

/* Near zero an odd polynomial (float) or expm1 (double), elsewhere (1 - e) / (1 + e) with e = e^-2|x|. */
static inline vec NAME(tanh)(vec x) {
    const vec a = vabs(x);
    const vec e = NAME(exp_negative)(vmul(C(-2.0), a));
    const vec far = vdiv(vsub(C(1.0), e), vadd(C(1.0), e));
    const vec far_signed = vselect(vless(x, C(0.0)), vsub(C(0.0), far), far);
#if DOUBLE
    /* Continued fraction of tanh, |x| < 0.3: x / (1 + s / (3 + s / (5 + s / (7 + s / (9 + s / (11 + s/13)))))) as P/Q. */
    const vec s = vmul(x, x);
    const vec p = vfma(s, vfma(s, vfma(s, C(1.0), C(378.0)), C(17325.0)), C(135135.0));
    const vec q = vfma(s, vfma(s, vfma(s, C(28.0), C(3150.0)), C(62370.0)), C(135135.0));
    const vec near = vdiv(vmul(x, p), q);
    return vselect(vless(a, C(0.3)), near, far_signed);
#else
    /* Minimax odd polynomial on |x| < 0.625 (Cephes, S. L. Moshier). */
    const vec s = vmul(x, x);
    vec p = C(-5.70498872745e-3);
    p = vfma(p, s, C(2.06390887954e-2));
    p = vfma(p, s, C(-5.37397155531e-2));
    p = vfma(p, s, C(1.33314422036e-1));
    p = vfma(p, s, C(-3.33332819422e-1));
    const vec near = vfma(vmul(p, s), x, x);
    return vselect(vless(a, C(0.625)), near, far_signed);
#endif
}

static inline vec NAME(act)(int kind, vec x) {
    const vec zero = C(0.0), one = C(1.0);
    switch (kind) {
    case RX_TANH: return NAME(tanh)(x);
    case RX_SIGMOID: return NAME(sigmoid)(x);
    case RX_RELU: return vmax(zero, x);
    case RX_HARD_SIGMOID: return vmin(one, vmax(zero, vadd(vdiv(x, C(6.0)), C(0.5))));
    case RX_HARD_SIGMOID_KERAS2: return vmin(one, vmax(zero, vfma(x, C(0.2), C(0.5))));
    case RX_ELU: return vselect(vless(x, zero), vsub(NAME(exp_negative)(vmin(zero, x)), one), x);
    case RX_SOFTSIGN: return vdiv(x, vadd(one, vabs(x)));
    case RX_LEAKY_RELU: return vselect(vless(x, zero), vmul(x, C(0.2)), x);
    case RX_RELU6: return vmin(C(6.0), vmax(zero, x));
    default: return x;
    }
}

/* d act / dx as a function of y = act(x). */
static inline vec NAME(act_slope)(int kind, vec y) {
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
#undef LN2_HIGH
#undef LN2_LOW
