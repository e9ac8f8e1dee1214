// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "tests/support/fixtures.h"

namespace decant::test {

TEST_CASE("documents: their C++ samples are those that are compiled and run here") {
  const auto has_sample = [](const std::string& document, const std::string& sample) {
    const std::string code = read_file(DECANT_SOURCE_DIR "/" + sample);
    CHECK(code.size() > 500);
    return read_file(DECANT_SOURCE_DIR "/" + document).find("```cpp\n" + code + "```\n") != std::string::npos;
  };
  CHECK(has_sample("README.md", "tools/examples/cpp/stream.cpp"));
  CHECK(has_sample("tools/profiling.md", "tests/api/profiling_sample.cpp"));
}

}  // namespace decant::test
