/* Both element types of one instruction set. Everything but the two tables has internal linkage: two objects
 * built with different flags must never share a symbol. */
#include "leaf.h"

#include <string.h>

#define RX_JOIN_(a, b, c) a##_##b##_##c
#define RX_JOIN(a, b, c) RX_JOIN_(a, b, c)

#define DOUBLE 0
#include "leaf_template.h"
#undef DOUBLE

#define DOUBLE 1
#include "leaf_template.h"
#undef DOUBLE
