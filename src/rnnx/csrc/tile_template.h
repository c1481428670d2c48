/* Products on tiles that stay in registers, in four forms that differ in where the element (row m, depth k) of A is
 * and in what becomes of a sum:
 *
 *   ROWS     C[p] = init[p] + A[p] B[p]          A as it lies, B in packed panels
 *   MASKED   C[p] = init[p] + mask (A[p] B[p])   likewise
 *   KEPT     C[p] = init[p] + A[p][:, index] B   rows of B under a mask of zero were not packed
 *   STRIPS   C += A^T B                          A packed in strips of STRIP columns: sums over many rows
 *
 * 16-bit weights become elements as they are loaded. 8-bit ones meet operands of 16 bits in integer sums, GROUP rows at
 * a time; the finished sums are multiplied by the scales of row and column. Sums start at zero, and what was there is
 * added to them in the end: partial sums stay small, and so do their roundings.
 *
 * TILE(M, P) keeps M rows of P panels in registers (2*M*P vectors) and walks k in order. Every variant adds the
 * same terms in the same order, so a row's result does not depend on which rows share its tile. Six rows of one
 * panel fill the sixteen AVX2 registers, twelve the thirty-two of AVX-512 and NEON; fewer rows take more panels at
 * once, so that at least eight independent sums hide the latency of the FMA. */
enum NAME(form) { NAME(ROWS), NAME(MASKED), NAME(KEPT), NAME(STRIPS) };

/* Everything of a product but the row it starts at. */
typedef struct {
    ptrdiff_t K, lda, panel_stride, ldi, ldc;
    const int *index;
    const REAL *mask; /* rows ldc apart */
} NAME(shape);

/* Where the operand of depth k is in its row; and a finished sum. */
#if SCALED
#define PLACE(k) (RX_ROUNDED_HEAD + (k) / 2)
#define FINISH(start, sum, row_scale, scales, mask)                                                         \
    ((void)(mask), vfma(vtotal(sum, (const int *)(scales) + PANEL), vmul(vload(scales), vset(row_scale)), start))
#else
#define PLACE(k) (k)
#define FINISH(start, sum, row_scale, scales, mask)                                                         \
    ((void)(scales), form == NAME(MASKED) ? vfma((sum)[0], vload(mask), start) : vadd(start, (sum)[0]))
#endif

#define TILE(M, P)                                                                                          \
    INLINE void NAME(tile_##M##_##P)(const int form, const NAME(shape) *s, ptrdiff_t row,                   \
                                     const REAL *const *A, const WEIGHT *B, const REAL *const *init,        \
                                     REAL *const *C) {                                                      \
        vsum acc[P][M][2][SUMS];                                                                            \
        const REAL *a[P];                                                                                   \
        const WEIGHT *const head = B;                                                                       \
        for (int p = 0; p < P; ++p) {                                                                       \
            a[p] = A[p] + row * s->lda;                                                                     \
            for (int m = 0; m < M; ++m)                                                                     \
                for (int part = 0; part < SUMS; ++part) acc[p][m][0][part] = acc[p][m][1][part] = vsum_zero();  \
        }                                                                                                   \
        B += HEAD * PANEL;                                                                                  \
        for (ptrdiff_t k = 0; k < s->K; k += GROUP, B += GROUP * PANEL) {                                   \
            const ptrdiff_t first = form == NAME(STRIPS) ? k * STRIP                                        \
                                    : form == NAME(KEPT) ? s->index[k]                                      \
                                                         : PLACE(k);                                        \
            const ptrdiff_t next = form == NAME(STRIPS) ? 1 : s->lda;                                       \
            for (int p = 0; p < P; ++p) {                                                                   \
                const WEIGHT *b = B + p * s->panel_stride;                                                  \
                const vweight b0 = vweights_0(b), b1 = vweights_1(b);                                       \
                for (int m = 0; m < M; ++m)                                                                 \
                    for (int part = 0; part < SUMS; ++part) {                                               \
                        const voperand x = vspread(a[p] + first + m * next + part);                         \
                        acc[p][m][0][part] = vmac(x, b0, acc[p][m][0][part]);                               \
                        acc[p][m][1][part] = vmac(x, b1, acc[p][m][1][part]);                               \
                    }                                                                                       \
            }                                                                                               \
        }                                                                                                   \
        for (int p = 0; p < P; ++p)                                                                         \
            for (int m = 0; m < M; ++m)                                                                     \
                for (int w = 0; w < 2; ++w) {                                                               \
                    const vec start = vload(init[p] + (row + m) * s->ldi + w * WIDTH);                      \
                    vstore(C[p] + (row + m) * s->ldc + w * WIDTH,                                           \
                           FINISH(start, acc[p][m][w], *(a[p] + m * s->lda),                                \
                                  (const REAL *)(head + p * s->panel_stride) + w * WIDTH,                   \
                                  s->mask + (row + m) * s->ldc + w * WIDTH));                               \
                }                                                                                           \
    }

