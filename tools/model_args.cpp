// SPDX-License-Identifier: Apache-2.0
#include "tools/model_args.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "decant/detail/format.h"

namespace decant::tools {
namespace {

constexpr const char* kBundledModel = "fable-22m-q8_0.gguf";

struct NamedNumerics {
  const char* name;
  Numerics value;
};
constexpr NamedNumerics kNumerics[] = {
    {"exact", Numerics::exact}, {"reference", Numerics::reference}, {"fast", Numerics::fast}};

struct NamedLevel {
  const char* name;
  LogLevel value;
};
constexpr NamedLevel kLevels[] = {{"trace", LogLevel::trace}, {"debug", LogLevel::debug}, {"info", LogLevel::info},
                                  {"warn", LogLevel::warn},   {"error", LogLevel::error}, {"off", LogLevel::off}};

/// A reader for a value out of a table of names.
template <typename Named, typename T>
Reader choice(const Named& table, T& out) {
  return [&table, &out](const std::string& text) -> std::string {
    std::string names;
    for (const auto& [name, value] : table) {
      if (text == name) {
        out = value;
        return {};
      }
      names += (names.empty() ? "" : ", ") + std::string(name);
    }
    return detail::format("needs one of {}, not '{}'", names, text);
  };
}

/// "f32, f16, …"
std::string kv_types() {
  std::string names;
  for (int type = 0; type < kKvTypeCount; ++type)
    names += (type == 0 ? "" : ", ") + std::string(to_string(static_cast<KvType>(type)));
  return names;
}

std::string executable_directory() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? std::string() : self.parent_path().string();
}

}  // namespace

void ModelArgs::declare_model(Arguments& arguments) {
  arguments.text("-m,--model", "MODEL", model,
                 "A .gguf or packed file or a Hugging Face directory; without it $DECANT_MODEL, else the bundled model");
  arguments.option("--log-level", "L", choice(kLevels, log_level),
                   "What to say on standard error: trace, debug, info, warn, error (default), off");
}

void ModelArgs::declare_engine(Arguments& arguments) {
  arguments.integer("--threads", n_threads, 1, 1024, "Threads that compute (default: the cores this process may use)");
  declare_computation(arguments);
}

void ModelArgs::declare_computation(Arguments& arguments) {
  arguments.flag("--pin", pin, "Tie each thread to a core of its own: steadier where nothing else runs");
  arguments.integer("--chunk", chunk, 1, 65536, "Prompt tokens computed at a time (default: 512)");
  arguments.text("--isa", "NAME", isa, "Kernels: auto (default), reference, avx2, avxvnni, avx512, avx512vnni");
  arguments.option("--numerics", "NAME", choice(kNumerics, numerics),
                   "exact (default), reference (weights widened to float32) or fast (oneDNN for long prompts)");
  arguments.option(
      "--kv-type", "T",
      [this](const std::string& text) -> std::string {
        const size_t comma = text.find(',');
        const auto k = parse_kv_type(text.substr(0, comma));
        const auto v = comma == std::string::npos ? k : parse_kv_type(text.substr(comma + 1));
        if (!k || !v)
          return detail::format("needs one of {} or a pair for K and V such as q8,q4, not '{}'", kv_types(), text);
        k_type = *k;
        v_type = *v;
        return {};
      },
      detail::format("Element type of the KV cache: {}, or a pair for K and V (default: {})", kv_types(),
                     to_string(default_kv_type)));
  arguments.option(
      "--cache-bytes", "N",
      [this](const std::string& text) -> std::string {
        const std::optional<size_t> bytes = parse_bytes(text);
        if (!bytes || *bytes == 0)
          return detail::format("needs a number of bytes such as 500000000, 512M or 2G, not '{}'", text);
        cache_bytes = *bytes;
        return {};
      },
      "Memory that the KV cache may take; K, M and G count in 1024 (default: what the context needs)");
}

