// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "tests/support/fixtures.h"

namespace decant::test {

TEST_CASE("readme: the C++ sample is the one that is compiled and run here") {
  const std::string readme = read_file(DECANT_SOURCE_DIR "/README.md"),
                    sample = read_file(DECANT_SOURCE_DIR "/tests/api/readme_sample.cpp");
  CHECK(sample.size() > 500);
  CHECK(readme.find("```cpp\n" + sample + "```\n") != std::string::npos);
}

}  // namespace decant::test
