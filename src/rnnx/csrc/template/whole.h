/* Products of bytes as whole numbers, and bytes from floats and from each other: what quantized graphs of ONNX consist of.
 * Every number is rounded as often as there: no product and sum are one instruction, unless the sum says vfma. */

/* A value of its own: a compiler must not join the product with the sum that takes it. */
#if defined(__GNUC__) && (defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__))
#define vseparate(a) __asm__("" : "+v"(a))
#elif defined(__GNUC__) && defined(__ARM_NEON)
#define vseparate(a) __asm__("" : "+w"(a))
#elif defined(__GNUC__)
#define vseparate(a) __asm__("" : "+m"(a))
#else
#define vseparate(a) ((void)0)
#endif

enum { NAME(STRETCH) = 256 }; /* numbers that are turned into bytes at once */

static void NAME(whole_product)(const rx_product *s) {
    if (s->n <= 3) NAME(few_rows)(A_WHOLE, s);
    else NAME(all_rows)(A_WHOLE, s);
}

/* Integers that were made floats by MAGIC, plus zero, as bytes: their lowest bits. */
INLINE void NAME(lowest_bytes)(ptrdiff_t count, const REAL *shifted, int zero, unsigned char *out) {
    for (ptrdiff_t j = 0; j < count; ++j) {
        unsigned bits;
        memcpy(&bits, shifted + j, sizeof bits);
        out[j] = (unsigned char)(bits + (unsigned)zero);
    }
}

/* The kind, and whether there are integers to add and a bias, are constants. */
INLINE void NAME(finish_as)(const rx_finish *f, const enum rx_kind kind, const int more, const int biased) {
    for (ptrdiff_t r = 0; r < f->n; ++r) {
        const int *sums = f->sums + r * f->lds;
        int whole[NR];
        REAL numbers[NR];
        if (more) {
            const unsigned of_row = f->of_rows ? (unsigned)f->of_rows[r] : 0;
            for (int j = 0; j < NR; ++j)
                whole[j] = (int)((unsigned)sums[j] - (f->of_columns ? of_row * (unsigned)f->of_columns[j] : 0) +
                                 (f->added ? (unsigned)f->added[j] : 0));
            sums = whole;
        }
        if (kind == RX_WHOLE) {
            int *out = (int *)f->out + r * f->ldo;
            if (f->columns == NR) memcpy(out, sums, NR * sizeof *out);
            else memcpy(out, sums, f->columns * sizeof *out);
            continue;
        }
        REAL *to = kind == RX_FLOATS && f->columns == NR ? (REAL *)f->out + r * f->ldo : numbers;
        UNROLLED for (int w = 0; w < NR; w += WIDTH) {
            vec y = vmul(vfloats(vload_whole(sums + w)), vload(f->scale + w));
            vseparate(y);
            if (biased) y = vadd(y, vload(f->bias + w));
            if (kind == RX_BYTES) y = vadd(vmin(vmax(y, vset(f->low)), vset(f->high)), vset(MAGIC));
            vstore(to + w, y);
        }
        if (kind == RX_BYTES) {
            unsigned char *out = (unsigned char *)f->out + r * f->ldo;
            if (f->columns == NR) NAME(lowest_bytes)(NR, numbers, f->zero, out);
            else NAME(lowest_bytes)(f->columns, numbers, f->zero, out);
        } else if (to == numbers) memcpy((REAL *)f->out + r * f->ldo, numbers, f->columns * sizeof(REAL));
    }
}

static void NAME(finish_sums)(const rx_finish *f) {
    const int more = f->of_columns || f->added;
    if (f->kind == RX_WHOLE) NAME(finish_as)(f, RX_WHOLE, more, 0);
    else if (f->kind == RX_BYTES) NAME(finish_as)(f, RX_BYTES, more, f->bias != NULL);
    else if (more) NAME(finish_as)(f, RX_FLOATS, 1, f->bias != NULL);
    else if (f->bias) NAME(finish_as)(f, RX_FLOATS, 0, 1);
    else NAME(finish_as)(f, RX_FLOATS, 0, 0);
}

