// SPDX-License-Identifier: Apache-2.0
#pragma once

// Rows of floats, 16 lanes at a time, to the bits of elementwise_ref.cpp: the 16 partial sums of a reduction are the
// lanes. L is Lanes of cache/kernels/lanes_avx2.h or lanes_avx512.h. Internal linkage: see there.

#include "cache/kernels/vmath_lanes.h"
#include "engine/kernels/elementwise.h"

namespace decant::kernels {
namespace {

/// full(i) for i = 0, 16, …, then tail(i, count) for the last count < 16 elements, if any.
template <typename Full, typename Tail>
void for_lanes(int n, Full full, Tail tail) {
  int i = 0;
  for (; i + 16 <= n; i += 16) full(i);
  if (i < n) tail(i, n - i);
}

/// Σ over x in 16 partial sums, each s = f(x, s), and one tree. Absent elements are skipped.
template <typename L, typename F>
float reduce(const float* x, int n, F f) {
  using V = typename L::V;
  V sums = L::zero();
  for_lanes(
      n, [&](int i) { sums = f(L::load(x + i), sums); },
      [&](int i, int count) { sums = L::select(L::range(0, count), f(L::load_n(x + i, count), sums), sums); });
  return L::tree_sum(sums);
}

/// y[i] = f(a[i], b[i]).
template <typename L, typename F>
void map(const float* a, const float* b, int n, float* y, F f) {
  for_lanes(
      n, [&](int i) { L::store(y + i, f(L::load(a + i), L::load(b + i))); },
      [&](int i, int count) { L::store_n(y + i, f(L::load_n(a + i, count), L::load_n(b + i, count)), count); });
}

inline float inverse_root(float sum_of_squares, int n, float eps) {
  return 1.0F / __builtin_sqrtf(sum_of_squares / static_cast<float>(n) + eps);
}

template <typename L>
void rms_norm(const float* x, const float* w, int n, float eps, float* y) {
  using V = typename L::V;
  const float sum = reduce<L>(x, n, [](V a, V s) { return L::fma(a, a, s); });
  const V r = L::set1(inverse_root(sum, n, eps));
  map<L>(x, w, n, y, [=](V a, V b) { return L::mul(L::mul(a, r), b); });
}

template <typename L>
void layer_norm(const float* x, const float* w, const float* b, int n, float eps, float* y) {
  using V = typename L::V;
  const float sum = reduce<L>(x, n, [](V a, V s) { return L::add(s, a); });
  const V mean = L::set1(sum / static_cast<float>(n));
  const float squares = reduce<L>(x, n, [=](V a, V s) {
    const V d = L::sub(a, mean);
    return L::fma(d, d, s);
  });
  const V r = L::set1(inverse_root(squares, n, eps));
  const auto scaled = [=](V a) { return L::mul(L::sub(a, mean), r); };
  if (b == nullptr) {
    map<L>(x, w, n, y, [=](V a, V weight) { return L::mul(scaled(a), weight); });
    return;
  }
  for_lanes(
      n, [&](int i) { L::store(y + i, L::fma(scaled(L::load(x + i)), L::load(w + i), L::load(b + i))); },
      [&](int i, int count) {
        const V z = scaled(L::load_n(x + i, count));
        L::store_n(y + i, L::fma(z, L::load_n(w + i, count), L::load_n(b + i, count)), count);
      });
}

template <typename L>
void add(float* x, const float* y, int n) {
  using V = typename L::V;
  map<L>(x, y, n, x, [](V a, V b) { return L::add(a, b); });
}

template <typename L>
void silu_mul(const float* gate, const float* up, int n, float* out) {
  using V = typename L::V;
  map<L>(gate, up, n, out,
         [](V g, V u) { return L::mul(L::div(g, L::add(L::set1(1.0F), exp_lanes<L>(L::negate(g)))), u); });
}

template <typename L>
void gelu_tanh(const float* x, int n, float* out) {
  using V = typename L::V;
  map<L>(x, x, n, out, [](V a, V) {
    const V u = L::mul(a, a);
    const V w = L::fma(L::mul(L::set1(0.044715F), u), a, a);
    const V gate = L::add(L::set1(1.0F), tanh_lanes<L>(L::mul(L::set1(0.7978845608F), w)));
    return L::mul(L::mul(L::set1(0.5F), a), gate);
  });
}

template <typename L>
bool all_finite(const float* x, int n) {
  auto finite = L::is_finite(L::zero());
  for_lanes(
      n, [&](int i) { finite = L::both(finite, L::is_finite(L::load(x + i))); },
      [&](int i, int count) { finite = L::both(finite, L::is_finite(L::load_n(x + i, count))); });
  return L::all(finite);
}

template <typename L>
constexpr Elementwise elementwise_table() {
  return {rms_norm<L>, layer_norm<L>, add<L>, silu_mul<L>, gelu_tanh<L>, all_finite<L>};
}

}  // namespace
}  // namespace decant::kernels
