/* Packed B: weights into panels (see leaf.h); and packed A, for sums over many rows. With an index, which full weights
 * may have, only the rows it names are packed, each times its scale. */

#ifdef vbits
/* Some of the columns that a rising index names, vector by vector of the rows that they are chosen from. */
enum { NAME(CHOSEN) = 16 };
struct NAME(choice) {
    int vectors;
    vbits bits[NAME(CHOSEN)], first[NAME(CHOSEN)];       /* which elements, and as many from the first on */
    ptrdiff_t column[NAME(CHOSEN)], place[NAME(CHOSEN)]; /* where a vector starts in a row, and in the index */
};

/* The choice from the index's place `from` on; the place behind the last one that it has, at most `end`. */
INLINE ptrdiff_t NAME(choose_columns)(struct NAME(choice) *choice, const int *index, ptrdiff_t from, ptrdiff_t end) {
    int v = 0;
    for (; v < NAME(CHOSEN) && from < end; ++v) {
        const ptrdiff_t column = index[from] / WIDTH * WIDTH;
        unsigned bits = 0;
        choice->column[v] = column, choice->place[v] = from;
        for (; from < end && index[from] < column + WIDTH; ++from) bits |= 1u << (index[from] - column);
        choice->bits[v] = (vbits)bits;
        choice->first[v] = (vbits)((1u << (from - choice->place[v])) - 1);
    }
    choice->vectors = v;
    return from;
}
#endif

#if GRADIENTS
/* W (K rows, N columns, ldw apart) -> ceil(N / NR) panels of K rows, `panel` apart; columns from N on are zero. */
static void NAME(pack_b)(ptrdiff_t K, ptrdiff_t N, const void *W, ptrdiff_t ldw, const int *index, const void *scale,
                       void *panels, ptrdiff_t panel) {
    for (ptrdiff_t column = 0; column < N; column += NR) {
        const ptrdiff_t wide = N - column < NR ? N - column : NR;
        REAL *out = (REAL *)panels + column / NR * panel;
        for (ptrdiff_t k = 0; k < K; ++k, out += NR) {
            const REAL *row = (const REAL *)W + (index ? index[k] : k) * ldw + column;
            const REAL factor = index ? ((const REAL *)scale)[k] : 1;
            ptrdiff_t j = 0;
            for (; j + WIDTH <= wide; j += WIDTH) vstore(out + j, vmul(vload(row + j), vset(factor)));
            for (; j < wide; ++j) out[j] = row[j] * factor;
            for (; j < NR; ++j) out[j] = 0;
        }
    }
}

/* The panels of the transpose: W (N rows, K columns) -> ceil(N / NR) panels of `depth` >= K rows, zero from K on. They
 * are filled STRETCH rows at a time, which stay in L1. */
static void NAME(pack_b_transposed)(ptrdiff_t K, ptrdiff_t depth, ptrdiff_t N, const void *W, ptrdiff_t ldw,
                                  const int *index, const void *scale, void *panels, ptrdiff_t panel) {
    enum { STRETCH = 64 };
    for (ptrdiff_t column = 0; column < N; column += NR) {
        REAL *out = (REAL *)panels + column / NR * panel;
        for (ptrdiff_t k0 = 0; k0 < K; k0 += STRETCH)
            for (int j = 0; j < NR; ++j) {
                const ptrdiff_t n = column + j, end = K - k0 < STRETCH ? K : k0 + STRETCH;
                const REAL *row = (const REAL *)W + (n >= N ? 0 : index ? index[n] : n) * ldw;
                const REAL factor = n >= N ? 0 : index ? ((const REAL *)scale)[n] : 1;
                for (ptrdiff_t k = k0; k < end; ++k) out[k * NR + j] = n >= N ? 0 : row[k] * factor;
            }
        memset(out + K * NR, 0, (depth - K) * NR * sizeof(REAL));
    }
}

/* MR elements, times a mask unless that is NULL, in whole vectors: the last of them ends where the elements do, or
 * behind it where one is longer than MR elements. */
