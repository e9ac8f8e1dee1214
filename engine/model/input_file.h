// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "decant/result.h"

#include "cache/input_file.h"

namespace decant::model {

using cache::InputFile;

/// A whole file as text; `unsupported` beyond 1 GiB.
Result<std::string> read_text(const std::string& path);

}  // namespace decant::model
