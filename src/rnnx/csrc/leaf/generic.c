/* The portable level: plain C loops that any compiler turns into the vectors of its baseline. */
#define ISA generic
#define VEC_HEADER "vec/generic.h"
#include "leaf.h"
#include "template/kinds.h"