#if TALL_TILES
TILE(12, 1) TILE(11, 1) TILE(10, 1) TILE(9, 1) TILE(8, 1) TILE(7, 1)
#endif
TILE(6, 1) TILE(5, 1) TILE(4, 1) TILE(3, 1) TILE(2, 1) TILE(1, 1)
TILE(3, 2) TILE(2, 2) TILE(1, 2) TILE(2, 3) TILE(1, 3) TILE(1, 4)
#undef TILE
#undef PLACE
#undef FINISH

#define CALL(M, P) NAME(tile_##M##_##P)(form, s, row, A + p, B + p * s->panel_stride, init + p, C + p)

/* At most three rows, several panels at once. */
INLINE void NAME(few_rows)(const int form, const NAME(shape) *s, ptrdiff_t n, int count, const REAL *const *A,
                           const WEIGHT *B, const REAL *const *init, REAL *const *C) {
    const ptrdiff_t row = 0;
    int p = 0;
    if (n == 3) {
        for (; p + 2 <= count; p += 2) CALL(3, 2);
        if (p < count) CALL(3, 1);
    } else if (n == 2) {
        if (count == 3) { CALL(2, 3); return; }
        for (; p + 2 <= count; p += 2) CALL(2, 2);
        if (p < count) CALL(2, 1);
    } else if (n == 1) {
        switch (count) {
        case 4: CALL(1, 4); break;
        case 3: CALL(1, 3); break;
        case 2: CALL(1, 2); break;
        default: CALL(1, 1);
        }
    }
}

/* The tile of one panel and up to STRIP rows. */
#if TALL_TILES
#define TALL_CASES                                                                                          \
    case 12: CALL(12, 1); break;                                                                            \
    case 11: CALL(11, 1); break;                                                                            \
    case 10: CALL(10, 1); break;                                                                            \
    case 9: CALL(9, 1); break;                                                                              \
    case 8: CALL(8, 1); break;                                                                              \
    case 7: CALL(7, 1); break;
#else
#define TALL_CASES
#endif
#define SWITCH(height)                                                                                      \
    switch (height) {                                                                                       \
    TALL_CASES                                                                                              \
    case 6: CALL(6, 1); break;                                                                              \
    case 5: CALL(5, 1); break;                                                                              \
    case 4: CALL(4, 1); break;                                                                              \
    case 3: CALL(3, 1); break;                                                                              \
    case 2: CALL(2, 1); break;                                                                              \
    case 1: CALL(1, 1); break;                                                                              \
    }

/* Rows in tiles of nearly equal height: a small remainder would run at half the speed. The panels are outside, so
 * that a panel stays in L1. */
INLINE void NAME(all_rows)(const int form, const NAME(shape) *s, ptrdiff_t n, int count, const REAL *const *A,
                           const WEIGHT *B, const REAL *const *init, REAL *const *C) {
    const ptrdiff_t tiles = (n + STRIP - 1) / STRIP, low = n / tiles, taller = n % tiles;
    for (int p = 0; p < count; ++p) {
        ptrdiff_t row = 0, height;
        for (ptrdiff_t t = 0; t < tiles; ++t, row += height) {
            height = low + (t < taller);
            SWITCH(height)
        }
    }
}

/* C[p] = init[p] + A[p] B[p] for `count` panels; with an index, A[p][:, index] has the K columns of the product.
 * Further planes of B are added to it. */
static void NAME(tiles)(ptrdiff_t n, ptrdiff_t K, int count, const REAL *const *A, ptrdiff_t lda, const int *index,
                        const WEIGHT *B, ptrdiff_t panel_stride, int planes, ptrdiff_t plane, const REAL *const *init,
                        ptrdiff_t ldi, REAL *const *C, ptrdiff_t ldc) {
    NAME(shape) shape = {K, lda, panel_stride, ldi, ldc, index, NULL}, *s = &shape;
    if (WEIGHTS != RX_FULL) index = NULL;
    for (;;) {
        if (n <= 3 && index) NAME(few_rows)(NAME(KEPT), s, n, count, A, B, init, C);
        else if (n <= 3) NAME(few_rows)(NAME(ROWS), s, n, count, A, B, init, C);
        else if (index) NAME(all_rows)(NAME(KEPT), s, n, count, A, B, init, C);
        else NAME(all_rows)(NAME(ROWS), s, n, count, A, B, init, C);
        if (!SCALED || --planes == 0) return;
        B += plane, init = (const REAL *const *)C, shape.ldi = ldc;
    }
}

static void NAME(product)(ptrdiff_t n, ptrdiff_t K, int count, const void *const *A, ptrdiff_t lda, const int *index,
                          const void *B, ptrdiff_t panel_stride, int planes, ptrdiff_t plane, const void *const *init,
                          ptrdiff_t ldi, void *const *C, ptrdiff_t ldc) {
    NAME(tiles)(n, K, count, (const REAL *const *)A, lda, index, B, panel_stride, planes, plane,
                (const REAL *const *)init, ldi, (REAL *const *)C, ldc);
}

