// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "decant/c_api.h"
#include "decant/engine.h"

namespace decant::c_api {

decant_usage to_c(const Usage& usage) noexcept;

/// Pieces as C sees them, in memory of its own, which is taken beforehand and used again.
class PieceList {
 public:
  /// Room for so many pieces with all their logprobs, and so much text of them together: within that, assign() takes
  /// no memory.
  void reserve(size_t n_pieces, size_t n_text_bytes);

  void assign(std::span<const Piece> pieces);

  const decant_piece* const* data() const noexcept { return pointers_.data(); }
  size_t size() const noexcept { return pointers_.size(); }

 private:
  const char* keep(std::string_view text);

  std::vector<decant_piece> pieces_;
  std::vector<const decant_piece*> pointers_;
  std::vector<decant_usage> usages_;
  std::vector<decant_token_logprob> logprobs_;
  std::string text_;  ///< of all, each followed by a NUL
};

/// A step's report as C sees it.
class StepView {
 public:
  void reserve(size_t max_sequences);
  const decant_step_report* assign(const StepReport& report);

 private:
  PieceList pieces_;
  std::vector<decant_logit_rows> logits_;
  std::vector<const decant_logit_rows*> logit_pointers_;
  decant_step_report report_ = {};
};

}  // namespace decant::c_api
