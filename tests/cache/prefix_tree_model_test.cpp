// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "tests/cache/prefix_case.h"

namespace decant::cache {
namespace {

using test::kBlockTokens;
using test::PrefixCase;
using test::present;
using test::Tables;
using test::Tokens;

using Key = std::pair<std::string, Tokens>;  ///< a salt and all tokens up to a node's last

struct Entry {
  std::vector<BlockId> blocks;
  int priority = 0;
  int64_t last_use = 0;
  NodeId id;  ///< of a partial leaf, as insert() gave it
};

struct Sequence {
  std::string salt;
  Tokens tokens;
  Tables tables;
  NodeId leaf;
};

size_t start_of_block(size_t n_tokens) { return (n_tokens - 1) / kBlockTokens * kBlockTokens; }
bool is_full(const Key& key) { return key.second.size() % kBlockTokens == 0; }
bool begins_with(const Tokens& tokens, const Tokens& start) {
  return tokens.size() >= start.size() && std::equal(start.begin(), start.end(), tokens.begin());
}
Key parent_of(const Key& key) {
  return {key.first,
          Tokens(key.second.begin(), key.second.begin() + static_cast<int>(start_of_block(key.second.size())))};
}

/// The same by looking at everything: a map of prefixes.
class Model {
 public:
  using Node = std::map<Key, Entry>::value_type;

  Model(PrefixCase& real, std::vector<int> windows) : real_(real), windows_(std::move(windows)) {}

  /// `got` is the tree's answer to the same.
  void insert(const Sequence& sequence, int priority, NodeId got) {
    Tokens path;
    std::vector<Key> added;
    std::optional<Key> last, replaced;
    for (size_t i = 0; path.size() < sequence.tokens.size(); ++i) {
      const Key parent{sequence.salt, path};
      const size_t n = std::min(sequence.tokens.size(), path.size() + kBlockTokens);
      path.assign(sequence.tokens.begin(), sequence.tokens.begin() + static_cast<int>(n));
      const Key key{sequence.salt, path};
      if (map.contains(key)) {
        last = key;
        continue;
      }
      bool covered = false;
      for (const Key& sibling : children(parent)) {
        covered = covered || begins_with(sibling.second, path);
        if (begins_with(path, sibling.second)) replaced = sibling;
      }
      if (covered) break;
      added.push_back(key);
    }
    // New nodes end where a block is missing that has no window, and with one that has a block.
    size_t n_added = 0;
    for (size_t a = 0; a < added.size(); ++a) {
      bool any = false, lacks = false;
      for (size_t g = 0; g < windows_.size(); ++g) {
        const bool there = present(sequence.tables[g][start_of_block(added[a].second.size()) / kBlockTokens]);
        any = any || there;
        lacks = lacks || (!there && windows_[g] == 0);
      }
      if (lacks) break;
      if (any) n_added = a + 1;
    }
    added.resize(n_added);
    if (n_added > 0 && replaced) map.erase(*replaced);
    for (const Key& key : added) {
      map[key].blocks.resize(windows_.size());
      evicted.erase(key);
      last = key;
    }
    REQUIRE((got != NodeId{} || !last || !is_full(*last)));
    if (!last) return;
    for (Key key = *last; !key.second.empty(); key = parent_of(key))
      for (size_t g = 0; g < windows_.size(); ++g)
        if (BlockId& id = map[key].blocks[g]; !present(id))
          id = sequence.tables[g][start_of_block(key.second.size()) / kBlockTokens];
    use(*last, priority);
    if (is_full(*last)) return;
    bool owned = false;
    for (size_t g = 0; g < windows_.size(); ++g)
      owned = owned || (present(map[*last].blocks[g]) && map[*last].blocks[g] == sequence.tables[g].back());
    REQUIRE(owned == (got != NodeId{}));
    if (owned) map[*last].id = got;
  }

  void take_back(NodeId id) {
    const auto leaf = std::ranges::find_if(map, [&](const auto& e) { return e.second.id == id; });
    if (id != NodeId{} && leaf != map.end()) remove(leaf->first, false);
  }

