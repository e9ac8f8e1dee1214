// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/tokenizer/model.h"

namespace decant::tokenizer {

struct BpeOptions {
  std::string unk_token;       ///< empty: characters outside the vocabulary vanish
  bool fuse_unk = false;       ///< neighbouring unknown characters are one unknown token
  bool byte_fallback = false;  ///< an unknown character becomes its bytes' tokens <0xNN>
  bool ignore_merges = false;  ///< a word that is an entry as a whole is that entry, whatever the merges say
};

/// BPE with an explicit list of merges, as tokenizer.json and GGUF's "gpt2" have it.
class BpeModel final : public Model {
 public:
  using Merges = std::vector<std::pair<std::string, std::string>>;

  /// `bad_format` if a merge names or makes what the vocabulary lacks.
  static Result<std::unique_ptr<Model>> make(Vocabulary vocabulary, const Merges& merges, BpeOptions options);

  Status tokenize(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const override;
  size_t size_bytes() const noexcept override { return vocabulary_.size_bytes() + merges_.size_bytes(); }

 private:
  BpeModel(Vocabulary vocabulary, MergeTable merges, BpeOptions options);
  int32_t id_of_character(std::string_view character, char32_t code_point) const;
  Status split_into_symbols(std::string_view word, Scratch& scratch) const;

  static constexpr size_t kDirect = 0x800;  // code points of one and two bytes have a table
  MergeTable merges_;
  BpeOptions options_;
  int32_t unk_id_ = -1;
  std::array<int32_t, 256> byte_ids_{};
  std::array<int32_t, kDirect> character_ids_{};
};

/// The token of a byte, "<0x0A>".
std::string byte_token(uint8_t byte);

}  // namespace decant::tokenizer
