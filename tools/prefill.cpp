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

Status prefill(Engine& engine, std::vector<int32_t> ids, const Interrupts& interrupts, const RowReader& read) {
  Request request;
  request.prompt = std::move(ids);
  request.max_new_tokens = 0;
  request.all_logits = true;
  const Result<SequenceId> sequence = engine.submit(std::move(request));
  if (!sequence) return sequence.error();

  const auto vocab_size = static_cast<size_t>(engine.model().info().vocab_size);
  Status done;
  bool ended = false;
  while (done && !ended) {
    const Result<StepReport> report = engine.step(interrupts.token());
    if (!report) {
      done = report.error();
      break;
    }
    for (const LogitRows& rows : report->logits)
      for (int i = 0; i < rows.n_rows && done; ++i)
        done = read(rows.first_pos + i, {rows.logits + static_cast<size_t>(i) * rows.row_stride, vocab_size});
    ended = report->idle;
    for (const TokenEvent& event : report->tokens) ended = ended || event.finish != FinishReason::none;
  }
  if (!ended) static_cast<void>(engine.cancel(*sequence));  // on the way out with an error of its own
  return done;
}

}  // namespace decant::tools
