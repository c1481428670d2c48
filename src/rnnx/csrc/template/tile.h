/* Products, in the vocabulary of GotoBLAS and BLIS. B is packed in panels of NR = 2 WIDTH columns; a tile is MR x NR
 * sums (or less) that stay in registers while the micro-kernel walks the depth k.
 *
 *   for each panel of B                       all_rows: the panel stays in L1
 *     for each tile of A's rows
 *       +- tile, the micro-kernel ------------------------------------+
 *       |  for each k of K                                            |
 *       |    b = row k of the panel, two vectors                      |
 *       |    for each row m of the tile                               |
 *       |      sum[m] += A[m][k] * b                                  |
 *       |  C[m] = init[m] + sum[m]                                    |
 *       +-------------------------------------------------------------+
 *
 * MR = 6 rows of one panel fill the sixteen registers of AVX2, twelve the thirty-two of AVX-512 and NEON; at most three
 * rows take several panels at once (few_rows), so that at least eight independent sums hide the latency of the FMA.
 * Every tile adds the same terms in the same order, so a row's result does not depend on which rows share its tile.
 *
 * 16-bit weights become elements as they are loaded. 8-bit ones meet rounded operands in integer sums, GROUP rows at
 * a time; the finished sums are multiplied by the scales of row and column. Sums start at zero, and what was there is
 * added to them in the end: partial sums stay small, and so do their roundings. */

/* Where the operand of depth k is in its row. */
INLINE ptrdiff_t NAME(place)(const enum tile_form form, const rx_product *s, ptrdiff_t k) {
    if (form == A_COLUMNS) return k * s->lda;
    if (form == A_INDEXED) return (ptrdiff_t)(unsigned)s->index[k]; /* no sign to extend in every turn */
#if SCALED
    k += s->first;
#endif
    return SCALED ? RX_ROUNDED_HEAD + (ptrdiff_t)((size_t)k / GROUP * SUMS) : k; /* SUMS elements have GROUP operands */
}

/* init + a sum of row `row` and the columns from `column` on; `a` is the start of the operand's row, `panel` that of
 * the packed weights. */
INLINE vec NAME(finish)(const enum tile_form form, const rx_product *s, ptrdiff_t row, int column,
                        const vsum *sum, const REAL *a, const WEIGHT *panel, vec init) {
#if SCALED
    const REAL *scales = (const REAL *)panel + column;
    (void)form, (void)s, (void)row;
    return vfma(vfloats(vwhole(sum, (const int *)scales + NR, a)), vmul(vload(scales), vset(*a)), init);
#else
    (void)a, (void)panel;
    if (form == A_MASKED) return vfma(sum[0], vload((const REAL *)s->mask + row * s->ldm + column), init);
    return vadd(init, sum[0]);
#endif
}

/* The micro-kernel: the rows from `row` on, M of them, of the first P panels; M, P and the form are constants. */
INLINE void NAME(tile)(const int M, const int P, const enum tile_form form, const rx_product *s, ptrdiff_t row) {
    const ptrdiff_t next = form == A_COLUMNS ? 1 : s->lda; /* from one row of the tile to the next */
    const WEIGHT *const head = (const WEIGHT *)s->B, *B = head + SCALE_ROWS * NR;
    const int wide = form == A_HALF ? 1 : 2;
    const REAL *a[MOST_PANELS];
    vsum sum[MOST_PANELS][MR][2][SUMS];
    UNROLLED for (int p = 0; p < P; ++p) {
        a[p] = (const REAL *)s->A[p] + row * next;
        UNROLLED for (int m = 0; m < M; ++m)
            UNROLLED for (int part = 0; part < SUMS; ++part) sum[p][m][0][part] = sum[p][m][1][part] = vsum_zero();
    }
    for (ptrdiff_t k = 0; k < s->K; k += GROUP, B += GROUP * NR) {
        const ptrdiff_t first = NAME(place)(form, s, k);
        UNROLLED for (int p = 0; p < P; ++p) {
            const WEIGHT *b = B + p * s->panel;
            const vweight b0 = vweights_0(b), b1 = vweights_1(b);
            UNROLLED for (int m = 0; m < M; ++m)
                UNROLLED for (int part = 0; part < SUMS; ++part) {
                    const voperand x = vbroadcast(a[p] + first + m * next + part);
                    sum[p][m][0][part] = vmac(x, b0, sum[p][m][0][part]);
                    if (wide == 2) sum[p][m][1][part] = vmac(x, b1, sum[p][m][1][part]);
                }
        }
    }
    UNROLLED for (int p = 0; p < P; ++p)
        UNROLLED for (int m = 0; m < M; ++m)
            UNROLLED for (int w = 0; w < wide; ++w) {
#if SCALED
                if (form == A_WHOLE) { /* the bytes of a column's sum stand behind the scales */
                    const int *sums = (const int *)(head + p * s->panel) + NR + w * WIDTH;
                    (void)sums;
                    vstore_whole((int *)s->C[p] + (row + m) * s->ldc + w * WIDTH,
                                 vwhole(sum[p][m][w], sums, a[p] + m * next));
                    continue;
                }
#endif
                const vec init = vload((const REAL *)s->init[p] + (row + m) * s->ldi + w * WIDTH);
                vstore((REAL *)s->C[p] + (row + m) * s->ldc + w * WIDTH,
                       NAME(finish)(form, s, row + m, w * WIDTH, sum[p][m][w], a[p] + m * next, head + p * s->panel,
                                    init));
            }
}

