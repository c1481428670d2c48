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

/* As above, of all rows. In front of 8-bit weights stand the scales, which make the largest weight of a column 127
 * unless they are given and W is whole numbers, and the sums of the columns times the bias of operands; GROUP of their
 * rows lie column by column. */
static void NAME(pack)(ptrdiff_t K, ptrdiff_t N, const void *W, ptrdiff_t ldw, const int *index, const void *scale,
                       void *panels, ptrdiff_t stride) {
    (void)index;
    for (ptrdiff_t column = 0; column < N; column += PANEL) {
        const ptrdiff_t wide = N - column < PANEL ? N - column : PANEL;
        const REAL *first = (const REAL *)W + column;
        WEIGHT *out = (WEIGHT *)panels + column / PANEL * stride;
        REAL unit[PANEL];
        int sum[PANEL] = {0};
        for (ptrdiff_t j = 0; j < PANEL; ++j) {
            REAL largest = 0;
            for (ptrdiff_t k = 0; SCALED && j < wide && k < K; ++k)
                largest = fabsf(first[k * ldw + j]) > largest ? fabsf(first[k * ldw + j]) : largest;
            unit[j] = largest > 0 && !scale ? largest / 127 : 1;
        }
        for (ptrdiff_t k = 0; k < DEPTH(K) - HEAD; ++k)
            for (ptrdiff_t j = 0; j < PANEL; ++j) {
                const ptrdiff_t place = SCALED ? k % GROUP + GROUP * j : 2 * (j % WIDTH) + j / WIDTH;
                const WEIGHT w = j < wide && k < K ? NAME(rounded)(first[k * ldw + j] / unit[j]) : 0;
                out[(HEAD + k / GROUP * GROUP) * PANEL + place] = w;
                sum[j] += w;
            }
#if SCALED
        for (ptrdiff_t j = 0; j < PANEL; ++j) {
            sum[j] = (int)((unsigned)sum[j] * OPERAND_BIAS);
            if (scale && j < wide) unit[j] = ((const REAL *)scale)[column + j];
        }
        memcpy(out, unit, sizeof unit);
        memcpy(out + sizeof unit, sum, sizeof sum);
#endif
    }
}

#if SCALED
/* WIDTH elements of a row from k on, zeros after the last. */
INLINE vec NAME(some)(const REAL *row, ptrdiff_t k, ptrdiff_t K) {
    REAL some[WIDTH] = {0};
    if (k + WIDTH <= K) return vload(row + k);
    for (int j = 0; k + j < K; ++j) some[j] = row[k + j];
    return vload(some);
}

/* A (n, K) -> rows of 16-bit operands, ldr elements apart: a scale, and after RX_ROUNDED_HEAD elements what it is to be
 * multiplied by. Its largest is 32767, or what keeps sums of K products with 127 below 2^31. */
static void NAME(round_rows)(ptrdiff_t n, ptrdiff_t K, const void *A, ptrdiff_t lda, void *rounded, ptrdiff_t ldr) {
    const ptrdiff_t limit = K ? 2147483647 / (127 * K) : 1;
    const REAL most = (REAL)(limit < 32767 ? limit : 32767);
    for (ptrdiff_t r = 0; r < n; ++r) {
        const REAL *row = (const REAL *)A + r * lda;
        REAL *out = (REAL *)rounded + r * ldr, largest[WIDTH], other[WIDTH], inverse;
        vec large = vset(0), wrong = vset(0);
        for (ptrdiff_t k = 0; k < K; k += WIDTH) {
            const vec x = NAME(some)(row, k, K);
            large = vmax(vabs(x), large);
            wrong = vfma(x, vset(0), wrong);
        }
        vstore(largest, large);
        vstore(other, wrong);
        for (int j = 1; j < WIDTH; ++j) {
            largest[0] = largest[j] > largest[0] ? largest[j] : largest[0];
            other[0] += other[j];
        }
        inverse = largest[0] > (REAL)1e-30 && other[0] == 0 ? most / largest[0] : 0;
        out[0] = inverse > 0 ? largest[0] / most : other[0]; /* not a number, if an element is infinite or none */
        for (ptrdiff_t k = 0; k < DEPTH(K) - HEAD; k += WIDTH)
            NAME(store_operands)((short *)(out + RX_ROUNDED_HEAD) + k,
                                 vfma(inverse > 0 ? NAME(some)(row, k, K) : vset(0), vset(inverse), vset(MAGIC)));
    }
}
#endif
#endif
