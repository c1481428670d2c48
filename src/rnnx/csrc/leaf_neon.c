/* NEON as every arm64 processor has it. */
#if !(defined(__aarch64__) && defined(__ARM_NEON))
#error "leaf_neon.c must be compiled for arm64"
#endif
#define ISA neon
#define ISA_NAME "neon"
#define VEC_HEADER "vec_neon.h"
#include "leaf_both.h"
