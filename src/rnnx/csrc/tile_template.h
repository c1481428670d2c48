/* Products with packed panels: C[p] = init[p] + A[p] B[p].
 *
 * TILE(M, P) keeps M rows of P panels in registers (2*M*P vectors) and walks k in order. Every variant adds the
 * same terms in the same order, so a row's result does not depend on which rows share its tile. Six rows of one
 * panel fill the sixteen AVX2 registers; fewer rows take more panels at once, so that at least eight independent
 * sums hide the latency of the FMA. */
#define TILE(M, P)                                                                                          \
    static void NAME(tile_##M##_##P)(ptrdiff_t K, const REAL *const *A, ptrdiff_t row, ptrdiff_t lda,       \
                                     const REAL *B, ptrdiff_t panel_stride, const REAL *const *init,        \
                                     ptrdiff_t ldi, REAL *const *Cs, ptrdiff_t ldc) {                       \
        vec acc[P][M][2];                                                                                   \
        const REAL *a[P];                                                                                   \
        for (int p = 0; p < P; ++p) {                                                                       \
            a[p] = A[p] + row * lda;                                                                        \
            for (int m = 0; m < M; ++m) {                                                                   \
                acc[p][m][0] = vload(init[p] + (row + m) * ldi);                                            \
                acc[p][m][1] = vload(init[p] + (row + m) * ldi + WIDTH);                                    \
            }                                                                                               \
        }                                                                                                   \
        for (ptrdiff_t k = 0; k < K; ++k, B += PANEL)                                                       \
            for (int p = 0; p < P; ++p) {                                                                   \
                const vec b0 = vload(B + p * panel_stride), b1 = vload(B + p * panel_stride + WIDTH);       \
                for (int m = 0; m < M; ++m) {                                                               \
                    const vec s = vset(a[p][m * lda + k]);                                                  \
                    acc[p][m][0] = vfma(s, b0, acc[p][m][0]);                                               \
                    acc[p][m][1] = vfma(s, b1, acc[p][m][1]);                                               \
                }                                                                                           \
            }                                                                                               \
        for (int p = 0; p < P; ++p)                                                                         \
            for (int m = 0; m < M; ++m) {                                                                   \
                vstore(Cs[p] + (row + m) * ldc, acc[p][m][0]);                                              \
                vstore(Cs[p] + (row + m) * ldc + WIDTH, acc[p][m][1]);                                      \
            }                                                                                               \
    }

TILE(6, 1) TILE(5, 1) TILE(4, 1) TILE(3, 1) TILE(2, 1) TILE(1, 1)
TILE(3, 2) TILE(2, 2) TILE(1, 2) TILE(2, 3) TILE(1, 3) TILE(1, 4)
#undef TILE

#define CALL(M, P) NAME(tile_##M##_##P)(K, A + p, row, lda, B + p * panel_stride, panel_stride, init + p, ldi, Cs + p, ldc)

static void NAME(tiles)(ptrdiff_t n, ptrdiff_t K, int count, const REAL *const *A, ptrdiff_t lda, const REAL *B,
                        ptrdiff_t panel_stride, const REAL *const *init, ptrdiff_t ldi, REAL *const *Cs,
                        ptrdiff_t ldc) {
    int p;
    ptrdiff_t row = 0;
    for (p = 0; p < count; ++p) /* panel outside, rows inside: the panel stays in L1 */
        for (row = 0; row + 6 <= n; row += 6) CALL(6, 1);
    row = n - n % 6;
    switch (n - row) {
    case 5: for (p = 0; p < count; ++p) CALL(5, 1); break;
    case 4: for (p = 0; p < count; ++p) CALL(4, 1); break;
    case 3:
        for (p = 0; p + 2 <= count; p += 2) CALL(3, 2);
        if (p < count) CALL(3, 1);
        break;
    case 2:
        p = 0;
        if (count == 3) { CALL(2, 3); break; }
        for (; p + 2 <= count; p += 2) CALL(2, 2);
        if (p < count) CALL(2, 1);
        break;
    case 1:
        p = 0;
        if (count == 4) CALL(1, 4);
        else if (count == 3) CALL(1, 3);
        else if (count == 2) CALL(1, 2);
        else CALL(1, 1);
        break;
    default: break;
    }
}
#undef CALL

static void NAME(product)(ptrdiff_t n, ptrdiff_t K, int count, const void *const *A, ptrdiff_t lda, const void *B,
                          ptrdiff_t panel_stride, const void *const *init, ptrdiff_t ldi, void *const *Cs,
                          ptrdiff_t ldc) {
    NAME(tiles)(n, K, count, (const REAL *const *)A, lda, B, panel_stride, (const REAL *const *)init, ldi,
                (REAL *const *)Cs, ldc);
}