/* The tile of one panel and `height` rows, which is known at run time only. */
INLINE void NAME(tile_of)(ptrdiff_t height, const enum tile_form form, const rx_product *s, ptrdiff_t row) {
    switch (height) {
#if MR == 12
    case 12: NAME(tile)(12, 1, form, s, row); break;
    case 11: NAME(tile)(11, 1, form, s, row); break;
    case 10: NAME(tile)(10, 1, form, s, row); break;
    case 9: NAME(tile)(9, 1, form, s, row); break;
    case 8: NAME(tile)(8, 1, form, s, row); break;
    case 7: NAME(tile)(7, 1, form, s, row); break;
#endif
    case 6: NAME(tile)(6, 1, form, s, row); break;
    case 5: NAME(tile)(5, 1, form, s, row); break;
    case 4: NAME(tile)(4, 1, form, s, row); break;
    case 3: NAME(tile)(3, 1, form, s, row); break;
    case 2: NAME(tile)(2, 1, form, s, row); break;
    case 1: NAME(tile)(1, 1, form, s, row); break;
    }
}

/* The product without its first panels; their number is the caller's to count. */
INLINE rx_product NAME(without)(rx_product s, int panels) {
    s.A += panels, s.init += panels, s.C += panels;
    s.B = (const WEIGHT *)s.B + panels * s.panel;
    return s;
}

/* At most three rows, several panels at once. Two rows of three panels leave AVX2 no register for the mask that widens
 * bfloat16 weights. */
INLINE void NAME(few_rows)(const enum tile_form form, const rx_product *s) {
    int left = s->count;
    if (s->n == 3) {
        rx_product rest = *s;
        for (; left >= 2; left -= 2, rest = NAME(without)(rest, 2)) NAME(tile)(3, 2, form, &rest, 0);
        if (left) NAME(tile)(3, 1, form, &rest, 0);
    } else if (s->n == 2 && s->count == 3 && (TALL_TILES || WEIGHTS != RX_BF16)) {
        NAME(tile)(2, 3, form, s, 0);
    } else if (s->n == 2) {
        rx_product rest = *s;
        for (; left >= 2; left -= 2, rest = NAME(without)(rest, 2)) NAME(tile)(2, 2, form, &rest, 0);
        if (left) NAME(tile)(2, 1, form, &rest, 0);
    } else if (s->n == 1) {
        switch (s->count) {
        case 4: NAME(tile)(1, 4, form, s, 0); break;
        case 3: NAME(tile)(1, 3, form, s, 0); break;
        case 2: NAME(tile)(1, 2, form, s, 0); break;
        default: NAME(tile)(1, 1, form, s, 0);
        }
    }
}

/* Rows in tiles of nearly equal height: a small remainder would run at half the speed. */
INLINE void NAME(all_rows)(const enum tile_form form, const rx_product *s) {
    const ptrdiff_t tiles = (s->n + MR - 1) / MR, low = s->n / tiles, taller = s->n % tiles;
    for (int p = 0; p < s->count; ++p) {
        const rx_product rest = NAME(without)(*s, p);
        ptrdiff_t row = 0, height;
        for (ptrdiff_t t = 0; t < tiles; ++t, row += height) {
            height = low + (t < taller);
            NAME(tile_of)(height, form, &rest, row);
        }
    }
}

/* A product, its fields in registers: apart, so that the compiler can leave out what no call of the cells varies. The
 * planes after the first are added to what is there. */
