// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "decant/model.h"

namespace decant::tools {

/// "loaded in 212 ms: …", where the time of opening a model went, with the newline.
std::string load_line(const Model& model);

}  // namespace decant::tools
