// SPDX-License-Identifier: Apache-2.0

// remove() and slide() against plain arrays: what moves, what is rotated by how much, and what it costs in precision.

#include <cmath>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include "tests/cache/cache_model.h"

namespace decant::cache {
namespace {

constexpr int kHalf = 6;
constexpr int kRotaryBegin = 3;

const std::vector<double>& inv_freq() {
  static const std::vector<double> frequencies = [] {
    std::vector<double> f;
    for (int i = 0; i < kHalf; ++i) f.push_back(std::pow(100.0, -static_cast<double>(i) / kHalf));
    return f;
  }();
  return frequencies;
}

std::vector<KvLayerShape> shapes(int window) {
  return {{2, 16, 16, 0, false, inv_freq(), kRotaryBegin}, {1, 24, 8, window, false, inv_freq(), 0}, {1, 8, 32, 0}};
}

/// Keys and values of one token in one layer, as they were before rotation.
struct Token {
  std::vector<float> k, v;
};

/// A cache and, beside it, what was written.
struct Case {
  std::vector<KvLayerShape> layers;
  std::unique_ptr<KvCache> cache;
  SequenceIndex s = 0;
  std::mt19937 random{7};
  std::vector<std::vector<Token>> tokens;  ///< by layer, by slot
  int n_sinks = 0;

  Case(const CacheOptions& options, int window, int max_tokens, int sinks = 0)
      : layers(shapes(window)), cache(test::make_cache(layers, options, 3, max_tokens)), n_sinks(sinks) {
    s = *cache->add_sequence();
    if (n_sinks > 0) REQUIRE(cache->keep_sinks(s, n_sinks).ok());
    tokens.resize(layers.size());
  }

  void append(int n) {
    const KvGrowth growth{s, n};
    Result<KvReservation> slots = cache->reserve({&growth, 1});
    REQUIRE_MESSAGE(slots.ok(), slots.error().message);
    std::normal_distribution<float> normal;
    for (int i = 0; i < n; ++i)
      for (size_t l = 0; l < layers.size(); ++l) {
        const int pos = static_cast<int>(tokens[l].size());
        Token token;
        for (int c = 0; c < layers[l].n_kv_heads * layers[l].k_dim; ++c) token.k.push_back(normal(random));
        for (int c = 0; c < layers[l].n_kv_heads * layers[l].v_dim; ++c) token.v.push_back(normal(random));
        if (pos < n_sinks) cache->write_sink(s, static_cast<int>(l), pos, token.k.data());
        const std::vector<double> rotated = rotate(token.k, l, pos);
        const std::vector<float> key(rotated.begin(), rotated.end());
        REQUIRE(cache->write(s, static_cast<int>(l), pos, key.data(), token.v.data()));
        tokens[l].push_back(std::move(token));
      }
    slots->commit();
    REQUIRE(cache->check_invariants() == "");
  }

  /// In binary64, every head.
  std::vector<double> rotate(const std::vector<float>& k, size_t l, int pos) const {
    std::vector<double> out(k.begin(), k.end());
    const KvLayerShape& layer = layers[l];
    for (int h = 0; h < layer.n_kv_heads; ++h)
      for (size_t i = 0; i < layer.inv_freq.size(); ++i) {
        const auto at = static_cast<size_t>(h * layer.k_dim + layer.rotary_begin) + i,
                   with = at + layer.inv_freq.size();
        const double angle = pos * layer.inv_freq[i], c = std::cos(angle), sine = std::sin(angle);
        const double x0 = out[at], x1 = out[with];
        out[at] = x0 * c - x1 * sine;
        out[with] = x1 * c + x0 * sine;
      }
    return out;
  }

