// SPDX-License-Identifier: Apache-2.0
#include "cache/prefix_tree.h"

#include <map>
#include <new>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/cache/prefix_case.h"
#include "tests/support/failing_new.h"

namespace decant::cache {
namespace {

using test::count_from;
using test::operator+;
using test::PrefixCase;
using test::Tables;
using test::Tokens;

// Says what is known: how many tokens of these, in the tree's words.
int32_t n_found(PrefixCase& c, const Tokens& tokens, std::string_view salt = "") {
  return c.tree.match(salt, tokens).n_tokens;
}

struct Node {
  std::string salt;
  int32_t parent;
  Tokens tokens;
  std::vector<BlockId> blocks;
  int priority;
  bool operator==(const Node&) const = default;
};
std::vector<Node> nodes_of(const PrefixCase& c) {
  std::vector<Node> nodes;
  c.tree.visit([&](const PrefixTree::Visited& v) {
    nodes.push_back({std::string(v.salt), v.parent, Tokens(v.tokens.begin(), v.tokens.end()),
                     std::vector<BlockId>(v.blocks.begin(), v.blocks.end()), v.priority});
  });
  return nodes;
}

TEST_CASE("prefix_tree: finds full nodes in order, then the longest start of one more block") {
  PrefixCase c({0, 0});
  Tables a = c.take_for(11);
  c.insert("", count_from(0, 11), a);
  c.know(count_from(0, 8) + Tokens{8, 77, 78, 79});
  const PrefixMatch match = c.tree.match("", count_from(0, 12));
  CHECK(match.n_tokens == 11);
  CHECK(match.n_known == 11);
  REQUIRE(match.nodes.size() == 2);
  CHECK(match.partial_tokens == 3);
  CHECK(match.why == PrefixMiss::diverged);
  for (size_t g = 0; g < 2; ++g) {
    CHECK(c.tree.blocks(match.nodes[0])[g] == a[g][0]);
    CHECK(c.tree.blocks(match.nodes[1])[g] == a[g][1]);
    CHECK(c.tree.blocks(match.partial_node)[g] == a[g][2]);
  }
  const PrefixMatch one = c.tree.match("", count_from(0, 9) + Tokens{55});
  CHECK(one.n_tokens == 9);
  CHECK(one.partial_tokens == 1);
  const PrefixMatch boundary = c.tree.match("", count_from(0, 4));
  CHECK(boundary.nodes.size() == 1);
  CHECK(boundary.partial_node == -1);
  CHECK(boundary.why == PrefixMiss::none);
  // A full child is a partial continuation, too.
  CHECK(n_found(c, {0, 1, 2}) == 3);
  CHECK(n_found(c, {5}) == 0);
  CHECK(n_found(c, {}) == 0);
  CHECK(c.tree.broken_invariant() == "");
  c.drop(a);
}

TEST_CASE("prefix_tree: of two sequences that computed the same tokens the first one's blocks stay") {
  PrefixCase c({0});
  Tables first = c.take_for(8), second = c.take_for(12);
  c.insert("", count_from(0, 8), first);
  c.insert("", count_from(0, 12), second);
  const PrefixMatch match = c.tree.match("", count_from(0, 12));
  REQUIRE(match.nodes.size() == 3);
  CHECK(c.tree.blocks(match.nodes[1])[0] == first[0][1]);
  CHECK(c.tree.blocks(match.nodes[2])[0] == second[0][2]);
  CHECK(c.pools[0].owners(second[0][1]) == 1);
  c.drop(first);
  c.drop(second);
  CHECK(c.pools[0].n_used() == 3);
  CHECK(c.pools[0].n_idle() == 3);
  CHECK(c.tree.broken_invariant() == "");
}

TEST_CASE("prefix_tree: a salt sees only what was inserted under it") {
  PrefixCase c({0});
  c.know(count_from(0, 8), 0, "tenant a");
  c.know(count_from(0, 4), 0, std::string("tenant\0a", 8));
  CHECK(n_found(c, count_from(0, 8), "tenant a") == 8);
  CHECK(n_found(c, count_from(0, 8), std::string("tenant\0a", 8)) == 4);
  CHECK(c.tree.match("", count_from(0, 8)).why == PrefixMiss::unknown);
  CHECK(c.tree.match("tenant", count_from(0, 8)).n_tokens == 0);
  c.tree.clear("tenant a");
  CHECK(n_found(c, count_from(0, 8), "tenant a") == 0);
  CHECK(n_found(c, count_from(0, 8), std::string("tenant\0a", 8)) == 4);
  CHECK(c.tree.broken_invariant() == "");
  c.tree.clear();
  CHECK(c.pools[0].n_used() == 0);
  CHECK(c.tree.stats().n_nodes == 0);
  CHECK(c.tree.broken_invariant() == "");
}

TEST_CASE("prefix_tree: a partial leaf goes when a node begins with it, and isn't added to one that does") {
  PrefixCase c({0});
  c.know(count_from(0, 6));
  CHECK(c.tree.stats().n_nodes == 2);
  CHECK(c.tree.stats().n_tokens == 6);
  c.know(count_from(0, 7));  // a longer partial leaf
  CHECK(c.tree.stats().n_nodes == 2);
  CHECK(c.tree.stats().n_tokens == 7);
  c.know(count_from(0, 5));  // children have these
  CHECK(c.tree.stats().n_nodes == 2);
  c.know({0, 1, 2, 3, 4, 99});  // a sibling that goes another way
  CHECK(c.tree.stats().n_nodes == 3);
  c.know(count_from(0, 12));  // a full node that begins with the leaf
  CHECK(c.tree.stats().n_nodes == 4);
  CHECK(c.pools[0].n_used() == 4);
  c.know(count_from(0, 6));  // a full child has these
  CHECK(c.tree.stats().n_nodes == 4);
  CHECK(c.tree.broken_invariant() == "");
}

TEST_CASE("prefix_tree: taking a partial leaf back leaves its block to the sequence alone") {
  PrefixCase c({0});
  Tables mine = c.take_for(6);
  const NodeId leaf = c.insert("", count_from(0, 6), mine);
  CHECK(c.pools[0].owners(mine[0][1]) == 2);
  c.tree.take_back(leaf);
  CHECK(c.pools[0].owners(mine[0][1]) == 1);
  CHECK_FALSE(c.pools[0].held(mine[0][1]));
  CHECK(n_found(c, count_from(0, 6)) == 4);
  c.tree.take_back(leaf);
  CHECK(c.tree.stats().n_nodes == 1);

  // Written in place, the block comes back as another node, which an old name doesn't reach.
  const NodeId full = c.insert("", count_from(0, 8), mine);
  CHECK(full != leaf);
  c.tree.take_back(leaf);
  c.tree.take_back(full);
  c.tree.take_back(NodeId{});
  c.tree.take_back(NodeId{1000, 1});
  CHECK(n_found(c, count_from(0, 8)) == 8);
  CHECK(c.tree.broken_invariant() == "");
  c.drop(mine);
}

TEST_CASE("prefix_tree: only the sequence whose blocks a partial leaf names may take it back") {
  PrefixCase c({0});
  Tables first = c.take_for(6), second = c.take_for(6);
  const NodeId leaf = c.insert("", count_from(0, 6), first);
  CHECK(c.insert("", count_from(0, 6), first) == leaf);
  CHECK(c.insert("", count_from(0, 6), second) == NodeId{});
  // Tokens that a longer node has: the last node is the full one above, which nobody takes back.
  const NodeId above = c.insert("", count_from(0, 5), second);
  c.tree.take_back(above);
  CHECK(n_found(c, count_from(0, 6)) == 6);
  CHECK(c.insert("", {}, second) == NodeId{});
  c.drop(first);
  c.drop(second);
}

TEST_CASE("prefix_tree: a leaf that is not taken back may be replaced by a node in the same block") {
  PrefixCase c({0});
  Tables mine = c.take_for(3);
  c.insert("", count_from(0, 3), mine);
  c.insert("", count_from(0, 4), mine);
  CHECK(c.tree.stats().n_nodes == 1);
  CHECK(c.pools[0].owners(mine[0][0]) == 2);
  CHECK(c.tree.broken_invariant() == "");
  c.drop(mine);
}

TEST_CASE("prefix_tree: a block that another node holds already isn't taken twice") {
  PrefixCase c({0});
  Tables mine = c.take_for(4);
  c.insert("", count_from(0, 4), mine);
  CHECK(c.insert("", count_from(100, 4), mine) == NodeId{});
  CHECK(c.tree.match("", count_from(100, 4)).why == PrefixMiss::diverged);
  CHECK(c.tree.broken_invariant() == "");
  c.drop(mine);
}

TEST_CASE("prefix_tree: a node gets the windowed block that it lacks from a later sequence") {
  PrefixCase c({0, 6});
  Tables first = c.take_for(12);
  c.pools[1].drop(std::exchange(first[1][0], BlockId{}));
  c.insert("", count_from(0, 12), first);
  CHECK(c.tree.match("", count_from(0, 4)).why == PrefixMiss::window);
  Tables second = c.take_for(8);
  c.insert("", count_from(0, 8), second);
  const PrefixMatch match = c.tree.match("", count_from(0, 8));
  CHECK(match.n_tokens == 8);
  CHECK(c.tree.blocks(match.nodes[0])[1] == second[1][0]);
  CHECK(c.tree.blocks(match.nodes[1])[1] == first[1][1]);
  CHECK(c.tree.broken_invariant() == "");
  c.drop(first);
  c.drop(second);
}

TEST_CASE("prefix_tree: an insert ends where a block without a window is missing, or where no block follows") {
  PrefixCase c({0, 6});
  Tables mine = c.take_for(16);
  c.pools[0].drop(std::exchange(mine[0][2], BlockId{}));
  c.insert("", count_from(0, 16), mine);
  CHECK(c.tree.stats().n_nodes == 2);
  CHECK(n_found(c, count_from(0, 16)) == 8);
  c.drop(mine);
  PrefixCase windows({6});
  Tables late = windows.take_for(12);
  windows.pools[0].drop(std::exchange(late[0][0], BlockId{}));
  windows.pools[0].drop(std::exchange(late[0][2], BlockId{}));
  windows.insert("", count_from(0, 12), late);
  CHECK(windows.tree.stats().n_nodes == 2);
  CHECK(windows.tree.broken_invariant() == "");
  windows.drop(late);
}

TEST_CASE("prefix_tree: a prefix ends where each window still has what a query there attends to") {
  // A query at m attends to slots m − 5 to m with a window of 6: m = 16 needs blocks from slot 11 on, so 2 and 3.
  for (int n_outlived = 0; n_outlived <= 4; ++n_outlived) {
    PrefixCase c({0, 6});
    Tables mine = c.take_for(18);
    for (int i = 0; i < n_outlived; ++i) c.pools[1].drop(std::exchange(mine[1][i], BlockId{}));
    c.insert("", count_from(0, 18), mine);
    CAPTURE(n_outlived);
    const PrefixMatch all = c.tree.match("", count_from(0, 18));
    CHECK(all.n_known == 18);
    CHECK(all.n_tokens == (n_outlived <= 3 ? 18 : 0));  // slots 13 to 17: blocks 3 and 4
    CHECK(all.why == (n_outlived <= 3 ? PrefixMiss::none : PrefixMiss::window));
    const PrefixMatch four = c.tree.match("", count_from(0, 16) + Tokens{99});
    CHECK(four.n_known == 16);
    CHECK(four.n_tokens == (n_outlived <= 2 ? 16 : 0));
    CHECK(four.why == (n_outlived <= 2 ? PrefixMiss::diverged : PrefixMiss::window));
    CHECK(four.nodes.size() == static_cast<size_t>(four.n_tokens) / 4);
    c.drop(mine);
  }
}

TEST_CASE("prefix_tree: where the longest prefix lacks a window's block, a shorter one is used") {
  PrefixCase c({0, 6});
  Tables mine = c.take_for(20);
  for (const int i : {3}) c.pools[1].drop(std::exchange(mine[1][i], BlockId{}));
  c.insert("", count_from(0, 20), mine);
  const PrefixMatch match = c.tree.match("", count_from(0, 20));  // slots 15 to 19 reach into block 3
  CHECK(match.n_known == 20);
  CHECK(match.n_tokens == 12);
  CHECK(match.nodes.size() == 3);
  CHECK(match.why == PrefixMiss::window);
  // A partial continuation of 2 tokens needs slots 13 and later of the full ones.
  CHECK(n_found(c, count_from(0, 18)) == 12);
  // A window of 1 attends to the query alone: between blocks nothing is needed, within one the table has it.
  PrefixCase one({0, 1});
  Tables lone = one.take_for(8);
  for (BlockId& id : lone[1]) one.pools[1].drop(std::exchange(id, BlockId{}));
  one.insert("", count_from(0, 8), lone);
  CHECK(n_found(one, count_from(0, 8)) == 8);
  CHECK(n_found(one, count_from(0, 7)) == 4);
  c.drop(mine);
  one.drop(lone);
}

TEST_CASE("prefix_tree: of children that begin alike one that has its window's block is used") {
  PrefixCase c({0, 6});
  Tables first = c.take_for(8), second = c.take_for(8);
  c.pools[1].drop(std::exchange(first[1][1], BlockId{}));
  c.insert("", count_from(0, 8), first);
  c.insert("", count_from(0, 6) + Tokens{66, 67}, second);
  const PrefixMatch match = c.tree.match("", count_from(0, 7));
  CHECK(match.n_known == 7);
  CHECK(match.n_tokens == 6);
  CHECK(c.tree.blocks(match.partial_node)[1] == second[1][1]);
  CHECK(match.why == PrefixMiss::window);
  c.drop(first);
  c.drop(second);
}

TEST_CASE("prefix_tree: a miss after eviction says so, even when nothing else is left") {
  PrefixCase c({0});
  c.know(count_from(0, 12));
  c.know(count_from(0, 8) + Tokens{50, 51});
  CHECK(c.tree.match("", count_from(0, 8) + Tokens{60}).why == PrefixMiss::diverged);
  REQUIRE(c.tree.evict_one());
  const PrefixMatch match = c.tree.match("", count_from(0, 12));
  CHECK(match.n_tokens == 8);
  CHECK(match.why == PrefixMiss::evicted);
  REQUIRE(c.tree.evict_one());
  CHECK(c.tree.match("", count_from(0, 8) + Tokens{50, 51, 52}).why == PrefixMiss::evicted);
  CHECK(c.tree.match("", count_from(0, 8) + Tokens{50, 52}).why == PrefixMiss::diverged);
  while (c.tree.evict_one()) continue;
  CHECK(c.tree.stats().n_nodes == 0);
  CHECK(c.tree.match("", count_from(0, 12)).why == PrefixMiss::evicted);
  CHECK(c.tree.match("", count_from(1, 12)).why == PrefixMiss::unknown);
  CHECK(c.tree.match("other", count_from(0, 12)).why == PrefixMiss::unknown);
  c.know(count_from(0, 4));
  c.tree.clear("");
  CHECK(c.tree.match("", count_from(0, 4)).why == PrefixMiss::unknown);
}

TEST_CASE("prefix_tree: the least recently used leaf goes first, and a parent after its children") {
  PrefixCase c({0});
  c.know(count_from(0, 4) + Tokens{10, 11, 12, 13});
  c.know(count_from(0, 4) + Tokens{20, 21, 22, 23});
  c.know(count_from(100, 4));
  CHECK(n_found(c, count_from(0, 4) + Tokens{10, 11, 12, 13}) == 8);  // used: now the latest
  const auto look = [&] {
    int seen = 0;
    c.tree.visit([&](const PrefixTree::Visited& v) {
      seen |= v.tokens[0] == 10 ? 1 : v.tokens[0] == 20 ? 2 : v.tokens[0] == 100 ? 4 : 8;
    });
    return seen;
  };
  CHECK(look() == 15);
  CHECK(c.tree.evict_one());
  CHECK(look() == 13);
  CHECK(c.tree.evict_one());
  CHECK(look() == 9);
  CHECK(c.tree.evict_one());
  CHECK(look() == 8);
  CHECK(c.tree.evict_one());
  CHECK(look() == 0);
  CHECK_FALSE(c.tree.evict_one());
  CHECK(c.tree.stats().n_evicted_nodes == 4);
  CHECK(c.tree.stats().n_evicted_blocks == 4);
  CHECK(c.budget.reserved_bytes == 0);
}

TEST_CASE("prefix_tree: a lower priority goes first, and a path has at least its end's") {
  PrefixCase c({0});
  c.know(count_from(0, 4), 1);
  c.know(count_from(0, 8), 7);  // raises the first block, too
  c.know(count_from(100, 4), 3);
  c.know(count_from(200, 4), 1000);  // the highest there is
  c.know(count_from(300, 4), -5);    // the lowest
  std::map<int32_t, int> priorities;
  c.tree.visit([&](const PrefixTree::Visited& v) { priorities[v.tokens[0]] = v.priority; });
  CHECK(priorities == std::map<int32_t, int>{{0, 7}, {4, 7}, {100, 3}, {200, PrefixTree::kMaxPriority}, {300, 0}});
  CHECK(n_found(c, count_from(300, 4)) == 4);
  CHECK(c.tree.evict_one());
  CHECK(n_found(c, count_from(300, 4)) == 0);
  CHECK(c.tree.evict_one());
  CHECK(n_found(c, count_from(100, 4)) == 0);
  CHECK(c.tree.evict_one());
  CHECK(n_found(c, count_from(0, 8)) == 4);
  c.know(count_from(0, 4), 2);  // doesn't fall
  CHECK(c.tree.evict_one());
  CHECK(n_found(c, count_from(0, 8)) == 0);
  CHECK(n_found(c, count_from(200, 4)) == 4);
}

TEST_CASE("prefix_tree: eviction skips what sequences use, and is false when that is all") {
  PrefixCase c({0});
  Tables mine = c.take_for(8);
  c.insert("", count_from(0, 8), mine);
  c.know(count_from(0, 12));
  c.know(count_from(100, 4));
  CHECK(c.tree.evict_one());
  CHECK(n_found(c, count_from(0, 12)) == 8);
  CHECK(c.tree.evict_one());
  CHECK(n_found(c, count_from(100, 4)) == 0);
  CHECK_FALSE(c.tree.evict_one());
  CHECK(n_found(c, count_from(0, 8)) == 8);
  c.drop(mine);
  CHECK(c.tree.evict_until([&] { return c.pools[0].n_used() == 0; }));
  CHECK(c.tree.stats().n_nodes == 0);
}

TEST_CASE("prefix_tree: one pass evicts what single evictions do, in the same order") {
  for (const int n : {0, 1, 5, 17, 40, 1000}) {
    PrefixCase one({0, 6}), pass({0, 6});
    Tables in_use;
    for (PrefixCase* c : {&one, &pass}) {
      for (int i = 0; i < 8; ++i) c->know(count_from(0, 4 * i) + count_from(1000 * i, 20), i % 3);
      in_use = c->take_for(8);
      c->insert("", count_from(500, 8), in_use);  // in use to the end of each case
    }
    int n_evicted = 0, n_asked = 0;
    while (n_evicted < n && one.tree.evict_one()) ++n_evicted;
    CHECK(pass.tree.evict_until([&] { return n_asked++ == n; }) == (n_evicted == n));
    CHECK(nodes_of(one) == nodes_of(pass));
    for (size_t g = 0; g < 2; ++g) CHECK(one.pools[g].n_used() == pass.pools[g].n_used());
    CHECK(pass.tree.broken_invariant() == "");
  }
}

TEST_CASE(
    "prefix_tree: windowed blocks that no end needs go before any leaf, those that have been spare longest first") {
  // A window of 6 over blocks of 4: an end needs its own block and the one above.
  PrefixCase c({0, 6});
  c.know(count_from(0, 24));
  const auto windowed = [&] {
    std::string there;
    for (const int32_t node : c.tree.match("", count_from(0, 24)).nodes)
      there += c.tree.blocks(node)[1].slab >= 0 ? 'x' : '.';
    return there;
  };
  CHECK(windowed() == "xxxxxx");
  CHECK(c.tree.evict_one());
  CHECK(windowed() == "xxx.xx");
  c.know(count_from(0, 8) + Tokens{60, 61});  // now the second node is an end
  CHECK(c.tree.broken_invariant() == "");
  CHECK(c.tree.evict_one());
  CHECK(windowed() == "xx..xx");
  CHECK(c.tree.stats().n_nodes == 7);
  CHECK(c.tree.evict_one());  // nothing is spare: the leaf of 24 tokens, least recently used or not
  CHECK(c.tree.stats().n_nodes == 6);
  CHECK(c.tree.broken_invariant() == "");
  while (c.tree.evict_one()) REQUIRE(c.tree.broken_invariant() == "");
  CHECK(c.tree.stats().n_nodes == 0);
  CHECK(c.budget.reserved_bytes == 0);
}

TEST_CASE("prefix_tree: a spare block that a sequence uses stays, the rest of its node's go") {
  PrefixCase c({6, 7});
  Tables mine = c.take_for(16);
  c.insert("", count_from(0, 16), mine);
  const BlockId in_use = mine[0][0];
  c.pools[0].share(in_use);
  c.drop(mine);
  const auto there = [&] {
    std::vector<std::string> all;
    for (const Node& node : nodes_of(c))
      all.push_back({node.blocks[0].slab >= 0 ? 'x' : '.', node.blocks[1].slab >= 0 ? 'x' : '.'});
    return all;
  };
  CHECK(c.tree.evict_one());
  CHECK(there() == std::vector<std::string>{"xx", ".x", "xx", "xx"});
  CHECK(c.tree.evict_one());
  CHECK(there() == std::vector<std::string>{"x.", ".x", "xx", "xx"});
  CHECK(n_found(c, count_from(0, 16)) == 16);
  CHECK(c.tree.broken_invariant() == "");
  c.pools[0].drop(in_use);
  CHECK(c.tree.evict_one());
  CHECK(there() == std::vector<std::string>{"..", ".x", "xx", "xx"});
  CHECK(c.tree.evict_one());
  CHECK(there() == std::vector<std::string>{"..", ".x", "xx"});
  CHECK(c.tree.evict_one());
  CHECK(there() == std::vector<std::string>{"..", ".x"});
  CHECK(c.tree.evict_one());  // with the node above, which has no block
  CHECK(c.tree.stats().n_nodes == 0);
  CHECK(c.tree.stats().n_evicted_nodes == 4);
  CHECK(c.tree.stats().n_evicted_blocks == 8);
}

TEST_CASE("prefix_tree: trimming to a budget evicts until what nobody uses is within it") {
  PrefixCase c({0});
  Tables mine = c.take_for(8);
  c.insert("", count_from(0, 8), mine);
  c.know(count_from(100, 40));
  CHECK(c.tree.idle_bytes() == 10 * kPageBytes);
  c.tree.trim_to_budget();
  CHECK(c.tree.idle_bytes() == 10 * kPageBytes);
  c.tree.set_max_idle_bytes(4 * kPageBytes + 100);
  c.tree.trim_to_budget();
  CHECK(c.tree.idle_bytes() == 4 * kPageBytes);
  CHECK(n_found(c, count_from(100, 40)) == 16);
  c.tree.set_max_idle_bytes(0);
  c.tree.trim_to_budget();
  CHECK(c.tree.idle_bytes() == 0);
  CHECK(n_found(c, count_from(0, 8)) == 8);
  CHECK(c.tree.stats().idle_bytes == 0);
  c.drop(mine);
  CHECK(c.tree.stats().idle_bytes == 2 * kPageBytes);
}

TEST_CASE("prefix_tree: visits parents first, and what it shows rebuilds the same order of use") {
  PrefixCase c({0, 6}), copy({0, 6});
  c.know(count_from(0, 14), 2, "a");
  c.know(count_from(0, 8) + count_from(50, 9), 0, "a");
  c.know(count_from(0, 8), 0, "b");
  CHECK(n_found(c, count_from(0, 13), "a") == 13);
  CHECK(n_found(c, count_from(0, 4), "b") == 4);
  std::vector<Node> nodes = nodes_of(c);
  REQUIRE(nodes.size() == 9);
  for (size_t i = 0; i < nodes.size(); ++i) {
    REQUIRE(nodes[i].parent < static_cast<int32_t>(i));
    REQUIRE(nodes[i].blocks.size() == 2);
    if (nodes[i].parent >= 0) CHECK(nodes[nodes[i].parent].salt == nodes[i].salt);
  }
  for (size_t i = nodes.size(); i-- > 0;) {
    Tokens prefix = nodes[i].tokens;
    for (int32_t above = nodes[i].parent; above >= 0; above = nodes[above].parent)
      prefix = nodes[above].tokens + prefix;
    copy.know(prefix, nodes[i].priority, nodes[i].salt);
  }
  std::vector<Node> copied = nodes_of(copy);
  for (std::vector<Node>* all : {&nodes, &copied})
    for (Node& node : *all) node.blocks.clear();
  CHECK(copied == nodes);
}

TEST_CASE("prefix_tree: counts matches, hits and tokens") {
  PrefixCase c({0});
  c.know(count_from(0, 10));
  n_found(c, count_from(0, 9));
  n_found(c, count_from(5, 9));
  n_found(c, count_from(0, 4));
  const PrefixTreeStats stats = c.tree.stats();
  CHECK(stats.n_matches == 3);
  CHECK(stats.n_hits == 2);
  CHECK(stats.n_hit_tokens == 13);
  CHECK(stats.n_nodes == 3);
  CHECK(stats.n_tokens == 10);
}

TEST_CASE("prefix_tree: thousands of children of one node are told apart") {
  PrefixCase c({0});
  const Tokens system = count_from(0, 4);
  for (int i = 0; i < 5000; ++i) c.know(system + Tokens{7, i, i * i % 1000, i});
  CHECK(c.tree.stats().n_nodes == 5001);
  for (int i = 0; i < 5000; i += 7) REQUIRE(n_found(c, system + Tokens{7, i, i * i % 1000, i}) == 8);
  CHECK(n_found(c, system + Tokens{7, 5000, 0, 0}) == 5);
  CHECK(c.tree.broken_invariant() == "");
}

TEST_CASE("prefix_tree: node_bytes are the bytes of heap that it takes, and clear() gives nodes' back") {
  PrefixCase c({0, 6});
  const int64_t nothing = decant::test::live_bytes();
  const auto at_first = static_cast<int64_t>(c.tree.stats().node_bytes);
  Tables tables = c.take_for(4000);
  const int64_t before = decant::test::live_bytes();
  CHECK(before >= nothing);
  for (int i = 0; i < 50; ++i)
    c.insert("a tenant with a name of some length " + std::to_string(i), count_from(i, 4 * (1 + i % 20)), tables);
  CHECK(c.tree.stats().n_nodes > 0);
  CHECK(decant::test::live_bytes() - before == static_cast<int64_t>(c.tree.stats().node_bytes) - at_first);
  c.tree.clear();
  CHECK(decant::test::live_bytes() == before);
  CHECK(static_cast<int64_t>(c.tree.stats().node_bytes) == at_first);
  c.drop(tables);
}

TEST_CASE("prefix_tree: each allocation of insert() and match() that fails leaves things as they were") {
  PrefixCase c({0, 6});
  c.know(count_from(0, 6), 0, "a salt that is too long to lie in a string itself");
  Tables tables = c.take_for(400);
  const std::vector<std::span<const BlockId>> blocks(tables.begin(), tables.end());
  const Tokens tokens = count_from(0, 400);
  const std::string other = "another salt that is too long to lie in a string itself";
  for (const std::string& salt : {std::string("a salt that is too long to lie in a string itself"), other}) {
    const std::vector<Node> before = nodes_of(c);
    const int64_t n_live = decant::test::n_live_allocations();
    const size_t bytes = c.tree.stats().node_bytes;
    int64_t n = 0;
    for (;; ++n) {
      bool threw = false, failed = false;
      {
        const decant::test::FailingNew failing(n);
        try {
          c.tree.insert(salt, tokens, blocks, 5);
        } catch (const std::bad_alloc&) {
          threw = true;
        }
        failed = failing.failed();
      }
      REQUIRE(threw == failed);
      if (!threw) break;
      REQUIRE(nodes_of(c) == before);
      REQUIRE(c.tree.broken_invariant() == "");
      // Room that was made beforehand stays, in the place of what there was.
      REQUIRE(decant::test::n_live_allocations() <= n_live + 8);
      REQUIRE(c.tree.stats().node_bytes >= bytes);
    }
    CHECK(n > (salt == other ? 0 : 2));
    CHECK(nodes_of(c) != before);
  }
  {
    const std::vector<Node> before = nodes_of(c);
    const PrefixTreeStats stats = c.tree.stats();
    bool threw = false;
    {
      const decant::test::FailingNew failing(0);
      try {
        c.tree.match(other, tokens);
      } catch (const std::bad_alloc&) {
        threw = true;
      }
    }
    CHECK(threw);
    CHECK(nodes_of(c) == before);
    CHECK(c.tree.stats().n_matches == stats.n_matches);
  }
  c.drop(tables);
}

TEST_CASE("prefix_tree: using, evicting and clearing allocate nothing") {
  PrefixCase c({0, 6});
  c.know(count_from(0, 400));
  c.know(count_from(0, 200) + count_from(1000, 50), 3);
  Tables tables = c.take_for(398);
  const NodeId leaf = c.insert("", count_from(0, 398), tables);
  const decant::test::FailingNew failing(0);
  c.tree.take_back(leaf);
  for (int i = 0; i < 20; ++i) c.tree.evict_one();
  c.tree.set_max_idle_bytes(40 * kPageBytes);
  c.tree.trim_to_budget();
  c.tree.clear("");
  c.tree.clear();
  CHECK_FALSE(failing.failed());
  c.drop(tables);
}

}  // namespace
}  // namespace decant::cache