INLINE void NAME(pack_row)(const REAL *row, const REAL *mask, REAL *out) {
    UNROLLED for (int m = 0; m < MR; m += WIDTH) {
        const int at = m + WIDTH > MR && WIDTH < MR ? MR - WIDTH : m;
        const vec x = vload(row + at);
        vstore(out + at, mask ? vmul(x, vload(mask + at)) : x);
    }
}

/* A strip of n rows, of a matrix that goes on for `left` columns from the strip's first, M columns in all. */
INLINE void NAME(pack_strip)(ptrdiff_t n, ptrdiff_t left, ptrdiff_t M, const REAL *A, ptrdiff_t lda, const REAL *mask,
                             ptrdiff_t ldm, REAL *out) {
    ptrdiff_t r = 0;
    if (left >= MR) { /* a vector longer than a row of the strip is written over by the next row: not for the last one */
        const ptrdiff_t whole = left < WIDTH ? 0 : WIDTH > MR ? n - 1 : n;
        for (; r < whole; ++r) NAME(pack_row)(A + r * lda, mask ? mask + r * ldm : NULL, out + r * MR);
        for (; r < n; ++r) { /* by way of an array of its own, so that the compiler takes several elements at once */
            REAL last[MR];
            UNROLLED for (int m = 0; m < MR; ++m) last[m] = mask ? A[r * lda + m] * mask[r * ldm + m] : A[r * lda + m];
            memcpy(out + r * MR, last, sizeof last);
        }
        return;
    }
    /* the last columns end a vector, whose other elements are written over by the row before */
    for (r = n - 1; M >= WIDTH && r >= 0 && r * MR >= WIDTH - left; --r) {
        for (ptrdiff_t m = 0; m + WIDTH <= left; m += WIDTH) {
            const vec x = vload(A + r * lda + m);
            vstore(out + r * MR + m, mask ? vmul(x, vload(mask + r * ldm + m)) : x);
        }
        const vec x = vload(A + r * lda + left - WIDTH);
        vstore(out + r * MR + left - WIDTH, mask ? vmul(x, vload(mask + r * ldm + left - WIDTH)) : x);
    }
    for (; r >= 0; --r)
        for (ptrdiff_t m = 0; m < left; ++m)
            out[r * MR + m] = mask ? A[r * lda + m] * mask[r * ldm + m] : A[r * lda + m];
}

/* At most NR columns of A times a mask, in rows of NR elements; columns behind the last are zero. */
static void NAME(mask_panel)(ptrdiff_t n, ptrdiff_t wide, const void *A_, ptrdiff_t lda, const void *mask_,
                             ptrdiff_t ldm, void *panel) {
    const REAL *A = A_, *mask = mask_;
    REAL *out = panel;
    for (ptrdiff_t r = 0; r < n; ++r, A += lda, mask += ldm, out += NR) {
        ptrdiff_t j = 0;
        for (; j + WIDTH <= wide; j += WIDTH) vstore(out + j, vmul(vload(A + j), vload(mask + j)));
        for (; j < wide; ++j) out[j] = A[j] * mask[j];
        for (; j < NR; ++j) out[j] = 0;
    }
}

/* The columns of A that an index names times their scale, side by side: M of them in n rows that lie ldo apart. */
static void NAME(choose)(ptrdiff_t n, ptrdiff_t M, const void *A_, ptrdiff_t lda, const int *index, const void *scale_,
                         void *out_, ptrdiff_t ldo) {
    const REAL *A = A_, *scale = scale_;
    REAL *out = out_;
#ifdef vbits
    for (ptrdiff_t done = 0; done < M;) {
        struct NAME(choice) choice;
        vec scales[NAME(CHOSEN)];
        done = NAME(choose_columns)(&choice, index, done, M);
        for (int v = 0; v < choice.vectors; ++v)
            scales[v] = vexpand(choice.bits[v], vload_some(choice.first[v], scale + choice.place[v]));
        for (ptrdiff_t r = 0; r < n; ++r)
            for (int v = 0; v < choice.vectors; ++v) {
                const vbits bits = choice.bits[v];
                const vec x = vmul(vload_some(bits, A + r * lda + choice.column[v]), scales[v]);
                vstore_some(choice.first[v], out + r * ldo + choice.place[v], vcompress(bits, x));
            }
    }
#else
    for (ptrdiff_t r = 0; r < n; ++r)
        for (ptrdiff_t m = 0; m < M; ++m) out[r * ldo + m] = A[r * lda + index[m]] * scale[m];
#endif
}

