// SPDX-License-Identifier: Apache-2.0

// The definition of what a forward pass does to rows of floats. Compiled twice: as `reference` for any x86-64, and as
// `reference_fma` with -mfma. No inline function of a shared header is called here: a copy compiled with FMA could be
// the one the linker keeps.

#include "cache/kernels/vmath_ref.h"
#include "engine/kernels/elementwise.h"

#ifndef DECANT_REFERENCE
#define DECANT_REFERENCE reference
#endif

namespace decant::kernels::DECANT_REFERENCE {

namespace {

float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

/// s[i] += s[i + 8], then 4, 2, 1.
float tree_sum(float (&s)[16]) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) s[i] += s[i + half];
  return s[0];
}

float inverse_root(float sum_of_squares, int n, float eps) {
  return 1.0F / __builtin_sqrtf(sum_of_squares / static_cast<float>(n) + eps);
}

void rms_norm(const float* x, const float* w, int n, float eps, float* y) {
  float squares[16] = {};
  for (int i = 0; i < n; ++i) squares[i % 16] = fma(x[i], x[i], squares[i % 16]);
  const float r = inverse_root(tree_sum(squares), n, eps);
  for (int i = 0; i < n; ++i) y[i] = (x[i] * r) * w[i];
}

void layer_norm(const float* x, const float* w, const float* b, int n, float eps, float* y) {
  float sums[16] = {};
  for (int i = 0; i < n; ++i) sums[i % 16] += x[i];
  const float mean = tree_sum(sums) / static_cast<float>(n);
  float squares[16] = {};
  for (int i = 0; i < n; ++i) squares[i % 16] = fma(x[i] - mean, x[i] - mean, squares[i % 16]);
  const float r = inverse_root(tree_sum(squares), n, eps);
  for (int i = 0; i < n; ++i) {
    const float z = (x[i] - mean) * r;
    y[i] = b != nullptr ? fma(z, w[i], b[i]) : z * w[i];
  }
}

void add(float* x, const float* y, int n) {
  for (int i = 0; i < n; ++i) x[i] += y[i];
}

void silu_mul(const float* gate, const float* up, int n, float* out) {
  for (int i = 0; i < n; ++i) out[i] = (gate[i] / (1.0F + exp_f32(-gate[i]))) * up[i];
}

void gelu_tanh(const float* x, int n, float* out) {
  for (int i = 0; i < n; ++i) {
    const float u = x[i] * x[i];
    const float w = fma(0.044715F * u, x[i], x[i]);
    out[i] = (0.5F * x[i]) * (1.0F + tanh_f32(0.7978845608F * w));
  }
}

bool all_finite(const float* x, int n) {
  bool finite = true;
  for (int i = 0; i < n; ++i) finite = finite && (vmath_bits(x[i]) & 0x7F800000U) != 0x7F800000U;
  return finite;
}

}  // namespace

const Elementwise kElementwise = {rms_norm, layer_norm, add, silu_mul, gelu_tanh, all_finite};

}  // namespace decant::kernels::DECANT_REFERENCE
