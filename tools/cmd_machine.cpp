// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <string>
#include <vector>

#include "decant/detail/format.h"

#include "engine/profile/read_bandwidth.h"
#include "tools/args.h"
#include "tools/machine_report.h"
#include "tools/output.h"
#include "tools/terminal.h"

namespace decant::tools {
namespace {

struct Bandwidth {
  int n_threads = 0;
  double gb_per_s = 0.0;
};

/// 1, 2, 4, … and all.
std::vector<int> thread_counts(int most) {
  std::vector<int> counts;
  for (int n = 1; n < most; n *= 2) counts.push_back(n);
  counts.push_back(most);
  return counts;
}

Result<std::vector<Bandwidth>> measure(int most_threads, const Interrupts& interrupts) {
  Result<profile::ReadBandwidth> memory = profile::ReadBandwidth::create();
  if (!memory) return memory.error();
  const std::vector<int> counts = thread_counts(most_threads);
  Progress progress("measuring read bandwidth");
  std::vector<Bandwidth> measured;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (interrupts.stopped()) return Error{ErrorCode::cancelled, "interrupted"};
    progress.update(i, counts.size());
    Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(counts[i]);
    if (!pool) return pool.error();
    measured.push_back({counts[i], memory->measure(**pool) / 1e9});
  }
  return measured;
}

std::string mib(size_t bytes) {
  if (bytes >= size_t{1} << 30) return detail::format("{:.1f} GiB", static_cast<double>(bytes) / (1 << 30));
  if (bytes >= size_t{1} << 20) return detail::format("{} MiB", bytes >> 20);
  return detail::format("{} KiB", bytes >> 10);
}

std::string table(const profile::Machine& machine, const std::vector<Bandwidth>& bandwidth) {
  const auto line = [](const char* name, const std::string& value) {
    return detail::format("{:<16}{}\n", name, value);
  };
  std::string isas, text;
  for (const Isa isa : machine.isas) isas += std::string(to_string(isa)) + " ";
  text += line("CPU", machine.cpu.empty() ? "unknown" : machine.cpu);
  text += line("CPUs online", detail::format("{} on {} NUMA node{}", machine.n_cpus, machine.n_numa_nodes,
                                             machine.n_numa_nodes == 1 ? "" : "s"));
  text += line("threads", detail::format("{} usable by this process", machine.n_threads));
  text += line("kernels", detail::format("{}(chosen: {})", isas, to_string(machine.isas.back())));
  for (const profile::CpuCache& cache : machine.caches)
    text += line(detail::format("L{} {}", cache.level, cache.type).c_str(),
                 detail::format("{}, shared by CPUs {}", mib(cache.size_bytes), cache.shared_by));
  text += line("huge pages", machine.huge_pages.empty() ? "none" : machine.huge_pages);
  text += line("memory", detail::format("{}, {} available", mib(machine.memory_bytes), mib(machine.available_bytes)));
  for (const Bandwidth& point : bandwidth)
    text += line("read bandwidth", detail::format("{:.1f} GB/s with {} thread{}", point.gb_per_s, point.n_threads,
                                                  point.n_threads == 1 ? "" : "s"));
  return text;
}

}  // namespace

int cmd_machine(const Words& words) {
  Arguments arguments("machine", "Shows what of this machine decides how fast a token can be.");
  bool as_json = false;
  arguments.flag("--json", as_json, "One line of JSON");
  arguments.note(
      "Read bandwidth is what plain reads of a buffer larger than any cache make: the best of several ways and "
      "passes.\n"
      "It drifts on machines that are shared with others.");
  if (const std::optional<int> status = arguments.parse(words)) return *status;

  const Interrupts interrupts;
  const profile::Machine machine = profile::describe_machine();
  const Result<std::vector<Bandwidth>> bandwidth = measure(machine.n_threads, interrupts);
  if (!bandwidth) return fail("machine", bandwidth.error(), interrupts);
  Output out;
  if (as_json) {
    nlohmann::ordered_json json = machine_json(machine);
    json["read_bandwidth"] = nlohmann::ordered_json::array();
    for (const Bandwidth& point : *bandwidth)
      json["read_bandwidth"].push_back({{"threads", point.n_threads}, {"gb_per_s", point.gb_per_s}});
    out.write(json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  } else {
    out.write(table(machine, *bandwidth));
  }
  return out.status("machine");
}

}  // namespace decant::tools
