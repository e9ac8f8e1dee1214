// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "decant/dtype.h"
#include "decant/options.h"
#include "decant/result.h"

#include "cache/snapshot_file.h"

namespace decant::tools {

/// What a session file says of its text before a model is there: how it was begun, which decides its bits.
struct Session {
  std::string numerics;  ///< by name
  KvType k_type = KvType::f16, v_type = KvType::f16;
  std::vector<int32_t> ids;  ///< the last of its tokens, all unless it is endless
  int n_tokens = 0;          ///< of the text; the cache may lack the last ones
  int recent_window = 0;     ///< 0: the text ends with the context
  int n_sinks = 0;
  SamplingParams sampling;
};

/// Out of a file's contents. `bad_format`, `mismatch` where they are no session's: saved prefixes, or what another
/// program than decant's engine saved.
Result<Session> read_session(const cache::SnapshotContents& contents, const std::string& path);

/// The session at a path, or nothing where no such file is there yet. Makes sure first that a file can be written in
/// its place, so that a text isn't generated in vain: `io`.
Result<std::optional<Session>> find_session(const std::string& path);

/// "temperature 0.7, top-p 0.9, seed 3": what differs from plain sampling.
std::string describe(const SamplingParams& sampling);

}  // namespace decant::tools
