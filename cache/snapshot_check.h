// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "decant/result.h"

#include "cache/snapshot_file.h"

namespace decant::cache {

/// Whether a snapshot's contents agree with themselves: counts, ranges, each block of the group that names it. An
/// error of class `code` names the first field that doesn't, and the file. A reader needs no check of its own after
/// it, but for what it knows beside: max_tokens, ids of its vocabulary, the layout that its blocks must have.
Status check_contents(const SnapshotContents& contents, ErrorCode code, const std::string& path);

/// Text from a file in quotes, fit for a message: bytes that aren't printable ASCII as \xNN, length bounded.
std::string quoted(std::string_view text);

}  // namespace decant::cache
