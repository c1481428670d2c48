/* Weights into panels (see leaf.h). With an index only the rows it names are packed, each times its scale. */

/* W (K rows, N columns, ldw apart) -> ceil(N / PANEL) panels of K rows, `stride` apart; columns from N on are zero. */
static void NAME(pack)(ptrdiff_t K, ptrdiff_t N, const void *W, ptrdiff_t ldw, const int *index, const void *scale,
                       void *panels, ptrdiff_t stride) {
    for (ptrdiff_t column = 0; column < N; column += PANEL) {
        const ptrdiff_t wide = N - column < PANEL ? N - column : PANEL;
        REAL *out = (REAL *)panels + column / PANEL * stride;
        for (ptrdiff_t k = 0; k < K; ++k, out += PANEL) {
            const REAL *row = (const REAL *)W + (index ? index[k] : k) * ldw + column;
            const REAL factor = index ? ((const REAL *)scale)[k] : 1;
            ptrdiff_t j = 0;
            for (; j + WIDTH <= wide; j += WIDTH) vstore(out + j, vmul(vload(row + j), vset(factor)));
            for (; j < wide; ++j) out[j] = row[j] * factor;
            for (; j < PANEL; ++j) out[j] = 0;
        }
    }
}

/* The panels of the transpose: W (N rows, K columns) -> ceil(N / PANEL) panels of `depth` >= K rows, zero from K on. */
static void NAME(pack_transposed)(ptrdiff_t K, ptrdiff_t depth, ptrdiff_t N, const void *W, ptrdiff_t ldw,
                                  const int *index, const void *scale, void *panels, ptrdiff_t stride) {
    for (ptrdiff_t column = 0; column < N; column += PANEL) {
        REAL *out = (REAL *)panels + column / PANEL * stride;
        for (int j = 0; j < PANEL; ++j) {
            const ptrdiff_t n = column + j;
            const REAL *row = (const REAL *)W + (n >= N ? 0 : index ? index[n] : n) * ldw;
            const REAL factor = n >= N ? 0 : index ? ((const REAL *)scale)[n] : 1;
            for (ptrdiff_t k = 0; k < K; ++k) out[k * PANEL + j] = n >= N ? 0 : row[k] * factor;
        }
        memset(out + K * PANEL, 0, (depth - K) * PANEL * sizeof(REAL));
    }
}
