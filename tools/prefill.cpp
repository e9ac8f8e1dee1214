// SPDX-License-Identifier: Apache-2.0
#include "tools/prefill.h"

#include <algorithm>
#include <utility>

namespace decant::tools {

void report_all_logits(EngineOptions& options, int chunk, size_t n_ids) {
  constexpr size_t kLongestChunk = 512;
  if (chunk == 0) chunk = static_cast<int>(std::clamp<size_t>(n_ids, 1, kLongestChunk));
  options.max_sequences = 1;
  options.max_step_tokens = chunk;
  options.prefill_chunk = chunk;
  options.max_logit_rows = chunk;
}

Prefill::~Prefill() {
  if (!ended_) static_cast<void>(engine_.cancel(sequence_));  // on the way out with an error of its own
}

Status Prefill::begin(std::vector<int32_t> ids) {
  Request request;
  request.prompt = std::move(ids);
  request.max_new_tokens = 0;
  request.all_logits = true;
  const Result<SequenceId> sequence = engine_.submit(std::move(request));
  if (!sequence) return sequence.error();
  sequence_ = *sequence;
  ended_ = false;
  return {};
}

Status Prefill::step(const Interrupts& interrupts, const RowReader& read) {
  const Result<StepReport> report = engine_.step(interrupts.token());
  if (!report) return report.error();
  for (const Piece& event : report->pieces) ended_ = ended_ || event.finish != FinishReason::none;
  const auto vocab_size = static_cast<size_t>(engine_.model().info().vocab_size);
  for (const LogitRows& rows : report->logits)
    for (int i = 0; i < rows.n_rows; ++i)
      if (Status done = read(rows.first_pos + i, {rows.logits + static_cast<size_t>(i) * rows.row_stride, vocab_size});
          !done)
        return done;
  return {};
}

Status prefill(Engine& engine, std::vector<int32_t> ids, const Interrupts& interrupts, const RowReader& read) {
  Prefill all(engine);
  Status done = all.begin(std::move(ids));
  while (done && !all.ended()) done = all.step(interrupts, read);
  return done;
}

}  // namespace decant::tools
