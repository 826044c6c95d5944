// Elementwise kernels: activations and erf.
//
// Layout      any dense memory, the same order of axes for all arrays
// Parallel    a thread per element
#include "common.cuh"

// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void relu(const T *x, T *y, long long n) {
  each(i, n) y[i] = x[i] > 0 || x[i] != x[i] ? x[i] : T(0);      // NaN stays NaN
}

// instances: <float> <double> <Half> <Bfloat>
template <typename T>
__global__ void relu_backward(const T *g, const T *y, T *gx, long long n) {
  each(i, n) gx[i] = y[i] <= 0 ? T(0) : g[i];
}

template <typename T>
__global__ void erf_of(const T *x, T *y, long long n) {
  each(i, n) y[i] = erf((double)x[i]);
}
