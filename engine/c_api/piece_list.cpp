// SPDX-License-Identifier: Apache-2.0
#include "engine/c_api/piece_list.h"

#include <string_view>

namespace decant::c_api {

namespace {
constexpr size_t kStepTextBytes = 64U * 1024;  // said in c_api.h
}  // namespace

decant_usage to_c(const Usage& usage) noexcept {
  decant_usage out = {};
  out.struct_size = sizeof out;
  out.n_prompt_tokens = usage.n_prompt_tokens;
  out.n_cached_tokens = usage.n_cached_tokens;
  out.n_generated_tokens = usage.n_generated_tokens;
  out.first_token_ns = usage.first_token_ns;
  out.last_token_ns = usage.last_token_ns;
  return out;
}

void PieceList::reserve(size_t n_pieces, size_t n_text_bytes) {
  pieces_.reserve(n_pieces);
  pointers_.reserve(n_pieces);
  usages_.reserve(n_pieces);
  logprobs_.reserve(n_pieces * kMaxTopLogprobs);
  text_.reserve(n_text_bytes);
}

const char* PieceList::keep(std::string_view text) {
  const size_t begin = text_.size();
  text_.append(text).push_back('\0');
  return text_.data() + begin;
}

void PieceList::assign(std::span<const Piece> pieces) {
  // All room first: pieces point into these.
  size_t n_text_bytes = 0, n_logprobs = 0;
  for (const Piece& piece : pieces) {
    n_text_bytes += piece.text.size() + piece.bytes.size() + 2;
    n_logprobs += piece.top_logprobs.size();
  }
  pointers_.clear();
  pieces_.clear();
  usages_.clear();
  logprobs_.clear();
  text_.clear();
  text_.reserve(n_text_bytes);
  logprobs_.reserve(n_logprobs);
  usages_.reserve(pieces.size());
  pieces_.reserve(pieces.size());
  pointers_.reserve(pieces.size());
  for (const Piece& piece : pieces) {
    decant_piece out = {};
    out.struct_size = sizeof out;
    out.sequence = piece.sequence;
    out.token_id = piece.token_id;
    out.logprob = piece.logprob;
    out.finish = static_cast<int32_t>(piece.finish);
    out.is_special = piece.is_special ? 1 : 0;
    out.is_end = piece.is_end ? 1 : 0;
    out.text = keep(piece.text);
    out.n_text_bytes = piece.text.size();
    out.bytes = keep(piece.bytes);
    out.n_bytes = piece.bytes.size();
    out.top_logprobs = logprobs_.data() + logprobs_.size();
    out.n_top_logprobs = piece.top_logprobs.size();
    for (const TokenLogprob& top : piece.top_logprobs) logprobs_.push_back({top.token_id, top.logprob});
    usages_.push_back(to_c(piece.usage));
    out.usage = &usages_.back();
    pieces_.push_back(out);
    pointers_.push_back(&pieces_.back());
  }
}

void StepView::reserve(size_t max_sequences) {
  pieces_.reserve(max_sequences, kStepTextBytes);
  logits_.reserve(max_sequences);
  logit_pointers_.reserve(max_sequences);
}

const decant_step_report* StepView::assign(const StepReport& report) {
  pieces_.assign(report.pieces);
  logit_pointers_.clear();
  logits_.clear();
  logits_.reserve(report.logits.size());
  logit_pointers_.reserve(report.logits.size());
  for (const LogitRows& rows : report.logits) {
    decant_logit_rows out = {};
    out.struct_size = sizeof out;
    out.sequence = rows.sequence;
    out.first_pos = rows.first_pos;
    out.n_rows = rows.n_rows;
    out.logits = rows.logits;
    out.row_stride = rows.row_stride;
    logits_.push_back(out);
    logit_pointers_.push_back(&logits_.back());
  }
  report_ = {};
  report_.struct_size = sizeof report_;
  report_.pieces = pieces_.data();
  report_.n_pieces = pieces_.size();
  report_.logits = logit_pointers_.data();
  report_.n_logits = logit_pointers_.size();
  report_.n_prefill_tokens = report.stats.n_prefill_tokens;
  report_.n_decode_tokens = report.stats.n_decode_tokens;
  report_.elapsed_ns = report.stats.elapsed_ns;
  report_.forward_ns = report.stats.forward_ns;
  report_.sample_ns = report.stats.sample_ns;
  report_.idle = report.idle ? 1 : 0;
  return &report_;
}

}  // namespace decant::c_api
