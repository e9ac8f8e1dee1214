// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decant/export.h"
#include "decant/generation.h"
#include "decant/result.h"
#include "decant/stats.h"

namespace decant {

class Stream;

/// One text with its keys and values, growing turn by turn: a prompt, an answer, the next prompt. It keeps its engine's
/// memory alive, so the Engine itself may go first.
///
/// Threads: one at a time for each session, but for cancel(). Sessions of one engine may be used from as many threads
/// as there are: whoever waits for a piece computes a step for all that want one, so that they are batched, and each
/// text is what it would be alone, bit for bit. A session that nobody asks computes at most one token ahead.
///
/// Every call that returns an Error has left the session as it was, unless it says otherwise.
class DECANT_API Session {
 public:
  Session(Session&& other) noexcept;  ///< what was moved from may only be assigned to, or go
  Session& operator=(Session&& other) noexcept;
  ~Session();  ///< gives its cache back

  /// Adds a prompt and goes on from it. The first prompt of a session gets the model's own begin tokens; an empty one
  /// goes on from what there is. Nothing is computed yet: errors are the stream's status(). Ends an earlier stream.
  /// What a stream has begun stays in the session, however it ends.
  ///
  /// Errors: `invalid_argument` (nothing to begin with, id outside the vocabulary, more tokens than the
  /// context has room for, an option outside its limits), `unsupported` (no tokenizer), `cache_full` (max_sequences are
  /// alive, or others hold the memory: wait), `over_limit` (never fits the memory limit), `out_of_memory`.
  Stream stream(std::string_view prompt, const GenerationOptions& options = {});
  /// The same for ids, to which nothing is added.
  Stream stream(std::span<const int32_t> prompt, const GenerationOptions& options = {});

  /// The same to its end. on_piece may be empty, and answers to each piece. Errors as stream(), and of the steps: then
  /// the session is at its last whole token.
  Result<Completion> generate(std::string_view prompt, const GenerationOptions& options = {},
                              const PieceCallback& on_piece = {});
  /// The same for ids.
  Result<Completion> generate(std::span<const int32_t> prompt, const GenerationOptions& options = {},
                              const PieceCallback& on_piece = {});

  /// A second session with the same text, at no cost in memory until they part. Ends a stream. `cache_full` as
  /// stream().
  Result<Session> fork();
  /// Keeps the first n_tokens, 0 ≤ n_tokens ≤ n_tokens(). Ends a stream. `invalid_argument` for another number, or one
  /// before what an endless text still knows.
  Status truncate(int n_tokens);
  /// Writes text and cache to a file, for Engine::restore_session(): it goes on to the tokens that would have come.
  /// Ends a stream. Errors: as cache::KvCache::save(); `invalid_argument` for an empty session.
  Status save(const std::string& path);

  /// Ends the stream that is going on, or the wait for its first piece: within a layer or, where the step computes for
  /// others too, after it. From any thread; nothing happens where none is going on.
  void cancel() noexcept;

  /// Tokens delivered so far, prompts included.
  int n_tokens() const noexcept;
  /// All of them; of an endless text, those that are still known.
  Result<std::vector<int32_t>> ids() const;

  struct State;
  explicit Session(std::shared_ptr<State> state) noexcept;  ///< for Engine

 private:
  std::shared_ptr<State> state_;  ///< its streams', too
};

/// The pieces of one turn of a session, pulled one by one: a range.
///
///   for (const decant::Piece& piece : stream) std::cout << piece.text;
///   if (!stream.status()) …
///
/// Letting it go ends the turn: the session is at the last piece then. It ends, too, where its session goes, or
/// does something else; a piece's views are valid no longer than the session.
class DECANT_API Stream {
 public:
  Stream(Stream&& other) noexcept;  ///< what was moved from is at its end
  Stream& operator=(Stream&& other) noexcept;
  ~Stream();

  /// The next piece, valid until the next call; null at the end: see status() and finish(). Waits for it.
  const Piece* next() noexcept;

  /// Success until a step fails, or the stream could not begin.
  const Status& status() const noexcept;
  FinishReason finish() const noexcept;  ///< none while it goes on
  Usage usage() const noexcept;          ///< so far

  /// An input iterator. Its copies are at the same piece: the stream's last.
  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Piece;
    using difference_type = std::ptrdiff_t;
    using pointer = const Piece*;
    using reference = const Piece&;

    Iterator() noexcept = default;
    explicit Iterator(Stream* stream) noexcept : stream_(stream), piece_(stream->next()) {}
    const Piece& operator*() const noexcept { return *piece_; }
    const Piece* operator->() const noexcept { return piece_; }
    Iterator& operator++() noexcept {
      piece_ = stream_->next();
      return *this;
    }
    void operator++(int) noexcept { ++*this; }
    bool operator==(std::default_sentinel_t) const noexcept { return piece_ == nullptr; }

   private:
    Stream* stream_ = nullptr;
    const Piece* piece_ = nullptr;
  };
  /// Pulls the first piece.
  Iterator begin() noexcept { return Iterator(this); }
  /// Where next() is null.
  std::default_sentinel_t end() const noexcept { return {}; }

  struct State;
  explicit Stream(std::unique_ptr<State> state) noexcept;  ///< for Session

 private:
  std::unique_ptr<State> state_;
};

}  // namespace decant