  /// Greatest distance of a slot's stored key from `token` at position pos; whether its value is that token's, exactly
  /// as a cache stores it.
  double key_error(size_t l, int slot, const Token& token, int pos) const {
    std::vector<float> k(token.k.size());
    REQUIRE(cache->copy_out(s, static_cast<int>(l), slot, 1, k.data(), nullptr).ok());
    const std::vector<double> expected = rotate(token.k, l, pos);
    double error = 0;
    for (size_t i = 0; i < k.size(); ++i) error = std::max(error, std::fabs(k[i] - expected[i]));
    return error;
  }
  std::vector<float> value(size_t l, int slot) const {
    std::vector<float> v(tokens[l].front().v.size());
    REQUIRE(cache->copy_out(s, static_cast<int>(l), slot, 1, nullptr, v.data()).ok());
    return v;
  }
  std::vector<float> key(size_t l, int slot) const {
    std::vector<float> k(tokens[l].front().k.size());
    REQUIRE(cache->copy_out(s, static_cast<int>(l), slot, 1, k.data(), nullptr).ok());
    return k;
  }
};

// What one rounding to a type may cost a number of magnitude up to `greatest`. Rotated pairs are at most √2 longer.
// Half an ulp of f16 (2^-11) and bf16 (2^-8); q8: half a step of amax/127, and the f16 of the scale (2^-11 of amax);
// q4: its step is amax/8, half of it, but values beyond 7 steps on the other side are cut: a whole one, and the scale's
// 2^-11; Hadamard's largest coefficient is at most sqrt(n) times the greatest of n ≤ 16 numbers here, and back again.
double rounding(KvType type, double greatest) {
  switch (type) {
    case KvType::f32:
      return greatest * 0x1p-22;
    case KvType::f16:
      return greatest * 0x1p-11;
    case KvType::bf16:
      return greatest * 0x1p-8;
    case KvType::q8:
      return greatest * (0.5 / 127 + 0x1p-10);
    case KvType::q4_plain:
      return greatest * (1.0 / 8 + 0x1p-10);
    case KvType::q4:
      return 16 * greatest * (1.0 / 8 + 0x1p-10);
  }
  return 0;
}

TEST_CASE("kv_cache: a removed range closes its gap: values move bit for bit, keys rotate by one rounding a shift") {
  for (int type = 0; type < kKvTypeCount; ++type)
    for (const int block_tokens : {16, 32, 256}) {
      CAPTURE(to_string(static_cast<KvType>(type)));
      CAPTURE(block_tokens);
      Case c(test::cache_options(static_cast<KvType>(type), block_tokens), 0, 300);
      c.append(150);
      double greatest = 0;
      for (const auto& layer : c.tokens)
        for (const Token& token : layer)
          for (const float x : token.k) greatest = std::max(greatest, std::fabs(static_cast<double>(x)));
      std::vector<std::vector<std::vector<float>>> values(c.layers.size());
      for (size_t l = 0; l < c.layers.size(); ++l)
        for (int slot = 0; slot < 150; ++slot) values[l].push_back(c.value(l, slot));

      std::vector<int> origin(150);  // of each slot: where its token stood at first
      for (int i = 0; i < 150; ++i) origin[static_cast<size_t>(i)] = i;
      int n_shifts = 0;
      for (const auto& [first, n] : {std::pair(20, 1), std::pair(3, 37), std::pair(60, 16), std::pair(90, 6)}) {
        REQUIRE(c.cache->remove(c.s, first, n).ok());
        ++n_shifts;
        origin.erase(origin.begin() + first, origin.begin() + first + n);
        REQUIRE(c.cache->length(c.s) == static_cast<int>(origin.size()));
        REQUIRE(c.cache->check_invariants() == "");
      }
      for (size_t l = 0; l < c.layers.size(); ++l)
        for (int slot = 0; slot < static_cast<int>(origin.size()); ++slot) {
          const int from = origin[static_cast<size_t>(slot)];
          REQUIRE(c.value(l, slot) == values[l][static_cast<size_t>(from)]);
          const int n_roundings = 1 + (from == slot ? 0 : n_shifts);
          CHECK(c.key_error(l, slot, c.tokens[l][static_cast<size_t>(from)], slot) <=
                n_roundings * rounding(static_cast<KvType>(type), 1.4143 * greatest) + n_shifts * 0x1p-20 * greatest);
        }
    }
}

TEST_CASE("kv_cache: a removed range leaves the same bits for every block size, ISA and sharing") {
  for (int type = 0; type < kKvTypeCount; ++type) {
    CAPTURE(to_string(static_cast<KvType>(type)));
    std::vector<std::vector<float>> expected;
    for (const int block_tokens : {256, 16, 48, 64})
      for (const bool forked : {false, true}) {
        CAPTURE(block_tokens);
        CAPTURE(forked);
        CacheOptions options = test::cache_options(static_cast<KvType>(type), block_tokens);
        options.rollback_tokens = 60;
        Case c(options, 40, 300);
        c.append(100);
        const SequenceIndex fork = forked ? *c.cache->fork(c.s) : -1;
        const std::vector<float> before = c.key(0, 90);
        c.append(50);
        REQUIRE(c.cache->remove(c.s, 5, 33).ok());
        REQUIRE(c.cache->check_invariants() == "");
        REQUIRE(c.cache->remove(c.s, 100, 7).ok());
        REQUIRE(c.cache->check_invariants() == "");
        std::vector<std::vector<float>> rows;
        for (int slot = 77; slot < 110; ++slot)
          for (size_t l = 0; l < 3; ++l) {
            rows.push_back(c.key(l, slot));
            rows.push_back(c.value(l, slot));
          }
        if (expected.empty()) expected = rows;
        CHECK(rows == expected);
        if (!forked) continue;
        std::vector<float> after(before.size());
        REQUIRE(c.cache->copy_out(fork, 0, 90, 1, after.data(), nullptr).ok());
        CHECK(after == before);
      }
  }
}

TEST_CASE("kv_cache: a removal that cannot be is refused and changes nothing") {
  const size_t block = Case(test::cache_options(KvType::f16, 16), 0, 16).cache->bytes_needed(16);
  Case c(test::cache_options(KvType::f16, 16, 5 * block), 20, 200);
  c.append(60);
  const auto code = [&](int first, int n) {
    const Status status = c.cache->remove(c.s, first, n);
    return status ? ErrorCode::ok : status.error().code;
  };
  CHECK(code(-1, 1) == ErrorCode::invalid_argument);
  CHECK(code(0, -1) == ErrorCode::invalid_argument);
  CHECK(code(0, 61) == ErrorCode::invalid_argument);
  CHECK(code(61, 0) == ErrorCode::invalid_argument);
  CHECK(code(30, 25) == ErrorCode::invalid_argument);  // slots 11 and on would be in the window, and are gone
  CHECK(code(60, 0) == ErrorCode::ok);
  CHECK(c.cache->length(c.s) == 60);
  // All blocks shared: five copies of the first group's, and some of the second's, are more than is left.
  const SequenceIndex fork = *c.cache->fork(c.s);
  const std::vector<float> before = c.key(0, 50);
  CHECK(code(1, 1) == ErrorCode::cache_full);
  CHECK(c.cache->length(c.s) == 60);
  CHECK(c.key(0, 50) == before);
  CHECK(c.cache->check_invariants() == "");
  c.cache->release(fork);
  CHECK(code(1, 1) == ErrorCode::ok);
}

TEST_CASE("kv_cache: sinks move before the window, recent slots keep their bits, memory stays as it is") {
  for (int type = 0; type < kKvTypeCount; ++type)
    for (const int block_tokens : {16, 48, 256}) {
      CAPTURE(to_string(static_cast<KvType>(type)));
      CAPTURE(block_tokens);
      Case c(test::cache_options(static_cast<KvType>(type), block_tokens), 30, 600, 4);
      c.append(200);
      Case fresh(test::cache_options(static_cast<KvType>(type), block_tokens), 30, 600, 4);  // the same tokens
      fresh.append(200);
      for (int first = 100; first < 3000; first += 50) {
        const std::vector<float> recent = c.key(0, first + 7),
                                 value = c.value(
                                     2, 1 > c.cache->view(c.s, 0, 0).first ? 1 : c.cache->view(c.s, 0, 0).first + 1);
        REQUIRE(c.cache->slide(c.s, first).ok());
        REQUIRE(c.cache->check_invariants() == "");
        CHECK(c.cache->view(c.s, 0, 0).first == first - 4);
        CHECK(c.key(0, first + 7) == recent);
        CHECK(c.value(2, first - 3) == value);  // the second sink's
        c.append(50);
        CHECK(c.cache->stats().used_bytes <= c.cache->bytes_needed(154 + 2 * block_tokens));
      }
      // Rotated anew from the unrotated copy: one rounding, however often it moved.
      const int begin = c.cache->view(c.s, 0, 0).first;
      for (size_t l = 0; l < 3; ++l)
        for (int i = 0; i < 4; ++i)
          CHECK(c.key_error(l, begin + i, c.tokens[l][static_cast<size_t>(i)], begin + i) <=
                rounding(static_cast<KvType>(type), 1.4143 * 5));
      CHECK(c.cache->remove(c.s, begin + 10, 5).error().code == ErrorCode::invalid_argument);
      CHECK(c.cache->slide(c.s, begin + 4).error().code == ErrorCode::invalid_argument);
      CHECK(c.cache->slide(c.s, c.cache->length(c.s) + 1).error().code == ErrorCode::invalid_argument);
      CHECK(*c.cache->truncate(c.s, c.cache->length(c.s) - 40) > 0);
      CHECK(*c.cache->truncate(c.s, begin + 4) == begin + 4);
      CHECK(*c.cache->truncate(c.s, begin + 3) == 0);
      CHECK(c.cache->check_invariants() == "");
    }
}

TEST_CASE("kv_cache: a million tokens stream through sinks and a window in flat memory") {
  const std::vector<KvLayerShape> layers = {{1, 4, 4, 0, false, std::span(inv_freq()).first(2), 0}};
  auto cache = test::make_cache(layers, test::cache_options(KvType::f16, 64), 1, 1024);
  const SequenceIndex s = *cache->add_sequence();
  REQUIRE(cache->keep_sinks(s, 4).ok());
  const float row[4] = {1, 2, 3, 4};
  size_t most = 0, most_tables = 0;
  for (int pos = 0; pos < 1'000'000; pos += 100) {
    if (pos >= 600 && (pos - 500) / 128 * 128 > cache->view(s, 0, 0).first + 4)
      REQUIRE(cache->slide(s, (pos - 500) / 128 * 128).ok());
    const KvGrowth growth{s, 100};
    Result<KvReservation> slots = cache->reserve({&growth, 1});
    REQUIRE_MESSAGE(slots.ok(), slots.error().message);
    for (int i = 0; i < 100; ++i) {
      if (pos + i < 4) cache->write_sink(s, 0, pos + i, row);
      REQUIRE(cache->write(s, 0, pos + i, row, row));
    }
    slots->commit();
    if (pos == 5000) {
      most = cache->stats().reserved_bytes;
      most_tables = cache->stats().table_bytes;
    }
    if (pos > 5000 && pos % 1000 == 0) {
      REQUIRE(cache->stats().reserved_bytes <= most);
      REQUIRE(cache->stats().table_bytes <= 2 * most_tables);
    }
  }
  CHECK(cache->length(s) == 1'000'000);
  CHECK(cache->check_invariants() == "");
}

}  // namespace
}  // namespace decant::cache
