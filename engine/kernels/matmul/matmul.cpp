// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/matmul/matmul.h"

#include "engine/kernels/matmul/matmul_tables.h"

namespace decant::kernels {
namespace {

const MatmulTable& own_table(Isa isa) {
  switch (isa) {
    case Isa::avx512vnni:
      return kMatmulAvx512Vnni;
    case Isa::avx512:
      return kMatmulAvx512;
    case Isa::avxvnni:
      return kMatmulAvxVnni;
    case Isa::avx2:
      return kMatmulAvx2;
    case Isa::reference:
      break;
  }
  // fma() without the instruction is a slow call; every CPU with more than the reference has it.
  return available_isas().size() > 1 ? kMatmulReferenceFma : kMatmulReference;
}

}  // namespace

MatmulFn matmul_kernel(Isa isa, DType type) noexcept {
  for (int i = static_cast<int>(isa);; --i) {
    const MatmulFn fn = own_table(static_cast<Isa>(i)).matmul[static_cast<int>(type)];
    if (fn != nullptr) return fn;
  }
}

QuantizeRowFn quantize_row_kernel(Isa isa) noexcept {
  for (int i = static_cast<int>(isa);; --i) {
    const QuantizeRowFn fn = own_table(static_cast<Isa>(i)).quantize_row;
    if (fn != nullptr) return fn;
  }
}

}  // namespace decant::kernels
