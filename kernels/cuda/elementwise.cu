// Elementwise kernels: activations, erf, dropout and the optimizers' updates.  A thread per element; arrays in C order.
#include "common.cuh"

template <typename T>
__global__ void relu(const T *x, T *y, long long n) {
  each(i, n) y[i] = x[i] > 0 || x[i] != x[i] ? x[i] : T(0);      // NaN stays NaN
}

template <typename T>
__global__ void relu_backward(const T *g, const T *y, T *gx, long long n) {
  each(i, n) gx[i] = y[i] > 0 ? g[i] : T(0);
}

template <typename T>
__global__ void erf_of(const T *x, T *y, long long n) {
  each(i, n) y[i] = erf((double)x[i]);
}

// Kept or not is a function of (seed, i), the finaliser of splitmix64: kernels/reference/random.py.
template <typename T>
__global__ void dropout(const T *x, T *y, unsigned long long seed, double p, T scale, long long n) {
  each(i, n) {
    unsigned long long z = (unsigned long long)i * 0x9E3779B97F4A7C15ull + seed;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    z ^= z >> 31;
    y[i] = (double)(z >> 40) / 16777216.0 >= p ? x[i] * scale : T(0);
  }
}

template <typename T>
__global__ void sgd(T *param, const T *grad, T *buf, T lr, T momentum, T dampening, T weight_decay, bool nesterov,
                    bool maximize, bool first, long long n) {
  each(i, n) {
    T g = maximize ? -grad[i] : grad[i];
    if (weight_decay != 0) g += weight_decay * param[i];
    if (momentum != 0) {
      buf[i] = first ? g : buf[i] * momentum + (1 - dampening) * g;
      g = nesterov ? g + momentum * buf[i] : buf[i];
    }
    param[i] -= lr * g;
  }
}

template <typename T>
__global__ void adam(T *param, const T *grad, T *m, T *v, T *vmax, T lr, T beta1, T beta2, T eps, T weight_decay,
                     T step_size, T root, bool decoupled, bool maximize, long long n) {
  each(i, n) {
    T g = maximize ? -grad[i] : grad[i];
    if (decoupled) param[i] *= 1 - lr * weight_decay;
    else g += weight_decay * param[i];
    m[i] += (1 - beta1) * (g - m[i]);
    v[i] = v[i] * beta2 + (1 - beta2) * g * g;
    T largest = v[i];
    if (vmax) largest = vmax[i] = vmax[i] > v[i] ? vmax[i] : v[i];
    param[i] -= step_size * m[i] / (sqrt(largest) / root + eps);
  }
}

template <typename T>
__global__ void rmsprop(T *param, const T *grad, T *v, T *buf, T *gavg, T lr, T alpha, T eps, T weight_decay,
                        T momentum, bool maximize, long long n) {
  each(i, n) {
    T g = maximize ? -grad[i] : grad[i];
    g += weight_decay * param[i];
    v[i] = v[i] * alpha + (1 - alpha) * g * g;
    T spread = v[i];
    if (gavg) {
      gavg[i] += (1 - alpha) * (g - gavg[i]);
      spread -= gavg[i] * gavg[i];
    }
    T scaled = g / (sqrt(spread) + eps);
    if (momentum != 0) scaled = buf[i] = buf[i] * momentum + scaled;
    param[i] -= lr * scaled;
  }
}