#ifdef vbits
/* Such columns, as `pack_a` says: some of them at a time, and of a few rows, side by side first. */
static void NAME(pack_chosen)(ptrdiff_t n, ptrdiff_t M, const REAL *A, ptrdiff_t lda, const int *index,
                              const REAL *scale, REAL *strips, ptrdiff_t rows) {
    enum { WIDE = 16 * MR, FEW = 8 };
    for (ptrdiff_t m0 = 0; m0 < M; m0 += WIDE) {
        const ptrdiff_t wide = M - m0 < WIDE ? M - m0 : WIDE;
        for (ptrdiff_t r0 = 0; r0 < n; r0 += FEW) {
            const ptrdiff_t few = n - r0 < FEW ? n - r0 : FEW;
            REAL chosen[FEW][WIDE];
            NAME(choose)(few, wide, A + r0 * lda, lda, index + m0, scale + m0, chosen, WIDE);
            for (ptrdiff_t m = 0; m < wide; m += MR)
                NAME(pack_strip)(few, wide - m, wide, chosen[0] + m, WIDE, NULL, 0, strips + (m0 + m) * rows + r0 * MR);
        }
    }
}
#endif

/* A (n, M) packed in strips of MR columns and `rows` rows, one after the other; with an index its columns `index` times
 * `scale`, with a mask times that, whose rows are ldm apart. */
