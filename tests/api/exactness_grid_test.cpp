// SPDX-License-Identifier: Apache-2.0

// For each type of weights and of cache: hashes of logits at one plain point, and at points where everything else
// differs.

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <sstream>

#include <doctest/doctest.h>

#include "tests/api/grid_plan.h"
#include "tests/api/synthetic_model.h"
#include "tests/support/decode.h"
#include "tests/support/golden.h"

namespace decant::test {

namespace {

// Half of the tokens come before forks and snapshots, half after. Sequences end just beyond a block of every size, and
// beyond chunks of attention.
constexpr int kGenerated = 8;
constexpr int kLongest = 251;
constexpr int kPromptLengths[] = {kLongest, 3, 29, 61, 125};  // streams 0 to 4; the others all have
constexpr int kShortPrompt = 13;
constexpr int kFirstShort = 5;

/// One text of the grid: the same prompt and seed in every run.
struct Stream {
  int index = 0;

  int n_prompt() const { return index < kFirstShort ? kPromptLengths[index] : kShortPrompt; }
  std::vector<int32_t> prompt() const {
    return random_ids(n_prompt(), SyntheticModels::kVocabSize, 100 + static_cast<uint32_t>(index));
  }
  SamplingParams sampling() const {
    SamplingParams params;
    params.seed = static_cast<uint64_t>(index);
    return params;
  }
  Request request(std::vector<int32_t> ids, int max_new_tokens) const {
    Request request;
    request.prompt = std::move(ids);
    request.sampling = sampling();
    request.max_new_tokens = max_new_tokens;
    request.ignore_end = true;
    request.keep = true;
    request.share_prefix = false;
    return request;
  }
};

/// The streams of a batch, those that come first and those that come when these generate.
struct Arrivals {
  std::vector<Stream> first, later;
};

Arrivals arrivals(Batch batch) {
  const auto streams = [](int first, int n) {
    std::vector<Stream> list;
    for (int i = first; i < first + n; ++i) list.push_back({i});
    return list;
  };
  switch (batch) {
    case Batch::one:
      return {streams(0, 1), {}};
    case Batch::two:
      return {streams(kFirstShort, 2), {}};
    case Batch::five:
      return {streams(kFirstShort, 5), {}};
    case Batch::sixteen:
      return {streams(kFirstShort, 16), {}};
    case Batch::mixed_lengths:
      return {streams(0, kFirstShort), {}};
    case Batch::mixed_phases:
      break;
  }
  return {streams(kFirstShort, 2), streams(0, 1)};
}

EngineOptions engine_options(KvType cache) {
  EngineOptions options;
  options.n_threads = 1;
  options.isa = "reference";
  options.n_ctx = 512;
  options.max_sequences = 32;
  options.max_logit_rows = options.max_step_tokens;
  options.cache.k_type = options.cache.v_type = cache;
  return options;
}

/// What a stream must come to: a hash of the logits of each position, and its tokens.
struct Expected {
  std::vector<uint64_t> hashes;
  std::vector<int32_t> ids;
};

uint64_t hash_row(const LogitRows& rows, int r) {
  return hash_bits({rows.logits + static_cast<size_t>(r) * rows.row_stride, SyntheticModels::kVocabSize});
}

/// The plain point: one thread, prompts at once, alone, blocks of 64, nothing shared, the reference kernels.
Expected expected_of(Engine& engine, const Stream& stream) {
  Request request = stream.request(stream.prompt(), kGenerated);
  request.all_logits = true;
  const SequenceId id = must(engine.submit(std::move(request)));
  Expected expected;
  while (!must(engine.info(id)).paused)
    for (const LogitRows& rows : must(engine.step()).logits)
      for (int r = 0; r < rows.n_rows; ++r) expected.hashes.push_back(hash_row(rows, r));
  const std::span<const int32_t> ids = must(engine.info(id)).ids;
  expected.ids.assign(ids.begin(), ids.end());
  must(engine.cancel(id));
  return expected;
}

/// The plain points of all types, each computed when it is first asked for.
class Plain {
 public:
  explicit Plain(SyntheticModels& models) : models_(models) {}

