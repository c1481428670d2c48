/* 8-bit weights with AVX-512 VNNI. */
#if !defined(_MSC_VER) && !(defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VNNI__))
#error "leaf/avx512_vnni.c must be compiled with -mavx512f -mavx512dq -mavx512vnni"
#endif
#define ONLY_INT8
#define BYTE_OPERANDS
#define ISA avx512
#define VEC_HEADER "vec/avx512.h"
#include "leaf.h"
#include "template/kinds.h"
