// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/breakdown.h"

#include <algorithm>
#include <numeric>

namespace decant::profile {
namespace {

/// Indexes of samples, by their time.
std::vector<size_t> by_time(std::span<const Sample> samples) {
  std::vector<size_t> order(samples.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return samples[a].ns < samples[b].ns; });
  return order;
}

std::span<const RecordedStep> steps_of(const Recording& recording, const Sample& sample) {
  return std::span(recording.steps()).subspan(sample.first_step, sample.n_steps);
}

bool has_details(const Recording& recording, const Sample& sample) {
  const std::span<const RecordedStep> steps = steps_of(recording, sample);
  return std::all_of(steps.begin(), steps.end(), [](const RecordedStep& step) { return step.n_ops > 0; });
}

/// Work of each layer and operation, of samples with details.
std::vector<std::array<double, kOps>> layers_of(const Recording& recording, std::span<const Sample> samples,
                                                std::span<const size_t> chosen) {
  std::vector<std::array<double, kOps>> layers;
  int n = 0;
  for (const size_t i : chosen) {
    if (!has_details(recording, samples[i])) continue;
    ++n;
    for (const RecordedStep& step : steps_of(recording, samples[i]))
      for (const OpProfile& op : recording.ops(step)) {
        if (op.layer < 0) continue;
        const auto layer = static_cast<size_t>(op.layer);
        if (layers.size() <= layer) layers.resize(layer + 1);
        layers[layer][static_cast<size_t>(op.op)] += static_cast<double>(op.end_ns - op.begin_ns - op.wait_ns);
      }
  }
  for (auto& layer : layers)
    for (double& ns : layer) ns /= n;
  return layers;
}

/// How fast each thread works, 1 for the fastest: its busy time beside what its pieces take on average.
void fill_paces(const Recording& recording, std::vector<WorkerFigures>& workers) {
  const std::vector<std::array<Work, kOps>>& work = recording.work();
  std::vector<double> expected(work.size()), busy(work.size());
  for (size_t op = 0; op < kOps; ++op) {
    Work all;
    size_t n_sharing = 0;
    for (const auto& thread : work) {
      all.busy_ns += thread[op].busy_ns;
      all.n_pieces += thread[op].n_pieces;
      n_sharing += thread[op].n_pieces > 0 ? 1 : 0;
    }
    if (n_sharing < 2) continue;
    for (size_t thread = 0; thread < work.size(); ++thread) {
      expected[thread] += static_cast<double>(all.busy_ns) / static_cast<double>(all.n_pieces) *
                          static_cast<double>(work[thread][op].n_pieces);
      busy[thread] += static_cast<double>(work[thread][op].busy_ns);
    }
  }
  double fastest = 0.0;
  for (size_t thread = 0; thread < work.size(); ++thread) {
    workers[thread].pace = busy[thread] > 0.0 ? expected[thread] / busy[thread] : 0.0;
    fastest = std::max(fastest, workers[thread].pace);
  }
  for (WorkerFigures& worker : workers) worker.pace = worker.pace > 0.0 ? worker.pace / fastest : 1.0;
}

std::vector<Sample> samples(const Recording& recording, std::span<const double> seconds, bool whole_rounds) {
  std::vector<Sample> found;
  const std::vector<RecordedStep>& steps = recording.steps();
  for (size_t i = 0; i < steps.size(); ++i) {
    if (whole_rounds && i > 0 && steps[i].round == steps[i - 1].round)
      ++found.back().n_steps;
    else if (const size_t at = whole_rounds ? static_cast<size_t>(steps[i].round) : i; at < seconds.size())
      found.push_back({i, 1, seconds[at] * 1e9});
    else
      break;
  }
  return found;
}

}  // namespace

std::vector<Sample> samples_of_steps(const Recording& recording, std::span<const double> seconds) {
  return samples(recording, seconds, false);
}

std::vector<Sample> samples_of_rounds(const Recording& recording, std::span<const double> seconds) {
  return samples(recording, seconds, true);
}

size_t Breakdown::total_bytes() const { return std::accumulate(bytes.begin(), bytes.end(), size_t{0}); }

Breakdown break_down(const Recording& recording, std::span<const Sample> samples) {
  if (samples.empty()) return {};
  const std::vector<size_t> order = by_time(samples);
  const size_t cut = order.size() / 4;
  const std::span<const size_t> middle = std::span(order).subspan(cut, order.size() - 2 * cut);
  Breakdown b;
  b.workers.resize(recording.work().size());
  for (const RecordedStep& step : steps_of(recording, samples.front()))
    for (size_t op = 0; op < kOps; ++op) b.bytes[op] += step.bytes[op];
  const auto n = static_cast<double>(middle.size());
  for (const size_t i : middle) {
    b.ns += samples[i].ns / n;
    for (const RecordedStep& step : steps_of(recording, samples[i])) {
      for (size_t op = 0; op < kOps; ++op) b.work_ns[op] += static_cast<double>(step.work_ns[op]) / n;
      b.wait_ns += static_cast<double>(step.wait_ns) / n;
      b.profiler_ns += static_cast<double>(step.profiler_ns) / n;
      b.detokenize_ns += static_cast<double>(step.detokenize_ns) / n;
      b.callback_ns += static_cast<double>(step.callback_ns) / n;
      const std::span<const RecordedThread> threads = recording.threads(step);
      for (size_t thread = 0; thread < threads.size(); ++thread) {
        b.workers[thread].busy_ns += static_cast<double>(threads[thread].busy_ns) / n;
        b.workers[thread].wait_ns += static_cast<double>(step.elapsed_ns - threads[thread].busy_ns) / n;
      }
    }
  }
  // Rare events would be lost in the middle half.
  const auto n_all = static_cast<double>(samples.size());
  for (const Sample& sample : samples) b.mean_ns += sample.ns / n_all;
  b.quick_ns = samples[order[order.size() / 10]].ns;
  for (const Sample& sample : samples)
    for (const RecordedStep& step : steps_of(recording, sample)) {
      b.n_page_faults += static_cast<double>(step.n_page_faults) / n_all;
      b.n_major_page_faults += static_cast<double>(step.n_major_page_faults) / n_all;
      b.n_context_switches += static_cast<double>(step.n_context_switches) / n_all;
      b.n_involuntary_switches += static_cast<double>(step.n_involuntary_switches) / n_all;
    }
  size_t n_steps = 0;
  for (const Sample& sample : samples) n_steps += sample.n_steps;
  const double part = static_cast<double>(n_steps) / static_cast<double>(recording.steps().size()) / n_all;
  for (size_t thread = 0; thread < b.workers.size(); ++thread)
    for (const Work& work : recording.work()[thread])
      b.workers[thread].n_pieces += static_cast<double>(work.n_pieces) * part;
  fill_paces(recording, b.workers);
  b.layer_work_ns = layers_of(recording, samples, middle);

  std::vector<size_t> detailed;
  std::copy_if(order.begin(), order.end(), std::back_inserter(detailed),
               [&](size_t i) { return has_details(recording, samples[i]); });
  b.middle = detailed.empty() ? order[order.size() / 2] : detailed[detailed.size() / 2];
  return b;
}

}  // namespace decant::profile
