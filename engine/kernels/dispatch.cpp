// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/dispatch.h"

#include <array>
#include <cstddef>

#include "cache/kernels/rope.h"
#include "engine/kernels/elementwise.h"
#include "engine/kernels/matmul/matmul.h"

namespace decant::kernels {

namespace {

KernelTable make_table(Isa isa) noexcept {
  const Elementwise& rows = elementwise(isa);
  KernelTable table = {.name = to_string(isa),
                       .matmul = {},
                       .quantize_row = quantize_row_kernel(isa),
                       .rms_norm = rows.rms_norm,
                       .layer_norm = rows.layer_norm,
                       .add = rows.add,
                       .silu_mul = rows.silu_mul,
                       .gelu_tanh = rows.gelu_tanh,
                       .rope = rope_kernel(isa),
                       .all_finite = rows.all_finite};
  for (int type = 0; type < kDTypeCount; ++type) table.matmul[type] = matmul_kernel(isa, static_cast<DType>(type));
  return table;
}

}  // namespace

const KernelTable& table(Isa isa) noexcept {
  static const std::array<KernelTable, kIsaCount> tables = {make_table(Isa::reference), make_table(Isa::avx2),
                                                            make_table(Isa::avxvnni), make_table(Isa::avx512),
                                                            make_table(Isa::avx512vnni)};
  return tables[static_cast<size_t>(isa)];
}

}  // namespace decant::kernels
