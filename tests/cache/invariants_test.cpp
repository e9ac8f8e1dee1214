// SPDX-License-Identifier: Apache-2.0
#include "cache/invariants.h"

#include <functional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace decant::cache {
namespace {

// Two groups, the second with a window of 16; one sequence of 40 tokens in blocks of 16, one gone.
// Group 0: blocks 0, 1, 2 of a slab of four. Group 1: block 0 outlived, blocks 1 and 2 of a slab of two.
CacheState sound_state() {
  static std::byte memory[6 * 64];
  CacheState state;
  state.block_tokens = 16;
  state.max_tokens = 64;
  state.limit_bytes = 1000;
  state.reserved_bytes = 6 * 64;
  state.n_free_sequences = 1;

  CacheState::Group full{0, 64, 3, 1, {{memory, 4 * 64, {1, 1, 1, 0}, {false, false, false, false}, {3}, 3, true}, {}}};
  CacheState::Group windowed{16, 64, 2, 0, {{memory + 4 * 64, 2 * 64, {1, 1}, {false, false}, {}, 2, false}}};
  state.groups = {full, windowed};

  CacheState::Sequence sequence{40, 40, 0, 0, true, {}};
  sequence.tables.push_back({{{0, 0}, {0, 1}, {0, 2}}, {memory, memory + 64, memory + 128}, 0, 0, 0});
  sequence.tables.push_back({{{}, {0, 0}, {0, 1}}, {nullptr, memory + 256, memory + 320}, 0, 1, 16});
  state.sequences = {sequence, {0, 0, 0, 0, false, {{}, {}}}};
  state.held.resize(2);
  return state;
}

TEST_CASE("invariants: a sound state has none broken") { CHECK(broken_invariant(sound_state()) == ""); }

TEST_CASE("invariants: a shared block has an owner for each table that names it") {
  CacheState state = sound_state();
  state.n_free_sequences = 0;
  state.sequences[1] = state.sequences[0];
  CHECK(broken_invariant(state) != "");
  for (CacheState::Group& group : state.groups)
    for (CacheState::Slab& slab : group.slabs)
      for (int32_t& owners : slab.owners) owners *= 2;
  CHECK(broken_invariant(state) == "");
}

TEST_CASE("invariants: each broken one is found and named") {
  struct Case {
    const char* says;
    std::function<void(CacheState&)> breaks;
  };
  const std::vector<Case> cases = {
      {"has 2 owners, tables name it 1 times, the tree never",
       [](CacheState& s) { s.groups[0].slabs[0].owners[1] = 2; }},
      {"has 1 owners, tables name it 0 times, the tree never",
       [](CacheState& s) { s.groups[0].slabs[0].owners[3] = 1; }},
      {"is free but owned", [](CacheState& s) { s.groups[0].slabs[0].free_list = {2}; }},
      {"circular free list",
       [](CacheState& s) {
         s.groups[0].slabs[0].free_list = {3, 3};
       }},
      {"circular free list", [](CacheState& s) { s.groups[0].slabs[0].free_list = {4}; }},
      {"used and 0 free of 4", [](CacheState& s) { s.groups[0].slabs[0].free_list.clear(); }},
      {"wrong list", [](CacheState& s) { s.groups[0].slabs[0].listed = false; }},
      {"wrong list", [](CacheState& s) { s.groups[1].slabs[0].listed = true; }},
      {"isn't empty", [](CacheState& s) { s.groups[0].slabs[1].n_used = 1; }},
      {"stands empty",
       [](CacheState& s) {
         s.groups[0].slabs[1] = {s.groups[0].slabs[0].data + 4096, 64, {0}, {false}, {0}, 0, true};
         s.groups[0].n_free = 2;
         s.reserved_bytes += 64;
       }},
      {"bytes for 4 blocks", [](CacheState& s) { s.groups[0].slabs[0].size_bytes += 1; }},
      {"are counted", [](CacheState& s) { s.reserved_bytes += 64; }},
      {"the limit is", [](CacheState& s) { s.limit_bytes = 383; }},
      {"overlap",
       [](CacheState& s) {
         s.groups[1].slabs[0].data -= 64;
         s.sequences[0].tables[1].blocks[1] -= 64;
         s.sequences[0].tables[1].blocks[2] -= 64;
       }},
      {"counts 2 used", [](CacheState& s) { s.groups[0].n_used = 2; }},
      {"counts 3 used and 2 free", [](CacheState& s) { s.groups[0].n_free = 2; }},
      {"slots need 4", [](CacheState& s) { s.sequences[0].n_slots = s.sequences[0].len = 49; }},
      {"slots need 2", [](CacheState& s) { s.sequences[0].n_slots = s.sequences[0].len = 32; }},
      {"no reservation is alive", [](CacheState& s) { s.sequences[0].len = 39; }},
      {"tokens in", [](CacheState& s) { s.sequences[0].len = 41; }},
      {"tokens in", [](CacheState& s) { s.max_tokens = 39; }},
      {"is gone but has slots", [](CacheState& s) { s.sequences[0].alive = false; }},
      {"places are free", [](CacheState& s) { s.n_free_sequences = 2; }},
      {"only those before 9 may be", [](CacheState& s) { s.groups[1].window = 32; }},
      {"only those before 0 may be", [](CacheState& s) { s.sequences[0].tables[0].first_slot = 1; }},
      {"1 blocks are gone, slots from 15", [](CacheState& s) { s.sequences[0].tables[1].first_slot = 15; }},
      {"is being written and shared",
       [](CacheState& s) {
         s.reservation_alive = true;
         s.sequences[0].len = 39;
         s.groups[0].slabs[0].owners[2] = 2;
       }},
      {"are marked as the tree's, its nodes name 0", [](CacheState& s) { s.groups[0].slabs[0].held[0] = true; }},
      {"that isn't marked",
       [](CacheState& s) {
         s.groups[0].slabs[0].held[0] = true;
         s.held[0] = {{0, 1}};
       }},
      {"the tree once",
       [](CacheState& s) {
         s.groups[0].slabs[0].held[0] = true;
         s.held[0] = {{0, 0}};
       }},
      {"branch", [](CacheState& s) { s.broken_tree = "a branch is loose"; }},
      {"are counted", [](CacheState& s) { s.sequences[0].sink_bytes = 4096; }},
      {"isn't null", [](CacheState& s) { s.sequences[0].tables[1].blocks[0] = s.groups[1].slabs[0].data; }},
      {"names no block",
       [](CacheState& s) {
         s.sequences[0].tables[0].ids[0] = {0, 4};
       }},
      {"names no block",
       [](CacheState& s) {
         s.sequences[0].tables[0].ids[0] = {2, 0};
       }},
      {"names no block", [](CacheState& s) { s.sequences[0].tables[0].ids[0] = {}; }},
      {"points elsewhere", [](CacheState& s) { s.sequences[0].tables[0].blocks[1] += 64; }},
      {"in the table twice",
       [](CacheState& s) {
         s.sequences[0].tables[0].ids[1] = s.sequences[0].tables[0].ids[0];
         s.sequences[0].tables[0].blocks[1] = s.sequences[0].tables[0].blocks[0];
       }},
  };
  for (const Case& c : cases) {
    CacheState state = sound_state();
    c.breaks(state);
    const std::string broken = broken_invariant(state);
    CAPTURE(c.says);
    CAPTURE(broken);
    CHECK(broken.find(c.says) != std::string::npos);
  }
}

}  // namespace
}  // namespace decant::cache
