// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler/exp_row.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include "decant/isa.h"

#include "cache/kernels/vmath64.h"
#include "engine/sampler/rng.h"

using namespace decant::sampler;

TEST_CASE("exp_row: four lanes give the reference's bits, at every length, down to subnormals and zero") {
  const auto isas = decant::available_isas();
  if (std::find(isas.begin(), isas.end(), decant::Isa::avx2) == isas.end()) {
    CHECK((exp_row_for_cpu() == exp_row_ref));
    return;
  }
  CHECK((exp_row_for_cpu() == exp_row_avx2));
  std::vector<double> x = {0.0,     -0.0,    -1.0,    -708.3, -708.4, -709.1, -744.4,
                           -745.1,  -745.13, -745.2,  -745.3, -1e5,   -1e300, -std::numeric_limits<double>::infinity(),
                           -1e-300, -5e-324, -0x1p-54};
  for (int64_t i = 0; i < 100000; ++i) x.push_back(-std::ldexp(uniform(1, i, 0), static_cast<int>(i % 24) - 12));
  for (const double max : {0.0, 17.25, -3e38}) {
    std::vector<double> shifted = x;
    for (double& value : shifted) value = std::min(value + max, max);
    std::vector<double> reference(x.size()), lanes(x.size());
    exp_row_ref(shifted.data(), max, static_cast<int>(x.size()), reference.data());
    exp_row_avx2(shifted.data(), max, static_cast<int>(x.size()), lanes.data());
    CHECK(std::memcmp(reference.data(), lanes.data(), x.size() * sizeof(double)) == 0);
    CHECK(reference[0] == 1.0);
    for (int n = 0; n <= 9; ++n) {
      std::vector<double> few(x.size(), -7.0);
      exp_row_avx2(shifted.data() + 3, max, n, few.data());
      CHECK(std::memcmp(reference.data() + 3, few.data(), static_cast<size_t>(n) * sizeof(double)) == 0);
      CHECK(few[static_cast<size_t>(n)] == -7.0);
    }
  }
}
