// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// decant's C ABI: the whole of the C++ API for C11, C++ and every language that can call C. Numbers, defaults and
/// limits are those of the C++ headers of the same names, which say more about each.
///
/// \par Conventions
///
/// 1. Handles. decant_model, decant_engine, decant_session, decant_stream and decant_stop_source are opaque. Who calls
///    a function with a `decant_… **` result owns the handle, and gives it back with the decant_…_free() of its type.
///    What is behind a handle lives as long as anyone needs it, so the order doesn't matter: a session may outlive its
///    engine's handle, an engine its model's, a stream its session's. decant_engine_get_model() alone lends a handle,
///    for as long as its engine's; freeing that does nothing.
/// 2. NULL, and freeing twice. A NULL handle, or another missing argument, is DECANT_INVALID_ARGUMENT and never a
///    crash. Functions without a status say what they answer to NULL. A free function takes the address of the
///    caller's pointer and sets it to NULL: freeing it again, or NULL, does nothing, and using it afterwards is the
///    former error. A live handle of another type is found out, too. What can't be: a second copy of a freed pointer.
///    A free function must not run while another call uses the handle.
/// 3. Errors. A function that can fail returns a decant_status and takes, last, a decant_error of the caller's, which
///    may be NULL. It gets the code and a message that names file, tensor, option, expected and found; after success
///    DECANT_OK and "". There is no "last error" anywhere, so threads and handles can't mix theirs up, and reporting
///    that memory has run out takes none. A call that fails leaves everything as it was, and sets a result pointer to
///    NULL, unless it says otherwise.
/// 4. Strings. UTF-8. Lengths are in bytes and never count a terminating NUL. A text that goes in is a pointer and a
///    length: DECANT_NUL_TERMINATED has it measured, NULL with 0 is the empty text. Paths, and names of options, are
///    always NUL-terminated. Every text that comes out has a length, where it could hold a NUL of its own, and is
///    NUL-terminated in either case.
/// 5. Structs that go in begin with struct_size, so that they may grow. decant_…_init(&it, sizeof it) sets that and
///    the defaults; then change what you want. A caller that was compiled against an older, smaller struct gets the
///    defaults of what it doesn't know. One with a newer, larger struct is served as long as all that the library
///    doesn't know is 0, else DECANT_INVALID_ARGUMENT. A NULL pointer to options means all defaults. Structs that may
///    grow never contain one another, but point to one another. Everything is copied during the call, but handles'
///    inner objects, callbacks and their `user` pointers. Fields named `reserved` are 0.
/// 6. Structs that come out. A function that fills in a struct of the caller's takes its size; what the library
///    doesn't know is 0, and struct_size says how much it knew. Structs of the library's own are lent by pointer,
///    arrays of them as arrays of pointers, so that a library with larger ones serves an older caller; read a field of
///    a newer header only if struct_size reaches it. decant_token_logprob, decant_text and decant_error never grow.
/// 7. Buffers. A function that writes an array into a buffer of the caller's takes its capacity, and says in *n how
///    many elements there are. NULL with capacity 0 only asks for that. A buffer that is too small is
///    DECANT_INVALID_ARGUMENT: nothing is written but *n. For text, capacity must have room for n + 1 bytes.
/// 8. Threads. Models and stop sources may be used from any number of threads. So may an engine, but for
///    decant_engine_step(): one thread at a time. A session and its stream: one thread at a time, but for
///    decant_session_cancel(), from any. Different sessions never wait for one another's caller, and are batched. No
///    function but decant_status_name() and its like may be called from a signal handler. A thread must not be
///    cancelled (pthread_cancel) within a call. After fork(2) the child must not use the parent's handles.
/// 9. Callbacks are called with the `user` pointer that was given beside them, within a call of the thread that caused
///    it, but decant_log_callback from any thread. They must return: no longjmp, no C++ exception (one that gets out
///    of a decant_piece_callback ends the call as DECANT_INTERNAL; out of another the program may end). What a
///    callback may call is said at its type. What it is lent is valid until it returns.
/// 10. Enumerations are int32_t in structs and signatures, with constants beside; flags are int32_t, 0 or not 0.
///     Values that name no constant are DECANT_INVALID_ARGUMENT where they go in; more may come out of a later
///     library.
/// 11. The process. No function prints, exits, aborts, or changes locale, signals, environment, rounding mode; none
///     keeps state outside of handles. Exceptions end at this boundary: std::bad_alloc is DECANT_OUT_OF_MEMORY, any
///     other DECANT_INTERNAL.
/// 12. Stability. Within a major version (until 1.0: a minor one) functions, constants and the meaning of fields stay,
///     and both functions and fields may be added.

#include <stddef.h>
#include <stdint.h>

#include "decant/export.h"
#include "decant/version.h"

