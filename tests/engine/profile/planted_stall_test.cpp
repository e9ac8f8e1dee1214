// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include <doctest/doctest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/engine_impl.h"
#include "engine/profile/breakdown.h"
#include "engine/profile/measure.h"
#include "tests/support/made_model.h"
#include "tests/support/temp_dir.h"

namespace decant::profile {
namespace {

constexpr std::chrono::milliseconds kStall{2};
// Another program may disturb a token by more than what is planted. It doesn't do so every time.
constexpr int kAttempts = 100;

/// An engine whose steps are taken down while it decodes.
class Observed {
 public:
  explicit Observed(int n_threads) {
    EngineOptions options;
    options.n_threads = n_threads;
    options.n_ctx = 256;
    options.max_sequences = 1;
    options.on_step = [this](const StepProfile& step) {
      ++n_told;
      if (on_step) on_step(step);
      if (recording_ != nullptr) recording_->add(step);
    };
    Result<std::unique_ptr<Engine>> made = Engine::create(test::made_model(), options);
    REQUIRE(made);
    engine = std::move(*made);
    Result<ReadBandwidth> made_memory = ReadBandwidth::create();
    REQUIRE(made_memory);
    memory_.emplace(std::move(*made_memory));
  }

  struct Measured {
    Recording recording;
    std::vector<double> seconds;
    std::vector<SlowToken> slowest;
  };
  Measured decode(int n_tokens, int n_rounds) {
    Measured measured;
    Task task;
    task.depth = 16;
    task.n_tokens = n_tokens;
    task.n_rounds = n_rounds;
    measured.recording = Recording(static_cast<size_t>(n_tokens * n_rounds), size_t{8} << 20);
    task.begin_round = [&](int round) { measured.recording.begin_round(round); };
    task.end_round = [&] { measured.recording.end_round(); };
    recording_ = &measured.recording;
    const Result<Timings> timings = measure_decode(*engine, *memory_, task);
    recording_ = nullptr;
    REQUIRE(timings);
    measured.seconds = timings->seconds;
    const std::vector<Sample> samples = samples_of_steps(measured.recording, timings->seconds);
    measured.slowest = slowest_tokens(measured.recording, samples, break_down(measured.recording, samples), 5);
    return measured;
  }

  std::unique_ptr<Engine> engine;
  int n_told = 0;
  std::function<void(const StepProfile&)> on_step;

 private:
  Recording* recording_ = nullptr;
  std::optional<ReadBandwidth> memory_;
};

/// Calls a function after each layer.
class AfterLayer : public ForwardProbe {
 public:
  AfterLayer(Engine& engine, std::function<void(int layer)> call) : engine_(engine), call_(std::move(call)) {
    engine_.impl().forward->set_probe(this);
  }
  ~AfterLayer() override { engine_.impl().forward->set_probe(nullptr); }
  void after_layer(const StepPlan&, int layer, const float*, ptrdiff_t, const float*, ptrdiff_t) override {
    call_(layer);
  }

 private:
  Engine& engine_;
  std::function<void(int)> call_;
};

TEST_CASE("planted_stall: 2 ms in one token are found, and named by operation and layer") {
  for (const int n_threads : {1, 2}) {
    CAPTURE(n_threads);
    Observed observed(n_threads);
    bool found = false;
    std::string reason;
    for (int attempt = 0; attempt < kAttempts && !found; ++attempt) {
      // Two tokens warm each round up.
      constexpr int kTokens = 12, kStalled = 2 + kTokens + 2 + 7;
      int token = -1;
      const AfterLayer probe(*observed.engine, [&](int layer) {
        token += layer == 0 ? 1 : 0;
        if (token == kStalled && layer == 1) std::this_thread::sleep_for(kStall);
      });
      const Observed::Measured measured = observed.decode(kTokens, 3);
      REQUIRE(measured.slowest.size() == 5);
      const SlowToken& slowest = measured.slowest[0];
      reason = slowest.reason;
      found = slowest.sample == kTokens + 7 && slowest.excess_ms >= 2.0 &&
              reason.find(" ms more in ffn_down of layer 1") != std::string::npos;
    }
    CHECK_MESSAGE(found, reason);
  }
}

TEST_CASE("planted_stall: 2 ms of one token's reader are found as the program's") {
  Observed observed(1);
  bool found = false;
  std::string reason;
  for (int attempt = 0; attempt < kAttempts && !found; ++attempt) {
    constexpr int kTokens = 12;
    int token = -1;
    observed.on_step = [&](const StepProfile&) {
      if (++token == 2 + 5) std::this_thread::sleep_for(kStall);
    };
    const Observed::Measured measured = observed.decode(kTokens, 1);
    reason = measured.slowest[0].reason;
    found = measured.slowest[0].sample == 5 && reason.find(" ms more in the program's own loop") != std::string::npos;
  }
  CHECK_MESSAGE(found, reason);
}

#ifndef __SANITIZE_THREAD__  // which holds signals back until a thread waits

std::set<pid_t> threads_of_process() {
  std::set<pid_t> ids;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task"))
    ids.insert(static_cast<pid_t>(std::atoi(entry.path().filename().c_str())));
  return ids;
}

/// While it lives, a signal makes the thread that gets it sleep.
class StallSignal {
 public:
  StallSignal() {
    struct sigaction action = {};
    action.sa_handler = [](int) {
      const int saved = errno;
      const timespec stall = {0, 2'000'000};
      ::nanosleep(&stall, nullptr);
      errno = saved;
    };
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGUSR1, &action, &before_);
  }
  ~StallSignal() { ::sigaction(SIGUSR1, &before_, nullptr); }