  void use(Key key, int priority) {
    for (; !key.second.empty(); key = parent_of(key)) {
      Entry& entry = map.at(key);
      entry.priority = std::max(entry.priority, priority);
      entry.last_use = ++clock_;
    }
  }

  void check_match(const std::string& salt, const Tokens& tokens, const PrefixMatch& match) {
    int32_t n_known = 0, n_usable = 0;
    for (const auto& [key, entry] : map)
      if (key.first == salt)
        n_known = std::max(n_known,
                           static_cast<int32_t>(
                               std::mismatch(key.second.begin(), key.second.end(), tokens.begin(), tokens.end()).first -
                               key.second.begin()));
    // Boundaries between blocks, and in the block that ends what is known.
    const int32_t n_full = n_known / kBlockTokens * kBlockTokens;
    for (int32_t m = 1; m <= n_known; ++m)
      for (const auto& [key, entry] : map)
        if (key.first == salt && start_of_block(key.second.size()) == start_of_block(static_cast<size_t>(m)) &&
            static_cast<int32_t>(key.second.size()) >= m && (m % kBlockTokens == 0 ? is_full(key) : m > n_full) &&
            std::equal(tokens.begin(), tokens.begin() + m, key.second.begin()) && usable(key, m))
          n_usable = m;
    REQUIRE(match.n_known == n_known);
    REQUIRE(match.n_tokens == n_usable);
    REQUIRE(match.nodes.size() == static_cast<size_t>(n_usable / kBlockTokens));
    REQUIRE(match.partial_tokens == n_usable % kBlockTokens);
    REQUIRE((match.partial_node >= 0) == (match.partial_tokens > 0));

    bool was_evicted = false, any = false;
    for (const Key& key : evicted)
      was_evicted = was_evicted || (key.first == salt && begins_with(tokens, key.second) &&
                                    static_cast<int32_t>(key.second.size()) > n_known &&
                                    static_cast<int32_t>(start_of_block(key.second.size())) == n_full);
    for (const auto& [key, entry] : map) any = any || key.first == salt;
    if (match.n_tokens == static_cast<int32_t>(tokens.size())) {
      REQUIRE(match.why == PrefixMiss::none);
    } else if (n_usable < n_known) {
      REQUIRE(match.why == PrefixMiss::window);
    } else if (match.why == PrefixMiss::evicted) {
      REQUIRE(was_evicted);
      ++n_remembered;
    } else {
      REQUIRE(match.why == (any ? PrefixMiss::diverged : PrefixMiss::unknown));
      n_forgotten += was_evicted;
    }
  }

  /// Evicts one from the tree and takes note of what must have gone.
  void evict_one() {
    const std::vector<const Node*> by_use = order();
    std::map<Key, std::vector<size_t>> spares;  // idle ones, by group
    for (const auto& [key, entry] : map)
      for (size_t g = 0; g < windows_.size(); ++g)
        if (windows_[g] > 0 && idle(entry, g) && below(key) > reach(windows_[g])) spares[key].push_back(g);
    std::optional<Key> leaf;
    for (auto node = by_use.rbegin(); node != by_use.rend() && !leaf; ++node)
      for (size_t g = 0; g < windows_.size(); ++g)
        if (idle((*node)->second, g) && children((*node)->first).empty()) leaf = (*node)->first;

    REQUIRE(real_.tree.evict_one() == (leaf || !spares.empty()));
    if (!spares.empty()) {
      // Which of them is the tree's to choose: exactly one has lost exactly its spare blocks.
      std::vector<Key> changed;
      for (const auto& [key, blocks] : blocks_of_tree())
        if (blocks != map.at(key).blocks) changed.push_back(key);
      REQUIRE(changed.size() == 1);
      REQUIRE(spares.contains(changed[0]));
      for (const size_t g : spares[changed[0]]) map.at(changed[0]).blocks[g] = {};
    } else if (leaf) {
      remove(*leaf, true);
    }
  }

