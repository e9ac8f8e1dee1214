// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "decant/result.h"

namespace decant::tools {

/// Exit statuses: a contract with scripts. An interrupted command leaves with 128 + the signal.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;  ///< a file, a model or the machine is not as it should be
inline constexpr int kExitUsage = 2;   ///< the command line is wrong

using Words = std::vector<std::string>;

/// The subcommands: what follows the subcommand's name, an exit status back.
int cmd_run(const Words& words);
int cmd_logits(const Words& words);
int cmd_tokenize(const Words& words);
int cmd_detokenize(const Words& words);
int cmd_inspect(const Words& words);
int cmd_eval(const Words& words);
int cmd_cache(const Words& words);
int cmd_convert(const Words& words);
int cmd_quantize(const Words& words);
int cmd_synth(const Words& words);
int cmd_machine(const Words& words);
int cmd_profile(const Words& words);

/// One line on standard error, "decant COMMAND: MESSAGE"; line breaks and other control characters become spaces.
void tell(std::string_view command, std::string_view message);

/// Tells of an error and returns kExitFailed.
int fail(std::string_view command, const Error& error);

/// Tells of a wrong command line, with a hint where help is, and returns kExitUsage.
int usage_error(std::string_view command, std::string_view message);

}  // namespace decant::tools
