/* NEON as every arm64 processor has it. */
#if !(defined(__aarch64__) && defined(__ARM_NEON))
#error "leaf/neon.c must be compiled for arm64"
#endif
#define ISA neon
#define VEC_HEADER "vec/neon.h"
#include "leaf.h"
#include "template/kinds.h"
