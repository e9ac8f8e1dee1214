// SPDX-License-Identifier: Apache-2.0
#include "tools/session.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "decant/detail/format.h"

#include "cache/atomic_file.h"
#include "engine/sequence_state.h"

namespace decant::tools {

Result<Session> read_session(const cache::SnapshotContents& contents, const std::string& path) {
  if (contents.sequences.size() != 1)
    return Error{ErrorCode::mismatch,
                 detail::format("{}: holds {} texts, a session holds one{}", path, contents.sequences.size(),
                                contents.nodes.empty() ? "" : "; these are saved prefixes")};
  Result<Sequence> sequence = decode_sequence(contents.payload, path);
  if (!sequence) return sequence.error();
  Session session;
  session.numerics = contents.identity.numerics;
  session.k_type = contents.layout.k_type;
  session.v_type = contents.layout.v_type;
  session.n_tokens = sequence->n_tokens();
  session.ids = std::move(sequence->ids);
  session.recent_window = sequence->request.recent_window;
  session.n_sinks = sequence->request.n_sinks;
  session.sampling = sequence->request.sampling;
  return session;
}

Result<std::optional<Session>> find_session(const std::string& path) {
  const Result<cache::AtomicFile> writable = cache::AtomicFile::create(path);  // gone again at the end of this scope
  if (!writable) return writable.error();
  std::error_code none;
  if (!std::filesystem::exists(path, none)) return std::optional<Session>();
  const Result<cache::SnapshotReader> reader = cache::SnapshotReader::open(path);
  if (!reader) return reader.error();
  Result<Session> session = read_session(reader->contents(), path);
  if (!session) return session.error();
  return std::optional(std::move(*session));
}

std::string describe(const SamplingParams& sampling) {
  const SamplingParams plain;
  std::string text =
      sampling.temperature == 0.0F ? std::string("greedy") : detail::format("temperature {}", sampling.temperature);
  const auto add = [&text](const char* name, auto value, auto off) {
    if (value != off) text += detail::format(", {} {}", name, value);
  };
  add("top-k", sampling.top_k, plain.top_k);
  add("top-p", sampling.top_p, plain.top_p);
  add("min-p", sampling.min_p, plain.min_p);
  add("typical-p", sampling.typical_p, plain.typical_p);
  add("epsilon cutoff", sampling.epsilon_cutoff, plain.epsilon_cutoff);
  add("eta cutoff", sampling.eta_cutoff, plain.eta_cutoff);
  add("repeat penalty", sampling.repetition_penalty, plain.repetition_penalty);
  add("no-repeat n-gram", sampling.no_repeat_ngram_size, plain.no_repeat_ngram_size);
  return sampling.temperature == 0.0F ? text : text + detail::format(", seed {}", sampling.seed);
}

}  // namespace decant::tools
