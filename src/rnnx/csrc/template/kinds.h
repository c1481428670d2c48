/* Both element types and all kinds of weights of one instruction set; 8-bit weights alone (ONLY_INT8) or not at all
 * (WITHOUT_INT8) where they need instructions of their own, and twice where some multiply bytes (BYTE_OPERANDS). Everything but the tables has internal linkage: two
 * objects built with different flags must never share a symbol. */
#include <math.h>
#include <string.h>

#define RX_JOIN_(a, b, c) a##_##b##_##c
#define RX_JOIN(a, b, c) RX_JOIN_(a, b, c)

#if defined(_MSC_VER)
#define INLINE static __forceinline
#else
#define INLINE static inline __attribute__((always_inline))
#endif

/* A loop with a constant number of turns: GCC gives up on unrolling some by itself, and keeps their sums in memory. */
#if defined(__GNUC__)
#define UNROLLED _Pragma("GCC unroll 16")
#else
#define UNROLLED
#endif

/* Where a product finds the element (row m, depth k) of A: as the rows lie; likewise, and the sum goes under a mask, or
 * only the first half of a panel's columns is wanted; in the columns that an index names (rows of B under a mask of zero
 * were not packed); the rows m of the tile are columns, side by side; or as the rows lie, and the sums of integers are
 * what is wanted. */
enum tile_form { A_ROWS, A_MASKED, A_HALF, A_INDEXED, A_COLUMNS, A_WHOLE };
enum { MOST_PANELS = 4 }; /* of a tile */

#ifndef ONLY_INT8
#define WEIGHTS RX_FULL
#define DOUBLE 1
#include "template/leaf.h"
#undef DOUBLE

#define DOUBLE 0
#include "template/leaf.h"
#undef WEIGHTS

#define WEIGHTS RX_BF16
#include "template/leaf.h"
#undef WEIGHTS
#undef DOUBLE
#endif

#ifndef WITHOUT_INT8
#define DOUBLE 0
#define WEIGHTS RX_INT8X16
#include "template/leaf.h"
#undef WEIGHTS

#ifdef BYTE_OPERANDS
#define WEIGHTS RX_INT8
#include "template/leaf.h"
#endif
#endif