  void compute(DType weights, KvType cache, const std::vector<Stream>& streams) {
    std::map<int, Expected>& known = expected_[{weights, cache}];
    std::unique_ptr<Engine> engine;
    for (const Stream& stream : streams) {
      if (known.contains(stream.index)) continue;
      if (!engine) engine = must(Engine::create(models_.of(weights), engine_options(cache)));
      known[stream.index] = expected_of(*engine, stream);
    }
  }
  const Expected& at(const GridPoint& point, const Stream& stream) const {
    return expected_.at({point.weights(), point.cache()}).at(stream.index);
  }

 private:
  SyntheticModels& models_;
  std::map<std::pair<DType, KvType>, std::map<int, Expected>> expected_;
};

/// One point of the grid, run and compared.
class Run {
 public:
  Run(const GridPoint& point, SyntheticModels& models, Plain& plain)
      : point_(point), models_(models), plain_(plain), options_(engine_options(point.cache())) {
    options_.n_threads = point.n_threads();
    options_.isa = to_string(point.isa());
    options_.prefill_chunk = point.prefill_chunk();
    options_.cache.block_tokens = point.block_tokens();
  }

  /// The first difference, in words; empty if there is none.
  std::string difference() {
    const auto [first, later] = arrivals(point_.batch());
    plain_.compute(point_.weights(), point_.cache(), first);
    plain_.compute(point_.weights(), point_.cache(), later);
    open_engine();
    if (point_.prefix_hit()) {
      make_known(first);
      make_known(later);
    }
    submit(first);
    if (!later.empty()) {
      while (must(engine_->info(members_.front().id)).n_tokens == members_.front().stream.n_prompt()) step();
      submit(later);
    }
    step_to_pause();
    if (point_.restored()) save_and_restore();
    if (point_.forked()) fork();
    for (const Member& member : members_) must(engine_->extend(member.id, {}, kGenerated / 2));
    step_to_pause();
    for (const Member& member : members_) check_complete(member);
    return difference_;
  }

 private:
  struct Member {
    Stream stream;
    SequenceId id = 0;
    std::set<int> seen{};  ///< positions whose logits were compared
  };

  void open_engine() { engine_ = must(Engine::create(models_.of(point_.weights()), options_)); }

  /// Computes and forgets the first two thirds of each prompt: they are known from then on.
  void make_known(const std::vector<Stream>& streams) {
    for (const Stream& stream : streams) {
      std::vector<int32_t> ids = stream.prompt();
      ids.resize(n_known(stream));
      Request request = stream.request(std::move(ids), 0);
      request.share_prefix = true;
      members_.push_back({stream, must(engine_->submit(std::move(request)))});
    }
    step_to_pause();
    for (const Member& member : members_) must(engine_->cancel(member.id));
    members_.clear();
  }
  static size_t n_known(const Stream& stream) { return static_cast<size_t>(stream.n_prompt()) * 2 / 3; }

  void submit(const std::vector<Stream>& streams) {
    for (const Stream& stream : streams) {
      Request request = stream.request(stream.prompt(), kGenerated / 2);
      request.share_prefix = point_.prefix_hit();
      request.all_logits = !point_.prefix_hit();  // who wants all logits takes no known prefix
      members_.push_back({stream, must(engine_->submit(std::move(request)))});
      if (point_.prefix_hit()) {
        const auto n_hit = static_cast<size_t>(must(engine_->info(members_.back().id)).prefix.n_tokens);
        if (n_hit != n_known(stream)) differ(stream, "has known tokens: " + std::to_string(n_hit));
      }
    }
  }

  void save_and_restore() {
    const TempDir folder;
    const auto path = [&](const Member& member) { return folder.path(std::to_string(member.stream.index)); };
    for (const Member& member : members_) must(engine_->save(member.id, path(member)));
    open_engine();
    for (Member& member : members_) member.id = must(engine_->restore(path(member)));
  }