  /// After evictions of any number: what is gone from the tree is gone here.
  void follow_evictions() {
    const std::map<Key, std::vector<BlockId>> there = blocks_of_tree();
    for (auto entry = map.begin(); entry != map.end();) {
      const auto found = there.find(entry->first);
      if (found == there.end()) {
        evicted.insert(entry->first);
        entry = map.erase(entry);
      } else {
        for (size_t g = 0; g < windows_.size(); ++g) {
          const bool same = found->second[g] == entry->second.blocks[g];
          REQUIRE((same || !present(found->second[g])));
        }
        (entry++)->second.blocks = found->second;
      }
    }
  }

  void clear(const std::string& salt) {
    std::erase_if(map, [&](const auto& entry) { return entry.first.first == salt; });
  }

  void check_all() const {
    REQUIRE(real_.tree.broken_invariant() == "");
    std::vector<Key> visited;
    bool same_entries = true;
    int64_t n_tokens = 0;
    real_.tree.visit([&](const PrefixTree::Visited& v) {
      visited.push_back(key_of(v, visited));
      const auto entry = map.find(visited.back());
      same_entries = same_entries && entry != map.end() && entry->second.priority == v.priority &&
                     std::ranges::equal(entry->second.blocks, v.blocks);
      n_tokens += static_cast<int64_t>(v.tokens.size());
    });
    REQUIRE(same_entries);
    REQUIRE(visited.size() == map.size());
    REQUIRE(std::ranges::equal(visited, order(), [](const Key& a, const Node* b) { return a == b->first; }));
    REQUIRE(real_.tree.stats().n_nodes == static_cast<int64_t>(map.size()));
    REQUIRE(real_.tree.stats().n_tokens == n_tokens);
  }

  std::map<Key, Entry> map;
  std::set<Key> evicted;
  int64_t n_remembered = 0;
  int64_t n_forgotten = 0;

 private:
  std::vector<Key> children(const Key& parent) const {
    std::vector<Key> found;
    for (auto entry = map.upper_bound(parent); entry != map.end(); ++entry) {
      if (entry->first.first != parent.first || !begins_with(entry->first.second, parent.second)) break;
      if (start_of_block(entry->first.second.size()) == parent.second.size()) found.push_back(entry->first);
    }
    return found;
  }

  // Slot by slot: all that a query at m, in the block of `last`, attends to, and its own block.
  bool usable(const Key& last, int32_t m) const {
    for (Key key = last; !key.second.empty(); key = parent_of(key)) {
      const auto first_slot = static_cast<int32_t>(start_of_block(key.second.size()));
      for (size_t g = 0; g < windows_.size(); ++g) {
        const int32_t first_needed = windows_[g] == 0 ? 0 : std::max(0, m - windows_[g] + 1);
        for (int32_t slot = first_slot; slot < std::min(m, first_slot + kBlockTokens); ++slot)
          if (slot >= first_needed && !present(map.at(key).blocks[g])) return false;
      }
    }
    return true;
  }

  bool idle(const Entry& entry, size_t g) const {
    return present(entry.blocks[g]) && real_.pools[g].idle(entry.blocks[g]);
  }
  static int reach(int window) { return (std::max(window - 2, 0) + kBlockTokens - 1) / kBlockTokens; }
  int below(const Key& key) const {
    const std::vector<Key> all = children(key);
    return all.size() == 1 ? below(all[0]) + 1 : 0;
  }

  // Most valuable first.
  std::vector<const Node*> order() const {
    std::vector<const Node*> nodes;
    for (const Node& node : map) nodes.push_back(&node);
    std::ranges::sort(nodes, std::greater<>(),
                      [](const Node* node) { return std::pair(node->second.priority, node->second.last_use); });
    return nodes;
  }

  static Key key_of(const PrefixTree::Visited& v, const std::vector<Key>& visited) {
    Key key{std::string(v.salt), v.parent < 0 ? Tokens() : visited[v.parent].second};
    key.second.insert(key.second.end(), v.tokens.begin(), v.tokens.end());
    return key;
  }

