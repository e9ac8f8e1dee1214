// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "decant/result.h"

namespace decant::tools {

/// Two reports of `decant profile --json` and what differs between them.
struct Comparison {
  nlohmann::ordered_json a, b;  ///< the reports
  /// Made from the samples in them:
  ///
  ///   a, b            {path}
  ///   notes           sentences: what else differs, and where the machine was another
  ///   runs            of the thread counts and depths that both have, in A's order:
  ///     threads, depth
  ///     figures       {name, unit, a, b, ratio, low, high, enough, differs, better, text}: ms_p50, ms_p99, ttft_ms (of
  ///                   prompts of one length), tokens_per_s, bandwidth_gb_per_s, and bandwidth_share where the
  ///                   machine's bandwidth was another; each with the 95 % interval of b / a (profile::ratio_interval).
  ///                   enough: whether there are samples enough to tell; differs: whether the interval excludes 1;
  ///                   better: "a", "b" or null
  ///     ops, other    {name, a_ns, b_ns}: single figures without an interval; null where one has no such operation
  ///   only_a, only_b  {threads, depth}
  nlohmann::ordered_json comparison;
};

/// Reads both reports and compares them. Errors as read_profile().
Result<Comparison> compare_profiles(const std::string& path_a, const std::string& path_b);

/// A comparison for people, at most 100 columns wide.
std::string comparison_table(const nlohmann::ordered_json& comparison);

}  // namespace decant::tools
