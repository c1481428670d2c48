/* The portable level: plain C loops that any compiler turns into the vectors of its baseline. */
#define ISA generic
#define ISA_NAME "generic"
#define VEC_HEADER "vec_generic.h"
#include "leaf_both.h"
