// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "decant/result.h"

#include "engine/tokenizer/vocabulary.h"

namespace decant::tokenizer {

/// A run of text that is a token already, or may yet become part of one. Symbols of a word are a doubly linked list.
struct Symbol {
  int32_t id;           ///< of the vocabulary, or -1
  int32_t prev, next;   ///< indices, -1 at the ends
  uint32_t begin, end;  ///< bytes of the word; begin == end: merged into its left neighbour
};

/// A merge that could be done: of the symbol at `left` with the one after it.
struct Candidate {
  MergeRule rule;
  int32_t left;
};

/// The best way to write a word up to some byte.
struct PathNode {
  double score = 0.0;
  int32_t from = -1;  ///< where its last token begins; -1: no way yet
  int32_t id = -1;    ///< that token
};

/// Buffers of one encode() call, so that short words cost no allocation.
struct Scratch {
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
  std::vector<PathNode> path;
};

/// What turns a pre-tokenized word into ids. Immutable.
class Model {
 public:
  explicit Model(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  virtual ~Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

  /// Appends the ids of a word of valid UTF-8.
  virtual Status tokenize(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const = 0;

  /// Of memory, the vocabulary's included.
  virtual size_t size_bytes() const noexcept = 0;

 protected:
  Vocabulary vocabulary_;
};

}  // namespace decant::tokenizer
