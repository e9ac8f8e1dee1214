// SPDX-License-Identifier: Apache-2.0
#include "tools/machine_report.h"

#include "decant/detail/format.h"

namespace decant::tools {

using Json = nlohmann::ordered_json;

Json machine_json(const profile::Machine& machine) {
  Json json;
  json["cpu"] = machine.cpu;
  json["n_cpus"] = machine.n_cpus;
  json["n_threads"] = machine.n_threads;
  json["n_numa_nodes"] = machine.n_numa_nodes;
  json["isas"] = Json::array();
  for (const Isa isa : machine.isas) json["isas"].push_back(to_string(isa));
  json["isa"] = to_string(machine.isas.back());
  json["caches"] = Json::array();
  for (const profile::CpuCache& cache : machine.caches)
    json["caches"].push_back({{"level", cache.level},
                              {"type", cache.type},
                              {"size_bytes", cache.size_bytes},
                              {"shared_by", cache.shared_by}});
  json["huge_pages"] = machine.huge_pages;
  json["memory_bytes"] = machine.memory_bytes;
  json["available_bytes"] = machine.available_bytes;
  return json;
}

std::string machine_line(const profile::Machine& machine) {
  return detail::format("{}, {} CPU{}, {}", machine.cpu.empty() ? "unknown CPU" : machine.cpu, machine.n_threads,
                        machine.n_threads == 1 ? "" : "s", to_string(machine.isas.back()));
}

}  // namespace decant::tools
