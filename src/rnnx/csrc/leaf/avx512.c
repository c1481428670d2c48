/* AVX-512 (F and DQ). */
#if !defined(_MSC_VER) && !(defined(__AVX512F__) && defined(__AVX512DQ__))
#error "leaf/avx512.c must be compiled with -mavx512f -mavx512dq"
#endif
#define WITHOUT_INT8 /* they are in avx512_vnni.c */
#define ISA avx512
#define VEC_HEADER "vec/avx512.h"
#include "leaf.h"
#include "template/kinds.h"