  /// Either a sequence or its copy strays from the text, and writes beside the other from then on. Strays aren't
  /// compared.
  void fork() {
    for (Member& member : members_) {
      SequenceId stray = must(engine_->fork(member.id, member.stream.sampling()));
      if (member.stream.index % 2 == 1) std::swap(stray, member.id);
      const int32_t last = must(engine_->info(stray)).ids.back();
      const int32_t other[] = {(last + 1) % SyntheticModels::kVocabSize};
      must(engine_->extend(stray, other, kGenerated / 2));
    }
  }

  void step_to_pause() {
    while (!step()) {
    }
  }

  /// One step; true if there was nothing to do.
  bool step() {
    const StepReport report = must(engine_->step());
    for (const LogitRows& rows : report.logits)
      for (Member& member : members_)
        if (member.id == rows.sequence) compare(member, rows);
    return report.idle;
  }

  void compare(Member& member, const LogitRows& rows) {
    const Expected& expected = plain_.at(point_, member.stream);
    for (int r = 0; r < rows.n_rows; ++r) {
      const int pos = rows.first_pos + r;
      if (hash_row(rows, r) != expected.hashes.at(static_cast<size_t>(pos)))
        differ(member.stream, "has other logits at position " + std::to_string(pos));
      member.seen.insert(pos);
    }
  }

  /// Its tokens are the expected ones, and the logits of all positions were compared that had to be.
  void check_complete(const Member& member) {
    const std::span<const int32_t> ids = must(engine_->info(member.id)).ids;
    const std::vector<int32_t>& expected = plain_.at(point_, member.stream).ids;
    if (!std::equal(ids.begin(), ids.end(), expected.begin(), expected.end()))
      differ(member.stream, "has other tokens");
    const int n = member.stream.n_prompt();
    const int n_compared = point_.prefix_hit() ? kGenerated : n + kGenerated - 1;
    if (static_cast<int>(member.seen.size()) != n_compared) differ(member.stream, "lacks logits");
  }

  void differ(const Stream& stream, const std::string& how) {
    if (difference_.empty())
      difference_ = "the sequence with a prompt of " + std::to_string(stream.n_prompt()) + " tokens " + how;
  }

