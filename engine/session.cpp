// SPDX-License-Identifier: Apache-2.0
#include "decant/session.h"

#include <atomic>
#include <utility>

#include "decant/detail/fp_state.h"

#include "engine/engine_impl.h"

namespace decant {

struct Session::State {
  State(std::shared_ptr<Engine::Impl> of, SequenceOptions with) : engine(std::move(of)), options(std::move(with)) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State();

  std::shared_ptr<Engine::Impl> engine;
  SequenceOptions options;
  SequenceId id = 0;                    ///< 0: nothing was added yet
  std::atomic<bool> cancelled = false;  ///< the turn that is going on
  int64_t n_turns = 0;
  bool streaming = false;

  // The piece that the caller looks at.
  Piece piece;
  std::string bytes, text;
  std::vector<TokenLogprob> top_logprobs;

  Sequence* sequence() const noexcept { return id > 0 ? engine->scheduler->find(id) : nullptr; }
  Status begin_turn(std::span<const int32_t> prompt, const GenerationOptions& options);
  void end_turn() noexcept;
  void take_back() noexcept;
  Status wait();
  void take();
};

struct Stream::State {
  std::shared_ptr<Session::State> session;
  int64_t turn = 0;
  Status status;
  FinishReason finish = FinishReason::none;
  Usage usage;

