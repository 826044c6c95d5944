// Optimizer updates of many arrays in one launch (kernels/reference/optim.py has the formulas), running statistics, and
// dropout.
//
// Layout      `arrays` holds addresses: all parameters, then all gradients, then each kind of state, n of each;
//             every array lies in C order.  `chunks` says what a block works on: (array, first element, end)
// Parallel    a block of 256 threads per chunk, a thread per element of it, which alone reads and writes it
//
//     arrays   p0 p1 p2 | g0 g1 g2 | m0 m1 m2
//     chunks   p0[0:4096) p0[4096:5000) p1[0:10) p2[0:4096) ...         one block each
//
// `numbers` lies on the device, because a captured graph is replayed with new ones (kernels/capture.py).
#include "common.cuh"

template <typename T>
__device__ T *array_of(T *const *arrays, int n, int kind, const long long *chunk) {
  return arrays[kind * n + chunk[0]];
}

// numbers: lr, momentum, 1 - dampening, weight decay
template <typename T>
__global__ void sgd(T *const *arrays, const long long *chunks, int n, const T *numbers, bool kept, bool nesterov,
                    bool maximize, bool first) {
  const long long *chunk = chunks + 3 * blockIdx.x;
  T *param = array_of(arrays, n, 0, chunk), *grad = array_of(arrays, n, 1, chunk);
  T *buf = kept ? array_of(arrays, n, 2, chunk) : nullptr;
  T lr = numbers[0], momentum = numbers[1], fresh = numbers[2], decay = numbers[3];
  for (long long i = chunk[1] + threadIdx.x; i < chunk[2]; i += blockDim.x) {
    T g = maximize ? -grad[i] : grad[i];
    if (decay != 0) g += decay * param[i];
    if (buf) {
      T v = first ? g : buf[i] * momentum + fresh * g;
      buf[i] = v;
      g = nesterov ? g + momentum * v : v;
    }
    param[i] -= lr * g;
  }
}

// numbers: step size, root of 1 - beta2^step, 1 - beta1, beta2, 1 - beta2, eps, coupled decay, 1 - decoupled decay
template <typename T>
__global__ void adam(T *const *arrays, const long long *chunks, int n, const T *numbers, bool amsgrad, bool maximize) {
  const long long *chunk = chunks + 3 * blockIdx.x;
  T *param = array_of(arrays, n, 0, chunk), *grad = array_of(arrays, n, 1, chunk);
  T *mean = array_of(arrays, n, 2, chunk), *square = array_of(arrays, n, 3, chunk);
  T *top = amsgrad ? array_of(arrays, n, 4, chunk) : nullptr;
  T step_size = numbers[0], root = numbers[1], new1 = numbers[2], beta2 = numbers[3], new2 = numbers[4];
  T eps = numbers[5], decay = numbers[6], shrink = numbers[7];
  for (long long i = chunk[1] + threadIdx.x; i < chunk[2]; i += blockDim.x) {
    T p = param[i], g = maximize ? -grad[i] : grad[i];
    if (decay != 0) g += decay * p;
    T m = mean[i] + new1 * (g - mean[i]), v = square[i] * beta2 + new2 * g * g, largest = v;
    mean[i] = m;
    square[i] = v;
    if (top) top[i] = largest = v > top[i] || v != v ? v : top[i];
    param[i] = shrink * p - step_size * m / (sqrt(largest) / root + eps);
  }
}

// numbers: lr, alpha, 1 - alpha, eps, weight decay, momentum
template <typename T>
__global__ void rmsprop(T *const *arrays, const long long *chunks, int n, const T *numbers, bool kept, bool centred,
                        bool maximize) {
  const long long *chunk = chunks + 3 * blockIdx.x;
  T *param = array_of(arrays, n, 0, chunk), *grad = array_of(arrays, n, 1, chunk);
  T *square = array_of(arrays, n, 2, chunk), *buf = kept ? array_of(arrays, n, 3, chunk) : nullptr;
  T *mean = centred ? array_of(arrays, n, 3 + kept, chunk) : nullptr;
  T lr = numbers[0], alpha = numbers[1], fresh = numbers[2], eps = numbers[3], decay = numbers[4];
  for (long long i = chunk[1] + threadIdx.x; i < chunk[2]; i += blockDim.x) {
    T g = maximize ? -grad[i] : grad[i];
    if (decay != 0) g += decay * param[i];
    T spread = square[i] = square[i] * alpha + fresh * g * g;
    if (mean) {
      T m = mean[i] += fresh * (g - mean[i]);
      spread -= m * m;
    }
    T scaled = g / (sqrt(spread) + eps);
    if (buf) scaled = buf[i] = buf[i] * numbers[5] + scaled;
    param[i] -= lr * scaled;
  }
}

// Batch norm's running statistics: kept = keep * kept + share * now.
template <typename T>
__global__ void running(T *mean, T *var, const T *mean_now, const T *var_now, T keep, T share, T unbias, long long n) {
  each(i, n) {
    if (mean) mean[i] = mean[i] * keep + mean_now[i] * share;
    if (var) var[i] = var[i] * keep + var_now[i] * unbias * share;
  }
}

// Kept or not is a function of (seed, i), the finaliser of splitmix64: kernels/reference/random.py.
template <typename T>
__global__ void dropout(const T *x, T *y, const unsigned long long *seed, double p, T scale, long long n) {
  each(i, n) {
    unsigned long long z = (unsigned long long)i * 0x9E3779B97F4A7C15ull + *seed;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    z ^= z >> 31;
    y[i] = (double)(z >> 40) / 16777216.0 >= p ? x[i] * scale : T(0);
  }
}
