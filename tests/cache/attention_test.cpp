// SPDX-License-Identifier: Apache-2.0
#include "cache/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "decant/detail/half.h"

#include "tests/cache/attention_case.h"
#include "tests/support/fixtures.h"

namespace decant::cache {
namespace {

using kernels::attention_kernels;
using test::PagedHead;
using test::random_floats;
using test::same_bits;

struct Outputs {
  std::vector<float> out;
  std::vector<float> lse;
};

/// A group of query heads over one kv head.
struct Group {
  int n_tokens = 1, n_group = 1, first_pos = 0;
  std::vector<float> q;  ///< [n_tokens, n_group, k_dim]
  AttentionParams params;
};

AttentionQueries queries_of(const Group& group, const KvView& kv, Outputs& to) {
  const size_t n_rows = static_cast<size_t>(group.n_tokens) * group.n_group;
  to.out.assign(n_rows * kv.v_dim, std::numeric_limits<float>::quiet_NaN());
  to.lse.assign(n_rows, std::numeric_limits<float>::quiet_NaN());
  return {.q = group.q.data(),
          .q_stride = static_cast<ptrdiff_t>(group.n_group) * kv.k_dim,
          .out = to.out.data(),
          .out_stride = static_cast<ptrdiff_t>(group.n_group) * kv.v_dim,
          .lse = to.lse.data(),
          .n_tokens = group.n_tokens,
          .n_group = group.n_group,
          .first_pos = group.first_pos};
}

std::vector<float> scratch_for(const Group& group, const KvView& kv) {
  return std::vector<float>(attend_scratch_floats(group.n_tokens * group.n_group, kv.k_dim, kv.v_dim));
}

Outputs run(Isa isa, const KvView& kv, const Group& group) {
  Outputs result;
  std::vector<float> scratch = scratch_for(group, kv);
  attend(attention_kernels(isa), kv, queries_of(group, kv, result), group.params, scratch.data());
  return result;
}

Outputs run_in_parts(Isa isa, const KvView& kv, const Group& group) {
  Outputs result;
  const AttentionQueries queries = queries_of(group, kv, result);
  const ChunkRange chunks = attended_chunks(queries, group.params);
  const size_t n_chunks = static_cast<size_t>(chunks.last - chunks.first);
  const size_t n_rows = static_cast<size_t>(group.n_tokens) * group.n_group;
  std::vector<float> m(n_chunks * n_rows), l(n_chunks * n_rows), o(n_chunks * n_rows * kv.v_dim);
  std::vector<float> scratch = scratch_for(group, kv);
  for (size_t i = n_chunks; i-- > 0;)  // in any order
    attend_partial(attention_kernels(isa), kv, queries, group.params, chunks.first + static_cast<int>(i),
                   m.data() + i * n_rows, l.data() + i * n_rows, o.data() + i * n_rows * kv.v_dim, scratch.data());
  attend_merge(attention_kernels(isa), queries, group.params, kv.v_dim, static_cast<int>(n_chunks), m.data(), l.data(),
               o.data());
  return result;
}

bool same(const Outputs& a, const Outputs& b) { return same_bits(a.out, b.out) && same_bits(a.lse, b.lse); }

TEST_CASE("attention: values (1,2), (3,0), (4,5) with weights 0.1, 0.6, 0.3 give (3.1, 1.7)") {
  const double weights[] = {0.1, 0.6, 0.3};
  const float values[][2] = {{1, 2}, {3, 0}, {4, 5}};
  for (const Isa isa : available_isas())
    for (const KvType type : {KvType::f32, KvType::f16}) {
      CAPTURE(std::string(to_string(isa)));
      CAPTURE(std::string(to_string(type)));
      // K is f32 so that its logarithms keep their digits: s_j = log(weight_j) makes the softmax the weights
      // themselves.
      PagedHead head(attention_kernels(isa), KvType::f32, type, 1, 2, 16, 3);
      for (int j = 0; j < 3; ++j) {
        const float k = static_cast<float>(std::log(weights[j]));
        REQUIRE(head.write(j, &k, values[j]));
      }
      const Outputs result = run(isa, head.view(), {.first_pos = 2, .q = {1.0F}, .params = {}});
      CHECK(result.out[0] == doctest::Approx(3.1).epsilon(1e-6));
      CHECK(result.out[1] == doctest::Approx(1.7).epsilon(1e-6));
      CHECK(std::fabs(result.lse[0]) < 1e-6F);  // the weights sum to 1
    }
}

/// A bank of the fixtures, widened.
struct Bank {
  std::vector<float> k, v;
  int64_t positions = 0;
};

std::vector<float> widened(const test::Array& array) {
  if (array.dtype == "F32") return array.f32();
  std::vector<float> values;
  for (const uint16_t half : array.u16()) values.push_back(detail::f16_to_f32(half));
  return values;
}

TEST_CASE("attention: every f32 and f16 case of the fixtures, with the same bits for each ISA and block size") {
  const auto cases = test::read_json(test::fixture("attention/cases.json"));
  const auto arrays = test::read_arrays(test::fixture("attention/attention.safetensors"));
  std::map<std::string, Bank> banks;
  int n_checked = 0;
  for (const auto& c : cases) {
    const std::string kv_dtype = c["kv_dtype"];
    if (kv_dtype != "f32" && kv_dtype != "f16") continue;
    const std::string id = c["id"], bank_name = c["bank"];
    CAPTURE(id);
    if (!banks.contains(bank_name)) {
      const test::Array& k = arrays.at(bank_name + ".k");
      banks[bank_name] = {widened(k), widened(arrays.at(bank_name + ".v")), k.shape[1]};
    }
    const Bank& bank = banks[bank_name];
    const int dim = c["head_dim"], heads = c["heads"], kv_heads = c["kv_heads"], n = c["n"], m = c["m"];
    const int n_group = heads / kv_heads;
    const std::vector<float> q = arrays.at(id + ".q").f32();
    const std::vector<double> out = arrays.at(id + ".out").f64(), lse = arrays.at(id + ".lse").f64();
    std::vector<float> slopes, sinks;
    if (!c["alibi_slopes"].is_null()) slopes = c["alibi_slopes"].get<std::vector<float>>();
    if (!c["sinks"].is_null()) sinks = c["sinks"].get<std::vector<float>>();
    double max_out = 0;
    for (const double x : out) max_out = std::max(max_out, std::fabs(x));

    for (int head = 0; head < kv_heads; ++head) {
      Group group{.n_tokens = m,
                  .n_group = n_group,
                  .first_pos = n - m,
                  .q = {},
                  .params = {.scale = c["scale"],
                             .softcap = c["softcap"],
                             .window = c["window"],
                             .alibi_slopes = slopes.empty() ? nullptr : slopes.data() + head * n_group,
                             .sinks = sinks.empty() ? nullptr : sinks.data() + head * n_group}};
      for (int t = 0; t < m; ++t) {
        const auto row = q.begin() + static_cast<ptrdiff_t>(t * heads + head * n_group) * dim;
        group.q.insert(group.q.end(), row, row + static_cast<ptrdiff_t>(n_group) * dim);
      }
      Outputs first;
      for (const int block_tokens : {16, 32, 64, 256})
        for (const Isa isa : available_isas()) {
          if (isa == Isa::reference && block_tokens > 16 && n > 256) continue;  // slow, and the same code
          CAPTURE(std::string(to_string(isa)));
          CAPTURE(block_tokens);
          const KvType type = kv_dtype == "f16" ? KvType::f16 : KvType::f32;
          PagedHead paged(attention_kernels(isa), type, type, dim, dim, block_tokens, n);
          bool fits = true;
          for (int j = 0; j < n; ++j) {
            const ptrdiff_t at = (head * bank.positions + j) * dim;
            fits = paged.write(j, bank.k.data() + at, bank.v.data() + at) && fits;
          }
          REQUIRE(fits);
          if (group.params.window > 0) paged.drop_before(std::max(0, n - m - group.params.window + 1));
          const Outputs result = run(isa, paged.view(), group);
          if (!first.out.empty()) {
            CHECK(same(result, first));
            continue;
          }
          first = result;
          double worst_out = 0, worst_lse = 0;
          for (int t = 0; t < m; ++t)
            for (int g = 0; g < n_group; ++g) {
              const ptrdiff_t row = t * heads + head * n_group + g;
              const double expected = lse[static_cast<size_t>(row)];
              // Where terms cancel to an lse next to 0, its relative error is that of a float32 score; hence the 1.
              worst_lse = std::max(worst_lse, std::fabs(result.lse[static_cast<size_t>(t * n_group + g)] - expected) /
                                                  std::max(1.0, std::fabs(expected)));
              for (int ch = 0; ch < dim; ++ch)
                worst_out =
                    std::max(worst_out, std::fabs(result.out[static_cast<size_t>((t * n_group + g) * dim + ch)] -
                                                  out[static_cast<size_t>(row * dim + ch)]));
            }
          CHECK(worst_out <= 1e-5 * std::max(1.0, max_out));
          CHECK(worst_lse <= 1e-5);
        }
    }
    ++n_checked;
  }
  CHECK(n_checked > 200);
}

/// A head of n slots whose values come from a seed.
PagedHead random_head(Isa isa, KvType k_type, KvType v_type, int k_dim, int v_dim, int block_tokens, int n,
                      int n_poisoned_from = -1) {
  PagedHead head(attention_kernels(isa), k_type, v_type, k_dim, v_dim, block_tokens, n);
  const std::vector<float> k = random_floats(static_cast<size_t>(n) * k_dim, 1);
  const std::vector<float> v = random_floats(static_cast<size_t>(n) * v_dim, 2);
  const int n_written = n_poisoned_from < 0 ? n : n_poisoned_from;
  bool fits = true;
  for (int j = 0; j < n_written; ++j)
    fits = head.write(j, k.data() + ptrdiff_t{j} * k_dim, v.data() + ptrdiff_t{j} * v_dim) && fits;
  REQUIRE(fits);
  return head;
}

/// Switches of a call, by number, so that a loop meets all of them.
AttentionParams params_of(int variant, const float* slopes, const float* sinks) {
  AttentionParams params{.scale = 0.3F};
  if ((variant & 1) != 0) params.window = 37;
  if ((variant & 2) != 0) params.softcap = 2.5F;
  if ((variant & 4) != 0) params.alibi_slopes = slopes;
  if ((variant & 8) != 0) params.sinks = sinks;
  return params;
}

constexpr float kSlopes[] = {0.5F, 0.25F, 0.03F, 0.01F, 0.004F, 0.002F, 0.001F, 0.7F, 0.9F};
constexpr float kSinks[] = {1.0F, -2.0F, 3.0F, 0.0F, 12.0F, -20.0F, 0.5F, 0.25F, 2.0F};

TEST_CASE("attention: every ISA gives the reference's bits for all types, head sizes, group sizes and switches") {
  constexpr int kDims[][2] = {{1, 1},    {16, 16},   {24, 24},   {80, 80},   {96, 40},
                              {128, 64}, {192, 128}, {256, 256}, {576, 512}, {7, 33}};
  int variant = 0;
  for (const auto& dims : kDims)
    for (const int n_group : {1, 2, 3, 4, 5, 6, 7, 8, 9}) {
      const int k_dim = dims[0], v_dim = dims[1];
      if (k_dim > 200 && n_group % 4 != 1) continue;
      variant = (variant + 5) % 16;
      const KvType k_type = variant % 3 == 0 ? KvType::f32 : KvType::f16;
      const KvType v_type = variant % 5 == 0 ? KvType::f32 : KvType::f16;
      const int n_tokens = 1 + variant % 3, n = 150 + n_group * 7;
      Group group{.n_tokens = n_tokens,
                  .n_group = n_group,
                  .first_pos = n - n_tokens,
                  .q = random_floats(static_cast<size_t>(n_tokens * n_group * k_dim), 99),
                  .params = params_of(variant, kSlopes, kSinks)};
      CAPTURE(k_dim);
      CAPTURE(v_dim);
      CAPTURE(n_group);
      CAPTURE(variant);
      const PagedHead plain = random_head(Isa::reference, k_type, v_type, k_dim, v_dim, 64, n);
      const Outputs expected = run(Isa::reference, plain.view(), group);
      for (const Isa isa : available_isas()) {
        CAPTURE(std::string(to_string(isa)));
        const PagedHead head = random_head(isa, k_type, v_type, k_dim, v_dim, 32, n);
        CHECK(same(run(isa, head.view(), group), expected));
        CHECK(same(run_in_parts(isa, head.view(), group), expected));
      }
    }
}

TEST_CASE("attention: several queries at once give the bits of one by one, across the edges of chunks") {
  for (const Isa isa : available_isas())
    for (int variant = 0; variant < 16; ++variant)
      for (const int first_pos : {0, 3, 120, 127, 128, 250}) {
        CAPTURE(std::string(to_string(isa)));
        CAPTURE(variant);
        CAPTURE(first_pos);
        constexpr int kGroup = 3, kDim = 20;
        const int n = first_pos + kQueryTokens;
        const PagedHead head = random_head(isa, KvType::f16, KvType::f16, kDim, kDim, 16, n);
        const Group all{.n_tokens = kQueryTokens,
                        .n_group = kGroup,
                        .first_pos = first_pos,
                        .q = random_floats(kQueryTokens * kGroup * kDim, 7),
                        .params = params_of(variant, kSlopes, kSinks)};
        const Outputs together = run(isa, head.view(), all);
        CHECK(same(run_in_parts(isa, head.view(), all), together));
        Outputs alone;
        for (int t = 0; t < kQueryTokens; ++t) {
          // The cache as it stood when this token was the last: what comes later is still poisoned with NaN.
          const PagedHead earlier = random_head(isa, KvType::f16, KvType::f16, kDim, kDim, 16, n, first_pos + t + 1);
          const auto q = all.q.begin() + t * kGroup * kDim;
          const Outputs one = run(isa, earlier.view(),
                                  {.n_tokens = 1,
                                   .n_group = kGroup,
                                   .first_pos = first_pos + t,
                                   .q = {q, q + kGroup * kDim},
                                   .params = all.params});
          alone.out.insert(alone.out.end(), one.out.begin(), one.out.end());
          alone.lse.insert(alone.lse.end(), one.lse.begin(), one.lse.end());
        }
        CHECK(same(alone, together));
      }
}

TEST_CASE("attention: slots behind a window are never read as numbers and may be gone") {
  constexpr int kDim = 48, kLen = 300, kWindow = 50;
  for (const Isa isa : available_isas()) {
    CAPTURE(std::string(to_string(isa)));
    const Group group{.n_tokens = 2,
                      .n_group = 2,
                      .first_pos = kLen - 2,
                      .q = random_floats(2 * 2 * kDim, 3),
                      .params = {.scale = 0.2F, .window = kWindow}};
    const PagedHead full = random_head(isa, KvType::f32, KvType::f32, kDim, kDim, 16, kLen);
    const Outputs expected = run(isa, full.view(), group);

    PagedHead poisoned(attention_kernels(isa), KvType::f32, KvType::f32, kDim, kDim, 16, kLen);
    const int first = group.first_pos - kWindow + 1;
    const std::vector<float> k = random_floats(size_t{kLen} * kDim, 1), v = random_floats(size_t{kLen} * kDim, 2);
    bool fits = true;
    for (int j = first; j < kLen; ++j) fits = poisoned.write(j, k.data() + j * kDim, v.data() + j * kDim) && fits;
    REQUIRE(fits);
    CHECK(same(run(isa, poisoned.view(), group), expected));
    poisoned.drop_before(first);
    CHECK(same(run(isa, poisoned.view(), group), expected));
  }
}

TEST_CASE("attention: the chunks of a call run from the first query's window to the last query's own slot") {
  AttentionQueries queries{.n_tokens = 1, .n_group = 1, .first_pos = 0};
  AttentionParams params;
  const auto check = [&](int first, int last) {
    const ChunkRange chunks = attended_chunks(queries, params);
    CHECK(chunks.first == first);
    CHECK(chunks.last == last);
  };
  check(0, 1);
  queries.first_pos = 127;
  check(0, 1);
  queries.n_tokens = 2;
  check(0, 2);
  queries.first_pos = 1000;
  check(0, 8);
  params.window = 1;
  check(7, 8);
  params.window = 106;  // slot 895 is the last of chunk 6
  check(6, 8);
}

TEST_CASE("attention: an infinite score of an attended slot comes out as NaN, not as a number") {
  for (const Isa isa : available_isas()) {
    CAPTURE(std::string(to_string(isa)));
    PagedHead head(attention_kernels(isa), KvType::f32, KvType::f32, 1, 1, 16, 3);
    for (const auto& [slot, k] : {std::pair{0, 1.0F}, {1, 3e38F}, {2, 1.0F}}) {
      const float v = 1.0F;
      REQUIRE(head.write(slot, &k, &v));
    }
    CHECK(std::isnan(run(isa, head.view(), {.first_pos = 2, .q = {100.0F}, .params = {}}).out[0]));
  }
}

}  // namespace
}  // namespace decant::cache