  std::map<Key, std::vector<BlockId>> blocks_of_tree() const {
    std::map<Key, std::vector<BlockId>> blocks;
    std::vector<Key> visited;
    real_.tree.visit([&](const PrefixTree::Visited& v) {
      visited.push_back(key_of(v, visited));
      blocks[visited.back()] = {v.blocks.begin(), v.blocks.end()};
    });
    return blocks;
  }

  void remove(Key key, bool by_eviction) {
    do {
      map.erase(key);
      if (by_eviction) evicted.insert(key);
      key = parent_of(key);
    } while (!key.second.empty() && children(key).empty() && std::ranges::none_of(map.at(key).blocks, present));
  }

  PrefixCase& real_;
  std::vector<int> windows_;
  int64_t clock_ = 0;
};

/// Sequences that come, share, grow and go as in a cache, over a tree and its model.
class Play {
 public:
  Play(unsigned seed, const std::vector<int>& windows)
      : windows_(windows), random_(seed), real_(windows), model_(real_, windows) {}

  void step() {
    switch (below(12)) {
      case 0:
      case 1:
      case 2:
        if (sequences_.size() < 6) return begin();
        return end();
      case 3:
      case 4:
      case 5:
      case 6:
        return sequences_.empty() ? begin() : grow(sequences_[static_cast<size_t>(below(size()))]);
      case 7:
        return end();
      case 8:
        return look();
      case 9:
        if (below(20) == 0) return clear();
        return trim();
      default:
        return model_.evict_one();
    }
  }

  void check() {
    model_.check_all();
    bool as_written = true;
    for (const auto& [key, entry] : model_.map)
      for (size_t g = 0; g < windows_.size(); ++g)
        if (present(entry.blocks[g])) as_written = as_written && begins_with(content(g, entry.blocks[g]), key.second);
    REQUIRE(as_written);
  }

  void finish() {
    while (!sequences_.empty()) end();
    while (real_.tree.evict_one()) continue;
    REQUIRE(real_.tree.stats().n_nodes == 0);
    REQUIRE(real_.budget.reserved_bytes == 0);
    REQUIRE(model_.n_remembered > 0);
    REQUIRE(model_.n_forgotten * 20 <= model_.n_remembered);  // what so many hashes crowd out of their places
    REQUIRE(real_.tree.stats().n_hits > 300);
  }

 private:
  int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  int size() const { return static_cast<int>(sequences_.size()); }
  std::string any_salt() { return below(3) == 0 ? "other" : ""; }
  Tokens any_tokens(int n) {
    Tokens tokens;
    for (int i = 0; i < n; ++i) tokens.push_back(below(8) == 0 ? 1 : 0);
    return tokens;
  }
  // What a block holds: the text up to its last written token.
  Tokens& content(size_t g, BlockId id) { return contents_[{g, id.slab, id.index}]; }

  void begin() {
    Sequence s{any_salt(), {}, Tables(windows_.size()), {}};
    const Tokens tokens = any_tokens(1 + below(40));
    const PrefixMatch match = find(s.salt, tokens);
    const auto n = static_cast<size_t>(match.n_tokens);
    s.tokens.assign(tokens.begin(), tokens.begin() + match.n_tokens);
    for (size_t g = 0; g < windows_.size(); ++g) {
      for (const int32_t node : match.nodes) {
        const BlockId id = real_.tree.blocks(node)[g];
        if (present(id)) real_.pools[g].share(id);
        s.tables[g].push_back(id);
      }
      if (n % kBlockTokens == 0) continue;
      REQUIRE(begins_with(content(g, real_.tree.blocks(match.partial_node)[g]), s.tokens));
      s.tables[g].push_back(real_.take(g));
      content(g, s.tables[g].back()) = s.tokens;
    }
    append(s, {tokens.begin() + match.n_tokens, tokens.end()});
    sequences_.push_back(std::move(s));
  }

  void grow(Sequence& s) {
    if (below(8) == 0 && s.tokens.size() > 4) cut(s, s.tokens.size() - static_cast<size_t>(1 + below(3)));
    append(s, any_tokens(1 + below(6)));
  }

