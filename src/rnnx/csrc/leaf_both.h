/* Both element types and all kinds of weights of one instruction set; 8-bit weights alone (ONLY_INT8) or not at all
 * (WITHOUT_INT8) where they need instructions of their own. Everything but the tables has internal linkage: two
 * objects built with different flags must never share a symbol. */
#include "leaf.h"

#include <math.h>
#include <string.h>

#define RX_JOIN_(a, b, c) a##_##b##_##c
#define RX_JOIN(a, b, c) RX_JOIN_(a, b, c)

#ifndef ONLY_INT8
#define WEIGHTS RX_FULL
#define DOUBLE 1
#include "leaf_template.h"
#undef DOUBLE

#define DOUBLE 0
#include "leaf_template.h"
#undef WEIGHTS

#define WEIGHTS RX_BF16
#include "leaf_template.h"
#undef WEIGHTS
#undef DOUBLE
#endif

#ifndef WITHOUT_INT8
#define WEIGHTS RX_INT8
#define DOUBLE 0
#include "leaf_template.h"
#endif
