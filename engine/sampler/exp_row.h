// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace decant::sampler {

/// out[i] = exp64(x[i] − max), for x[i] ≤ max; 0 where x[i] is −inf. n elements; out may be x.
using ExpRowFn = void (*)(const double* x, double max, int n, double* out);

/// Calls kernels::exp64 for each element: the definition, and what CPUs without AVX2 and FMA run.
void exp_row_ref(const double* x, double max, int n, double* out);

/// The same bits, four lanes at a time.
void exp_row_avx2(const double* x, double max, int n, double* out);

/// The one for this CPU.
ExpRowFn exp_row_for_cpu();

}  // namespace decant::sampler