 private:
  struct sigaction before_ = {};
};

TEST_CASE("planted_stall: a thread that stalls is named as the one that the others waited for") {
  const StallSignal stall;  // outlives the thread, to which a signal may still be on its way
  const std::set<pid_t> before = threads_of_process();
  Observed observed(2);
  pid_t worker = 0;
  for (const pid_t id : threads_of_process())
    if (!before.contains(id)) worker = id;
  REQUIRE(worker > 0);
  // A stall between two jobs disturbs nobody; sooner or later one comes while the thread is at work.
  bool found = false;
  std::string reasons;
  for (int attempt = 0; attempt < kAttempts && !found; ++attempt) {
    std::jthread sender([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(7));
        ::syscall(SYS_tgkill, ::getpid(), worker, SIGUSR1);
      }
    });
    const Observed::Measured measured = observed.decode(200, 1);
    sender.request_stop();
    sender.join();
    for (const SlowToken& slow : measured.slowest) {
      reasons += slow.reason + "\n";
      found = found || slow.reason.find(" ms more of waiting for thread 1 in ") != std::string::npos;
    }
  }
  CHECK_MESSAGE(found, reasons);
}

#endif

TEST_CASE("planted_stall: the tokens of several rounds are each explained by their own step") {
  Observed observed(4);
  const Observed::Measured measured = observed.decode(10, 3);
  const Recording& recording = measured.recording;
  REQUIRE(recording.steps().size() == 30);
  REQUIRE(measured.seconds.size() == 30);
  for (size_t i = 0; i < 30; ++i) {
    const RecordedStep& step = recording.steps()[i];
    CHECK(step.round == static_cast<int>(i / 10));
    CHECK(static_cast<double>(step.elapsed_ns) <= measured.seconds[i] * 1e9 + 1.0);
    // Operations are the step from beginning to end, and nobody works outside the one at hand.
    const std::span<const OpProfile> ops = recording.ops(step);
    REQUIRE(ops.size() == 7 + 2 * 8);
    int64_t named = step.wait_ns, end = 0;
    for (const int64_t ns : step.work_ns) named += ns;
    CHECK(named <= step.elapsed_ns);
    CHECK(named >= step.elapsed_ns - 1);
    for (const OpProfile& op : ops) {
      CHECK(op.begin_ns == end);
      CHECK(op.wait_ns >= 0);
      end = op.end_ns;
    }
    const std::span<const RecordedThread> threads = recording.threads(step);
    REQUIRE(threads.size() == 4);
    for (const RecordedThread& thread : threads) {
      CHECK(thread.busy_ns <= step.elapsed_ns);
      int64_t at = 0;
      for (const LapProfile& lap : recording.laps(thread)) {
        CHECK(lap.begin_ns >= at);
        CHECK(lap.end_ns >= lap.begin_ns);
        CHECK(lap.end_ns <= ops[static_cast<size_t>(lap.op)].end_ns);
        at = lap.end_ns;
      }
    }
  }
}

TEST_CASE("planted_stall: a step that is cancelled is told to nobody, and the next one is whole") {
  Observed observed(2);
  Request request;
  request.prompt = {1, 2, 3};
  request.max_new_tokens = 3;
  request.ignore_end = true;
  REQUIRE(observed.engine->submit(std::move(request)));
  std::stop_source stop;
  {
    const AfterLayer probe(*observed.engine, [&](int) { stop.request_stop(); });
    CHECK(observed.engine->step(stop.get_token()).error().code == ErrorCode::cancelled);
  }
  CHECK(observed.n_told == 0);
  size_t n_ops = 0;
  size_t n_tokens = 0;
  observed.on_step = [&](const StepProfile& step) {
    n_ops = step.ops.size();
    n_tokens += step.tokens.size();
  };
  for (int i = 0; i < 3; ++i) {
    REQUIRE(observed.engine->step());
    CHECK(n_ops == 23);
  }
  CHECK(observed.n_told == 3);
  CHECK(n_tokens == 3);
  REQUIRE(observed.engine->step());  // idle
  CHECK(observed.n_told == 3);
}

}  // namespace
}  // namespace decant::profile
