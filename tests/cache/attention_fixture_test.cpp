// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "decant/detail/half.h"

#include "tests/cache/attention_case.h"
#include "tests/support/fixtures.h"

namespace decant::cache {
namespace {

using kernels::attention_kernels;
using test::Group;
using test::Outputs;
using test::PagedHead;
using test::run;
using test::same;

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

TEST_CASE("attention: every case of the fixtures, whatever its type, with the same bits for each ISA and block size") {
  const auto cases = test::read_json(test::fixture("attention/cases.json"));
  const auto arrays = test::read_arrays(test::fixture("attention/attention.safetensors"));
  std::map<std::string, Bank> banks;
  std::map<KvType, int> n_checked;
  for (const auto& c : cases) {
    const std::optional<KvType> type = parse_kv_type(c["kv_dtype"].get<std::string>());
    REQUIRE(type.has_value());
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
          PagedHead paged(attention_kernels(isa), {*type, *type, dim, dim}, block_tokens, n);
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
    ++n_checked[*type];
  }
  CHECK(n_checked[KvType::f32] > 200);
  for (const KvType type : {KvType::f16, KvType::bf16, KvType::q8, KvType::q4_plain}) CHECK(n_checked[type] == 4);
}

}  // namespace
}  // namespace decant::cache
