// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <stop_token>
#include <string>

#include "decant/result.h"

namespace decant::model {

struct PackOptions {
  /// Threads that read and pack. 0: as many as affinity and the cgroup's cpu.max allow.
  int n_threads = 0;
  /// Told now and then how many bytes of the packed weights are written. May be empty.
  std::function<void(size_t bytes_done, size_t bytes_total)> progress;
  /// pack_model() returns `cancelled`.
  std::stop_token stop;
};

/// Writes a model as a packed file (packed_format.h), which opens to the same bits and the same fingerprint without
/// packing. `path`: whatever Model::open takes, but a packed file. Memory: the model's packed weights.
///
/// The target appears complete or not at all. Errors: as Model::open; `invalid_argument` (packed already); `io` (the
/// disk is full, …); `cancelled`.
Status pack_model(const std::string& path, const std::string& packed_path, const PackOptions& options = {});

}  // namespace decant::model