static void NAME(panels)(ptrdiff_t n, ptrdiff_t K, int count, const void *const *A, ptrdiff_t lda, const int *index,
                         ptrdiff_t first, const void *B, ptrdiff_t panel, int planes, ptrdiff_t plane,
                         const void *const *init, ptrdiff_t ldi, void *const *C, ptrdiff_t ldc) {
    rx_product s = {.n = n, .K = K, .count = count, .A = A, .lda = lda, .index = index, .first = first, .B = B,
                    .panel = panel, .init = init, .ldi = ldi, .C = C, .ldc = ldc};
    if (WEIGHTS != RX_FULL) index = NULL;
    for (;;) {
        if (n <= 3 && index) NAME(few_rows)(A_INDEXED, &s);
        else if (n <= 3) NAME(few_rows)(A_ROWS, &s);
        else if (index) NAME(all_rows)(A_INDEXED, &s);
        else NAME(all_rows)(A_ROWS, &s);
        if (!SCALED || --planes == 0) return;
        s.B = (const WEIGHT *)s.B + plane, s.init = (const void *const *)C, s.ldi = ldc;
    }
}

/* A product without a mask. */
INLINE void NAME(multiplied)(const rx_product s) {
    NAME(panels)(s.n, s.K, s.count, s.A, s.lda, s.index, s.first, s.B, s.panel, s.planes, s.plane, s.init, s.ldi, s.C,
                 s.ldc);
}

static void NAME(product)(const rx_product *what) { NAME(multiplied)(*what); }

#if GRADIENTS
/* A product under a mask. */
static void NAME(masked_product)(const rx_product *s) {
    if (s->n <= 3) NAME(few_rows)(A_MASKED, s);
    else NAME(all_rows)(A_MASKED, s);
}

/* The first half of the columns of a panel. */
static void NAME(half_product)(const rx_product *s) {
    if (s->n <= 3) NAME(few_rows)(A_HALF, s);
    else NAME(all_rows)(A_HALF, s);
}

/* Ask for NR columns of the rows r0 <= r < r1, which no prefetcher of the processor expects. */
INLINE void NAME(fetch)(const REAL *columns, ptrdiff_t r0, ptrdiff_t r1, ptrdiff_t ld) {
    for (ptrdiff_t r = r0; r < r1; ++r)
        for (int j = 0; j < NR; j += RX_ALIGNMENT / (int)sizeof(REAL)) RX_PREFETCH(columns + r * ld + j);
}

/* The sums of the columns of panels of B, added to what is there. */
static void NAME(sum_columns)(ptrdiff_t n, ptrdiff_t panels, const void *B, ptrdiff_t ldb, void *sums) {
    for (ptrdiff_t j = 0; j < panels * NR; j += NR) {
        const REAL *rows = (const REAL *)B + j;
        REAL *to = (REAL *)sums + j;
        vec sum[2] = {vset(0), vset(0)};
        for (ptrdiff_t r = 0; r < n; ++r)
            for (int w = 0; w < 2; ++w) sum[w] = vadd(sum[w], vload(rows + r * ldb + w * WIDTH));
        for (int w = 0; w < 2; ++w) vstore(to + w * WIDTH, vadd(vload(to + w * WIDTH), sum[w]));
    }
}

/* Each panel of B is packed once, if it does not lie in one piece, and meets all strips of A; meanwhile the next one is
 * on its way. */
static void NAME(sum_outer)(const rx_outer *o) {
    REAL packed[KC * NR];
    const ptrdiff_t n = o->n, M = o->M;
    for (ptrdiff_t panel = 0; panel < o->panels; ++panel) {
        const REAL *rows = (const REAL *)o->B + panel * NR, *whole = packed;
        const int fetches = panel + 1 < o->panels || o->goes_on;
        vec sum[2] = {vset(0), vset(0)};
        if (o->ldb == NR && !o->sums) whole = rows;
        for (ptrdiff_t r = 0; whole == packed && r < n; ++r)
            for (int w = 0; w < 2; ++w) {
                const vec b = vload(rows + r * o->ldb + w * WIDTH);
                sum[w] = vadd(sum[w], b);
                vstore(packed + r * NR + w * WIDTH, b);
            }
        for (int w = 0; o->sums && w < 2; ++w) {
            REAL *to = (REAL *)o->sums + panel * NR + w * WIDTH;
            vstore(to, vadd(vload(to), sum[w]));
        }
        for (ptrdiff_t m = 0; m < M; m += MR) {
            const ptrdiff_t height = M - m < MR ? M - m : MR;
            REAL *c = (REAL *)o->C + m * o->ldc + panel * NR;
            const void *A = (const REAL *)o->A + m / MR * o->strip, *init = c;
            void *sum_in = c;
            const rx_product product = {.n = height, .K = n, .count = 1, .A = &A, .lda = o->lda, .B = whole,
                                        .init = &init, .ldi = o->ldc, .C = &sum_in, .ldc = o->ldc};
            NAME(fetch)(c, 0, height, o->ldc);
            if (fetches) NAME(fetch)(rows + NR, m * n / M, (m + height) * n / M, o->ldb);
            NAME(tile_of)(height, A_COLUMNS, &product, 0);
        }
    }
}
#endif
