/* The cells: recurrent product and gates of one step, one block of units at a time; each with its backward pass
 * directly below: gradients of the gates from those of the state, then through the recurrent kernel.
 *
 * Each body is written once, with the activations and "is this the general case" as arguments, forward also with
 * whether there are options (clip, peepholes, coupled gates). FORWARD and BACKWARD make the compiled forms: the common
 * one (sigmoid gates, tanh, no element-wise masks), where the compiler drops every branch, that one with options, and
 * the general one. */

#define HAS_MASKS(step)                                                                                    \
    ((step)->update_mask || (step)->cell_mask || (step)->blend_mask || (step)->zone_h || (step)->zone_c)
#define IS_COMMON(step)                                                                                    \
    (!HAS_MASKS(step) && (step)->activation == RX_TANH && (step)->recurrent_activation == RX_SIGMOID)

#define FORWARD(body, step)                                                                                \
    do {                                                                                                   \
        if (!IS_COMMON(step))                                                                              \
            body(step, (step)->activation, (step)->recurrent_activation, 1, 1);                            \
        else if ((step)->options)                                                                          \
            body(step, RX_TANH, RX_SIGMOID, 0, 1);                                                         \
        else                                                                                               \
            body(step, RX_TANH, RX_SIGMOID, 0, 0);                                                         \
    } while (0)

