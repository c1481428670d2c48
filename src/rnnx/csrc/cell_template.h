/* The cells: recurrent product and gates of one step, one block of units at a time.
 *
 * Each body is written once, with the activations and "is this the general case" as arguments; BOTH makes the two
 * compiled forms: the common one (sigmoid gates, tanh, no element-wise masks), where the compiler drops every
 * branch, and the general one. */

#define BOTH(body, step)                                                                                   \
    do {                                                                                                   \
        const int masks = (step)->update_mask || (step)->cell_mask || (step)->blend_mask ||                \
                          (step)->zone_h || (step)->zone_c;                                                \
        if (!masks && (step)->activation == RX_TANH && (step)->recurrent_activation == RX_SIGMOID)         \
            body(step, RX_TANH, RX_SIGMOID, 0);                                                            \
        else                                                                                               \
            body(step, (step)->activation, (step)->recurrent_activation, 1);                               \
    } while (0)

/* The common form has the two activations in line, the general one calls. */
#define ACT(kind, x) (masks ? NAME(act)(kind, x) : kind == RX_TANH ? NAME(tanh)(x) : NAME(sigmoid)(x))

/* The element at (row r, unit j) of a state-shaped array, as a pointer; and a mask's vector, or ones. */
#define AT(array, r, j) ((array) + (r) * s->ld + (j))
#define MASK(name, r, j) (masks && s->name ? vload((const REAL *)s->name + (r) * s->ld + (j)) : vset(1))
#define SHARE(name, r, j) (masks && s->name ? vload((const REAL *)s->name + (r) * s->ld + (j)) : vset(0))

/* share * old + (1 - share) * new */
INLINE vec NAME(blend)(vec share, vec old, vec new_) { return vfma(share, vsub(old, new_), new_); }

/* Where the block of units after `done` others starts: every other step goes the other way, and finds in L2 the panels
 * that the step before it used last. */
INLINE ptrdiff_t NAME(block)(const rx_step *s, ptrdiff_t done) { return s->downwards ? s->U - PANEL - done : done; }

/* Rows of a gate's packed kernel. */
INLINE ptrdiff_t NAME(depth)(const rx_step *s, int gate) { return s->kept[gate] ? s->kept_count[gate] : s->H; }

/* gates[slot0 + g] = init + operand[g] R_g for the block of units that starts at j, for `count` gates. */
INLINE void NAME(recurrent)(const rx_step *s, ptrdiff_t j, int gate0, int count, int gates_in_all, ptrdiff_t slot0,
                            const REAL *bias_row) {
    REAL *gates = s->gates;
    const REAL *A[RX_MAX_SLOTS], *init[RX_MAX_SLOTS];
    REAL *C[RX_MAX_SLOTS];
    const ptrdiff_t stride = DEPTH(s->H) * PANEL;
    const WEIGHT *B = (const WEIGHT *)s->packed + (j / PANEL * gates_in_all + gate0) * stride;
    /* gates whose masks keep the same units go together */
    const int together = s->kept[gate0] == s->kept[gate0 + count - 1] ? count : 1;
    for (int g = 0; g < count; ++g) {
        A[g] = s->operand[gate0 + g];
        C[g] = gates + (slot0 + g) * s->U + j;
        init[g] = bias_row ? bias_row + j : C[g];
    }
    for (int g = 0; g < count; g += together)
        NAME(tiles)(s->n, NAME(depth)(s, gate0 + g), together, A + g, s->ldo, s->kept[gate0 + g], B + g * stride,
                    stride, s->planes, s->plane, init + g, bias_row ? 0 : s->ldg, C + g, s->ldg);
}

/* gates = x W + b for the block of units that starts at j and the first `count` slots, if that is left to the step. */
INLINE void NAME(projected)(const rx_step *s, ptrdiff_t j, int count) {
    const ptrdiff_t stride = DEPTH(s->F) * PANEL;
    const REAL *A[RX_MAX_SLOTS], *init[RX_MAX_SLOTS];
    REAL *C[RX_MAX_SLOTS];
    if (!s->x) return;
    for (int slot = 0; slot < count; ++slot) {
        A[slot] = s->x;
        C[slot] = (REAL *)s->gates + slot * s->U + j;
        init[slot] = (const REAL *)s->bias_x + slot * s->U + j;
    }
    NAME(tiles)(s->n, s->F, count, A, s->ldx, NULL, (const WEIGHT *)s->packed_x + j / PANEL * count * stride, stride,
                s->planes, s->plane_x, init, 0, C, s->ldg);
}

