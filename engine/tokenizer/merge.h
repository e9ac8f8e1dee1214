// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string_view>

#include "engine/tokenizer/model.h"
#include "engine/tokenizer/utf8.h"

namespace decant::tokenizer {

/// Appends a symbol to the list in scratch.
inline void append_symbol(Scratch& scratch, int32_t id, size_t begin, size_t end) {
  const auto at = static_cast<int32_t>(scratch.symbols.size());
  if (at > 0) scratch.symbols.back().next = at;
  scratch.symbols.push_back({id, at - 1, -1, static_cast<uint32_t>(begin), static_cast<uint32_t>(end)});
}

/// Merges neighbouring symbols, the lowest rank first and of equal ranks the leftmost, until no rule applies.
/// rule_of(left, right) → MergeRule. O(n log n) in the number of symbols.
/// Source: Sennrich et al. 2016 (arXiv:1508.07909), with a priority queue in place of passes.
template <typename RuleOf>
void merge_symbols(Scratch& scratch, RuleOf&& rule_of) {
  std::vector<Symbol>& symbols = scratch.symbols;
  std::vector<Candidate>& heap = scratch.heap;
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.rule.rank != b.rule.rank ? a.rule.rank > b.rule.rank : a.left > b.left;
  };
  const auto candidate = [&](int32_t left) -> Candidate {
    const Symbol& l = symbols[static_cast<size_t>(left)];
    return {l.next < 0 ? MergeRule{} : rule_of(l, symbols[static_cast<size_t>(l.next)]), left};
  };
  const auto offer = [&](int32_t left) {
    if (left < 0) return;
    if (const Candidate c = candidate(left); c.rule.id >= 0) {
      heap.push_back(c);
      std::push_heap(heap.begin(), heap.end(), later);
    }
  };

  heap.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i)
    if (const Candidate c = candidate(static_cast<int32_t>(i)); c.rule.id >= 0) heap.push_back(c);
  std::make_heap(heap.begin(), heap.end(), later);

  while (!heap.empty()) {
    const Candidate top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), later);
    heap.pop_back();
    Symbol& left = symbols[static_cast<size_t>(top.left)];
    if (left.begin == left.end || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    if (rule_of(left, right).id != top.rule.id) continue;  // one of the two has changed since

    left.id = top.rule.id;
    left.end = right.end;
    left.next = right.next;
    right.begin = right.end;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].prev = top.left;
    offer(left.prev);
    offer(top.left);
  }
}

}  // namespace decant::tokenizer