#if WEIGHTS == RX_FULL
/* C += mask (A B) for one panel; C and the mask have rows ldc apart. */
static void NAME(masked_tiles)(ptrdiff_t n, ptrdiff_t K, const REAL *const *A, ptrdiff_t lda, const WEIGHT *B,
                               const REAL *mask, REAL *const *C, ptrdiff_t ldc) {
    const NAME(shape) shape = {K, lda, 0, ldc, ldc, NULL, mask}, *s = &shape;
    const REAL *const *init = (const REAL *const *)C;
    if (n <= 3) NAME(few_rows)(NAME(MASKED), s, n, 1, A, B, init, C);
    else NAME(all_rows)(NAME(MASKED), s, n, 1, A, B, init, C);
}

/* A (n, M) into strips of STRIP columns and `rows` rows, one after the other; with an index its columns `index` times
 * `scale`. */
static void NAME(pack_strips)(ptrdiff_t n, ptrdiff_t M, const void *A_, ptrdiff_t lda, const int *index,
                              const void *scale_, void *strips, ptrdiff_t rows) {
    const REAL *A = A_, *scale = scale_;
    for (ptrdiff_t m0 = 0; m0 < M; m0 += STRIP) {
        const int wide = M - m0 < STRIP ? (int)(M - m0) : STRIP;
        REAL *out = (REAL *)strips + m0 * rows, factor[STRIP];
        ptrdiff_t from[STRIP];
        for (int m = 0; m < STRIP; ++m) { /* beyond `wide` the last column again */
            from[m] = index ? index[m0 + (m < wide ? m : wide - 1)] : 0;
            factor[m] = index ? scale[m0 + (m < wide ? m : wide - 1)] : 1;
        }
        for (ptrdiff_t r = 0; r < n; ++r, out += STRIP)
            if (index)
                for (int m = 0; m < STRIP; ++m) out[m] = A[r * lda + from[m]] * factor[m];
            else if (wide == STRIP)
                memcpy(out, A + r * lda + m0, STRIP * sizeof(REAL));
            else
                memcpy(out, A + r * lda + m0, wide * sizeof(REAL));
    }
}

/* Ask for PANEL columns of the rows r0 <= r < r1, which no prefetcher of the processor expects. */
INLINE void NAME(fetch)(const REAL *columns, ptrdiff_t r0, ptrdiff_t r1, ptrdiff_t ld) {
    for (ptrdiff_t r = r0; r < r1; ++r)
        for (int j = 0; j < PANEL; j += RX_ALIGNMENT / (int)sizeof(REAL)) RX_PREFETCH(columns + r * ld + j);
}

/* C (M, panels of PANEL columns) += A^T B over n rows, at most SUM_ROWS; sums += the columns of B, unless NULL.
 * Each panel of B is copied once, next to itself, and meets all strips of A; meanwhile the next one is on its way. */
static void NAME(sum_outer)(ptrdiff_t n, ptrdiff_t M, ptrdiff_t panels, const void *strips, const void *B,
                            ptrdiff_t ldb, void *C_, ptrdiff_t ldc, void *sums) {
    REAL copy[SUM_ROWS * PANEL];
    const int form = NAME(STRIPS);
    const NAME(shape) shape = {n, 0, 0, ldc, ldc, NULL, NULL}, *s = &shape;
    for (ptrdiff_t panel = 0; panel < panels; ++panel) {
        const REAL *rows = (const REAL *)B + panel * PANEL;
        vec sum[2] = {vset(0), vset(0)};
        for (ptrdiff_t r = 0; r < n; ++r)
            for (int w = 0; w < 2; ++w) {
                const vec b = vload(rows + r * ldb + w * WIDTH);
                sum[w] = vadd(sum[w], b);
                vstore(copy + r * PANEL + w * WIDTH, b);
            }
        for (int w = 0; sums && w < 2; ++w) {
            REAL *to = (REAL *)sums + panel * PANEL + w * WIDTH;
            vstore(to, vadd(vload(to), sum[w]));
        }
        for (ptrdiff_t m = 0; m < M; m += STRIP) {
            const ptrdiff_t row = 0, height = M - m < STRIP ? M - m : STRIP;
            const int p = 0;
            const REAL *a = (const REAL *)strips + m * n, *const *A = &a, *B = copy;
            REAL *c = (REAL *)C_ + m * ldc + panel * PANEL, *const *C = &c;
            const REAL *const *init = (const REAL *const *)&c;
            NAME(fetch)(c, 0, height, ldc);
            if (panel + 1 < panels) NAME(fetch)(rows + PANEL, m * n / M, (m + height) * n / M, ldb);
            SWITCH(height)
        }
    }
}
#endif
#undef CALL
#undef SWITCH
#undef TALL_CASES
