// SPDX-License-Identifier: Apache-2.0
#include "decant/dtype.h"

#include <string>

#include <doctest/doctest.h>

namespace decant {
namespace {

TEST_CASE("dtype: every type of the cache is read back from its name, in either case") {
  for (int t = 0; t < kKvTypeCount; ++t) {
    const auto type = static_cast<KvType>(t);
    std::string name = to_string(type);
    CAPTURE(name);
    CHECK(parse_kv_type(name) == type);
    name[0] = static_cast<char>(name[0] - 'a' + 'A');
    CHECK(parse_kv_type(name) == type);
  }
}

TEST_CASE("dtype: GGUF's names of blocks are those of the plain types, and other names are none") {
  CHECK(parse_kv_type("q8_0") == KvType::q8);
  CHECK(parse_kv_type("Q4_0") == KvType::q4_plain);
  for (const char* name : {"", "q", "q8_", "q8_00", "f8", "q4_1", "f16 ", "Q4_K"}) CHECK(!parse_kv_type(name));
}

}  // namespace
}  // namespace decant
