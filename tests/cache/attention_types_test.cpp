// SPDX-License-Identifier: Apache-2.0

// What the quantized types and values inside keys mean, as equalities of bits.

#include <algorithm>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "cache/kernels/hadamard.h"
#include "tests/cache/attention_case.h"

namespace decant::cache {
namespace {

using kernels::attention_kernels;
using test::Group;
using test::HeadShape;
using test::kSinks;
using test::kSlopes;
using test::Outputs;
using test::PagedHead;
using test::params_of;
using test::random_floats;
using test::run;
using test::run_in_parts;
using test::same;
using test::stored_keys;
using test::stored_values;

/// The type whose rows are stored alike, without a rotation.
KvType unrotated(KvType type) { return type == KvType::q4 ? KvType::q4_plain : type; }

/// What `group` gives over f32 caches of the values that `kv` holds: rotated as they are stored, the queries with them,
/// and the outputs turned back.
Outputs expected_from_f32(const KvView& kv, Group group) {
  const auto& plain = attention_kernels(Isa::reference);
  PagedHead head(plain, {KvType::f32, KvType::f32, kv.k_dim, kv.v_dim}, 64, kv.len);
  REQUIRE(head.write_rows(stored_keys(plain, kv, unrotated(kv.k_type)), stored_values(plain, kv, unrotated(kv.v_type)),
                          0, kv.len));
  if (kv.k_type == KvType::q4) {
    for (float& x : group.q) x *= group.params.scale;
    group.params.scale = 1.0F;
    kernels::hadamard(group.q.data(), static_cast<ptrdiff_t>(group.q.size()), kernels::hadamard_block(kv.k_dim));
  }
  Outputs result = run(Isa::reference, head.view(), group);
  if (kv.v_type == KvType::q4)
    kernels::hadamard(result.out.data(), static_cast<ptrdiff_t>(result.out.size()), kernels::hadamard_block(kv.v_dim));
  return result;
}

TEST_CASE(
    "attention types: a cache of any types is an f32 cache of the values it stores, for each ISA and block size") {
  constexpr int kDims[][2] = {{16, 16}, {24, 24}, {80, 80}, {96, 96}, {192, 192}, {7, 7},
                              {33, 50}, {64, 40}, {2, 1},   {48, 12}, {128, 64}};
  constexpr int kBlockTokens[] = {16, 32, 48, 64, 256};
  int variant = 0;
  for (int types = 0; types < kKvTypeCount * kKvTypeCount; ++types)
    for (const auto& dims : kDims) {
      ++variant;
      const HeadShape shape{static_cast<KvType>(types / kKvTypeCount),
                            static_cast<KvType>(types % kKvTypeCount),
                            dims[0],
                            dims[1],
                            false,
                            variant % 2 == 0};
      const int n_group = 1 + variant % 7, n_tokens = 1 + variant % 3, n = 140 + variant % 23;
      CAPTURE(std::string(to_string(shape.k_type)));
      CAPTURE(std::string(to_string(shape.v_type)));
      CAPTURE(shape.k_dim);
      CAPTURE(shape.v_dim);
      CAPTURE(n_group);
      const Group group{.n_tokens = n_tokens,
                        .n_group = n_group,
                        .first_pos = n - n_tokens,
                        .q = random_floats(static_cast<size_t>(n_tokens * n_group * shape.k_dim), 99),
                        .params = params_of(variant % 16, kSlopes, kSinks)};
      const std::vector<float> k = random_floats(static_cast<size_t>(n) * shape.k_dim, 1, 3.0F);
      const std::vector<float> v = random_floats(static_cast<size_t>(n) * shape.v_dim, 2, 0.1F);
      Outputs expected;
      for (const Isa isa : available_isas()) {
        CAPTURE(std::string(to_string(isa)));
        PagedHead head(attention_kernels(isa), shape, kBlockTokens[variant % 5], n);
        REQUIRE(head.write_rows(k, v, 0, n));
        if (expected.out.empty()) expected = expected_from_f32(head.view(), group);
        CHECK(same(run(isa, head.view(), group), expected));
        CHECK(same(run_in_parts(isa, head.view(), group), expected));
      }
    }
}

TEST_CASE("attention types: values inside keys give the bits of the same values stored apart") {
  constexpr int kDims[][2] = {{576, 512}, {40, 33}, {24, 7}, {16, 16}, {96, 64}, {7, 3}};
  for (const KvType type : {KvType::f32, KvType::f16, KvType::bf16, KvType::q8, KvType::q4_plain})
    for (const auto& dims : kDims)
      for (const int n_group : {1, 7, 128}) {
        if (n_group == 128 && dims[0] != 576 && dims[0] != 7) continue;
        const int k_dim = dims[0], v_dim = dims[1], n = k_dim > 500 ? 140 : 290;
        const int n_tokens = n_group == 7 ? 2 : 1;
        CAPTURE(std::string(to_string(type)));
        CAPTURE(k_dim);
        CAPTURE(v_dim);
        CAPTURE(n_group);
        const Group group{.n_tokens = n_tokens,
                          .n_group = n_group,
                          .first_pos = n - n_tokens,
                          .q = random_floats(static_cast<size_t>(n_tokens * n_group * k_dim), 4),
                          .params = {.scale = 0.1F, .window = n_group == 7 ? 150 : 0}};
        const std::vector<float> k = random_floats(static_cast<size_t>(n) * k_dim, 1);
        Outputs expected;
        for (const Isa isa : available_isas()) {
          CAPTURE(std::string(to_string(isa)));
          PagedHead joint(attention_kernels(isa), {type, type, k_dim, v_dim, true}, 32, n);
          REQUIRE(joint.write_rows(k, random_floats(static_cast<size_t>(n) * v_dim, 2), 0, n));
          if (expected.out.empty()) {
            const std::vector<float> keys = stored_keys(attention_kernels(isa), joint.view(), type);
            std::vector<float> values;
            for (int j = 0; j < n; ++j)
              values.insert(values.end(), keys.begin() + ptrdiff_t{j} * k_dim,
                            keys.begin() + ptrdiff_t{j} * k_dim + v_dim);
            PagedHead apart(attention_kernels(available_isas().back()), {type, KvType::f32, k_dim, v_dim}, 64, n);
            REQUIRE(apart.write_rows(k, values, 0, n));
            expected = run(available_isas().back(), apart.view(), group);
          }
          CHECK(same(run(isa, joint.view(), group), expected));
          CHECK(same(run_in_parts(isa, joint.view(), group), expected));
          if (group.params.window > 0) {
            joint.drop_before(std::max(0, group.first_pos - group.params.window + 1));
            CHECK(same(run(isa, joint.view(), group), expected));
          }
        }
      }
}

TEST_CASE("attention types: rotated q4 is nearer to f32 than plain q4 where a channel is loud") {
  constexpr int kDim = 64, kLen = 256;
  std::vector<float> k = random_floats(size_t{kLen} * kDim, 1), v = random_floats(size_t{kLen} * kDim, 2);
  for (int j = 0; j < kLen; ++j)
    k[static_cast<size_t>(j * kDim + 5)] *= 30.0F, v[static_cast<size_t>(j * kDim + 9)] *= 30.0F;
  const Group group{.n_group = 4, .first_pos = kLen - 1, .q = random_floats(4 * kDim, 3), .params = {.scale = 0.125F}};
  const Isa isa = available_isas().back();
  const auto outputs = [&](KvType type) {
    PagedHead head(attention_kernels(isa), {type, type, kDim, kDim}, 64, kLen);
    REQUIRE(head.write_rows(k, v, 0, kLen));
    return run(isa, head.view(), group).out;
  };
  const std::vector<float> exact = outputs(KvType::f32);
  const auto squared_error = [&](KvType type) {
    const std::vector<float> out = outputs(type);
    double sum = 0;
    for (size_t i = 0; i < out.size(); ++i) sum += (out[i] - exact[i]) * (out[i] - exact[i]);
    return sum;
  };
  // Plain blocks with the loud channel have steps of about 30 / 8; rotated, all have about 30 / sqrt(64) / 8 · 3.
  CHECK(squared_error(KvType::q4) < squared_error(KvType::q4_plain));
  CHECK(squared_error(KvType::q8) < squared_error(KvType::q4));
}

}  // namespace
}  // namespace decant::cache
