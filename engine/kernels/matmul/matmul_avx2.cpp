// SPDX-License-Identifier: Apache-2.0
#include "engine/kernels/matmul/matmul_tables.h"

namespace decant::kernels {

const MatmulTable kMatmulAvx2 = {};

}  // namespace decant::kernels
