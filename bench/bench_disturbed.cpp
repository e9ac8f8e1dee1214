// SPDX-License-Identifier: Apache-2.0
// Decoding while another process keeps one core busy, in turn with decoding alone.
#include <csignal>
#include <cstdlib>

#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/model_bench.h"

namespace {

using namespace decant;

/// A process that computes for ever on the last CPU that this one may use; gone with the object, or with this process.
class BusyProcess {
 public:
  BusyProcess() {
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(0, sizeof allowed, &allowed);
    int last = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &allowed)) last = cpu;
    CPU_ZERO(&allowed);
    CPU_SET(last, &allowed);
    sched_setaffinity(0, sizeof allowed, &allowed);
    for (volatile unsigned long n = 0;;) n = n + 1;
  }
  BusyProcess(const BusyProcess&) = delete;
  BusyProcess& operator=(const BusyProcess&) = delete;
  ~BusyProcess() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  explicit operator bool() const noexcept { return pid_ > 0; }

 private:
  pid_t pid_ = -1;
};

}  // namespace

int main(int argc, char** argv) {
  bench::ModelBench bench("bench_disturbed", "Decodes while another process keeps one core busy.");
  profile::Task task;
  bench.option("--depth", task.depth, "Tokens in the cache when decoding begins");
  bench.option("-n", task.n_tokens, "Tokens to decode in each round");
  return bench.run(argc, argv, [&]() -> Status {
    return bench.measure(task, 1, [&](Engine& engine, profile::ReadBandwidth& memory) -> Status {
      task.n_rounds = 1;
      std::vector<double> alone, disturbed;  // tokens a second of whole rounds: a stalled token counts in full
      const auto tokens_per_s = [&](std::vector<double>& rates) -> Status {
        const Result<profile::Timings> timings = profile::measure_decode(engine, memory, task);
        if (!timings) return timings.error();
        double seconds = 0.0;
        for (const double step : timings->seconds) seconds += step;
        rates.push_back(static_cast<double>(timings->seconds.size()) / seconds);
        return {};
      };
      for (int round = 0; round < bench.n_rounds(); ++round) {
        if (Status measured = tokens_per_s(alone); !measured) return measured;
        const BusyProcess busy;
        if (!busy) return Error{ErrorCode::io, "no process to disturb with"};
        if (Status measured = tokens_per_s(disturbed); !measured) return measured;
      }
      bench::Json line = bench.line();
      line["depth"] = task.depth;
      line["tokens_per_s_alone"] = profile::quantile(alone, 0.5);
      line["tokens_per_s_disturbed"] = profile::quantile(disturbed, 0.5);
      line["share_kept"] = profile::quantile(disturbed, 0.5) / profile::quantile(alone, 0.5);
      bench::ModelBench::print(line);
      return {};
    });
  });
}
