// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "decant/engine.h"

#include "tools/terminal.h"

namespace decant::tools {

/// Takes the logits [vocab_size] of the position `pos`; an error ends the whole.
using RowReader = std::function<Status(int pos, std::span<const float> logits)>;

/// Options that let an engine report every position of a prompt of n_ids, in chunks of `chunk` (0: as large as is
/// useful).
void report_all_logits(EngineOptions& options, int chunk, size_t n_ids);

/// Logits of every position of a prompt, chunk by chunk, without generating. The engine is free for the next one when
/// this goes.
class Prefill {
 public:
  explicit Prefill(Engine& engine) : engine_(engine) {}
  ~Prefill();
  Prefill(const Prefill&) = delete;
  Prefill& operator=(const Prefill&) = delete;

  Status begin(std::vector<int32_t> ids);
  bool ended() const noexcept { return ended_; }
  /// The next chunk.
  Status step(const Interrupts& interrupts, const RowReader& read);

 private:
  Engine& engine_;
  SequenceId sequence_ = 0;
  bool ended_ = true;
};

/// All of it.
Status prefill(Engine& engine, std::vector<int32_t> ids, const Interrupts& interrupts, const RowReader& read);

}  // namespace decant::tools
