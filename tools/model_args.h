// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "decant/engine.h"
#include "decant/model.h"

#include "tools/args.h"
#include "tools/session.h"
#include "tools/terminal.h"

namespace decant::tools {

/// Which model, and how it is computed: what several subcommands share.
struct ModelArgs {
  std::optional<std::string> model;
  std::optional<Numerics> numerics;
  LogLevel log_level = LogLevel::error;  ///< errors come back as values: nothing is said unasked
  std::optional<int> n_threads;
  bool pin = false;
  std::optional<std::string> isa;
  std::optional<int> chunk;
  std::optional<KvType> k_type, v_type;  ///< both or neither
  KvType default_kv_type = KvType::f16;
  size_t cache_bytes = 0;  ///< 0: no limit of its own

  /// -m and --log-level.
  void declare_model(Arguments& arguments);
  /// --threads and declare_computation().
  void declare_engine(Arguments& arguments);
  /// --pin, --chunk, --isa, --numerics, --kv-type and --cache-bytes.
  void declare_computation(Arguments& arguments);

  /// Where the model is: the one named, else $DECANT_MODEL, else the bundled one beside the build tree or under the
  /// install prefix.
  Result<std::string> find_model() const;

  /// Opens it; shows progress where that takes long.
  Result<std::shared_ptr<const Model>> open(const Interrupts& interrupts) const;

  /// What a session was begun with holds where nothing else is asked for.
  void take_from(const Session& session);

  EngineOptions engine_options() const;
  LogSink log_sink() const;
};

/// The prompt's ids: `ids` where given, else those of `text`, special tokens added where asked for. The error says what
/// to do about a model that has no tokenizer.
Result<std::vector<int32_t>> prompt_ids(const Model& model, const std::optional<std::vector<int32_t>>& ids,
                                        const std::string& text, bool add_special = true);

/// Checks that every id is one of the model's. A file's tokenizer may know more or fewer than its weights.
Status check_ids(const std::vector<int32_t>& ids, int vocab_size);

/// Checks that a prompt is no longer than the engine's context, and says what to do where it is.
Status check_fits(size_t n_prompt, const Engine& engine);

}  // namespace decant::tools
