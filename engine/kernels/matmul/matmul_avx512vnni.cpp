// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/matmul/matmul_tables.h"

namespace decant::kernels {

const MatmulTable kMatmulAvx512Vnni = {};

}  // namespace decant::kernels
