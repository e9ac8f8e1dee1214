// SPDX-License-Identifier: Apache-2.0
// Sessions and streams in C.
#include <vector>

#include "engine/c_api/boundary.h"
#include "engine/c_api/convert.h"
#include "engine/c_api/handles.h"

using namespace decant;
using namespace decant::c_api;

namespace {

constexpr size_t kPieceTextBytes = 4096;  // a token's bytes and text, but for the longest

/// A session's handle, made before what it is to hold, so that nothing is lost for want of memory.
struct NewSession {
  std::unique_ptr<decant_session> handle = std::make_unique<decant_session>();
  std::shared_ptr<std::optional<Session>> room = std::make_shared<std::optional<Session>>();

  Status hand_out(Result<Session> made, decant_session** out) {
    if (!made) return made.error();
    room->emplace(std::move(*made));
    handle->session = std::shared_ptr<Session>(room, &**room);
    *out = handle.release();
    return {};
  }
};

template <typename Prompt>
Status begin_stream(decant_session* session, const Prompt& prompt, const decant_generation_options* options,
                    decant_stream** stream) {
  const Result<GenerationOptions> in = generation_options(options);
  if (!in) return in.error();
  auto out = std::make_unique<decant_stream>();
  out->piece.reserve(1, kPieceTextBytes);
  out->session = session->session;
  out->stream.emplace(session->session->stream(prompt, *in));
  if (!out->stream->status()) return out->stream->status();
  *stream = out.release();
  return {};
}

/// A completion together with what it points to.
struct CompletionBox : decant_completion {
  Completion value;
  decant_usage c_usage = {};

  void assign(Completion&& from) noexcept {
    value = std::move(from);
    c_usage = to_c(value.usage);
    struct_size = sizeof(decant_completion);
    text = value.text.c_str();
    n_text_bytes = value.text.size();
    ids = value.ids.data();
    n_ids = value.ids.size();
    usage = &c_usage;
    finish = static_cast<int32_t>(value.finish);
    reserved = 0;
  }
};

Flow flow_in(int32_t answer) noexcept {
  if (answer == DECANT_FLOW_GO_ON) return Flow::go_on;
  return answer == DECANT_FLOW_STOP ? Flow::stop : Flow::cancel;
}

template <typename Prompt>
Status run(decant_session* session, const Prompt& prompt, const decant_generation_options* options,
           decant_piece_callback on_piece, void* user, decant_completion** completion) {
  const Result<GenerationOptions> in = generation_options(options);
  if (!in) return in.error();
  auto box = std::make_unique<CompletionBox>();
  PieceList list;
  PieceCallback told;
  if (on_piece != nullptr) {
    list.reserve(1, kPieceTextBytes);
    told = [&](const Piece& piece) {
      list.assign({&piece, 1});
      return flow_in(on_piece(user, list.data()[0]));
    };
  }
  Result<Completion> done = session->session->generate(prompt, *in, told);
  if (!done) return done.error();
  if (completion == nullptr) return {};
  box->assign(std::move(*done));
  *completion = box.release();
  return {};
}

}  // namespace

