/* Weights into panels (see leaf.h). With an index, which full weights may have, only the rows it names are packed, each
 * times its scale. */

#if WEIGHTS == RX_FULL
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
#else
/* The nearest narrow weight, to even on a tie. */
INLINE WEIGHT NAME(rounded)(REAL w) {
#if SCALED
    return (WEIGHT)lrintf(w);
#else
    unsigned bits;
    memcpy(&bits, &w, sizeof bits);
    return (WEIGHT)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
#endif
}

/* As above, of all rows; a scale makes the largest weight of its column 127. */
static void NAME(pack)(ptrdiff_t K, ptrdiff_t N, const void *W, ptrdiff_t ldw, const int *index, const void *scale,
                       void *panels, ptrdiff_t stride) {
    (void)index, (void)scale;
    for (ptrdiff_t column = 0; column < N; column += PANEL) {
        const ptrdiff_t wide = N - column < PANEL ? N - column : PANEL;
        const REAL *first = (const REAL *)W + column;
        WEIGHT *out = (WEIGHT *)panels + column / PANEL * stride;
        REAL unit[PANEL];
        for (ptrdiff_t j = 0; j < PANEL; ++j) {
            REAL largest = 0;
            for (ptrdiff_t k = 0; SCALED && j < wide && k < K; ++k)
                largest = fabsf(first[k * ldw + j]) > largest ? fabsf(first[k * ldw + j]) : largest;
            unit[j] = largest > 0 ? largest / 127 : 1;
        }
        memcpy(out, unit, HEAD * PANEL);
        out += HEAD * PANEL;
        for (ptrdiff_t k = 0; k < K; ++k, out += PANEL)
            for (ptrdiff_t j = 0; j < PANEL; ++j)
                out[SCALED ? j : 2 * (j % WIDTH) + j / WIDTH] = j < wide ? NAME(rounded)(first[k * ldw + j] / unit[j]) : 0;
    }
}
#endif