#define BACKWARD(body, step)                                                                               \
    do {                                                                                                   \
        if (IS_COMMON(step))                                                                               \
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

/* What an activation takes: clipped, if the cell is; of an LSTM's gate before that with its peephole on the cell. */
INLINE vec NAME(clipped)(const rx_step *s, vec x) {
    const vec bound = vset((REAL)s->clip);
    return s->clip > 0 ? vmin(bound, vmax(vsub(vset(0), bound), x)) : x; /* NaN stays NaN */
}
INLINE vec NAME(peeped)(const rx_step *s, int slot, ptrdiff_t j, vec c, vec x) {
    return s->peepholes ? vfma(vload((const REAL *)s->peepholes + slot * s->U + j), c, x) : x;
}
#define INTO(x) (options ? NAME(clipped)(s, x) : (x))
#define PEEPED(slot, c, x) (options ? NAME(peeped)(s, slot, j, c, x) : (x))

/* share * old + (1 - share) * new */
INLINE vec NAME(blend)(vec share, vec old, vec new_) { return vfma(share, vsub(old, new_), new_); }

/* Where the block of units after `done` others starts: every other step goes the other way, and finds in L2 the panels
 * that the step before it used last. */
INLINE ptrdiff_t NAME(block)(const rx_step *s, ptrdiff_t done) { return s->downwards ? s->U - NR - done : done; }

/* ---- Through the kernels ------------------------------------------------------------------------------------ */

/* Rows of a gate's packed kernel. */
INLINE ptrdiff_t NAME(depth)(const rx_step *s, int gate) { return s->kept[gate] ? s->kept_count[gate] : s->D; }

/* The first unit that the panels of the units from j on meet; and where it is in a row of operands, which 8-bit weights
 * find by themselves. */
INLINE ptrdiff_t NAME(start)(const rx_step *s, ptrdiff_t j) { return s->starts ? s->starts[j / NR] : 0; }
INLINE const void *NAME(from)(const void *row, ptrdiff_t start) { return SCALED ? row : (const REAL *)row + start; }

/* gates = x W + b for the block of units that starts at j and the first `count` slots, if that is left to the step. */
INLINE void NAME(projected)(const rx_step *s, ptrdiff_t j, int count) {
    const ptrdiff_t panel = DEPTH(s->F) * NR;
    const void *A[RX_MAX_GATES], *init[RX_MAX_GATES];
    void *C[RX_MAX_GATES];
    if (!s->x) return;
    for (int slot = 0; slot < count; ++slot) {
        A[slot] = s->x;
        C[slot] = (REAL *)s->gates + slot * s->U + j;
        init[slot] = (const REAL *)s->bias_x + slot * s->U + j;
    }
    NAME(multiplied)((rx_product){
        .n = s->n, .K = s->F, .count = count, .A = A, .lda = s->ldx,
        .B = (const WEIGHT *)s->packed_x + j / NR * count * panel, .panel = panel, .planes = s->planes,
        .plane = s->plane_x, .init = init, .C = C, .ldc = s->ldg,
    });
}

/* gates[slot0 + g] = init + operand[g] R_g for the block of units that starts at j, for `count` gates. */
INLINE void NAME(recurrent)(const rx_step *s, ptrdiff_t j, int gate0, int count, int gates_in_all, ptrdiff_t slot0,
                            const REAL *bias_row) {
    const void *const *A = s->operand + gate0, *shifted[RX_MAX_GATES], *init[RX_MAX_GATES];
    void *C[RX_MAX_GATES];
    const ptrdiff_t panel = DEPTH(s->D) * NR, start = NAME(start)(s, j);
    const WEIGHT *B = (const WEIGHT *)s->packed + (j / NR * gates_in_all + gate0) * panel;
    /* gates whose masks keep the same units go together */
    const int together = s->kept[gate0] == s->kept[gate0 + count - 1] ? count : 1;
    if (!SCALED && start) {
        for (int g = 0; g < count; ++g) shifted[g] = NAME(from)(A[g], start);
        A = shifted;
    }
    for (int g = 0; g < count; ++g) {
        C[g] = (REAL *)s->gates + (slot0 + g) * s->U + j;
        init[g] = bias_row ? bias_row + j : C[g];
    }
    for (int g = 0; g < count; g += together)
        NAME(multiplied)((rx_product){
            .n = s->n, .K = NAME(depth)(s, gate0 + g), .count = together, .A = A + g, .lda = s->ldo,
            .index = s->kept[gate0 + g], .first = start, .B = B + g * panel, .panel = panel, .planes = s->planes,
            .plane = s->plane, .init = init + g, .ldi = bias_row ? 0 : s->ldg, .C = C + g, .ldc = s->ldg,
        });
}

#if GRADIENTS
/* out (n, ld) = dG_g R_g^T, added to what is there if `add`, under the mask if there is one; of the kept units only,
 * side by side. */
static void NAME(through_gate)(const rx_step *s, int gate, int gates_in_all, const REAL *dG, int add, const REAL *mask,
                               REAL *out) {
    const ptrdiff_t panel = s->D * NR, all = add ? s->H : s->U; /* what is not added to is made up to its end */
    const ptrdiff_t units = s->kept[gate] ? s->kept_count[gate] : all;
    const REAL zeros[NR] = {0};
    for (ptrdiff_t block = 0; block < units; block += NR) {
        const REAL *B = (const REAL *)s->packed + (block / NR * gates_in_all + gate) * panel;
        void *C = out + block;
        const void *A = dG + NAME(start)(s, block), *init = add || mask ? C : zeros;
        const rx_product product = {
            .n = s->n, .K = s->D, .count = 1, .A = &A, .lda = s->ldg, .B = B, .planes = 1, .init = &init,
            .ldi = add || mask ? s->ld : 0, .C = &C, .ldc = s->ld, .mask = mask ? mask + block : NULL,
            .ldm = s->ld,
        };
        if (mask) NAME(masked_product)(&product);
        else if (units - block <= WIDTH) NAME(half_product)(&product);
        else NAME(multiplied)(product);
    }
}

/* Rows of `count` kept units, in place, to rows of all units: zero where nothing was kept. */
static void NAME(expand)(const rx_step *s, const int *kept, ptrdiff_t count, REAL *rows) {
    for (ptrdiff_t r = 0; r < s->n; ++r) {
        ptrdiff_t from = count - 1;
        for (ptrdiff_t j = s->U - 1; j >= 0; --j)
            *AT(rows, r, j) = from >= 0 && kept[from] == j ? *AT(rows, r, from--) : 0;
    }
}

/* Ask for a share of the gates that the next step will read: they lie farther away than L2. */
INLINE void NAME(fetch_ahead)(const rx_step *s, int share, int shares) {
    if (!s->gates_ahead) return;
    for (ptrdiff_t r = share * s->n / shares; r < (share + 1) * s->n / shares; ++r)
        for (ptrdiff_t j = 0; j < s->ldg; j += RX_ALIGNMENT / (int)sizeof(REAL))
            RX_PREFETCH((const REAL *)s->gates_ahead + r * s->ldg + j);
}

/* dh += sum over `count` gates of mask_g * (dG_g R_g^T) */
static void NAME(through_recurrent)(const rx_step *s, int count, int gates_in_all, ptrdiff_t slot0) {
    REAL *dh = s->dh, *sum = s->scratch;
    for (int g = 0; g < count; ++g) {
        NAME(fetch_ahead)(s, g, count);
        const REAL *dG = (const REAL *)s->gates + (slot0 + g) * s->U;
        const int *kept = s->kept[g];
        if (!kept) {
            NAME(through_gate)(s, g, gates_in_all, dG, 1, s->state_mask[g], dh);
            continue;
        }
        NAME(through_gate)(s, g, gates_in_all, dG, g && kept == s->kept[g - 1], NULL, sum);
        if (g + 1 < count && kept == s->kept[g + 1]) continue;
        NAME(scatter_add)(s->n, s->kept_count[g], sum, s->ld, kept, dh, s->ld);
    }
}
#endif

/* ---- LSTM: c' = f c + i cand, h = o act(c') ------------------------------------------------------------- */

INLINE void NAME(lstm_forward_body)(const rx_step *s, int act, int rec, int masks, int options) {
    const ptrdiff_t U = s->U;
    for (ptrdiff_t done = 0; done < U; done += NR) {
        const ptrdiff_t block = NAME(block)(s, done);
        NAME(projected)(s, block, 4);
        NAME(recurrent)(s, block, 0, 4, 4, 0, NULL);
        for (ptrdiff_t r = 0; r < s->n; ++r) {
            REAL *gates = (REAL *)s->gates + r * s->ldg;
            for (ptrdiff_t j = block; j < block + NR; j += WIDTH) {
                const vec c_old = vload(AT((const REAL *)s->c_prev, r, j));
                const vec i = ACT(rec, INTO(PEEPED(0, c_old, vload(gates + j))));
                const vec f = options && s->coupled ? vsub(vset(1), i)
                                                    : ACT(rec, INTO(PEEPED(1, c_old, vload(gates + U + j))));
                const vec cand = ACT(act, INTO(vload(gates + 2 * U + j)));
                vec c = vfma(f, c_old, vmul(vmul(i, cand), MASK(update_mask, r, j)));
                if (masks) c = vmul(c, MASK(cell_mask, r, j));
                const vec o = ACT(rec, INTO(PEEPED(3, c, vload(gates + 3 * U + j))));
                vstore(gates + j, i);
                vstore(gates + U + j, f);
                vstore(gates + 2 * U + j, cand);
                vstore(gates + 3 * U + j, o);
                vstore(AT((REAL *)s->c, r, j), c);
            }
        }
        for (ptrdiff_t r = 0; r < s->n; ++r) { /* a loop of its own, so that many act(c) are under way at once */
            const REAL *o = (const REAL *)s->gates + r * s->ldg + 3 * U;
            for (ptrdiff_t j = block; j < block + NR; j += WIDTH) {
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

#if GRADIENTS
INLINE void NAME(lstm_backward_body)(const rx_step *s, int act, int rec, int masks) {
    const ptrdiff_t U = s->U;
    const vec one = vset(1);
    for (ptrdiff_t r = 0; r < s->n; ++r) {
        REAL *gates = (REAL *)s->gates + r * s->ldg;
        for (ptrdiff_t j = 0; j < U; j += WIDTH) {
            const vec i = vload(gates + j), f = vload(gates + U + j), cand = vload(gates + 2 * U + j);
            const vec o = vload(gates + 3 * U + j);
            const vec c_old = vload(AT((const REAL *)s->c_prev, r, j));
            const vec update = MASK(update_mask, r, j), cell = MASK(cell_mask, r, j);
            const vec keep_h = SHARE(zone_h, r, j), keep_c = SHARE(zone_c, r, j);
            vec dh = vload(AT((REAL *)s->dh, r, j)), dc = vload(AT((REAL *)s->dc, r, j));
            const vec dh_old = vmul(dh, keep_h), dc_old = vmul(dc, keep_c);
            /* zoneout blends c after h was made from it, so the stored c is not the one that act() saw */
            const vec c = masks ? vmul(vfma(f, c_old, vmul(vmul(i, cand), update)), cell)
                                : vload(AT((const REAL *)s->c, r, j));
            const vec y = ACT(act, c);
            if (masks) {
                dh = vmul(dh, vsub(one, keep_h));
                dc = vmul(dc, vsub(one, keep_c));
            }
            dc = vfma(vmul(dh, o), NAME(act_slope)(act, y), dc);
            if (masks) dc = vmul(dc, cell);
            vstore(gates + j, vmul(vmul(vmul(dc, update), cand), NAME(act_slope)(rec, i)));
            vstore(gates + U + j, vmul(vmul(dc, c_old), NAME(act_slope)(rec, f)));
            vstore(gates + 2 * U + j, vmul(vmul(vmul(dc, update), i), NAME(act_slope)(act, cand)));
            vstore(gates + 3 * U + j, vmul(vmul(dh, y), NAME(act_slope)(rec, o)));
            vstore(AT((REAL *)s->dc, r, j), masks ? vfma(dc, f, dc_old) : vmul(dc, f));
            vstore(AT((REAL *)s->dh, r, j), dh_old);
        }
    }
}
#endif

/* ---- Both GRUs: the blend of old state and candidate ------------------------------------------------------- */

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

#if GRADIENTS
/* From dh: gradients of z and of the candidate (before their activations) and, into dh, the direct path. */
INLINE void NAME(gru_output_back)(const rx_step *s, int masks, int act, int rec, ptrdiff_t r, ptrdiff_t j, vec z,
                                  vec cand, vec *dz, vec *dcand) {
    const vec one = vset(1);
    const vec h_old = vload(AT((const REAL *)s->h_prev, r, j));
    const vec update = MASK(update_mask, r, j), blend = MASK(blend_mask, r, j), keep = SHARE(zone_h, r, j);
    vec dh = vload(AT((REAL *)s->dh, r, j));
    const vec dh_old = vmul(dh, keep);
    if (masks) dh = vmul(vmul(dh, vsub(one, keep)), MASK(cell_mask, r, j));
    *dz = vmul(vmul(dh, vsub(vmul(h_old, blend), vmul(cand, update))), NAME(act_slope)(rec, z));
    *dcand = vmul(vmul(vmul(dh, vsub(one, z)), update), NAME(act_slope)(act, cand));
    vstore(AT((REAL *)s->dh, r, j), masks ? vfma(vmul(dh, blend), z, dh_old) : vmul(dh, z));
}
#endif

/* ---- GRU, reset after the product: h = z h + (1 - z) act(x W + r q), q = h R_h + b ---------------------- */

INLINE void NAME(gru_after_forward_body)(const rx_step *s, int act, int rec, int masks, int options) {
    const ptrdiff_t U = s->U;
    for (ptrdiff_t done = 0; done < U; done += NR) {
        const ptrdiff_t block = NAME(block)(s, done);
        NAME(projected)(s, block, 3);
        NAME(recurrent)(s, block, 0, 2, 3, 1, NULL);
        NAME(recurrent)(s, block, 2, 1, 3, 3, s->bias_q);
        for (ptrdiff_t r = 0; r < s->n; ++r) {
            REAL *gates = (REAL *)s->gates + r * s->ldg;
            for (ptrdiff_t j = block; j < block + NR; j += WIDTH) {
                vstore(gates + U + j, ACT(rec, INTO(vload(gates + U + j))));
                vstore(gates + 2 * U + j, ACT(rec, INTO(vload(gates + 2 * U + j))));
            }
        }
        for (ptrdiff_t r = 0; r < s->n; ++r) { /* a loop of its own, so that many candidates are under way at once */
            REAL *gates = (REAL *)s->gates + r * s->ldg;
            for (ptrdiff_t j = block; j < block + NR; j += WIDTH) {
                const vec z = vload(gates + U + j), reset = vload(gates + 2 * U + j);
                const vec cand = ACT(act, INTO(vfma(reset, vload(gates + 3 * U + j), vload(gates + j))));
                vstore(gates + j, cand);
                NAME(gru_output)(s, masks, r, j, z, cand);
            }
        }
    }
}

#if GRADIENTS
INLINE void NAME(gru_after_backward_body)(const rx_step *s, int act, int rec, int masks) {
    const ptrdiff_t U = s->U;
    for (ptrdiff_t r = 0; r < s->n; ++r) {
        REAL *gates = (REAL *)s->gates + r * s->ldg;
        for (ptrdiff_t j = 0; j < U; j += WIDTH) {
            const vec cand = vload(gates + j), z = vload(gates + U + j), reset = vload(gates + 2 * U + j);
            const vec q = vload(gates + 3 * U + j);
            vec dz, dcand;
            NAME(gru_output_back)(s, masks, act, rec, r, j, z, cand, &dz, &dcand);
            vstore(gates + j, dcand);
            vstore(gates + U + j, dz);
            vstore(gates + 2 * U + j, vmul(vmul(dcand, q), NAME(act_slope)(rec, reset)));
            vstore(gates + 3 * U + j, vmul(dcand, reset));
        }
    }
}
#endif

/* ---- GRU, reset before the product: h = z h + (1 - z) act(x W + (r h) R_h) ------------------------------ */

INLINE void NAME(gru_before_forward_body)(const rx_step *s, int act, int rec, int masks, int options) {
    const ptrdiff_t U = s->U;
    const ptrdiff_t panel = DEPTH(s->D) * NR;
    REAL *all = s->gates;
    for (ptrdiff_t done = 0; done < U; done += NR) {
        const ptrdiff_t block = NAME(block)(s, done);
        NAME(projected)(s, block, 3);
        NAME(recurrent)(s, block, 0, 2, 3, 1, NULL);
        for (ptrdiff_t r = 0; r < s->n; ++r) {
            REAL *gates = all + r * s->ldg;
            for (ptrdiff_t j = block; j < block + NR; j += WIDTH) {
                const vec reset = ACT(rec, INTO(vload(gates + 2 * U + j)));
                vstore(gates + U + j, ACT(rec, INTO(vload(gates + U + j))));
                vstore(gates + 2 * U + j, reset);
                vstore(gates + 3 * U + j, vmul(reset, vload(AT((const REAL *)s->operand[2], r, j))));
            }
        }
    }
    const void *operand = all + 3 * U;
    ptrdiff_t lda = s->ldg;
#if SCALED
    s->round_rows(s->n, s->H, operand, lda, s->rounded, s->ldo);
    operand = s->rounded;
    lda = s->ldo;
#endif
    for (ptrdiff_t done = 0; done < U; done += NR) {
        const ptrdiff_t block = NAME(block)(s, done), start = NAME(start)(s, block);
        const void *A = NAME(from)(operand, start), *init = all + block;
        void *C = all + block;
        NAME(multiplied)((rx_product){
            .n = s->n, .K = NAME(depth)(s, 2), .count = 1, .A = &A, .lda = lda, .index = s->kept[2],
            .first = start,
            .B = (const WEIGHT *)s->packed + (block / NR * 3 + 2) * panel, .panel = panel, .planes = s->planes,
            .plane = s->plane, .init = &init, .ldi = s->ldg, .C = &C, .ldc = s->ldg,
        });
        for (ptrdiff_t r = 0; r < s->n; ++r) {
            REAL *gates = all + r * s->ldg;
            for (ptrdiff_t j = block; j < block + NR; j += WIDTH) {
                const vec cand = ACT(act, INTO(vload(gates + j)));
                vstore(gates + j, cand);
                NAME(gru_output)(s, masks, r, j, vload(gates + U + j), cand);
            }
        }
    }
}

#if GRADIENTS
/* Gradients of z and the candidate; then through R_h to r and h. Slot 3 keeps r h, the operand of dR_h. */
INLINE void NAME(gru_before_backward_body)(const rx_step *s, int act, int rec, int masks) {
    const ptrdiff_t U = s->U;
    REAL *all = s->gates, *dq = s->scratch;
    for (ptrdiff_t r = 0; r < s->n; ++r) {
        REAL *gates = all + r * s->ldg;
        for (ptrdiff_t j = 0; j < U; j += WIDTH) {
            const vec cand = vload(gates + j), z = vload(gates + U + j);
            vec dz, dcand;
            NAME(gru_output_back)(s, masks, act, rec, r, j, z, cand, &dz, &dcand);
            vstore(gates + j, dcand);
            vstore(gates + U + j, dz);
        }
    }
    NAME(through_gate)(s, 2, 3, all, 0, NULL, dq);
    if (s->kept[2]) NAME(expand)(s, s->kept[2], s->kept_count[2], dq);
    for (ptrdiff_t r = 0; r < s->n; ++r) {
        REAL *gates = all + r * s->ldg;
        const REAL *state_mask = s->state_mask[2];
        for (ptrdiff_t j = 0; j < U; j += WIDTH) {
            const vec reset = vload(gates + 2 * U + j), d = vload(AT(dq, r, j));
            const vec m = state_mask ? vload(AT(state_mask, r, j)) : vset(1);
            const vec h_masked = vmul(vload(AT((const REAL *)s->h_prev, r, j)), m);
            vstore(gates + 2 * U + j, vmul(vmul(d, h_masked), NAME(act_slope)(rec, reset)));
            vstore(AT((REAL *)s->dh, r, j), vfma(vmul(d, reset), m, vload(AT((REAL *)s->dh, r, j))));
        }
    }
}
#endif

/* ---- SimpleRNN: h = act(x W + h R) ---------------------------------------------------------------------- */

INLINE void NAME(rnn_forward_body)(const rx_step *s, int act, int rec, int masks, int options) {
    (void)rec;
    for (ptrdiff_t done = 0; done < s->U; done += NR) {
        const ptrdiff_t block = NAME(block)(s, done);
        NAME(projected)(s, block, 1);
        NAME(recurrent)(s, block, 0, 1, 1, 0, NULL);
        for (ptrdiff_t r = 0; r < s->n; ++r) {
            REAL *gates = (REAL *)s->gates + r * s->ldg;
            for (ptrdiff_t j = block; j < block + NR; j += WIDTH) {
                const vec cand = ACT(act, INTO(vload(gates + j)));
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

#if GRADIENTS
INLINE void NAME(rnn_backward_body)(const rx_step *s, int act, int rec, int masks) {
    (void)rec;
    for (ptrdiff_t r = 0; r < s->n; ++r) {
        REAL *gates = (REAL *)s->gates + r * s->ldg;
        for (ptrdiff_t j = 0; j < s->U; j += WIDTH) {
            const vec keep = SHARE(zone_h, r, j);
            vec dh = vload(AT((REAL *)s->dh, r, j));
            vstore(AT((REAL *)s->dh, r, j), vmul(dh, keep));
            if (masks)
                dh = vmul(vmul(dh, vsub(vset(1), keep)), vmul(MASK(update_mask, r, j), MASK(cell_mask, r, j)));
            vstore(gates + j, vmul(dh, NAME(act_slope)(act, vload(gates + j))));
        }
    }
}
#endif

/* ---- The functions of the table ----------------------------------------------------------------------------- */

static void NAME(lstm_forward)(const rx_step *s) { FORWARD(NAME(lstm_forward_body), s); }
static void NAME(gru_after_forward)(const rx_step *s) { FORWARD(NAME(gru_after_forward_body), s); }
static void NAME(gru_before_forward)(const rx_step *s) { FORWARD(NAME(gru_before_forward_body), s); }
static void NAME(rnn_forward)(const rx_step *s) { FORWARD(NAME(rnn_forward_body), s); }

#if GRADIENTS
static void NAME(lstm_backward)(const rx_step *s) {
    BACKWARD(NAME(lstm_backward_body), s);
    NAME(through_recurrent)(s, 4, 4, 0);
}
static void NAME(gru_after_backward)(const rx_step *s) {
    BACKWARD(NAME(gru_after_backward_body), s);
    NAME(through_recurrent)(s, 3, 3, 1);
}
static void NAME(gru_before_backward)(const rx_step *s) {
    BACKWARD(NAME(gru_before_backward_body), s);
    NAME(through_recurrent)(s, 2, 3, 1);
}
static void NAME(rnn_backward)(const rx_step *s) {
    BACKWARD(NAME(rnn_backward_body), s);
    NAME(through_recurrent)(s, 1, 1, 0);
}
#endif

#undef HAS_MASKS
#undef IS_COMMON
#undef FORWARD
#undef BACKWARD
#undef INTO
#undef PEEPED
#undef ACT
#undef AT
#undef MASK
#undef SHARE