extern "C" {

decant_status decant_engine_session(decant_engine* engine, const decant_sequence_options* options,
                                    decant_session** session, decant_error* error) {
  return guarded(error, {result(session, "session"), handle(engine, "engine")}, [&]() -> Status {
    const Result<SequenceOptions> in = sequence_options(options);
    if (!in) return in.error();
    NewSession made;
    return made.hand_out(engine->engine->session(*in), session);
  });
}

decant_status decant_engine_restore_session(decant_engine* engine, const char* path, decant_session** session,
                                            decant_error* error) {
  return guarded(error, {result(session, "session"), handle(engine, "engine"), given(path, "path")}, [&] {
    NewSession made;
    return made.hand_out(engine->engine->restore_session(path), session);
  });
}

void decant_session_free(decant_session** session) { free_handle(session); }

decant_status decant_session_stream(decant_session* session, const char* prompt, size_t n_prompt_bytes,
                                    const decant_generation_options* options, decant_stream** stream,
                                    decant_error* error) {
  return guarded(error, {result(stream, "stream"), handle(session, "session")}, [&]() -> Status {
    const Result<std::string_view> in = text_in(prompt, n_prompt_bytes, "prompt");
    return in ? begin_stream(session, *in, options, stream) : in.error();
  });
}

decant_status decant_session_stream_ids(decant_session* session, const int32_t* prompt, size_t n_prompt,
                                        const decant_generation_options* options, decant_stream** stream,
                                        decant_error* error) {
  return guarded(error, {result(stream, "stream"), handle(session, "session")}, [&]() -> Status {
    const Result<std::span<const int32_t>> in = ids_in(prompt, n_prompt, "prompt");
    return in ? begin_stream(session, *in, options, stream) : in.error();
  });
}

decant_status decant_stream_next(decant_stream* stream, const decant_piece** piece, decant_error* error) {
  return guarded(error, {result(piece, "piece"), handle(stream, "stream")}, [&]() -> Status {
    const Piece* const next = stream->stream->next();
    if (next == nullptr) return stream->stream->status();
    stream->piece.assign({next, 1});
    *piece = stream->piece.data()[0];
    return {};
  });
}

int32_t decant_stream_finish(const decant_stream* stream) {
  if (stream == nullptr || stream->kind != decant_stream::kKind) return DECANT_FINISH_NONE;
  return static_cast<int32_t>(stream->stream->finish());
}

decant_status decant_stream_get_usage(const decant_stream* stream, decant_usage* usage, size_t struct_size,
                                      decant_error* error) {
  return guarded(error, {handle(stream, "stream"), given(usage, "usage")},
                 [&] { return fill_struct(to_c(stream->stream->usage()), usage, struct_size, "usage"); });
}

void decant_stream_free(decant_stream** stream) { free_handle(stream); }

decant_status decant_session_generate(decant_session* session, const char* prompt, size_t n_prompt_bytes,
                                      const decant_generation_options* options, decant_piece_callback on_piece,
                                      void* user, decant_completion** completion, decant_error* error) {
  if (completion != nullptr) *completion = nullptr;
  return guarded(error, {handle(session, "session")}, [&]() -> Status {
    const Result<std::string_view> in = text_in(prompt, n_prompt_bytes, "prompt");
    return in ? run(session, *in, options, on_piece, user, completion) : in.error();
  });
}

decant_status decant_session_generate_ids(decant_session* session, const int32_t* prompt, size_t n_prompt,
                                          const decant_generation_options* options, decant_piece_callback on_piece,
                                          void* user, decant_completion** completion, decant_error* error) {
  if (completion != nullptr) *completion = nullptr;
  return guarded(error, {handle(session, "session")}, [&]() -> Status {
    const Result<std::span<const int32_t>> in = ids_in(prompt, n_prompt, "prompt");
    return in ? run(session, *in, options, on_piece, user, completion) : in.error();
  });
}

void decant_completion_free(decant_completion** completion) {
  if (completion == nullptr) return;
  delete static_cast<CompletionBox*>(*completion);
  *completion = nullptr;
}

decant_status decant_session_fork(decant_session* session, decant_session** fork, decant_error* error) {
  return guarded(error, {result(fork, "fork"), handle(session, "session")}, [&] {
    NewSession made;
    return made.hand_out(session->session->fork(), fork);
  });
}

decant_status decant_session_truncate(decant_session* session, int32_t n_tokens, decant_error* error) {
  return guarded(error, {handle(session, "session")}, [&] { return session->session->truncate(n_tokens); });
}

decant_status decant_session_save(decant_session* session, const char* path, decant_error* error) {
  return guarded(error, {handle(session, "session"), given(path, "path")},
                 [&] { return session->session->save(path); });
}

void decant_session_cancel(decant_session* session) {
  if (session != nullptr && session->kind == decant_session::kKind) session->session->cancel();
}

int32_t decant_session_n_tokens(const decant_session* session) {
  return session != nullptr && session->kind == decant_session::kKind ? session->session->n_tokens() : 0;
}

decant_status decant_session_ids(const decant_session* session, int32_t* ids, size_t capacity, size_t* n_ids,
                                 decant_error* error) {
  return guarded(error, {result(n_ids, "n_ids"), handle(session, "session")}, [&]() -> Status {
    const Result<std::vector<int32_t>> all = session->session->ids();
    return all ? ids_out(*all, ids, capacity, n_ids) : all.error();
  });
}

}  // extern "C"