  bool going_on() const noexcept { return session && session->streaming && session->n_turns == turn; }
};

Session::State::~State() {
  const std::lock_guard turn(engine->turnstile);
  if (Sequence* const mine = sequence()) engine->end(*mine);
}

// The calls below come in by themselves: the turnstile is theirs.

Status Session::State::begin_turn(std::span<const int32_t> prompt, const GenerationOptions& wanted) {
  cancelled = false;
  if (id == 0) {
    Request request;
    static_cast<SequenceOptions&>(request) = options;
    static_cast<GenerationOptions&>(request) = wanted;
    request.prompt.assign(prompt.begin(), prompt.end());
    request.keep = true;
    Result<SequenceId> submitted = engine->submit(std::move(request));
    if (!submitted) return submitted.error();
    id = *submitted;
    sequence()->of_session = true;
  } else if (Status extended = engine->extend(id, prompt, &wanted, wanted.max_new_tokens); !extended) {
    return extended;
  }
  sequence()->session_cancel = &cancelled;
  ++n_turns;
  streaming = true;
  return {};
}

// A token that nobody has seen. Nothing was computed of it yet.
void Session::State::take_back() noexcept {
  Sequence* const mine = sequence();
  if (mine->waiting && mine->waiting->token_id >= 0) {
    mine->ids.pop_back();
    mine->text.forget();
    --mine->usage.n_generated_tokens;
  }
  mine->waiting.reset();
}

void Session::State::end_turn() noexcept {
  if (!std::exchange(streaming, false)) return;
  take_back();
  Sequence* const mine = sequence();
  mine->session_cancel = nullptr;
  if (!mine->paused) engine->pause(*mine);
}

// Until a piece is there. Whoever comes in without one computes for all sessions that want one.
Status Session::State::wait() {
  if (Sequence* const mine = sequence();
      mine->waiting && mine->waiting->finish == FinishReason::none && engine->over(*mine) != FinishReason::none)
    take_back();
  while (!sequence()->waiting) {
    Result<StepReport> done = engine->step({.sessions = true}, {});
    if (!done && engine->growths.size() > 1)  // maybe another one's fault: alone, then
      done = engine->step({.sessions = true, .only = id}, {});
    if (!done) return done.error();
    if (done->idle) return Error{ErrorCode::internal, "no step for a session that waits"};
  }
  return {};
}

void Session::State::take() {
  const Piece& come = *sequence()->waiting;
  bytes = come.bytes;
  text = come.text;
  top_logprobs.assign(come.top_logprobs.begin(), come.top_logprobs.end());
  piece = come;
  piece.bytes = bytes;
  piece.text = text;
  piece.top_logprobs = top_logprobs;
  sequence()->waiting.reset();
}

Session::Session(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
Session::Session(Session&&) noexcept = default;

Session& Session::operator=(Session&& other) noexcept {
  Session old(std::move(*this));  // whose stream ends
  state_ = std::move(other.state_);
  return *this;
}

Session::~Session() {
  if (!state_) return;
  const std::lock_guard turn(state_->engine->turnstile);
  state_->end_turn();  // a stream that is left over finds its end
}

Stream Session::stream(std::span<const int32_t> prompt, const GenerationOptions& options) {
  try {
    auto stream = std::make_unique<Stream::State>();
    stream->status = entered(*state_->engine, [&]() -> Status {
      state_->end_turn();
      return state_->begin_turn(prompt, options);
    });
    stream->session = state_;
    stream->turn = state_->n_turns;
    if (!stream->status) stream->finish = FinishReason::error;
    return Stream(std::move(stream));
  } catch (const std::bad_alloc&) {
    return Stream(nullptr);
  }
}

Stream Session::stream(std::string_view prompt, const GenerationOptions& options) {
  const bool first = state_->id == 0;
  const Result<std::vector<int32_t>> ids = guarded([&]() -> Result<std::vector<int32_t>> {
    if (prompt.empty() && !first) return std::vector<int32_t>();
    return state_->engine->encode(prompt, first);
  });
  if (ids) return stream(*ids, options);
  try {
    auto failed = std::make_unique<Stream::State>();
    failed->status = ids.error();
    failed->finish = FinishReason::error;
    return Stream(std::move(failed));
  } catch (const std::bad_alloc&) {
    return Stream(nullptr);
  }
}

namespace {

Result<Completion> complete(Stream stream, const PieceCallback& on_piece) {
  Completion completion;
  while (const Piece* const piece = stream.next()) {
    const Status added = guarded([&]() -> Status {
      completion.text += piece->text;
      if (piece->token_id >= 0) completion.ids.push_back(piece->token_id);
      return {};
    });
    if (!added) return added.error();
    completion.finish = piece->finish;
    completion.usage = piece->usage;
    const Flow answer = on_piece ? on_piece(*piece) : Flow::go_on;
    if (answer == Flow::go_on || piece->finish != FinishReason::none) continue;
    completion.finish = answer == Flow::stop ? FinishReason::stop : FinishReason::cancelled;
    return completion;
  }
  if (!stream.status()) return stream.status().error();
  return completion;
}

}  // namespace

Result<Completion> Session::generate(std::string_view prompt, const GenerationOptions& options,
                                     const PieceCallback& on_piece) {
  return complete(stream(prompt, options), on_piece);
}

Result<Completion> Session::generate(std::span<const int32_t> prompt, const GenerationOptions& options,
                                     const PieceCallback& on_piece) {
  return complete(stream(prompt, options), on_piece);
}

Result<Session> Session::fork() {
  return guarded([&]() -> Result<Session> {
    auto copy = std::make_shared<State>(state_->engine, state_->options);
    const std::lock_guard turn(state_->engine->turnstile);
    state_->end_turn();
    if (Sequence* const mine = state_->sequence()) {
      Result<SequenceId> forked = state_->engine->fork(mine->id, mine->request.sampling);
      if (!forked) return forked.error();
      copy->id = *forked;
    }
    return Session(std::move(copy));
  });
}

Status Session::truncate(int n_tokens) {
  return entered(*state_->engine, [&]() -> Status {
    state_->end_turn();
    if (Sequence* const mine = state_->sequence(); mine != nullptr && n_tokens == 0) {
      state_->engine->end(*mine);
      state_->id = 0;
      return {};
    }
    if (state_->id == 0 && n_tokens == 0) return {};
    return state_->engine->truncate(state_->id, n_tokens);
  });
}

Status Session::save(const std::string& path) {
  return entered(*state_->engine, [&]() -> Status {
    state_->end_turn();
    if (state_->id == 0) return Error{ErrorCode::invalid_argument, "the session is empty: there is nothing to save"};
    return state_->engine->save(state_->id, path);
  });
}

void Session::cancel() noexcept { state_->cancelled = true; }

int Session::n_tokens() const noexcept {
  const std::lock_guard turn(state_->engine->turnstile);
  const Sequence* const mine = state_->sequence();
  if (mine == nullptr) return 0;
  return mine->n_tokens() - (mine->waiting && mine->waiting->token_id >= 0 ? 1 : 0);
}

Result<std::vector<int32_t>> Session::ids() const {
  return entered(*state_->engine, [&]() -> Result<std::vector<int32_t>> {
    const Sequence* const mine = state_->sequence();
    if (mine == nullptr) return std::vector<int32_t>();
    const bool unseen = mine->waiting && mine->waiting->token_id >= 0;
    return std::vector<int32_t>(mine->ids.begin(), mine->ids.end() - (unseen ? 1 : 0));
  });
}

Stream::Stream(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Stream::Stream(Stream&&) noexcept = default;

Stream& Stream::operator=(Stream&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}

Stream::~Stream() {
  if (!state_ || !state_->going_on()) return;
  const std::lock_guard turn(state_->session->engine->turnstile);
  state_->session->end_turn();
}

const Piece* Stream::next() noexcept {
  if (!state_ || !state_->going_on()) return nullptr;
  Session::State& session = *state_->session;
  Status come = entered(*session.engine, [&]() -> Status {
    const detail::FpState fp_state;
    Status waited = session.wait();
    if (waited) session.take();
    if (!waited || session.piece.finish != FinishReason::none) session.end_turn();
    return waited;
  });
  if (!come) {
    const std::lock_guard turn(session.engine->turnstile);
    session.end_turn();
    state_->status = std::move(come);
    state_->finish = FinishReason::error;
    return nullptr;
  }
  state_->finish = session.piece.finish;
  state_->usage = session.piece.usage;
  return &session.piece;
}

const Status& Stream::status() const noexcept {
  static const Status no_memory = Error{ErrorCode::out_of_memory, "out of memory"};
  return state_ ? state_->status : no_memory;
}

FinishReason Stream::finish() const noexcept { return state_ ? state_->finish : FinishReason::error; }
Usage Stream::usage() const noexcept { return state_ ? state_->usage : Usage(); }

Result<Session> Engine::session(const SequenceOptions& options) {
  return guarded([&]() -> Result<Session> { return Session(std::make_shared<Session::State>(impl_, options)); });
}

Result<Session> Engine::restore_session(const std::string& path) {
  return guarded([&]() -> Result<Session> {
    auto state = std::make_shared<Session::State>(impl_, SequenceOptions());
    const std::lock_guard turn(impl_->turnstile);
    Result<SequenceId> restored = impl_->restore(path);
    if (!restored) return restored.error();
    state->id = *restored;
    Sequence& mine = *state->sequence();
    mine.of_session = true;
    try {
      state->options = mine.request;
    } catch (const std::bad_alloc&) {
      impl_->end(mine);
      state->id = 0;
      throw;
    }
    return Session(std::move(state));
  });
}

}  // namespace decant
