// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace decant::profile {

/// The files that hold the weights of what Model::open would open under a path: the file itself, all parts of a split
/// GGUF, or the safetensors of a directory. By their names alone, so that asking doesn't bring them into memory. None
/// where the directory has none or can't be read.
std::vector<std::string> weight_files(const std::string& model_path);

/// The share of some files' bytes that lies in the page cache, from 0 to 1. Looks without touching: no page is read.
/// Nothing where the system doesn't tell: a file is missing, empty or no regular one, or it is neither the caller's own
/// nor writable (Linux then calls every page cached). A system that emulates Linux may call every page cached too.
std::optional<double> cached_share(std::span<const std::string> paths);

/// Bytes that this process has had read from a disk since it began, by reads and by faults of mappings.
uint64_t disk_bytes_read();

}  // namespace decant::profile
