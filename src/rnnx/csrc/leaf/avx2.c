/* AVX2 + FMA. */
#if !defined(_MSC_VER) && !(defined(__AVX2__) && defined(__FMA__))
#error "leaf/avx2.c must be compiled with -mavx2 -mfma"
#endif
#define ISA avx2
#define VEC_HEADER "vec/avx2.h"
#include "leaf.h"
#include "template/kinds.h"