static void NAME(pack_a)(ptrdiff_t n, ptrdiff_t M, const void *A_, ptrdiff_t lda, const int *index,
                         const void *scale_, const void *mask_, ptrdiff_t ldm, void *strips, ptrdiff_t rows) {
    const REAL *A = A_, *scale = scale_, *mask = mask_;
#ifdef vbits
    if (index) {
        NAME(pack_chosen)(n, M, A, lda, index, scale, strips, rows);
        return;
    }
#endif
    for (ptrdiff_t m0 = 0; m0 < M; m0 += MR) {
        const int wide = M - m0 < MR ? (int)(M - m0) : MR;
        REAL *out = (REAL *)strips + m0 * rows, factor[MR];
        ptrdiff_t from[MR];
        if (!index) {
            if (mask) NAME(pack_strip)(n, M - m0, M, A + m0, lda, mask + m0, ldm, out);
            else NAME(pack_strip)(n, M - m0, M, A + m0, lda, NULL, 0, out);
            continue;
        }
        for (int m = 0; m < MR; ++m) { /* beyond `wide` the last column again */
            from[m] = index[m0 + (m < wide ? m : wide - 1)];
            factor[m] = scale[m0 + (m < wide ? m : wide - 1)];
        }
        for (ptrdiff_t r = 0; r < n; ++r, out += MR)
            for (int m = 0; m < MR; ++m) out[m] = A[r * lda + from[m]] * factor[m];
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

/* As above, of all rows. In front of 8-bit weights, which are whole numbers already, stand the scales of their columns
 * and the sums of the columns times the bias of operands; GROUP of their rows lie column by column. */
static void NAME(pack_b)(ptrdiff_t K, ptrdiff_t N, const void *W, ptrdiff_t ldw, const int *index, const void *scale,
                         void *panels, ptrdiff_t panel) {
    (void)index, (void)scale;
    for (ptrdiff_t column = 0; column < N; column += NR) {
        const ptrdiff_t wide = N - column < NR ? N - column : NR;
        const REAL *first = (const REAL *)W + column;
        WEIGHT *out = (WEIGHT *)panels + column / NR * panel;
        int sum[NR] = {0};
        for (ptrdiff_t k = 0; k < DEPTH(K) - SCALE_ROWS; ++k)
            for (ptrdiff_t j = 0; j < NR; ++j) {
                const ptrdiff_t place = SCALED ? k % GROUP + GROUP * j : 2 * (j % WIDTH) + j / WIDTH;
                const WEIGHT w = j < wide && k < K ? NAME(rounded)(first[k * ldw + j]) : 0;
                out[(SCALE_ROWS + k / GROUP * GROUP) * NR + place] = w;
                sum[j] += w;
            }
#if SCALED
        REAL unit[NR];
        for (ptrdiff_t j = 0; j < NR; ++j) {
            unit[j] = j < wide ? ((const REAL *)scale)[column + j] : 1;
            sum[j] = (int)((unsigned)sum[j] * OPERAND_BIAS);
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

/* The largest operand: `wanted`, or what keeps sums of K products with 127 below 2^31. */
INLINE REAL NAME(most)(ptrdiff_t K, ptrdiff_t wanted) {
    const ptrdiff_t limit = K ? 2147483647 / (127 * K) : 1;
    return (REAL)(limit < wanted ? limit : wanted);
}

/* A (n, K) -> rows of operands, ldr elements apart: a scale, and after RX_ROUNDED_HEAD elements the integers that it is
 * to be multiplied by. With 8 bits the smallest and the largest element of a row, or zero, are 255 steps apart, and the
 * one that stands for zero follows the scale. */
#if WEIGHTS == RX_INT8 || !defined(BYTE_OPERANDS)
static void NAME(round_to_8)(ptrdiff_t n, ptrdiff_t K, const void *A, ptrdiff_t lda, void *rounded, ptrdiff_t ldr) {
    const REAL most = NAME(most)(K, 255);
    for (ptrdiff_t r = 0; r < n; ++r) {
        const REAL *row = (const REAL *)A + r * lda;
        REAL *out = (REAL *)rounded + r * ldr, ends[2][WIDTH], other[WIDTH], scale, inverse;
        vec low = vset(0), high = vset(0), wrong = vset(0), least, largest;
        int zero, stored;
        for (ptrdiff_t k = 0; k < K; k += WIDTH) {
            const vec x = NAME(some)(row, k, K);
            low = vmin(x, low);
            high = vmax(x, high);
            wrong = vfma(x, vset(0), wrong);
        }
        vstore(ends[0], low);
        vstore(ends[1], high);
        vstore(other, wrong);
        for (int j = 1; j < WIDTH; ++j) {
            ends[0][0] = ends[0][j] < ends[0][0] ? ends[0][j] : ends[0][0];
            ends[1][0] = ends[1][j] > ends[1][0] ? ends[1][j] : ends[1][0];
            other[0] += other[j];
        }
        scale = ends[1][0] / most - ends[0][0] / most;
        inverse = scale > (REAL)1e-30 && other[0] == 0 ? 1 / scale : 0;
        out[0] = inverse > 0 ? scale : other[0]; /* not a number, if an element is infinite or none */
        zero = inverse > 0 ? (int)lrintf(-ends[0][0] * inverse) : 0;
        stored = SUMS * OPERANDSIZE == 1 ? zero : 0; /* where operands have a sign, zero is zero */
        memcpy(out + 1, &stored, sizeof stored);
        least = vset(MAGIC - (REAL)zero);
        largest = vset(MAGIC - (REAL)zero + most);
        for (ptrdiff_t k = 0; k < DEPTH(K) - SCALE_ROWS; k += WIDTH) {
            const vec x = inverse > 0 ? NAME(some)(row, k, K) : vset(0);
            const vec whole = vmax(least, vmin(largest, vfma(x, vset(inverse), vset(MAGIC))));
            NAME(store_operands)((char *)(out + RX_ROUNDED_HEAD) + OPERANDSIZE * k, vadd(whole, vset((REAL)stored)));
        }
    }
}
#endif

#if WEIGHTS == RX_INT8X16
static void NAME(round_to_16)(ptrdiff_t n, ptrdiff_t K, const void *A, ptrdiff_t lda, void *rounded, ptrdiff_t ldr) {
    const REAL most = NAME(most)(K, 32767);
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
        for (ptrdiff_t k = 0; k < DEPTH(K) - SCALE_ROWS; k += WIDTH)
            NAME(store_operands)((char *)(out + RX_ROUNDED_HEAD) + OPERANDSIZE * k,
                                 vfma(inverse > 0 ? NAME(some)(row, k, K) : vset(0), vset(inverse), vset(MAGIC)));
    }
}
#endif
#endif
#endif