static void NAME(bounds)(ptrdiff_t count, const float *x, float *low, float *high) {
    enum { LANES = 4 };
    vec least[LANES], most[LANES];
    REAL ends[2][WIDTH];
    ptrdiff_t j = 0;
    for (int k = 0; k < LANES; ++k) least[k] = most[k] = vset(0);
    for (; j + LANES * WIDTH <= count; j += LANES * WIDTH)
        UNROLLED for (int k = 0; k < LANES; ++k) {
            const vec a = vload(x + j + k * WIDTH);
            least[k] = vmin(a, least[k]), most[k] = vmax(a, most[k]);
        }
    for (int k = 1; k < LANES; ++k) least[0] = vmin(least[k], least[0]), most[0] = vmax(most[k], most[0]);
    vstore(ends[0], least[0]);
    vstore(ends[1], most[0]);
    *low = *high = 0;
    for (int k = 0; k < WIDTH; ++k) {
        *low = ends[0][k] < *low ? ends[0][k] : *low;
        *high = ends[1][k] > *high ? ends[1][k] : *high;
    }
    for (; j < count; ++j) {
        *low = x[j] < *low ? x[j] : *low;
        *high = x[j] > *high ? x[j] : *high;
    }
}

static void NAME(to_bytes)(ptrdiff_t count, const float *x, float scale, float low, float high, int zero, void *out) {
    const vec by = vset(scale), least = vset(low), most = vset(high);
    unsigned char *bytes = out;
    for (ptrdiff_t first = 0; first < count; first += NAME(STRETCH)) {
        const ptrdiff_t some = count - first < NAME(STRETCH) ? count - first : NAME(STRETCH);
        REAL shifted[NAME(STRETCH)], last[WIDTH] = {0};
        ptrdiff_t j = 0;
        for (; j + WIDTH <= some; j += WIDTH)
            vstore(shifted + j, vadd(vmin(vmax(vdiv(vload(x + first + j), by), least), most), vset(MAGIC)));
        if (j < some) {
            memcpy(last, x + first + j, (some - j) * sizeof *last);
            vstore(shifted + j, vadd(vmin(vmax(vdiv(vload(last), by), least), most), vset(MAGIC)));
        }
        NAME(lowest_bytes)(some, shifted, zero, bytes + first);
    }
}

INLINE void NAME(combine)(const rx_combine *c, const int with_sign, const int product) {
    const vec scale_a = vset(c->scale_a), scale_b = vset(c->scale_b), shift = vset(c->shift);
    const vec low = vset(c->low), high = vset(c->high);
    for (ptrdiff_t first = 0; first < c->count; first += NAME(STRETCH)) {
        const ptrdiff_t some = c->count - first < NAME(STRETCH) ? c->count - first : NAME(STRETCH);
        const unsigned char *a = (const unsigned char *)c->a + first, *b = (const unsigned char *)c->b + first;
        int of_a[NAME(STRETCH)], of_b[NAME(STRETCH)];
        REAL numbers[NAME(STRETCH)];
        const int zero_a = product ? c->zero_a : 0, zero_b = product ? c->zero_b : 0;
        for (ptrdiff_t j = 0; j < some; ++j) {
            of_a[j] = (with_sign ? (signed char)a[j] : a[j]) - zero_a;
            of_b[j] = (with_sign ? (signed char)b[j] : b[j]) - zero_b;
        }
        for (ptrdiff_t j = some; j % WIDTH; ++j) of_a[j] = of_b[j] = 0;
        for (ptrdiff_t j = 0; j < some; j += WIDTH) {
            const vec x = vfloats(vload_whole(of_a + j)), z = vfloats(vload_whole(of_b + j));
            vec y = product ? vmul(vmul(x, z), scale_a) : vfma(x, scale_a, vfma(z, scale_b, shift));
            if (product) {
                vseparate(y); /* a product is rounded before the zero point is added, and the sum again */
                y = vadd(y, shift);
            }
            vstore(numbers + j, vadd(vmin(vmax(y, low), high), vset(MAGIC)));
        }
        NAME(lowest_bytes)(some, numbers, 0, (unsigned char *)c->out + first);
    }
}

static void NAME(combine_bytes)(const rx_combine *c) {
    if (c->product && c->with_sign) NAME(combine)(c, 1, 1);
    else if (c->product) NAME(combine)(c, 0, 1);
    else if (c->with_sign) NAME(combine)(c, 1, 0);
    else NAME(combine)(c, 0, 0);
}