Result<std::string> ModelArgs::find_model() const {
  const char* const named = std::getenv("DECANT_MODEL");
  const bool from_environment = !model && named != nullptr && *named != '\0';
  if (model || from_environment) {
    const std::string path = model ? *model : named;
    std::error_code error;
    if (std::filesystem::exists(path, error)) return path;
    return Error{ErrorCode::io,
                 detail::format("{}'{}' is not there ({}); a model is a .gguf file or a Hugging Face directory",
                                from_environment ? "DECANT_MODEL: " : "", path,
                                error ? error.message() : "no such file or directory")};
  }
  std::string tried;
  for (const std::string& directory :
       {std::string(DECANT_SOURCE_MODELS), executable_directory() + "/../share/decant/models"}) {
    const std::string path = directory + "/" + kBundledModel;
    std::error_code error;
    if (std::filesystem::exists(path, error)) return path;
    tried += (tried.empty() ? "" : " nor ") + path;
  }
  return Error{ErrorCode::io,
               detail::format("the bundled model is neither {}; name a model with -m MODEL or DECANT_MODEL", tried)};
}

Result<std::shared_ptr<const Model>> ModelArgs::open(const Interrupts& interrupts) const {
  Result<std::string> path = find_model();
  if (!path) return path.error();
  Progress progress(detail::format("loading {}", *path));
  ModelOptions options;
  options.numerics = numerics.value_or(Numerics::exact);
  options.n_threads = n_threads.value_or(0);
  options.progress = [&progress](size_t done, size_t total) { progress.update(done, total); };
  options.stop = interrupts.token();
  options.log = log_sink();
  return Model::open(*path, options);
}

void ModelArgs::take_from(const Session& session) {
  if (!k_type) {
    k_type = session.k_type;
    v_type = session.v_type;
  }
  if (!numerics)
    for (const auto& [name, value] : kNumerics)
      if (session.numerics == name) numerics = value;
}

EngineOptions ModelArgs::engine_options() const {
  EngineOptions options;
  options.n_threads = n_threads.value_or(0);
  options.pin_threads = pin;
  options.isa = isa.value_or("auto");
  options.max_sequences = 1;
  if (chunk) {
    options.max_step_tokens = *chunk;
    options.prefill_chunk = *chunk;
  }
  options.cache.k_type = k_type.value_or(default_kv_type);
  options.cache.v_type = v_type.value_or(default_kv_type);
  options.cache.limit_bytes = cache_bytes;
  options.cache.prefix_bytes = 0;  // one text at a time: nobody to share with
  options.log = log_sink();
  return options;
}

LogSink ModelArgs::log_sink() const {
  if (log_level == LogLevel::off) return {};
  return [least = log_level](LogLevel level, std::string_view message) {
    if (level >= least) tell("", message);
  };
}

Result<std::vector<int32_t>> prompt_ids(const Model& model, const std::optional<std::vector<int32_t>>& ids,
                                        const std::string& text, bool add_special) {
  if (ids) {
    if (const Status known = check_ids(*ids, model.info().vocab_size); !known) return known.error();
    return *ids;
  }
  const Result<const Tokenizer*> tokenizer = model.tokenizer();
  if (!tokenizer)
    return Error{tokenizer.error().code,
                 detail::format("{}; give token ids with --ids instead of text", tokenizer.error().message)};
  return (*tokenizer)->encode(text, {.add_special = add_special});
}

Status check_ids(const std::vector<int32_t>& ids, int vocab_size) {
  for (const int32_t id : ids)
    if (id < 0 || id >= vocab_size)
      return Error{ErrorCode::invalid_argument,
                   detail::format("token id {} is outside the model's vocabulary, 0 to {}", id, vocab_size - 1)};
  return {};
}

Status check_fits(size_t n_prompt, const Engine& engine) {
  const int limit = engine.model().info().n_ctx;
  if (n_prompt <= static_cast<size_t>(engine.n_ctx())) return {};
  return Error{ErrorCode::invalid_argument,
               detail::format("the prompt has {} tokens, the context holds {}; shorten it{}", n_prompt, engine.n_ctx(),
                              engine.n_ctx() < limit ? " or raise --ctx" : "")};
}

}  // namespace decant::tools
