/* Activations and their derivatives (as functions of the activation's own value), one vector at a time. */

#if DOUBLE
#define EXP_FLOOR -708.0
#define EXP_CEILING 710.0
#define TANH_ONE 20.0 /* tanh is 1 from here on */
#else
#define EXP_FLOOR -87.0
#define EXP_CEILING 89.0
#define TANH_ONE 10.0
#endif
#define LOG2_E 1.4426950408889634
#define C(x) vset((REAL)(x))

/* e^(factor x) = 2^n 2^r with |r| <= 1/2: returns r, which is rounded once, and 2^n. factor x is within EXP_FLOOR and
 * EXP_CEILING. */
INLINE vec NAME(exp_parts)(vec x, int factor, vec *power) {
    const vec shifted = vfma(x, C(factor * LOG2_E), C(MAGIC)); /* its low bits are n */
    *power = vpow2(shifted);
    return vfma(x, C(factor * LOG2_E), vsub(C(MAGIC), shifted));
}

/* (2^r - 1) / r for |r| <= 1/2: Taylor's polynomial (double), or the one whose largest relative error is smallest. */
INLINE vec NAME(growth)(vec r) {
#if DOUBLE
    vec p = C(1.3691488853904129e-12); /* ln(2)^13 / 13! */
    p = vfma(p, r, C(2.5678435993488205e-11));
    p = vfma(p, r, C(4.4455382718708115e-10));
    p = vfma(p, r, C(7.0549116208011233e-09));
    p = vfma(p, r, C(1.0178086009239700e-07));
    p = vfma(p, r, C(1.3215486790144309e-06));
    p = vfma(p, r, C(1.5252733804059840e-05));
    p = vfma(p, r, C(1.5403530393381610e-04));
    p = vfma(p, r, C(1.3333558146428443e-03));
    p = vfma(p, r, C(9.6181291076284772e-03));
    p = vfma(p, r, C(5.5504108664821580e-02));
    p = vfma(p, r, C(2.4022650695910071e-01));
    return vfma(p, r, C(6.9314718055994531e-01));
#else
    vec p = vfma(C(1.5403512225e-04), r, C(1.3390746899e-03));
    p = vfma(p, r, C(9.6182376146e-03));
    p = vfma(p, r, C(5.5503573269e-02));
    p = vfma(p, r, C(2.4022649229e-01));
    return vfma(p, r, C(6.9314718246e-01));
#endif
}

/* e^(sign x), infinity from EXP_CEILING on; NaN in NaN out. */
INLINE vec NAME(exp)(vec x, int sign) {
    vec power;
    const vec r = NAME(exp_parts)(x, sign, &power);
    return vmul(vfma(NAME(growth)(r), r, C(1.0)), power);
}

INLINE vec NAME(sigmoid)(vec x) {
    const vec a = vmin(C(-EXP_FLOOR), vmax(C(-EXP_CEILING), x));
    return vdiv(C(1.0), vadd(C(1.0), NAME(exp)(a, -1)));
}

/* d / (d + 2) with d = e^2|x| - 1, which keeps its relative accuracy at both ends. */
INLINE vec NAME(tanh)(vec x) {
    vec power;
    const vec a = vmin(C(TANH_ONE), vabs(x));
    const vec r = NAME(exp_parts)(a, 2, &power);
    const vec m = vmul(NAME(growth)(r), r);
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
    case RX_ELU: return vselect(vless(x, zero), vsub(NAME(exp)(vmax(C(EXP_FLOOR), vmin(zero, x)), 1), one), x);
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
#undef LOG2_E
