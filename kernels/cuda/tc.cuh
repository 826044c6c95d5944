// Tensor cores, copies into shared memory that do not wait, and conversions of float16: PTX, in the only file that has
// any.  What the emulator does for each is in kernels/emulator/tensor_cores.h.
//
// A warp multiplies D (16x8) += A (16xK) B (Kx8).  Lane = 4*g + t holds, of each matrix:
//
//                   tf32, K = 8                           bf16, f16: K = 16, two neighbours along K in a register
//     a[0] a[1]     A[g][t]    A[g+8][t]                       A[g][2t, 2t+1]     A[g+8][2t, 2t+1]
//     a[2] a[3]     A[g][t+4]  A[g+8][t+4]                     A[g][2t+8, 2t+9]   A[g+8][2t+8, 2t+9]
//     b[0] b[1]     B[t][g]    B[t+4][g]                       B[2t, 2t+1][g]     B[2t+8, 2t+9][g]
//     d[0] d[1]     D[g][2t]   D[g][2t+1]                      the same
//     d[2] d[3]     D[g+8][2t] D[g+8][2t+1]
#pragma once
#ifdef __CUDAEMU__
#include "tensor_cores.h"
#else

// x rounded to tf32: 8 bits of exponent, 10 of fraction.
__device__ inline unsigned to_tf32(float x) {
  unsigned r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
  return r;
}

// Two floats rounded to bfloat16, the first in the low half.
__device__ inline unsigned to_bf16(float first, float second) {
  unsigned r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(second), "f"(first));
  return r;
}

__device__ inline unsigned short to_half(float x) {
  unsigned short r;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(x));
  return r;
}
__device__ inline float from_half(unsigned short bits) {
  float r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(bits));
  return r;
}

__device__ inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
               "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
               "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline void mma_half(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Start to copy 16 bytes from global to shared memory; zeros instead if there is nothing.  Both addresses are aligned.
__device__ inline void copy16(void *shared, const void *global, bool there) {
  unsigned s = (unsigned)__cvta_generic_to_shared(shared);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(s), "l"(global), "r"(there ? 16 : 0));
}

// What this thread has started since the last call makes one group.
__device__ inline void copies_commit() { asm volatile("cp.async.commit_group;"); }

// Wait until all but the last N groups of this thread have arrived; a barrier then shows them to the other threads.
template <int N>
__device__ inline void copies_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N));
}
#endif