/* ---- LSTM: c' = f c + i cand, h = o act(c') ------------------------------------------------------------- */

INLINE void NAME(lstm_forward_body)(const rx_step *s, int act, int rec, int masks) {
    const ptrdiff_t U = s->U;
    for (ptrdiff_t done = 0; done < U; done += PANEL) {
        const ptrdiff_t block = NAME(block)(s, done);
        NAME(projected)(s, block, 4);
        NAME(recurrent)(s, block, 0, 4, 4, 0, NULL);
        for (ptrdiff_t r = 0; r < s->n; ++r) {
            REAL *gates = (REAL *)s->gates + r * s->ldg;
            for (ptrdiff_t j = block; j < block + PANEL; j += WIDTH) {
                const vec i = ACT(rec, vload(gates + j)), f = ACT(rec, vload(gates + U + j));
                const vec cand = ACT(act, vload(gates + 2 * U + j));
                const vec o = ACT(rec, vload(gates + 3 * U + j));
                const vec c_old = vload(AT((const REAL *)s->c_prev, r, j));
                vec c = vfma(f, c_old, vmul(vmul(i, cand), MASK(update_mask, r, j)));
                if (masks) c = vmul(c, MASK(cell_mask, r, j));
                vstore(gates + j, i);
                vstore(gates + U + j, f);
                vstore(gates + 2 * U + j, cand);
                vstore(gates + 3 * U + j, o);
                vstore(AT((REAL *)s->c, r, j), c);
            }
        }
        for (ptrdiff_t r = 0; r < s->n; ++r) { /* a loop of its own, so that many act(c) are under way at once */
            const REAL *o = (const REAL *)s->gates + r * s->ldg + 3 * U;
            for (ptrdiff_t j = block; j < block + PANEL; j += WIDTH) {
                const vec c = vload(AT((const REAL *)s->c, r, j));
                vec h = vmul(vload(o + j), ACT(act, c));
                if (masks) {
                    const vec c_old = vload(AT((const REAL *)s->c_prev, r, j));
                    vstore(AT((REAL *)s->c, r, j), NAME(blend)(SHARE(zone_c, r, j), c_old, c));
                    h = NAME(blend)(SHARE(zone_h, r, j), vload(AT((const REAL *)s->h_prev, r, j)), h);
                }
                vstore(AT((REAL *)s->h, r, j), h);
            }
        }
    }
}

/* ---- GRU, reset after the product: h = z h + (1 - z) act(x W + r q), q = h R_h + b ---------------------- */

/* The blend of old state and candidate, shared by both GRUs. */
INLINE void NAME(gru_output)(const rx_step *s, int masks, ptrdiff_t r, ptrdiff_t j, vec z, vec cand) {
    const vec h_old = vload(AT((const REAL *)s->h_prev, r, j));
    vec h;
    if (masks) {
        cand = vmul(cand, MASK(update_mask, r, j));
        h = NAME(blend)(z, vmul(h_old, MASK(blend_mask, r, j)), cand);
        h = NAME(blend)(SHARE(zone_h, r, j), h_old, vmul(h, MASK(cell_mask, r, j)));
    } else {
        h = NAME(blend)(z, h_old, cand);
    }
    vstore(AT((REAL *)s->h, r, j), h);
}

INLINE void NAME(gru_after_forward_body)(const rx_step *s, int act, int rec, int masks) {
    const ptrdiff_t U = s->U;
    for (ptrdiff_t done = 0; done < U; done += PANEL) {
        const ptrdiff_t block = NAME(block)(s, done);
        NAME(projected)(s, block, 3);
        NAME(recurrent)(s, block, 0, 2, 3, 1, NULL);
        NAME(recurrent)(s, block, 2, 1, 3, 3, s->bias_q);
        for (ptrdiff_t r = 0; r < s->n; ++r) {
            REAL *gates = (REAL *)s->gates + r * s->ldg;
            for (ptrdiff_t j = block; j < block + PANEL; j += WIDTH) {
                vstore(gates + U + j, ACT(rec, vload(gates + U + j)));
                vstore(gates + 2 * U + j, ACT(rec, vload(gates + 2 * U + j)));
            }
        }
        for (ptrdiff_t r = 0; r < s->n; ++r) { /* a loop of its own, so that many candidates are under way at once */
            REAL *gates = (REAL *)s->gates + r * s->ldg;
            for (ptrdiff_t j = block; j < block + PANEL; j += WIDTH) {
                const vec z = vload(gates + U + j), reset = vload(gates + 2 * U + j);
                const vec cand = ACT(act, vfma(reset, vload(gates + 3 * U + j), vload(gates + j)));
                vstore(gates + j, cand);
                NAME(gru_output)(s, masks, r, j, z, cand);
            }
        }
    }
}