  const GridPoint& point_;
  SyntheticModels& models_;
  Plain& plain_;
  EngineOptions options_;
  std::unique_ptr<Engine> engine_;
  std::vector<Member> members_;
  std::string difference_;
};

void check_points(int n) {
  SyntheticModels models;
  Plain plain(models);
  for (const GridPoint& point : grid_points(n)) {
    CAPTURE(point.name());
    CHECK(Run(point, models, plain).difference() == "");
  }
}

/// DECANT_GRID_RUNS: as many points instead.
int n_points(int otherwise) {
  const char* const wanted = std::getenv("DECANT_GRID_RUNS");
  return wanted != nullptr ? std::max(1, std::atoi(wanted)) : otherwise;
}

}  // namespace

TEST_CASE("grid: its points have every triple with a weight and a cache type, and every pair of values of two axes") {
  std::set<std::array<int, 4>> pairs, triples;  // axes and values; axis and values
  for (const GridPoint& point : grid_points(kGridRound)) {
    const auto& at = point.at;
    for (int a = 0; a < kAxisCount; ++a) {
      if (a > kCache) triples.insert({a, at[kWeights], at[kCache], at[static_cast<size_t>(a)]});
      for (int b = a + 1; b < kAxisCount; ++b)
        pairs.insert({a, b, at[static_cast<size_t>(a)], at[static_cast<size_t>(b)]});
    }
  }
  size_t n_pairs = 0, n_triples = 0;
  for (int a = 0; a < kAxisCount; ++a) {
    const int size = axis_size(static_cast<Axis>(a));
    if (a > kCache) n_triples += static_cast<size_t>(kDTypeCount * kKvTypeCount * size);
    for (int b = a + 1; b < kAxisCount; ++b) n_pairs += static_cast<size_t>(size * axis_size(static_cast<Axis>(b)));
  }
  CHECK(pairs.size() == n_pairs);
  CHECK(triples.size() == n_triples);
}

TEST_CASE("grid: the logits of each weight format are the same at a point of the grid and at the plain one") {
  check_points(n_points(kDTypeCount));
}

TEST_CASE("grid: logits are the same at every point of a whole round" * doctest::skip()) {
  check_points(n_points(kGridRound));
}

// The grid's texts are too short for it: threads share a sequence's attention from 1,024 tokens on.
TEST_CASE("grid: a context whose attention is shared out has the same logits for every cache type, ISA and threads") {
  constexpr int kPrompt = 1150, kDecoded = 8;
  SyntheticModels models;
  const std::shared_ptr<const Model> model = models.of(DType::q4_0);
  const std::vector<int32_t> ids = random_ids(kPrompt + kDecoded, SyntheticModels::kVocabSize, 8);
  const TempDir folder;
  for (int i = 0; i < kKvTypeCount; ++i) {
    const auto type = static_cast<KvType>(i);
    CAPTURE(std::string(to_string(type)));
    EngineOptions options = logits_options(kPrompt + kDecoded);
    options.cache.k_type = options.cache.v_type = type;
    const Logits expected = prompt_logits(model, ids, options);  // all at once: not shared out
    const std::unique_ptr<Engine> engine = must(Engine::create(model, options));
    Request request;
    request.prompt.assign(ids.begin(), ids.end() - kDecoded);
    request.max_new_tokens = 0;
    request.keep = true;
    const SequenceId prompt = must(engine->submit(request));
    while (!must(engine->step()).idle) {
    }
    must(engine->save(prompt, folder.path("prompt")));
    for (const Isa isa : available_isas())
      for (const int n_threads : {1, 2, 3, 7}) {
        CAPTURE(to_string(isa));
        CAPTURE(n_threads);
        options.isa = to_string(isa);
        options.n_threads = n_threads;
        options.prefill_chunk = 1;
        const std::unique_ptr<Engine> other = must(Engine::create(model, options));
        const SequenceId id = must(other->restore(folder.path("prompt")));
        for (int pos = kPrompt; pos < kPrompt + kDecoded; ++pos) {
          CAPTURE(pos);
          must(other->extend(id, std::span(ids).subspan(static_cast<size_t>(pos), 1), 0));
          const StepReport report = must(other->step());
          REQUIRE(report.logits.size() == 1);
          CHECK(report.logits[0].first_pos == pos);
          CHECK(hash_row(report.logits[0], 0) == hash_bits(expected.row(pos)));
        }
      }
  }
}

TEST_CASE("grid: the logits of every weight format are the committed ones") {
  std::map<std::string, std::string> golden = read_golden(std::string(DECANT_GOLDEN_DIR) + "/formats.txt");
  CHECK(golden.size() == 2 * kDTypeCount);
  SyntheticModels models;
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto type = static_cast<DType>(i);
    const std::shared_ptr<const Model> model = models.of(type);
    const std::string name = std::string("synthetic/") + to_string(type);
    // If the weights are others, so are the logits, and no arithmetic is to blame.
    CHECK(name + " weights " + model->info().fingerprint == name + " weights " + golden[name + " weights"]);
    const std::vector<int32_t> ids = random_ids(150, SyntheticModels::kVocabSize, 7);
    EngineOptions options = logits_options(150);
    options.cache.k_type = options.cache.v_type = KvType::f16;
    std::ostringstream hash;
    hash << std::hex << hash_bits(prompt_logits(model, ids, options).values);
    CHECK(name + " f16 " + hash.str() == name + " f16 " + golden[name + " f16"]);
  }
}

}  // namespace decant::test
