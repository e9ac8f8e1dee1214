// SPDX-License-Identifier: Apache-2.0
#include "tests/cache/schedule.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>

#include <doctest/doctest.h>

#include "decant/detail/format.h"

#include "tests/cache/cache_model.h"

namespace decant::test {
namespace {

using namespace cache;

constexpr int kMaxSequences = 6;
constexpr int kMaxTokens = 300;

constexpr std::array<double, 4> kFrequencies = {1.0, 0.3, 0.07, 0.011};

std::vector<KvLayerShape> shape(int i) {
  const std::span<const double> all = kFrequencies, two = all.first(2);
  switch (i) {
    case 0:  // alternating, as in models with local layers
      return {{2, 8, 4, 20, false, all, 0}, {1, 8, 8, 0, false, two, 3}, {2, 4, 4, 20, false, two, 0}};
    case 1:
      return {{1, 12, 8, 0, false, all, 2}};
    case 2:  // latent: values are the front of the keys, positions turn their end
      return {{1, 12, 8, 0, true, two, 8}, {1, 40, 33, 50, true, two, 36}};
    case 3:
      return {{1, 5, 3, 40, false, two, 1}, {3, 4, 4, 7}, {1, 16, 8, 0, false, all, 8}, {1, 4, 4, 1}};
    default:
      return {{1, 8, 8, 0}, {2, 4, 12, 0, false, two, 0}};
  }
}

const SnapshotIdentity kIdentity = {"schedule", "weights", "numerics"};

}  // namespace

void ScheduleCounts::add(const ScheduleCounts& other) {
  n_steps += other.n_steps;
  n_full += other.n_full;
  n_shifts += other.n_shifts;
  n_slides += other.n_slides;
  n_hit_tokens += other.n_hit_tokens;
  n_recompute += other.n_recompute;
  n_files += other.n_files;
  n_evicted += other.n_evicted;
}

Schedule::Schedule(uint32_t seed) : random_(seed) {
  const std::array<int, 6> block_tokens = {16, 16, 32, 48, 64, 256};
  plain_ = one_in(8);
  layers_ = shape(plain_ ? 1 + 3 * below(2) : below(5));
  options_.block_tokens = block_tokens[static_cast<size_t>(below(6))];
  do {
    options_.k_type = static_cast<KvType>(below(kKvTypeCount));
  } while (options_.k_type == KvType::q4 && layers_.front().v_in_k);
  options_.v_type = static_cast<KvType>(below(kKvTypeCount));
  options_.rollback_tokens = one_in(2) ? 0 : below(40);
  const std::span<const Isa> isas = available_isas();
  isa_ = isas[static_cast<size_t>(below(static_cast<int>(isas.size())))];
  const size_t one = make_cache(layers_, options_, 1, kMaxTokens)->bytes_needed(kMaxTokens);
  enough_ = kMaxSequences * one;
  const size_t tight = one * static_cast<size_t>(2 + below(6)) / 2 + static_cast<size_t>(below(9000));
  options_.limit_bytes = one_in(6) ? 0 : one_in(8) ? enough_ : tight;
  one_group_ = std::all_of(layers_.begin(), layers_.end(),
                           [&](const KvLayerShape& layer) { return layer.window == layers_.front().window; });
  const std::array<size_t, 6> known = {0, one / 3, one, 2 * one, size_t{1} << 40, size_t{1} << 40};
  options_.prefix_bytes = known[static_cast<size_t>(below(6))];
  auto made = KvCache::create(layers_, options_, kMaxSequences, kMaxTokens, isa_);
  REQUIRE_MESSAGE(made.ok(), made.error().message);
  cache_ = std::move(*made);
  maker_ = std::make_unique<RowMaker>(layers_, options_.k_type, options_.v_type);
}

std::string Schedule::describe() const {
  return detail::format("{} layers, block_tokens {}, {} and {}, rollback {}, limit {}, prefixes {}, {}, step {}",
                        layers_.size(), options_.block_tokens, to_string(options_.k_type), to_string(options_.v_type),
                        options_.rollback_tokens, options_.limit_bytes, options_.prefix_bytes, to_string(isa_),
                        counts_.n_steps);
}

Schedule::Sequences::value_type& Schedule::pick() {
  auto& picked = *std::next(sequences_.begin(), below(static_cast<int>(sequences_.size())));
  touched_.push_back(picked.first);
  return picked;
}

// The longer one of two, mostly: there is more to do with it.
Schedule::Sequences::value_type& Schedule::pick_long() {
  auto &a = pick(), &b = pick();
  return one_in(8) || a.second.len() > b.second.len() ? a : b;
}

// Six texts: three in each half begin alike for 30 tokens, all of a half for 90.
int32_t Schedule::next_id(const ModelSequence& model, int pos) {
  if (one_in(300)) return below(1000);
  if (pos < 30) return 1000 + pos;
  return pos < 90 ? 10000 * (1 + model.script / 3) + pos : 100000 * (1 + model.script) + pos;
}

void Schedule::step() {
  touched_.clear();
  ++counts_.n_steps;
  run_one();
  check_step();
}

void Schedule::run_one() {
  const int choice = below(200);
  if (sequences_.empty() || choice < 28) return add();
  if (choice < 48) return release();
  if (choice < 108) return grow();
  if (choice < 124) return truncate();
  if (plain_) return ask_for_nonsense();
  if (choice < 136) return fork();
  if (choice < 150) return remove();
  if (choice < 164) return slide();
  if (choice < 184) return publish();
  if (choice < 188) return adopt(pick());
  if (choice < 189) return forget();
  if (choice < 192) return save_and_restore();
  if (choice < 193) return save_and_restore_prefixes();
  ask_for_nonsense();
}

void Schedule::check_refused(const Error& error, ErrorCode expected, const CacheStats& before) {
  INFO(error.message);
  REQUIRE(std::string(to_string(error.code)) == to_string(expected));
  REQUIRE(same_stats(cache_->stats(), before));
  if (expected == ErrorCode::cache_full) ++counts_.n_full;
}

void Schedule::add() {
  const CacheStats before = cache_->stats();
  const Result<SequenceIndex> s = cache_->add_sequence();
  REQUIRE(s.ok() == (sequences_.size() < kMaxSequences));
  if (!s) return check_refused(s.error(), ErrorCode::cache_full, before);
  const auto [place, fresh] = sequences_.emplace(*s, ModelSequence());
  REQUIRE(fresh);
  touched_.push_back(*s);
  place->second.salt = one_in(6) ? "tenant" : "";
  place->second.script = below(2) * 3 + below(one_in(2) ? 1 : 3);
  if (plain_) return;
  if (one_in(5)) keep_sinks(*place);
  if (!one_in(6)) adopt(*place);
}

void Schedule::keep_sinks(Sequences::value_type& sequence) {
  auto& [s, model] = sequence;
  const CacheStats before = cache_->stats();
  const int n = 1 + below(6);
  const Status kept = cache_->keep_sinks(s, n);
  if (!kept) return check_refused(kept.error(), ErrorCode::cache_full, before);
  model.n_sinks = n;
  model.sink_keys.assign(static_cast<size_t>(n), std::vector<std::vector<float>>(layers_.size()));
}

void Schedule::adopt(Sequences::value_type& sequence) {
  auto& [s, model] = sequence;
  const CacheStats before = cache_->stats();
  ModelSequence prompt;
  prompt.salt = model.salt;
  prompt.script = model.script;
  const int n = below(one_in(2) ? 60 : kMaxTokens + 1);
  for (int pos = 0; pos < n; ++pos) prompt.append(next_id(model, pos), *maker_);
  const PrefixHit hit = cache_->adopt_prefix(s, model.salt, prompt.ids);
  REQUIRE(hit.n_tokens <= hit.n_known);
  REQUIRE(hit.n_known <= n);
  if (options_.prefix_bytes == 0 || model.len() > 0 || model.n_sinks > 0) {
    REQUIRE(hit.why == PrefixMiss::off);
    REQUIRE(hit.n_tokens == 0);
    REQUIRE(same_stats(cache_->stats(), before));
    return;
  }
  REQUIRE((hit.why == PrefixMiss::none) == (hit.n_tokens == n));
  prompt.cut(hit.n_tokens);
  model = std::move(prompt);
  counts_.n_hit_tokens += hit.n_tokens;
}

void Schedule::release() {
  const auto& [s, model] = pick();
  if (!plain_ && !one_in(3)) cache_->publish_prefix(s, model.salt, model.ids, one_in(2) ? 0 : below(101));
  const SequenceIndex gone = s;
  cache_->release(gone);
  sequences_.erase(gone);
}

void Schedule::fork() {
  const auto& [s, model] = pick_long();
  const CacheStats before = cache_->stats();
  const Result<SequenceIndex> forked = cache_->fork(s);
  if (!forked) {
    REQUIRE((sequences_.size() == kMaxSequences || model.n_sinks > 0));
    return check_refused(forked.error(), ErrorCode::cache_full, before);
  }
  // Only copies of sinks may ask for room.
  REQUIRE(cache_->stats().used_bytes <= before.used_bytes);
  if (model.n_sinks == 0) REQUIRE(cache_->stats().used_bytes == before.used_bytes);
  touched_.push_back(*forked);
  REQUIRE(sequences_.emplace(*forked, model).second);
}

// "max_sequences · bytes_needed(max_tokens) is always enough for sequences of max_tokens". Where all layers are one
// group, whose free blocks are anybody's, what those that are alive need is enough.
void Schedule::check_growth_is_refused_rightly(const std::vector<KvGrowth>& growths) {
  size_t most = 0;
  for (const auto& [s, model] : sequences_) {
    if (model.n_sinks > 0) return;
    int len = model.len();
    for (const KvGrowth& growth : growths) len += growth.sequence == s ? growth.n_tokens : 0;
    most += cache_->bytes_needed(len);
  }
  REQUIRE(options_.limit_bytes != 0);
  REQUIRE(options_.limit_bytes < enough_);
  if (one_group_) REQUIRE(most > options_.limit_bytes);
}

void Schedule::grow() {
  std::vector<KvGrowth> growths;
  for (const auto& [s, model] : sequences_) {
    if (!one_in(3)) continue;
    const int n = one_in(3) ? below(120) : below(9);
    growths.push_back({s, std::min(n, kMaxTokens - (model.len() - model.begin))});
    touched_.push_back(s);
  }
  const CacheStats before = cache_->stats();
  Result<KvReservation> slots = cache_->reserve(growths);
  if (!slots) {
    check_refused(slots.error(), ErrorCode::cache_full, before);
    return check_growth_is_refused_rightly(growths);
  }
  REQUIRE(cache_->check_invariants() == "");
  const bool commit = !one_in(5);
  for (const KvGrowth& growth : growths) {
    ModelSequence& model = sequences_.at(growth.sequence);
    const int first = model.len();
    for (int i = 0; i < growth.n_tokens; ++i) model.append(next_id(model, model.len()), *maker_);
    for (int pos = first; pos < std::min(model.len(), model.begin > 0 ? 0 : model.n_sinks); ++pos)
      for (int l = 0; l < static_cast<int>(layers_.size()); ++l)
        model.sink_keys[static_cast<size_t>(pos)][static_cast<size_t>(l)] =
            maker_->sink_key(l, model.hashes[static_cast<size_t>(pos)]);
    write(growth.sequence, model, first);
    if (!commit) model.cut(first);
  }
  if (!growths.empty() && one_in(6)) meddle(growths.front().sequence);
  if (!growths.empty() && one_in(20)) {
    cache_->release(growths.back().sequence);
    sequences_.erase(growths.back().sequence);  // beneath its reservation
  }
  if (!commit) return;
  if (one_in(2)) return slots->commit();
  slots->commit_tokens();
  for (const KvGrowth& growth : growths) {
    if (one_in(3)) continue;  // its windows keep what they have until the next time
    if (const auto at = sequences_.find(growth.sequence); at != sequences_.end() && !plain_ && one_in(2))
      cache_->publish_prefix(at->first, at->second.salt, at->second.ids, 0);
    cache_->give_back(growth.sequence);
  }
}

void Schedule::write(SequenceIndex s, const ModelSequence& model, int first) {
  for (int pos = first; pos < model.len(); ++pos)
    for (int l = 0; l < static_cast<int>(layers_.size()); ++l) {
      const uint64_t hash = model.hashes[static_cast<size_t>(pos)];
      REQUIRE(cache_->write(s, l, pos, maker_->k(l, hash).data(), maker_->v(l, hash).data()));
      if (model.begin == 0 && pos < model.n_sinks)
        cache_->write_sink(s, l, pos, model.sink_keys[static_cast<size_t>(pos)][static_cast<size_t>(l)].data());
    }
}

// What must not be done while a reservation is alive.
void Schedule::meddle(SequenceIndex s) {
  const CacheStats before = cache_->stats();
  const std::string path = folder_.path("never.kv");
  const std::vector<int32_t> ids(static_cast<size_t>(kMaxTokens), 1);
  const KvGrowth growth{s, 1};
  check_refused(cache_->reserve({&growth, 1}).error(), ErrorCode::invalid_argument, before);
  check_refused(cache_->fork(s).error(), ErrorCode::invalid_argument, before);
  check_refused(cache_->truncate(s, 0).error(), ErrorCode::invalid_argument, before);
  check_refused(cache_->remove(s, 0, 0).error(), ErrorCode::invalid_argument, before);
  check_refused(cache_->keep_sinks(s, 1).error(), ErrorCode::invalid_argument, before);
  check_refused(cache_->slide(s, 1).error(), ErrorCode::invalid_argument, before);
  check_refused(cache_->save(s, path, kIdentity, {}).error(), ErrorCode::invalid_argument, before);
  check_refused(cache_->restore(path, kIdentity).error(), ErrorCode::invalid_argument, before);
  check_refused(cache_->restore_prefixes(path, kIdentity).error(), ErrorCode::invalid_argument, before);
  REQUIRE(cache_->adopt_prefix(s, "", ids).why == PrefixMiss::off);
  cache_->publish_prefix(s, "", ids, 1);
  REQUIRE(same_stats(cache_->stats(), before));
  REQUIRE(cache_->check_invariants() == "");
}

void Schedule::truncate() {
  auto& [s, model] = pick_long();
  const int len = one_in(4) ? below(model.len() + 1) : std::max(0, model.len() - below(30));
  bool can = len >= model.begin && (model.begin == 0 || len >= model.begin + model.n_sinks);
  for (int l = 0; l < static_cast<int>(layers_.size()); ++l)
    can = can && cache_->view(s, l, 0).first <= std::max(0, needed_from(model, layers_[static_cast<size_t>(l)], len));
  const Result<int> kept = cache_->truncate(s, len);
  REQUIRE(kept.ok());
  REQUIRE(*kept == (can ? len : 0));
  if (!can && len > 0) ++counts_.n_recompute;
  model.cut(*kept);
}

void Schedule::remove() {
  auto& [s, model] = pick_long();
  const int first = below(model.len() + 1);
  const int n = one_in(5) ? below(model.len() - first + 1) : std::min(below(20), model.len() - first);
  const int new_len = model.len() - n;
  bool can = model.n_sinks == 0;
  for (int l = 0; l < static_cast<int>(layers_.size()) && n > 0; ++l) {
    const int kept = cache_->view(s, l, 0).first, now = kept <= first ? kept : std::max(first + n, kept) - n;
    can = can && now <= std::max(0, needed_from(model, layers_[static_cast<size_t>(l)], new_len));
  }
  const CacheStats before = cache_->stats();
  const Status removed = cache_->remove(s, first, n);
  if (!removed)
    return check_refused(removed.error(), can ? ErrorCode::cache_full : ErrorCode::invalid_argument, before);
  REQUIRE(can);
  for (size_t i = static_cast<size_t>(first); i < static_cast<size_t>(new_len); ++i) {
    const auto from = i + static_cast<size_t>(n);
    model.rows[i] = n > 0 ? maker_->shifted(*model.rows[from], -n) : model.rows[from];
    model.ids[i] = model.ids[from];
    model.hashes[i] = model.hashes[from];
    if (n > 0 && from == static_cast<size_t>(first + n)) ++counts_.n_shifts;
  }
  model.cut(new_len);
}

void Schedule::slide() {
  auto& sequence = pick_long();
  auto& [s, model] = sequence;
  if (model.n_sinks == 0 && model.len() == 0) return keep_sinks(sequence);
  const int first = std::max(0, model.len() - below(one_in(4) ? 300 : 60)), begin = first - model.n_sinks;
  const bool can = model.n_sinks > 0 && begin >= model.begin + model.n_sinks && begin > 0;
  const CacheStats before = cache_->stats();
  const Status slid = cache_->slide(s, first);
  if (!slid) return check_refused(slid.error(), can ? ErrorCode::cache_full : ErrorCode::invalid_argument, before);
  REQUIRE(can);
  for (int i = 0; i < model.n_sinks; ++i)
    model.rows[static_cast<size_t>(begin + i)] = maker_->sink_at(
        model.sink_keys[static_cast<size_t>(i)], *model.rows[static_cast<size_t>(model.begin + i)], begin + i);
  model.begin = begin;
  REQUIRE(cache_->view(s, 0, 0).first == begin);
  ++counts_.n_slides;
}

void Schedule::publish() {
  const auto& [s, model] = pick_long();
  const CacheStats before = cache_->stats();
  cache_->publish_prefix(s, model.salt, model.ids, below(120) - 10);
  REQUIRE(cache_->stats().n_tokens == before.n_tokens);
  if (model.n_sinks > 0 || model.len() == 0) REQUIRE(same_stats(cache_->stats(), before));
}

void Schedule::forget() {
  const bool all = one_in(2);
  all ? cache_->forget_prefixes() : cache_->forget_prefixes(one_in(2) ? "" : "tenant");
  if (!all) return;
  REQUIRE(cache_->stats().prefixes.n_nodes == 0);
  REQUIRE(cache_->stats().prefix_bytes == 0);
}

void Schedule::save_and_restore() {
  const auto& [s, model] = pick_long();
  const std::string path = folder_.path("one.kv");
  std::vector<std::byte> payload(static_cast<size_t>(below(100)));
  for (std::byte& byte : payload) byte = static_cast<std::byte>(below(256));
  const CacheStats before = cache_->stats();
  const Status saved = cache_->save(s, path, kIdentity, payload);
  REQUIRE_MESSAGE(saved.ok(), saved.error().message);
  REQUIRE(same_stats(cache_->stats(), before));
  const Result<RestoredSequence> restored = cache_->restore(path, kIdentity);
  if (!restored) return check_refused(restored.error(), ErrorCode::cache_full, before);
  REQUIRE(restored->payload == payload);
  touched_.push_back(restored->sequence);
  REQUIRE(sequences_.emplace(restored->sequence, model).second);
  ++counts_.n_files;
}

void Schedule::save_and_restore_prefixes() {
  const std::string path = folder_.path("all.kv");
  const Status saved = cache_->save_prefixes(path, kIdentity);
  REQUIRE_MESSAGE(saved.ok(), saved.error().message);
  const int64_t n_tokens = cache_->stats().prefixes.n_tokens;
  if (one_in(2)) cache_->forget_prefixes();
  const CacheStats before = cache_->stats();
  const Result<int64_t> restored = cache_->restore_prefixes(path, kIdentity);
  if (!restored) return check_refused(restored.error(), ErrorCode::cache_full, before);
  REQUIRE(*restored == n_tokens);
  ++counts_.n_files;
}

void Schedule::ask_for_nonsense() {
  const auto& [s, model] = pick();
  const CacheStats before = cache_->stats();
  constexpr int kMost = std::numeric_limits<int>::max();
  const int room = kMaxTokens - (model.len() - model.begin);
  const std::array<KvGrowth, 2> too_many = {KvGrowth{s, room}, KvGrowth{s, 1}},
                                too_large = {KvGrowth{s, 0}, {s, kMost}}, negative = {KvGrowth{s, 3}, {s, -1}},
                                unknown = {KvGrowth{s, 1}, {kMaxSequences, 1}};
  for (const auto& growths : {too_many, too_large, negative, unknown})
    check_refused(cache_->reserve(growths).error(), ErrorCode::invalid_argument, before);
  for (const int len : {-1, model.len() + 1, kMost})
    check_refused(cache_->truncate(s, len).error(), ErrorCode::invalid_argument, before);
  for (const auto& [first, n] : {std::pair(-1, 1), {0, -1}, {model.len(), 1}, {0, model.len() + 1}, {kMost, kMost}})
    check_refused(cache_->remove(s, first, n).error(), ErrorCode::invalid_argument, before);
  for (const int first : {-1, 0, model.len() + 1, kMost})
    check_refused(cache_->slide(s, first).error(), ErrorCode::invalid_argument, before);
  for (const int n : {-1, 0, 65, kMost})
    check_refused(cache_->keep_sinks(s, n).error(), ErrorCode::invalid_argument, before);
  check_refused(cache_->fork(kMaxSequences).error(), ErrorCode::invalid_argument, before);
  check_refused(cache_->truncate(-1, 0).error(), ErrorCode::invalid_argument, before);
  check_refused(cache_->copy_out(s, 0, 0, model.len() + 1, nullptr, nullptr).error(), ErrorCode::invalid_argument,
                before);
  check_refused(cache_->restore(folder_.path("none.kv"), kIdentity).error(), ErrorCode::io, before);
  cache_->release(kMaxSequences);
  REQUIRE(same_stats(cache_->stats(), before));
}

void Schedule::check_contents(const Sequences::value_type& sequence) {
  INFO("sequence ", sequence.first);
  REQUIRE(same_contents(*cache_, sequence.first, sequence.second, layers_));
}

void Schedule::check_step() {
  REQUIRE(cache_->check_invariants() == "");
  const CacheStats stats = cache_->stats();
  REQUIRE(broken_stats(stats) == "");
  REQUIRE(stats.limit_bytes == options_.limit_bytes);
  REQUIRE(stats.n_sequences == static_cast<int>(sequences_.size()));
  int64_t n_tokens = 0;
  size_t at_most = 0;
  for (const auto& [s, model] : sequences_) {
    n_tokens += model.len();
    at_most += cache_->bytes_needed(model.len());
  }
  REQUIRE(stats.n_tokens == n_tokens);
  if (plain_) REQUIRE(stats.used_bytes == at_most);
  // Now and then all of them: a write that reached a shared block would show in a sequence that wasn't touched.
  const bool all = counts_.n_steps % 8 == 0;
  for (const auto& sequence : sequences_)
    if (all || std::find(touched_.begin(), touched_.end(), sequence.first) != touched_.end()) check_contents(sequence);
}

ScheduleCounts Schedule::finish() {
  for (const auto& sequence : sequences_) check_contents(sequence);
  for (const auto& [s, model] : sequences_) cache_->release(s);
  sequences_.clear();
  check_step();
  REQUIRE(cache_->stats().prefix_bytes <= options_.prefix_bytes);  // what a sequence used could not go before
  counts_.n_evicted = cache_->stats().prefixes.n_evicted_blocks;
  REQUIRE(cache_->stats().used_bytes == cache_->stats().prefix_bytes);
  cache_->forget_prefixes();
  REQUIRE(cache_->stats().reserved_bytes == 0);
  REQUIRE(cache_->check_invariants() == "");
  return counts_;
}

}  // namespace decant::test
