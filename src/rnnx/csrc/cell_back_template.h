/* The cells' way back: gradients of the gates from those of the state, then through the recurrent kernel. Included by
 * cell_template.h, whose macros it uses. */

/* ---- LSTM ----------------------------------------------------------------------------------------------- */

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

/* ---- GRU ------------------------------------------------------------------------------------------------ */

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

/* ---- The way back through the recurrent kernel: dh += sum over gates of mask_g * (dG_g R_g^T) -------------- */

/* out (n, ld) = dG_g R_g^T, added to what is there if `add`, under the mask if there is one; of the kept units only,
 * side by side. */
static void NAME(through_gate)(const rx_step *s, int gate, int gates_in_all, const REAL *dG, int add, const REAL *mask,
                               REAL *out) {
    const ptrdiff_t stride = s->H * PANEL, units = s->kept[gate] ? s->kept_count[gate] : s->U;
    const REAL zeros[PANEL] = {0};
    for (ptrdiff_t block = 0; block < units; block += PANEL) {
        const REAL *panel = (const REAL *)s->packed + (block / PANEL * gates_in_all + gate) * stride;
        REAL *C = out + block;
        const REAL *init = add ? C : zeros;
        if (mask) NAME(masked_tiles)(s->n, s->H, &dG, s->ldg, panel, mask + block, &C, s->ld);
        else NAME(tiles)(s->n, s->H, 1, &dG, s->ldg, NULL, panel, stride, 1, 0, &init, add ? s->ld : 0, &C, s->ld);
    }
}

/* Rows of `count` kept units, in place, to rows of all units: zero where nothing was kept. */
static void NAME(spread_out)(const rx_step *s, const int *kept, ptrdiff_t count, REAL *rows) {
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
        for (ptrdiff_t r = 0; r < s->n; ++r)
            for (ptrdiff_t i = 0; i < s->kept_count[g]; ++i) *AT(dh, r, kept[i]) += *AT(sum, r, i);
    }
}

/* ---- GRU, reset before the product ---------------------------------------------------------------------- */

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
    if (s->kept[2]) NAME(spread_out)(s, s->kept[2], s->kept_count[2], dq);
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

/* ---- SimpleRNN ------------------------------------------------------------------------------------------ */

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

static void NAME(lstm_backward)(const rx_step *s) {
    BOTH(NAME(lstm_backward_body), s);
    NAME(through_recurrent)(s, 4, 4, 0);
}
static void NAME(gru_after_backward)(const rx_step *s) {
    BOTH(NAME(gru_after_backward_body), s);
    NAME(through_recurrent)(s, 3, 3, 1);
}
static void NAME(gru_before_backward)(const rx_step *s) {
    BOTH(NAME(gru_before_backward_body), s);
    NAME(through_recurrent)(s, 2, 3, 1);
}
static void NAME(rnn_backward)(const rx_step *s) {
    BOTH(NAME(rnn_backward_body), s);
    NAME(through_recurrent)(s, 1, 1, 0);
}
