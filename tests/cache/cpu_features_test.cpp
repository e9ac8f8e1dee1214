// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>

#include <doctest/doctest.h>

#include "decant/isa.h"

namespace decant {
namespace {

TEST_CASE("cpu_features: the reference is always there, and better ones follow in order") {
  const auto isas = available_isas();
  REQUIRE(!isas.empty());
  CHECK(isas.front() == Isa::reference);
  CHECK(std::is_sorted(isas.begin(), isas.end()));
  CHECK(available_isas().data() == isas.data());
}

TEST_CASE("cpu_features: what the compiler's run time says about this CPU agrees") {
  const auto isas = available_isas();
  const auto has = [&](Isa isa) { return std::find(isas.begin(), isas.end(), isa) != isas.end(); };
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  CHECK((!has(Isa::avx2) || avx2));
  CHECK((!has(Isa::avxvnni) || avx2));
  CHECK((!has(Isa::avx512) || __builtin_cpu_supports("avx512f")));
  CHECK((!has(Isa::avx512vnni) || __builtin_cpu_supports("avx512vnni")));
}

TEST_CASE("cpu_features: a name resolves to its ISA, auto to the best") {
  for (const Isa isa : available_isas()) {
    const auto resolved = resolve_isa(to_string(isa));
    REQUIRE(resolved.ok());
    CHECK(*resolved == isa);
  }
  CHECK(resolve_isa("auto").value() == available_isas().back());
}

TEST_CASE("cpu_features: an unknown name is an invalid argument whose message lists what there is") {
  for (const char* name : {"", "AVX2", "sse9", "avx512 "}) {
    const auto resolved = resolve_isa(name);
    REQUIRE(!resolved.ok());
    CHECK(resolved.error().code == ErrorCode::invalid_argument);
    CHECK(resolved.error().message.find("reference") != std::string::npos);
  }
}

}  // namespace
}  // namespace decant