/* ---- GRU, reset before the product: h = z h + (1 - z) act(x W + (r h) R_h) ------------------------------ */

INLINE void NAME(gru_before_forward_body)(const rx_step *s, int act, int rec, int masks) {
    const ptrdiff_t U = s->U;
    const ptrdiff_t stride = DEPTH(s->H) * PANEL;
    REAL *all = s->gates;
    for (ptrdiff_t done = 0; done < U; done += PANEL) {
        const ptrdiff_t block = NAME(block)(s, done);
        NAME(projected)(s, block, 3);
        NAME(recurrent)(s, block, 0, 2, 3, 1, NULL);
        for (ptrdiff_t r = 0; r < s->n; ++r) {
            REAL *gates = all + r * s->ldg;
            for (ptrdiff_t j = block; j < block + PANEL; j += WIDTH) {
                const vec reset = ACT(rec, vload(gates + 2 * U + j));
                vstore(gates + U + j, ACT(rec, vload(gates + U + j)));
                vstore(gates + 2 * U + j, reset);
                vstore(gates + 3 * U + j, vmul(reset, vload(AT((const REAL *)s->operand[2], r, j))));
            }
        }
    }
    const REAL *A = all + 3 * U;
    ptrdiff_t lda = s->ldg;
#if SCALED
    NAME(round_rows)(s->n, s->H, A, lda, s->rounded, s->ldo);
    A = s->rounded;
    lda = s->ldo;
#endif
    for (ptrdiff_t done = 0; done < U; done += PANEL) {
        const ptrdiff_t block = NAME(block)(s, done);
        const REAL *init = all + block;
        REAL *C = all + block;
        NAME(tiles)(s->n, NAME(depth)(s, 2), 1, &A, lda, s->kept[2],
                    (const WEIGHT *)s->packed + (block / PANEL * 3 + 2) * stride, stride, s->planes, s->plane, &init,
                    s->ldg, &C, s->ldg);
        for (ptrdiff_t r = 0; r < s->n; ++r) {
            REAL *gates = all + r * s->ldg;
            for (ptrdiff_t j = block; j < block + PANEL; j += WIDTH) {
                const vec cand = ACT(act, vload(gates + j));
                vstore(gates + j, cand);
                NAME(gru_output)(s, masks, r, j, vload(gates + U + j), cand);
            }
        }
    }
}

/* ---- SimpleRNN: h = act(x W + h R) ---------------------------------------------------------------------- */

INLINE void NAME(rnn_forward_body)(const rx_step *s, int act, int rec, int masks) {
    (void)rec;
    for (ptrdiff_t done = 0; done < s->U; done += PANEL) {
        const ptrdiff_t block = NAME(block)(s, done);
        NAME(projected)(s, block, 1);
        NAME(recurrent)(s, block, 0, 1, 1, 0, NULL);
        for (ptrdiff_t r = 0; r < s->n; ++r) {
            REAL *gates = (REAL *)s->gates + r * s->ldg;
            for (ptrdiff_t j = block; j < block + PANEL; j += WIDTH) {
                const vec cand = ACT(act, vload(gates + j));
                vec h = cand;
                if (masks) {
                    h = vmul(vmul(h, MASK(update_mask, r, j)), MASK(cell_mask, r, j));
                    h = NAME(blend)(SHARE(zone_h, r, j), vload(AT((const REAL *)s->h_prev, r, j)), h);
                }
                vstore(gates + j, cand);
                vstore(AT((REAL *)s->h, r, j), h);
            }
        }
    }
}

static void NAME(lstm_forward)(const rx_step *s) { BOTH(NAME(lstm_forward_body), s); }
static void NAME(gru_after_forward)(const rx_step *s) { BOTH(NAME(gru_after_forward_body), s); }
static void NAME(gru_before_forward)(const rx_step *s) { BOTH(NAME(gru_before_forward_body), s); }
static void NAME(rnn_forward)(const rx_step *s) { BOTH(NAME(rnn_forward_body), s); }

#if WEIGHTS == RX_FULL
#include "cell_back_template.h"
#endif

#undef BOTH
#undef ACT
#undef AT
#undef MASK
#undef SHARE
