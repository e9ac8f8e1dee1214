// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler/exp_row.h"

#include "decant/isa.h"

#include "cache/kernels/vmath64.h"

namespace decant::sampler {

void exp_row_ref(const double* x, double max, int n, double* out) {
  for (int i = 0; i < n; ++i) out[i] = kernels::exp64(x[i] - max);
}

ExpRowFn exp_row_for_cpu() {
  for (const Isa isa : available_isas())
    if (isa == Isa::avx2) return exp_row_avx2;
  return exp_row_ref;
}

}  // namespace decant::sampler