  void cut(Sequence& s, size_t n) {
    for (size_t g = 0; g < windows_.size(); ++g)
      for (; s.tables[g].size() > (n + kBlockTokens - 1) / kBlockTokens; s.tables[g].pop_back())
        if (present(s.tables[g].back())) real_.pools[g].drop(s.tables[g].back());
    s.tokens.resize(n);
  }

  void append(Sequence& s, const Tokens& more) {
    if (below(4) > 0) take_back(s);
    for (const int32_t token : more) {
      s.tokens.push_back(token);
      for (size_t g = 0; g < windows_.size(); ++g) {
        std::vector<BlockId>& table = s.tables[g];
        if (s.tokens.size() % kBlockTokens == 1) {
          table.push_back(real_.take(g));
        } else if (!present(table.back()) || real_.pools[g].owners(table.back()) > 1) {
          const BlockId copy = real_.take(g);
          if (present(table.back())) real_.pools[g].drop(table.back());
          table.back() = copy;
        }
        content(g, table.back()) = s.tokens;
      }
    }
    // What no later query attends to goes; sometimes a little more was kept, and now and then less.
    for (size_t g = 0; g < windows_.size(); ++g) {
      if (windows_[g] == 0) continue;
      const int first_needed = static_cast<int>(s.tokens.size()) - windows_[g] + 1 - (below(3) == 0 ? 9 : 0);
      for (int i = 0; (i + 1) * kBlockTokens <= first_needed; ++i)
        if (present(s.tables[g][i])) real_.pools[g].drop(std::exchange(s.tables[g][i], BlockId{}));
    }
    const int priority = below(3);
    s.leaf = real_.insert(s.salt, s.tokens, s.tables, priority);
    model_.insert(s, priority, s.leaf);
  }

  void take_back(Sequence& s) {
    real_.tree.take_back(s.leaf);
    model_.take_back(s.leaf);
  }

  void end() {
    if (sequences_.empty()) return;
    std::swap(sequences_[static_cast<size_t>(below(size()))], sequences_.back());
    real_.drop(sequences_.back().tables);
    sequences_.pop_back();
  }

  PrefixMatch find(const std::string& salt, const Tokens& tokens) {
    const PrefixMatch match = real_.tree.match(salt, tokens);
    model_.check_match(salt, tokens, match);
    Key used{salt, Tokens(tokens.begin(), tokens.begin() + match.n_known / kBlockTokens * kBlockTokens)};
    if (match.partial_node >= 0) {
      const auto more = real_.tree.tokens(match.partial_node);
      used.second.insert(used.second.end(), more.begin(), more.end());
    }
    model_.use(used, 0);
    return match;
  }

  void look() { find(any_salt(), any_tokens(below(48))); }

  void trim() {
    const size_t budget = static_cast<size_t>(below(60)) * kPageBytes;
    real_.tree.set_max_idle_bytes(budget);
    real_.tree.trim_to_budget();
    model_.follow_evictions();
    if (real_.tree.idle_bytes() > budget) REQUIRE_FALSE(real_.tree.evict_one());
  }

  void clear() {
    const std::string salt = any_salt();
    real_.tree.clear(salt);
    model_.clear(salt);
  }

  std::vector<int> windows_;
  std::mt19937 random_;
  PrefixCase real_;
  Model model_;
  std::vector<Sequence> sequences_;
  std::map<std::tuple<size_t, int32_t, int32_t>, Tokens> contents_;
};

TEST_CASE("prefix_tree: does what a map of prefixes does, through 20,000 random operations") {
  constexpr unsigned kSeed = 31;
  const std::vector<std::vector<int>> windows = {{0}, {0, 6}, {5, 17, 0}, {3, 10}};
  for (unsigned w = 0; w < windows.size(); ++w) {
    CAPTURE(kSeed);
    CAPTURE(w);
    Play play(kSeed + w, windows[w]);
    for (int n = 0; n < 5000; ++n) {
      CAPTURE(n);
      play.step();
      play.check();
    }
    play.finish();
  }
}

}  // namespace
}  // namespace decant::cache
