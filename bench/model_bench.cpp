// SPDX-License-Identifier: Apache-2.0
#include "bench/model_bench.h"

#include <cstdio>

#include "engine/model/model_config.h"
#include "engine/profile/token_bytes.h"

namespace decant::bench {

ModelBench::ModelBench(const char* name, const std::string& what) : app_(what, name), name_(name) {
  app_.add_option("-m,--model", path_, "A .gguf file or a Hugging Face directory")->required();
  option("-t,--threads", n_threads_, "Threads that compute");
  option("--rounds", n_rounds_, "Rounds, each beside a measurement of read bandwidth");
  option("--kv-type", kv_type_, "Element type of the KV cache, or a pair for K and V such as q8,q4");
  option("--isa", isa_, "Kernels: auto, reference, avx2, avxvnni, avx512, avx512vnni");
  app_.add_flag("--pin", pin_threads_, "Tie each thread to a core of its own");
  option("--numerics", numerics_, "exact, reference or fast");
}

int ModelBench::run(int argc, char** argv, const std::function<Status()>& body) {
  try {
    app_.parse(argc, argv);
    const size_t comma = kv_type_.find(',');
    const std::optional<KvType> k = parse_kv_type(kv_type_.substr(0, comma));
    const std::optional<KvType> v = comma == std::string::npos ? k : parse_kv_type(kv_type_.substr(comma + 1));
    if (!k || !v) throw CLI::ValidationError("--kv-type", "no such type");
    k_type_ = *k;
    v_type_ = *v;
  } catch (const CLI::ParseError& error) {
    return app_.exit(error);
  }
  if (const Status done = body(); !done) {
    std::fprintf(stderr, "%s: %s\n", name_, done.error().message.c_str());
    return 1;
  }
  return 0;
}

Status ModelBench::open() {
  ModelOptions options;
  options.n_threads = n_threads_;
  bool known = false;
  for (const Numerics numerics : {Numerics::exact, Numerics::reference, Numerics::fast})
    if (numerics_ == to_string(numerics)) {
      options.numerics = numerics;
      known = true;
    }
  if (!known) return Error{ErrorCode::invalid_argument, "no numerics are called '" + numerics_ + "'"};
  Result<std::shared_ptr<const Model>> model = Model::open(path_, options);
  if (!model) return model.error();
  model_ = std::move(*model);
  return {};
}

Result<std::unique_ptr<Engine>> ModelBench::engine(int n_ctx, int n_sequences, StepObserver on_step) const {
  EngineOptions options;
  options.n_threads = n_threads_;
  options.pin_threads = pin_threads_;
  options.isa = isa_;
  options.n_ctx = n_ctx;
  options.max_sequences = n_sequences;
  options.cache.k_type = k_type_;
  options.cache.v_type = v_type_;
  options.cache.prefix_bytes = 0;
  options.on_step = std::move(on_step);
  return Engine::create(model_, options);
}

Status ModelBench::measure(profile::Task& task, int n_sequences,
                           const std::function<Status(Engine& engine, profile::ReadBandwidth& memory)>& body) {
  if (Status opened = open(); !opened) return opened;
  weight_bytes_ = profile::weight_bytes_per_token(*model_);
  Result<std::unique_ptr<Engine>> made = engine(task.depth + task.n_tokens + 1, n_sequences);
  if (!made) return made.error();
  Result<profile::ReadBandwidth> memory = profile::ReadBandwidth::create();
  if (!memory) return memory.error();
  task.n_rounds = n_rounds_;
  return body(**made, *memory);
}

Json ModelBench::line() const {
  return {{"bench", name_},      {"model", path_}, {"threads", n_threads_},
          {"kv_type", kv_type_}, {"isa", isa_},    {"numerics", numerics_}};
}

void ModelBench::print(const Json& line) {
  const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::printf("%s\n", text.c_str());
  std::fflush(stdout);
}

void add_figures(Json& line, const profile::DecodeFigures& figures) {
  line["ms_p50"] = figures.ms_p50;
  line["ms_p90"] = figures.ms_p90;
  line["ms_p99"] = figures.ms_p99;
  line["tokens_per_s"] = figures.tokens_per_s;
  line["bytes"] = figures.bytes;
  line["gb_per_s"] = figures.gb_per_s;
  line["bandwidth_gb_per_s"] = figures.bandwidth_gb_per_s;
  line["bandwidth_share"] = figures.bandwidth_share;
}

}  // namespace decant::bench