#ifdef __cplusplus
extern "C" {
#endif

// Version

/// DECANT_VERSION_NUMBER of the library, which may differ from the headers'.
DECANT_API uint32_t decant_version_number(void);
/// "0.1.0"
DECANT_API const char* decant_version_string(void);

// Errors

/// The codes of decant::ErrorCode.
typedef int32_t decant_status;
enum {
  DECANT_OK = 0,
  DECANT_INVALID_ARGUMENT = 1,  ///< the call itself is wrong: an id out of range, an option outside its limits
  DECANT_IO = 2,                ///< the operating system refused: a file is missing, unreadable, the disk is full
  DECANT_BAD_FORMAT = 3,        ///< a file contradicts itself or its format: truncated, corrupt
  DECANT_UNSUPPORTED = 4,       ///< well-formed, but decant (or this CPU) lacks it; the message names what
  DECANT_OUT_OF_MEMORY = 5,     ///< the allocator or the operating system has no memory
  DECANT_CACHE_FULL = 6,        ///< the KV cache has reached its limit: wait for sequences to finish, then retry
  DECANT_CANCELLED = 7,         ///< the caller asked to stop
  DECANT_NON_FINITE = 8,        ///< a NaN or an infinity appeared; the message names the layer
  DECANT_INTERNAL = 9,          ///< a mistake of decant's own, or an exception out of a callback
  DECANT_MISMATCH = 10,         ///< well-formed, but made for another model, layout or numerics
  DECANT_OVER_LIMIT = 11        ///< more memory than the limit that was set, however long one waits
};
/// "ok", "invalid_argument", …; "?" for a number that is none.
DECANT_API const char* decant_status_name(decant_status status);

/// What went wrong. Needs no initialisation; its size never changes.
typedef struct decant_error {
  decant_status code;
  char message[1020];  ///< NUL-terminated UTF-8; a longer one is cut at a whole character
} decant_error;

// Texts

/// A length that asks for strlen().
#define DECANT_NUL_TERMINATED SIZE_MAX

/// A text of the caller's, for lists of them.
typedef struct decant_text {
  const char* data;
  size_t size_bytes;  ///< or DECANT_NUL_TERMINATED
} decant_text;

// Stopping

/// A switch that stops what was given it: an opening model, generations, steps. Any number of calls may share one, from
/// any thread. Once switched, it stays so.
typedef struct decant_stop_source decant_stop_source;

/// Errors: `out_of_memory`.
DECANT_API decant_status decant_stop_source_create(decant_stop_source** stop, decant_error* error);
/// Stops them, from any thread. Doesn't wait for them. Nothing happens for NULL. Not for a signal handler: set a flag
/// there, and call this from a thread or a callback.
DECANT_API void decant_stop_source_request(decant_stop_source* stop);
/// Whether it has been switched; 0 for NULL.
DECANT_API int32_t decant_stop_source_requested(const decant_stop_source* stop);
/// What was given it goes on unless it was stopped.
DECANT_API void decant_stop_source_free(decant_stop_source** stop);

// Messages

enum { DECANT_LOG_TRACE = 0, DECANT_LOG_DEBUG = 1, DECANT_LOG_INFO = 2, DECANT_LOG_WARN = 3, DECANT_LOG_ERROR = 4 };
/// Told of one message, without a newline; NUL-terminated, at most 2047 bytes of it. From any thread, several at once.
/// Must not call decant.
typedef void (*decant_log_callback)(void* user, int32_t level, const char* message, size_t n_message_bytes);

// Profiling: see decant/profile.h.

/// What the thread that computes a step goes through, in this order.
enum {
  DECANT_OP_SCHEDULE = 0,
  DECANT_OP_EMBED = 1,
  DECANT_OP_ROTATION = 2,
  DECANT_OP_ATTN_NORM = 3,
  DECANT_OP_QKV = 4,
  DECANT_OP_KV_APPEND = 5,
  DECANT_OP_ATTENTION = 6,
  DECANT_OP_ATTN_OUTPUT = 7,
  DECANT_OP_FFN_NORM = 8,
  DECANT_OP_FFN_UP = 9,
  DECANT_OP_FFN_DOWN = 10,
  DECANT_OP_OUTPUT_NORM = 11,
  DECANT_OP_HEAD = 12,
  DECANT_OP_SAMPLE = 13,
  DECANT_OP_COMMIT = 14
};
/// "schedule", "embed", …; "?" for a number that is none.
DECANT_API const char* decant_op_name(int32_t op);

/// One operation of one layer. Times are nanoseconds since the step began.
typedef struct decant_op_profile {
  size_t struct_size;
  int32_t op;     ///< DECANT_OP_…
  int32_t layer;  ///< -1: of none
  int64_t begin_ns;
  int64_t end_ns;
  int64_t wait_ns;  ///< of this: the calling thread waited for others
  size_t bytes;     ///< of weights, keys and values that must be read
} decant_op_profile;

/// What one thread did of an operation without a break.
typedef struct decant_lap_profile {
  size_t struct_size;
  int32_t op;        ///< index in decant_step_profile.ops
  int32_t n_pieces;  ///< equal parts of the operation
  int64_t begin_ns;
  int64_t end_ns;
} decant_lap_profile;

/// What one thread did in a step.
typedef struct decant_thread_profile {
  size_t struct_size;
  int64_t busy_ns;  ///< the rest of the step it waited for work
  const decant_lap_profile* const* laps;
  size_t n_laps;
} decant_thread_profile;

/// A token that a step gave to a sequence.
typedef struct decant_token_timing {
  size_t struct_size;
  int64_t sequence;
  int64_t latency_ns;  ///< since the token before, or since the sequence was submitted, extended or restored
  int32_t first;       ///< the first since then
  int32_t reserved;
} decant_token_timing;

/// One step.
typedef struct decant_step_profile {
  size_t struct_size;
  int64_t begin_ns;  ///< of the steady clock (CLOCK_MONOTONIC)
  int64_t elapsed_ns;
  int32_t n_prefill_tokens;
  int32_t n_decode_tokens;
  size_t bytes;                         ///< of all operations
  const decant_op_profile* const* ops;  ///< in order; together they are the step
  size_t n_ops;
  const decant_thread_profile* const* threads;  ///< the first is the calling one
  size_t n_threads;
  const decant_token_timing* const* tokens;
  size_t n_tokens;
  int64_t n_page_faults;           ///< of the threads that compute, since the step before, as what follows
  int64_t n_major_page_faults;     ///< that had to read a disk
  int64_t n_context_switches;      ///< a thread slept
  int64_t n_involuntary_switches;  ///< a thread was made to leave its CPU to another
} decant_step_profile;

/// Told of each step that did something, right after it, from the thread that computed it; one call at a time. Must not
/// call decant. A step whose view finds no memory isn't told of.
typedef void (*decant_step_callback)(void* user, const decant_step_profile* step);

// Models

/// A model in memory. Immutable; engines share it.
typedef struct decant_model decant_model;

/// Told now and then, from the opening thread, how many bytes of the weights are in place. May call
/// decant_stop_source_request().
typedef void (*decant_progress_callback)(void* user, size_t bytes_done, size_t bytes_total);

enum {
  DECANT_NUMERICS_EXACT = 0,
  DECANT_NUMERICS_REFERENCE = 1,  ///< weights and activations in float32: for comparisons
  DECANT_NUMERICS_FAST = 2        ///< prefill over float weights by oneDNN: faster, and the bits depend on the CPU
};

/// How a model is opened: see decant::ModelOptions.
typedef struct decant_model_options {
  size_t struct_size;
  int32_t numerics;    ///< DECANT_NUMERICS_…; exact
  int32_t n_threads;   ///< that read and pack weights; 0: as many as affinity and cgroup allow
  int32_t map_packed;  ///< a packed file is mapped, not read; 1
  int32_t reserved;
  size_t memory_limit_bytes;          ///< for the weights; 0: none, or the engine's with decant_engine_open()
  int64_t timeout_ms;                 ///< from the call on, then it is `cancelled`; negative: none
  const decant_stop_source* stop;     ///< NULL: none
  decant_progress_callback progress;  ///< NULL: none
  void* progress_user;
  decant_log_callback log;  ///< NULL: silence, or the engine's with decant_engine_open(). Called during the opening
  void* log_user;
} decant_model_options;
/// Fills in the defaults. Errors: `invalid_argument` for NULL, and for a size that isn't a multiple of 8.
DECANT_API decant_status decant_model_options_init(decant_model_options* options, size_t struct_size);

/// Opens a .gguf file (the first of a split one), a directory with config.json and *.safetensors, or a packed file.
/// Errors: `io`, `bad_format`, `unsupported` (architecture or type, by name), `out_of_memory`, `over_limit`,
/// `cancelled`, `invalid_argument`.
DECANT_API decant_status decant_model_open(const char* path, const decant_model_options* options, decant_model** model,
                                           decant_error* error);
/// Engines and sessions that use it go on.
DECANT_API void decant_model_free(decant_model** model);

/// What a model is. Pointers are valid as long as the model, or an engine or session that uses it.
typedef struct decant_model_info {
  size_t struct_size;
  const char* path;
  const char* format;        ///< "gguf", "safetensors" or "packed"
  const char* architecture;  ///< "llama", "qwen3", …
  const char* name;          ///< as the file calls it; may be ""
  const char* fingerprint;   ///< of the weights and what is computed with them: 16 hexadecimal digits
  int32_t n_layers;
  int32_t d_model;
  int32_t d_ff;
  int32_t n_heads;
  int32_t n_kv_heads;
  int32_t head_dim;
  int32_t vocab_size;
  int32_t n_ctx;   ///< longest sequence that it was made for, in tokens
  int32_t window;  ///< tokens that a sliding-window layer looks back; 0: every layer sees all
  int32_t tied_head;
  int32_t has_chat_template;
  int32_t has_tokenizer;
  int32_t tokenizer_vocab_size;  ///< one more than the largest id that it knows; 0 without a tokenizer
  int32_t numerics;              ///< DECANT_NUMERICS_…
  int64_t n_params;
  size_t file_bytes;       ///< of the weights in the file
  size_t packed_bytes;     ///< of the weights in memory
  const int32_t* end_ids;  ///< that end a text
  size_t n_end_ids;
} decant_model_info;
/// What it is.
DECANT_API decant_status decant_model_get_info(const decant_model* model, decant_model_info* info, size_t struct_size,
                                               decant_error* error);

/// What the model's own files ask for; -1 where they are silent.
typedef struct decant_generation_defaults {
  size_t struct_size;
  int32_t do_sample;
  float temperature;
  float top_p;
  float min_p;
  float typical_p;
  float repetition_penalty;
  int32_t top_k;
  int32_t no_repeat_ngram_size;
} decant_generation_defaults;
/// Nothing applies them by itself.
DECANT_API decant_status decant_model_get_generation_defaults(const decant_model* model,
                                                              decant_generation_defaults* defaults, size_t struct_size,
                                                              decant_error* error);

/// Where the time of opening went.
typedef struct decant_load_times {
  size_t struct_size;
  int64_t metadata_ns;
  int64_t tokenizer_ns;  ///< within weights_ns
  int64_t weights_ns;
  int32_t n_threads;  ///< that did the latter
  int32_t mapped;     ///< the weights lie in the file's own pages
} decant_load_times;
/// Of its opening.
DECANT_API decant_status decant_model_get_load_times(const decant_model* model, decant_load_times* times,
                                                     size_t struct_size, decant_error* error);

// The model's tokenizer. All: `unsupported`, with the reason, where the model has none that decant can read.

/// Ids of a text. Bytes that are not UTF-8 are read as U+FFFD. add_special: with the model's own begin tokens and such.
/// Special tokens that are written in the text are recognised in either case.
DECANT_API decant_status decant_model_encode(const decant_model* model, const char* text, size_t n_text_bytes,
                                             int32_t add_special, int32_t* ids, size_t capacity, size_t* n_ids,
                                             decant_error* error);
/// Text of some ids; ids outside the vocabulary are skipped, bytes that are not UTF-8 become U+FFFD.
DECANT_API decant_status decant_model_decode(const decant_model* model, const int32_t* ids, size_t n_ids,
                                             int32_t skip_special, char* text, size_t capacity, size_t* n_text_bytes,
                                             decant_error* error);
/// The bytes that a token adds to a text, which may be a part of a character. `invalid_argument` for an id outside the
/// tokenizer's vocabulary.
DECANT_API decant_status decant_model_token_bytes(const decant_model* model, int32_t id, char* bytes, size_t capacity,
                                                  size_t* n_bytes, decant_error* error);
/// The vocabulary entry as the model's file writes it, e.g. "Ġthe". Errors as above.
DECANT_API decant_status decant_model_token_entry(const decant_model* model, int32_t id, char* entry, size_t capacity,
                                                  size_t* n_bytes, decant_error* error);
/// The id of a vocabulary entry; -1 where there is none.
DECANT_API decant_status decant_model_token_id(const decant_model* model, const char* entry, size_t n_entry_bytes,
                                               int32_t* id, decant_error* error);
/// Whether an id is a special token, which text doesn't show. Errors as decant_model_token_bytes().
DECANT_API decant_status decant_model_token_is_special(const decant_model* model, int32_t id, int32_t* is_special,
                                                       decant_error* error);

// Engines

/// Decodes many sequences over one model.
typedef struct decant_engine decant_engine;

/// Element types of the KV cache.
enum {
  DECANT_KV_F32 = 0,
  DECANT_KV_F16 = 1,
  DECANT_KV_BF16 = 2,
  DECANT_KV_Q8 = 3,
  DECANT_KV_Q4 = 4,
  DECANT_KV_Q4_PLAIN = 5
};

/// See decant::EngineOptions and decant::CacheOptions, which say what each costs.
typedef struct decant_engine_options {
  size_t struct_size;
  const char* isa;                ///< NULL or "auto": the best; a name of decant_isa_name()
  int32_t n_threads;              ///< 0: as many as affinity and cgroup allow
  int32_t pin_threads;            ///< 0
  int32_t n_ctx;                  ///< longest sequence in tokens; 0: the model's own limit
  int32_t max_sequences;          ///< that live at once, 1 to 4096; 8
  int32_t max_step_tokens;        ///< 1 to 65536, at least max_sequences; 512
  int32_t prefill_chunk;          ///< prompt tokens of one sequence a step; 0: as many as fit
  int32_t step_target_ms;         ///< while others decode, prompts' part of a step is cut to this; 0: not; 250
  int32_t max_logit_rows;         ///< 0: max_sequences
  int32_t cache_k_type;           ///< DECANT_KV_…; f16
  int32_t cache_v_type;           ///< the same
  int32_t cache_block_tokens;     ///< multiple of 16 from 16 to 256; 64
  int32_t cache_rollback_tokens;  ///< that layers with a window keep beyond it; 0
  size_t cache_limit_bytes;       ///< of all slabs of the cache; 0: none
  size_t cache_prefix_bytes;      ///< kept for later prompts that begin alike; 0: none; 256 MiB
  size_t memory_limit_bytes;      ///< of weights, buffers and cache together; 0: none
  decant_step_callback on_step;   ///< NULL: nothing is measured
  void* on_step_user;
  decant_log_callback log;  ///< NULL: silence. May be called as long as the engine or a session of it lives
  void* log_user;
} decant_engine_options;
/// As decant_model_options_init().
DECANT_API decant_status decant_engine_options_init(decant_engine_options* options, size_t struct_size);

/// Opens a model for one engine. What model_options leave open (memory_limit_bytes 0, n_threads 0, log NULL) is taken
/// from `options`. Errors: as decant_model_open() and decant_engine_create().
DECANT_API decant_status decant_engine_open(const char* path, const decant_engine_options* options,
                                            const decant_model_options* model_options, decant_engine** engine,
                                            decant_error* error);
/// An engine over a model that others may use, too. Errors: `invalid_argument` (an option outside its limits, by name),
/// `unsupported` (isa), `over_limit`, `out_of_memory`, `io` (no threads).
DECANT_API decant_status decant_engine_create(const decant_model* model, const decant_engine_options* options,
                                              decant_engine** engine, decant_error* error);
/// Sequences that were submitted end. Sessions go on: they keep what they need.
DECANT_API void decant_engine_free(decant_engine** engine);

/// The engine's model, lent: valid as long as this handle. NULL for NULL.
DECANT_API const decant_model* decant_engine_get_model(const decant_engine* engine);

/// What is in force.
typedef struct decant_engine_info {
  size_t struct_size;
  const char* isa;
  int32_t n_ctx;
  int32_t n_threads;
  int32_t n_sequences;  ///< alive, paused ones and those of sessions included
  int32_t reserved;
} decant_engine_info;
/// Options that chose for themselves are what they chose.
DECANT_API decant_status decant_engine_get_info(const decant_engine* engine, decant_engine_info* info,
                                                size_t struct_size, decant_error* error);

/// Who has an engine's memory, in bytes.
typedef struct decant_memory_stats {
  size_t struct_size;
  size_t weights_bytes;     ///< of the model; shared by all of its engines
  size_t activation_bytes;  ///< rows of max_step_tokens
  size_t attention_bytes;   ///< scratch, and partial results of long contexts
  size_t logits_bytes;      ///< rows of max_logit_rows
  size_t sampler_bytes;
  size_t tokenizer_bytes;
  size_t sequence_bytes;  ///< ids
  size_t cache_bytes;
  size_t limit_bytes;  ///< memory_limit_bytes
  size_t total_bytes;  ///< of all but the limit
} decant_memory_stats;
/// As they are now.
DECANT_API decant_status decant_engine_get_memory_stats(const decant_engine* engine, decant_memory_stats* stats,
                                                        size_t struct_size, decant_error* error);

/// What the KV cache holds. Blocks are counted once, whoever shares them: used = unique + shared + prefix; reserved =
/// used + free + sink.
typedef struct decant_cache_stats {
  size_t struct_size;
  size_t limit_bytes;     ///< 0: none
  size_t reserved_bytes;  ///< taken from the operating system
  size_t used_bytes;
  size_t unique_bytes;  ///< one sequence's alone
  size_t shared_bytes;  ///< several sequences', or a sequence's and the known prefixes'
  size_t prefix_bytes;  ///< the known prefixes' alone: make way when needed
  size_t free_bytes;
  size_t sink_bytes;
  size_t table_bytes;  ///< beside reserved_bytes
  int64_t n_blocks_used;
  int64_t n_blocks_shared;
  int64_t n_blocks_free;
  int64_t n_sequences;
  int64_t n_tokens;  ///< of all sequences
  int64_t n_prefix_nodes;
  int64_t n_prefix_tokens;          ///< known, each shared beginning counted once
  int64_t n_prefix_lookups;         ///< prompts that were looked up
  int64_t n_prefix_hits;            ///< of these: with at least one known token
  int64_t n_prefix_hit_tokens;      ///< that need not be computed, over all prompts
  int64_t n_prefix_asked_tokens;    ///< of all those prompts
  int64_t n_prefix_evicted_blocks;  ///< that had to make way
} decant_cache_stats;
/// As they are now.
DECANT_API decant_status decant_engine_get_cache_stats(const decant_engine* engine, decant_cache_stats* stats,
                                                       size_t struct_size, decant_error* error);

/// Bytes of cache that a sequence of n_tokens takes. `invalid_argument` for fewer than 0.
DECANT_API decant_status decant_engine_cache_bytes_needed(const decant_engine* engine, int32_t n_tokens,
                                                          size_t* size_bytes, decant_error* error);

/// Saves all known prefixes to a file. Errors: `io`, `out_of_memory`.
DECANT_API decant_status decant_engine_save_prefixes(const decant_engine* engine, const char* path,
                                                     decant_error* error);
/// Adds those of a file. *n_tokens (may be NULL) are known by it. Errors: `io`, `bad_format`, `mismatch`,
/// `unsupported`, `cache_full`, `out_of_memory`.
DECANT_API decant_status decant_engine_restore_prefixes(decant_engine* engine, const char* path, int64_t* n_tokens,
                                                        decant_error* error);
/// Forgets all known prefixes (salt NULL), or those of a salt.
DECANT_API decant_status decant_engine_forget_prefixes(decant_engine* engine, const char* salt, size_t n_salt_bytes,
                                                       decant_error* error);

// Generations

/// How the next token is chosen: see decant::SamplingParams. Defaults switch everything off: plain sampling at
/// temperature 1.
typedef struct decant_sampling_params {
  size_t struct_size;
  float temperature;             ///< ≥ 0; 0 is greedy; 1
  int32_t top_k;                 ///< 0: off
  float top_p;                   ///< in (0, 1]; 1: off
  float min_p;                   ///< in [0, 1]; 0: off
  float typical_p;               ///< in (0, 1]; 1: off
  float epsilon_cutoff;          ///< in [0, 1); 0: off
  float eta_cutoff;              ///< in [0, 1); 0: off
  float repetition_penalty;      ///< > 0; 1: off
  uint64_t seed;                 ///< same seed, same text
  int32_t no_repeat_ngram_size;  ///< 0: off
  int32_t reserved;
} decant_sampling_params;
/// As decant_model_options_init().
DECANT_API decant_status decant_sampling_params_init(decant_sampling_params* params, size_t struct_size);

/// How a text goes on.
typedef struct decant_generation_options {
  size_t struct_size;
  const decant_sampling_params* sampling;  ///< NULL: defaults
  int32_t max_new_tokens;  ///< the end id included; 0: the prompt only; negative: until the context is full; -1
  int32_t ignore_end;      ///< goes on past the model's end ids; 0
  const decant_text* stop_strings;  ///< the text ends before the first of these
  size_t n_stop_strings;
  int32_t top_logprobs;            ///< the likeliest tokens that each piece tells of, 0 to 20; 0
  int32_t priority;                ///< higher prompts come first; 0
  const decant_stop_source* stop;  ///< ends it between layers; NULL: none
  int64_t timeout_ms;              ///< from the call on, in the same way; negative: none; -1
} decant_generation_options;
/// As decant_model_options_init().
DECANT_API decant_status decant_generation_options_init(decant_generation_options* options, size_t struct_size);

/// What a sequence is for as long as it lives.
typedef struct decant_sequence_options {
  size_t struct_size;
  int32_t share_prefix;     ///< takes known beginnings of prompts, and lets others; 1
  int32_t prefix_priority;  ///< 0 to 100: the lower makes way first; 0
  const char* prefix_salt;  ///< sequences share only with those of the same salt
  size_t n_prefix_salt_bytes;
  int32_t recent_window;  ///< > 0: an endless text, that attends to n_sinks first and recent_window last tokens; 0
  int32_t n_sinks;        ///< 1 to 64; 4
} decant_sequence_options;
/// As decant_model_options_init().
DECANT_API decant_status decant_sequence_options_init(decant_sequence_options* options, size_t struct_size);

enum {
  DECANT_FINISH_NONE = 0,  ///< goes on
  DECANT_FINISH_STOP = 1,  ///< an end id, or DECANT_FLOW_STOP
  DECANT_FINISH_LENGTH = 2,
  DECANT_FINISH_CANCELLED = 3,
  DECANT_FINISH_ERROR = 4,
  DECANT_FINISH_STOP_STRING = 5,
  DECANT_FINISH_DEADLINE = 6  ///< timeout_ms
};
/// "none", "stop", "length", …; "?" for a number that is none.
DECANT_API const char* decant_finish_name(int32_t finish);

/// Log softmax of the raw logits at a token, before penalties and temperature. Never grows.
typedef struct decant_token_logprob {
  int32_t token_id;
  float logprob;
} decant_token_logprob;

/// What a generation has taken. Times are nanoseconds since it was submitted or extended.
typedef struct decant_usage {
  size_t struct_size;
  int32_t n_prompt_tokens;
  int32_t n_cached_tokens;     ///< of these: known before, so that they weren't computed
  int32_t n_generated_tokens;  ///< the end id included
  int32_t reserved;
  int64_t first_token_ns;  ///< 0: none has come
  int64_t last_token_ns;
} decant_usage;

/// A generated token and the text that it made certain.
typedef struct decant_piece {
  size_t struct_size;
  int64_t sequence;
  int32_t token_id;    ///< -1: the sequence ended without a further token
  float logprob;       ///< log softmax of the raw logits at token_id
  int32_t finish;      ///< DECANT_FINISH_…; other than none: the last piece of this generation
  int32_t is_special;  ///< a special token, which no text shows
  int32_t is_end;      ///< one of the model's end ids
  int32_t reserved;
  const char* text;  ///< that is certain now: whole characters, often empty, sometimes of several tokens
  size_t n_text_bytes;
  const char* bytes;  ///< the token's own, which may be a part of a character; may hold NULs
  size_t n_bytes;
  const decant_token_logprob* top_logprobs;  ///< likeliest first, ties by lower id
  size_t n_top_logprobs;
  const decant_usage* usage;  ///< so far
} decant_piece;

/// The answers to a piece. Any other number cancels, too.
enum {
  DECANT_FLOW_GO_ON = 0,
  DECANT_FLOW_STOP = 1,   ///< enough: finishes as if the text had ended here
  DECANT_FLOW_CANCEL = 2  ///< finishes as cancelled
};
/// Told of each piece, and answers DECANT_FLOW_…. May use decant freely, but of its own session only
/// decant_session_cancel().
typedef int32_t (*decant_piece_callback)(void* user, const decant_piece* piece);

/// A generation as a whole.
typedef struct decant_completion {
  size_t struct_size;
  const char* text;
  size_t n_text_bytes;
  const int32_t* ids;  ///< generated, the end id included
  size_t n_ids;
  const decant_usage* usage;
  int32_t finish;  ///< DECANT_FINISH_…
  int32_t reserved;
} decant_completion;
/// Of decant_session_generate().
DECANT_API void decant_completion_free(decant_completion** completion);

// Sessions: a text each, from any thread. See decant/session.h.

/// One text with its keys and values, growing turn by turn.
typedef struct decant_session decant_session;
/// The pieces of one turn of a session, pulled one by one.
typedef struct decant_stream decant_stream;

/// An empty text. Errors: `invalid_argument` (an option outside its limits), `unsupported`, `out_of_memory`.
DECANT_API decant_status decant_engine_session(decant_engine* engine, const decant_sequence_options* options,
                                               decant_session** session, decant_error* error);
/// A text from a file that decant_session_save() or decant_engine_save() wrote. Errors: as decant_engine_restore().
DECANT_API decant_status decant_engine_restore_session(decant_engine* engine, const char* path,
                                                       decant_session** session, decant_error* error);
/// Gives its cache back, once its stream is freed too.
DECANT_API void decant_session_free(decant_session** session);

/// Adds a prompt and goes on from it. The first prompt of a session gets the model's own begin tokens; an empty one
/// goes on from what there is. Nothing is computed yet. Ends an earlier stream of the session, whose handle stays
/// valid, and at its end. What a stream has begun stays in the session, however it ends.
///
/// Errors: `invalid_argument` (nothing in an empty session, id outside the vocabulary, more tokens than the context has
/// room for, an option outside its limits), `unsupported` (no tokenizer), `cache_full` (wait), `over_limit` (never
/// fits), `out_of_memory`.
DECANT_API decant_status decant_session_stream(decant_session* session, const char* prompt, size_t n_prompt_bytes,
                                               const decant_generation_options* options, decant_stream** stream,
                                               decant_error* error);
/// The same for ids, to which nothing is added.
DECANT_API decant_status decant_session_stream_ids(decant_session* session, const int32_t* prompt, size_t n_prompt,
                                                   const decant_generation_options* options, decant_stream** stream,
                                                   decant_error* error);
/// Waits for the next piece, lent until the next call on the stream; NULL at the end. Errors: of the steps: then the
/// session is at its last whole token, and the stream at its end: it goes on answering the same.
DECANT_API decant_status decant_stream_next(decant_stream* stream, const decant_piece** piece, decant_error* error);
/// DECANT_FINISH_…; DECANT_FINISH_NONE while it goes on, and for NULL.
DECANT_API int32_t decant_stream_finish(const decant_stream* stream);
/// So far.
DECANT_API decant_status decant_stream_get_usage(const decant_stream* stream, decant_usage* usage, size_t struct_size,
                                                 decant_error* error);
/// Ends the turn: the session is at the last piece then.
DECANT_API void decant_stream_free(decant_stream** stream);

/// A stream to its end. on_piece and completion may be NULL: for "not told", and "not wanted". Errors: as
/// decant_session_stream() and decant_stream_next().
DECANT_API decant_status decant_session_generate(decant_session* session, const char* prompt, size_t n_prompt_bytes,
                                                 const decant_generation_options* options,
                                                 decant_piece_callback on_piece, void* user,
                                                 decant_completion** completion, decant_error* error);
/// The same for ids, to which nothing is added.
DECANT_API decant_status decant_session_generate_ids(decant_session* session, const int32_t* prompt, size_t n_prompt,
                                                     const decant_generation_options* options,
                                                     decant_piece_callback on_piece, void* user,
                                                     decant_completion** completion, decant_error* error);

/// A second session with the same text, at no cost in memory until they part. Ends a stream. `cache_full`.
DECANT_API decant_status decant_session_fork(decant_session* session, decant_session** fork, decant_error* error);
/// Keeps the first n_tokens, 0 or more. Ends a stream. `invalid_argument` for another number.
DECANT_API decant_status decant_session_truncate(decant_session* session, int32_t n_tokens, decant_error* error);
/// Writes text and cache to a file: restored, it goes on to the tokens that would have come. Ends a stream. Errors:
/// `io`, `out_of_memory`, `invalid_argument` (an empty session).
DECANT_API decant_status decant_session_save(decant_session* session, const char* path, decant_error* error);
/// Ends the stream that is going on, or the wait for its first piece, within a layer or, where others share the step,
/// at its end. From any thread. Nothing happens
/// where none is going on, and for NULL.
DECANT_API void decant_session_cancel(decant_session* session);
/// Tokens delivered so far, prompts included; 0 for NULL.
DECANT_API int32_t decant_session_n_tokens(const decant_session* session);
/// All of them; of an endless text, those that are still known.
DECANT_API decant_status decant_session_ids(const decant_session* session, int32_t* ids, size_t capacity, size_t* n_ids,
                                            decant_error* error);

// Sequences: for a host with a loop of its own. See decant/engine.h.

/// A prompt and how to go on from it.
typedef struct decant_request {
  size_t struct_size;
  const int32_t* prompt;  ///< each id within the vocabulary; at most n_ctx
  size_t n_prompt;
  const char* prompt_text;                      ///< where n_prompt is 0: encoded with the model's own begin tokens
  size_t n_prompt_text_bytes;                   ///< DECANT_NUL_TERMINATED where prompt_text isn't NULL
  const decant_generation_options* generation;  ///< NULL: defaults
  const decant_sequence_options* sequence;      ///< NULL: defaults
  int32_t all_logits;                           ///< reports the logits of every position; 0
  int32_t keep;        ///< keeps the sequence when it has ended, for extend, save, fork, until it is cancelled; 0
  int32_t detokenize;  ///< pieces have bytes and text; 1
  int32_t reserved;
} decant_request;
/// As decant_model_options_init().
DECANT_API decant_status decant_request_init(decant_request* request, size_t struct_size);

/// What a request may take at most, beside what there is for it.
typedef struct decant_admission {
  size_t struct_size;
  size_t needed_bytes;     ///< of cache, for the prompt and every token that it may generate
  size_t available_bytes;  ///< that are free, or make way, once all that lives has what it may take
  int32_t fits;
  int32_t reserved;
} decant_admission;
/// What a request would take, and whether it would be taken now; nothing changes. Errors: what is wrong with the
/// request itself, as decant_engine_submit().
DECANT_API decant_status decant_engine_admit(const decant_engine* engine, const decant_request* request,
                                             decant_admission* admission, size_t struct_size, decant_error* error);

/// Takes a sequence into the next steps. *sequence is positive, and never used again. Errors: `invalid_argument` (empty
/// prompt, id outside the vocabulary, prompt longer than n_ctx, parameter outside its limits), `unsupported` (text
/// without a tokenizer), `cache_full` (wait), `over_limit` (no room even alone), `out_of_memory`.
DECANT_API decant_status decant_engine_submit(decant_engine* engine, const decant_request* request, int64_t* sequence,
                                              decant_error* error);

/// Logits of consecutive positions of one sequence.
typedef struct decant_logit_rows {
  size_t struct_size;
  int64_t sequence;
  int32_t first_pos;
  int32_t n_rows;
  const float* logits;  ///< [n_rows, vocab_size], rows row_stride floats apart
  size_t row_stride;
} decant_logit_rows;

/// What one step did. Lent, with all that it points to, until the next step of the engine, until the engine's handle is
/// freed and, of logits, until their sequence is changed.
typedef struct decant_step_report {
  size_t struct_size;
  const decant_piece* const* pieces;
  size_t n_pieces;
  const decant_logit_rows* const* logits;
  size_t n_logits;
  int32_t n_prefill_tokens;
  int32_t n_decode_tokens;
  int64_t elapsed_ns;  ///< the whole step
  int64_t forward_ns;  ///< of which: the transformer
  int64_t sample_ns;   ///< of which: choosing tokens
  int32_t idle;        ///< no sequence is alive, or all are paused: nothing was done
  int32_t reserved;
} decant_step_report;

/// Advances every submitted sequence that can: one token each, the rest of the step's room for chunks of prompts, by
/// priority and then in turn. Sessions are left to their own threads. stop (NULL: none) is looked at between layers.
/// A transaction: on `cancelled`, `non_finite`, `cache_full` and `out_of_memory` nothing has changed, and the same step
/// may be tried again. (Room for reports is taken when the engine opens. Only where the text of one step passes 64 KiB
/// and finds no memory, its pieces are lost.)
DECANT_API decant_status decant_engine_step(decant_engine* engine, const decant_stop_source* stop,
                                            const decant_step_report** report, decant_error* error);

/// Ends a sequence and gives its cache back. `invalid_argument` for one that isn't alive, as for all that follow.
DECANT_API decant_status decant_engine_cancel(decant_engine* engine, int64_t sequence, decant_error* error);
/// A new sequence with the same tokens, which goes on by itself; a paused one's is paused. sampling NULL: defaults.
/// `cache_full`.
DECANT_API decant_status decant_engine_fork(decant_engine* engine, int64_t sequence,
                                            const decant_sampling_params* sampling, int64_t* fork, decant_error* error);
/// Cuts a sequence to its first n_tokens ≥ 1 tokens.
DECANT_API decant_status decant_engine_truncate(decant_engine* engine, int64_t sequence, int32_t n_tokens,
                                                decant_error* error);
/// Takes n tokens from `first` on out of what has been computed and closes the gap: an approximation, see
/// decant::Engine::remove(). `unsupported`, `cache_full`, `out_of_memory`, `non_finite`.
DECANT_API decant_status decant_engine_remove(decant_engine* engine, int64_t sequence, int32_t first, int32_t n,
                                              decant_error* error);
/// Adds ids, none or more, to a paused sequence and lets it go on for max_new_tokens more (negative: until the context
/// is full), as it went on before. Errors as decant_engine_submit().
DECANT_API decant_status decant_engine_extend(decant_engine* engine, int64_t sequence, const int32_t* ids, size_t n_ids,
                                              int32_t max_new_tokens, decant_error* error);
/// The same with other options; NULL: defaults.
DECANT_API decant_status decant_engine_extend_with(decant_engine* engine, int64_t sequence, const int32_t* ids,
                                                   size_t n_ids, const decant_generation_options* options,
                                                   decant_error* error);

/// How its next tokens are chosen; NULL: defaults.
DECANT_API decant_status decant_engine_set_sampling(decant_engine* engine, int64_t sequence,
                                                    const decant_sampling_params* sampling, decant_error* error);
/// The same, told.
DECANT_API decant_status decant_engine_get_sampling(const decant_engine* engine, int64_t sequence,
                                                    decant_sampling_params* sampling, size_t struct_size,
                                                    decant_error* error);

/// Why a prompt, or the rest of it, was not known already.
enum {
  DECANT_PREFIX_NONE = 0,      ///< all of it that could be was known
  DECANT_PREFIX_OFF = 1,       ///< prefixes are not shared
  DECANT_PREFIX_UNKNOWN = 2,   ///< nothing is known under this salt
  DECANT_PREFIX_DIVERGED = 3,  ///< known texts differ from here on
  DECANT_PREFIX_EVICTED = 4,   ///< it was known, and had to make way
  DECANT_PREFIX_WINDOW = 5,    ///< known, but blocks that a window needs are gone
  DECANT_PREFIX_NO_MEMORY = 6  ///< there was no room for a copy of the last block
};
/// "none", "off", "unknown", …; "?" for a number that is none.
DECANT_API const char* decant_prefix_miss_name(int32_t miss);

/// What is known of a sequence that is alive.
typedef struct decant_sequence_info {
  size_t struct_size;
  int32_t n_tokens;         ///< prompt and generated, forgotten ones included
  int32_t n_computed;       ///< of these: with keys and values in the cache
  int32_t paused;           ///< has ended, and was kept
  int32_t n_prefix_tokens;  ///< of its prompt, that need not be computed
  int32_t n_prefix_known;   ///< were known, usable or not
  int32_t prefix_miss;      ///< DECANT_PREFIX_…: why not more
} decant_sequence_info;
/// `invalid_argument` for a sequence that isn't alive.
DECANT_API decant_status decant_engine_get_sequence_info(const decant_engine* engine, int64_t sequence,
                                                         decant_sequence_info* info, size_t struct_size,
                                                         decant_error* error);
/// The last of its tokens, all unless it is endless.
DECANT_API decant_status decant_engine_sequence_ids(const decant_engine* engine, int64_t sequence, int32_t* ids,
                                                    size_t capacity, size_t* n_ids, decant_error* error);

/// Saves a sequence with its cache, its sampling and its ids: restored, it goes on to the same tokens, bit for bit. The
/// file is complete or, on an error, as it was. Errors: `io`, `out_of_memory`.
DECANT_API decant_status decant_engine_save(decant_engine* engine, int64_t sequence, const char* path,
                                            decant_error* error);
/// Adds a sequence from a file, paused. Errors: `io`, `bad_format`, `unsupported`, `mismatch` (other weights, numerics
/// or cache options), `invalid_argument` (longer than n_ctx), `cache_full`, `out_of_memory`.
DECANT_API decant_status decant_engine_restore(decant_engine* engine, const char* path, int64_t* sequence,
                                               decant_error* error);

// The CPU

/// The name of the i-th kernel table that this CPU can run, the reference first, the best last; NULL beyond.
DECANT_API const char* decant_isa_name(size_t i);
/// How many there are.
DECANT_API size_t decant_n_isas(void);

#ifdef __cplusplus
}
#endif
