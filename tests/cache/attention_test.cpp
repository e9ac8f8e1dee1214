// SPDX-License-Identifier: Apache-2.0
#include "decant/attention.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <xmmintrin.h>

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
using test::queries_of;
using test::random_floats;
using test::run;
using test::run_in_parts;
using test::same;
using test::scratch_for;

TEST_CASE("attention: values (1,2), (3,0), (4,5) with weights 0.1, 0.6, 0.3 give (3.1, 1.7)") {
  const double weights[] = {0.1, 0.6, 0.3};
  const float values[][2] = {{1, 2}, {3, 0}, {4, 5}};
  for (const Isa isa : available_isas())
    for (const KvType type : {KvType::f32, KvType::f16}) {
      CAPTURE(std::string(to_string(isa)));
      CAPTURE(std::string(to_string(type)));
      // K is f32 so that its logarithms keep their digits: s_j = log(weight_j) makes the softmax the weights
      // themselves.
      PagedHead head(attention_kernels(isa), {KvType::f32, type, 1, 2}, 16, 3);
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

/// A head of n slots whose values come from a seed.
PagedHead random_head(Isa isa, const HeadShape& shape, int block_tokens, int n, int n_written) {
  PagedHead head(attention_kernels(isa), shape, block_tokens, n);
  REQUIRE(head.write_rows(random_floats(static_cast<size_t>(n) * shape.k_dim, 1),
                          random_floats(static_cast<size_t>(n) * shape.v_dim, 2), 0, n_written));
  return head;
}
PagedHead random_head(Isa isa, const HeadShape& shape, int block_tokens, int n) {
  return random_head(isa, shape, block_tokens, n, n);
}

TEST_CASE("attention: every ISA gives the reference's bits for all types, head sizes, group sizes and switches") {
  constexpr int kDims[][2] = {{1, 1},    {16, 16},   {24, 24},   {80, 80},   {96, 40},
                              {128, 64}, {192, 128}, {256, 256}, {576, 512}, {7, 33}};
  int variant = 0;
  for (const auto& dims : kDims)
    for (const int n_group : {1, 2, 3, 4, 5, 6, 7, 8, 9}) {
      const int k_dim = dims[0], v_dim = dims[1];
      if (k_dim > 200 && n_group % 4 != 1) continue;
      variant = (variant + 5) % 16;
      const HeadShape shape{static_cast<KvType>(variant % kKvTypeCount),
                            static_cast<KvType>((variant / 2 + n_group) % kKvTypeCount), k_dim, v_dim};
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
      const PagedHead plain = random_head(Isa::reference, shape, 64, n);
      const Outputs expected = run(Isa::reference, plain.view(), group);
      for (const Isa isa : available_isas()) {
        CAPTURE(std::string(to_string(isa)));
        const PagedHead head = random_head(isa, shape, 32, n);
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
        const auto type = static_cast<KvType>(variant % kKvTypeCount);
        const HeadShape shape{type, type, kDim, kDim};
        const PagedHead head = random_head(isa, shape, 16, n);
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
          const PagedHead earlier = random_head(isa, shape, 16, n, first_pos + t + 1);
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

TEST_CASE(
    "attention: many rows, for which tiles are widened once, give the reference's bits for all types and dimensions") {
  constexpr int kLen = 170, kGroup = 4;
  for (int t = 0; t < kKvTypeCount; ++t)
    for (const auto& [k_dim, v_dim] : {std::pair{64, 64}, {20, 40}, {80, 7}, {33, 50}})
      for (const bool v_in_k : {false, true}) {
        const auto type = static_cast<KvType>(t);
        if (v_in_k && (type == KvType::q4 || v_dim > k_dim)) continue;
        CAPTURE(t);
        CAPTURE(k_dim);
        CAPTURE(v_in_k);
        const HeadShape shape{type, type, k_dim, v_dim, v_in_k};
        const Group group{.n_tokens = kQueryTokens,
                          .n_group = kGroup,
                          .first_pos = kLen - kQueryTokens,
                          .q = random_floats(static_cast<size_t>(kQueryTokens * kGroup * k_dim), 4),
                          .params = {.scale = 0.2F, .window = 100}};
        const PagedHead plain = random_head(Isa::reference, shape, 64, kLen);
        const Outputs expected = run(Isa::reference, plain.view(), group);
        for (const Isa isa : available_isas()) {
          CAPTURE(std::string(to_string(isa)));
          const PagedHead head = random_head(isa, shape, 48, kLen);
          CHECK(same(run(isa, head.view(), group), expected));
        }
      }
}

TEST_CASE("attention: runs of chunks of several heads, merged head by head, give the bits of each head alone") {
  constexpr int kHeads = 3, kGroup = 3, kDim = 40, kLen = 700, kChunks = 6, kRows = kGroup;
  for (const Isa isa : available_isas())
    for (int t = 0; t < kKvTypeCount; ++t) {
      CAPTURE(std::string(to_string(isa)));
      CAPTURE(t);
      const auto type = static_cast<KvType>(t);
      std::vector<PagedHead> heads;
      std::vector<KvView> views;
      for (int h = 0; h < kHeads; ++h) {
        heads.emplace_back(attention_kernels(isa), HeadShape{type, type, kDim, kDim}, 32, kLen);
        REQUIRE(heads.back().write_rows(random_floats(size_t{kLen} * kDim, 10U + static_cast<uint32_t>(h)),
                                        random_floats(size_t{kLen} * kDim, 20U + static_cast<uint32_t>(h)), 0, kLen));
        views.push_back(heads.back().view());
      }
      const std::vector<float> q = random_floats(size_t{kHeads} * kGroup * kDim, 5);
      const AttentionParams params{.scale = 0.3F, .softcap = 9.0F, .alibi_slopes = kSlopes};
      std::vector<float> m(size_t{kHeads} * kChunks * kRows), l(m.size()), o(m.size() * kDim);
      const Group first{.n_group = kGroup, .first_pos = kLen - 1, .q = q, .params = params};
      Outputs result;
      AttentionQueries queries = queries_of(first, views[0], result);
      for (const ChunkRange chunks : {ChunkRange{4, 6}, ChunkRange{0, 1}, ChunkRange{1, 4}}) {
        const ptrdiff_t row = ptrdiff_t{chunks.first} * kRows;
        attend_partial(isa, views, queries, params, chunks,
                       {m.data() + row, l.data() + row, o.data() + row * kDim, kChunks},
                       scratch_for(first, views[0])->data());
      }
      for (int h = 0; h < kHeads; ++h) {
        Group group = first;
        group.q.assign(q.begin() + ptrdiff_t{h} * kGroup * kDim, q.begin() + ptrdiff_t{h + 1} * kGroup * kDim);
        group.params.alibi_slopes = kSlopes + ptrdiff_t{h} * kGroup;
        queries = queries_of(group, views[static_cast<size_t>(h)], result);
        const ptrdiff_t row = ptrdiff_t{h} * kChunks * kRows;
        attend_merge(isa, views[static_cast<size_t>(h)], queries, group.params, kChunks, m.data() + row, l.data() + row,
                     o.data() + row * kDim);
        CHECK(same(result, run(isa, views[static_cast<size_t>(h)], group)));
      }
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
    for (int t = 0; t < kKvTypeCount; ++t) {
      const HeadShape shape{static_cast<KvType>(t), static_cast<KvType>(t), kDim, kDim};
      const PagedHead full = random_head(isa, shape, 16, kLen);
      const Outputs expected = run(isa, full.view(), group);

      PagedHead poisoned(attention_kernels(isa), shape, 16, kLen);
      const int first = group.first_pos - kWindow + 1;
      REQUIRE(poisoned.write_rows(random_floats(size_t{kLen} * kDim, 1), random_floats(size_t{kLen} * kDim, 2), first,
                                  kLen));
      CHECK(same(run(isa, poisoned.view(), group), expected));
      poisoned.drop_before(first);
      CHECK(same(run(isa, poisoned.view(), group), expected));
    }
  }
}

TEST_CASE("attention: slots before the first one are never read as numbers, may be gone, and narrow a window") {
  constexpr int kDim = 40, kLen = 400, kPos = kLen - 3;
  for (const Isa isa : available_isas())
    for (const int first_slot : {1, 15, 16, 130, 256, kPos}) {
      CAPTURE(std::string(to_string(isa)));
      CAPTURE(first_slot);
      const HeadShape shape{KvType::q8, KvType::f16, kDim, kDim};
      Group group{.n_tokens = 3, .n_group = 2, .first_pos = kPos, .q = random_floats(3 * 2 * kDim, 3), .params = {}};
      group.params = {.scale = 0.2F, .window = 300, .first_slot = first_slot};
      PagedHead head(attention_kernels(isa), shape, 16, kLen);
      const std::vector<float> k = random_floats(size_t{kLen} * kDim, 1), v = random_floats(size_t{kLen} * kDim, 2);
      REQUIRE(head.write_rows(k, v, first_slot, kLen));
      head.drop_before(std::max(first_slot, kPos - 299));
      const Outputs result = run(isa, head.view(), group);
      CHECK(same(run_in_parts(isa, head.view(), group), result));

      // Token by token as a window that begins at the same slot.
      const PagedHead full = random_head(isa, shape, 64, kLen);
      Outputs windows;
      for (int t = 0; t < 3; ++t) {
        const auto q = group.q.begin() + t * 2 * kDim;
        const int pos = kPos + t;
        const Outputs one = run(isa, full.view(),
                                {.n_group = 2,
                                 .first_pos = pos,
                                 .q = {q, q + 2 * kDim},
                                 .params = {.scale = 0.2F, .window = std::min(300, pos - first_slot + 1)}});
        windows.out.insert(windows.out.end(), one.out.begin(), one.out.end());
        windows.lse.insert(windows.lse.end(), one.lse.begin(), one.lse.end());
      }
      CHECK(same(windows, result));
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
  params.first_slot = 700;  // the window is narrower
  check(6, 8);
  params.first_slot = 896;
  check(7, 8);
}

TEST_CASE("attention: the caller's rounding and flush-to-zero neither reach a result nor get lost") {
  constexpr unsigned kUpwardsAndFlush = 0x1F80U | 0x4000U | 0x8040U;
  const HeadShape shape{KvType::q4, KvType::q4, 32, 32};
  const Group group{.n_group = 2, .first_pos = 199, .q = random_floats(2 * 32, 5, 1e-20F), .params = {.scale = 1e-20F}};
  for (const Isa isa : available_isas()) {
    CAPTURE(std::string(to_string(isa)));
    const PagedHead head = random_head(isa, shape, 16, 200);
    const Outputs expected = run(isa, head.view(), group);
    const unsigned saved = _mm_getcsr();
    _mm_setcsr(kUpwardsAndFlush);
    const Outputs whole = run(isa, head.view(), group);
    const Outputs parts = run_in_parts(isa, head.view(), group);
    const unsigned after = _mm_getcsr();
    _mm_setcsr(saved);
    CHECK((after & ~0x3FU) == (kUpwardsAndFlush & ~0x3FU));  // but for the sticky flags
    CHECK(same(whole, expected));
    CHECK(same(parts, expected));
  }
}

TEST_CASE("attention: an infinite score of an attended slot comes out as NaN, not as a number") {
  for (const Isa isa : available_isas()) {
    CAPTURE(std::string(to_string(isa)));
    PagedHead head(attention_kernels(isa), {KvType::f32, KvType::f32, 1, 1}, 16, 3);
    for (const auto& [slot, k] : {std::pair{0, 1.0F}, {1, 3e38F}, {2, 1.0F}}) {
      const float v = 1.0F;
      REQUIRE(head.write(slot, &k, &v));
    }
    CHECK(std::isnan(run(isa, head.view(), {.first_pos = 2, .q = {100.0F}, .params = {}}).out[0]));
  }
}

}  // namespace
}  // namespace decant::cache
