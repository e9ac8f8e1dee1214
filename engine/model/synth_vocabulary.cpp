// SPDX-License-Identifier: Apache-2.0
#include "engine/model/synth_vocabulary.h"

#include <string>
#include <string_view>

#include "decant/detail/format.h"

namespace decant::model {
namespace {

enum TokenType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6 };
constexpr std::string_view kSpace = "\xE2\x96\x81";  // ▁
constexpr std::string_view kConsonants = "bdfghjklmnprstvwyzcx";
constexpr std::string_view kVowels = "aeiou";

/// Word 0, 1, …: one syllable, then two, three, each combination once.
std::string word(size_t n) {
  const size_t n_syllables = kConsonants.size() * kVowels.size();
  size_t length = 1;
  for (size_t words = n_syllables; n >= words; words *= n_syllables, ++length) n -= words;
  std::string text(2 * length, ' ');
  for (size_t i = length; i-- > 0; n /= n_syllables) {
    text[2 * i] = kConsonants[n % kConsonants.size()];
    text[2 * i + 1] = kVowels[n / kConsonants.size() % kVowels.size()];
  }
  return text;
}

}  // namespace

tokenizer::GgufVocabulary synth_vocabulary(int vocab_size) {
  tokenizer::GgufVocabulary vocabulary;
  vocabulary.model = "llama";
  vocabulary.pre = "default";
  const auto size = static_cast<size_t>(vocab_size);
  vocabulary.tokens.reserve(size);
  const auto add = [&](std::string text, TokenType type) {
    if (vocabulary.tokens.size() == size) return;
    // Earlier pieces merge first.
    vocabulary.scores.push_back(type == kNormal ? -static_cast<float>(vocabulary.tokens.size()) : 0.0F);
    vocabulary.token_type.push_back(type);
    vocabulary.tokens.push_back(std::move(text));
  };
  add("<unk>", kUnknown);
  add("<s>", kControl);
  add("</s>", kControl);
  for (int byte = 0; byte < 256; ++byte) add(detail::format("<0x{:02X}>", byte), kByte);
  add(std::string(kSpace), kNormal);
  for (char letter = 'a'; letter <= 'z'; ++letter) add(std::string(1, letter), kNormal);
  for (size_t n = 0; vocabulary.tokens.size() < size; ++n) {
    add(word(n), kNormal);
    add(std::string(kSpace) + word(n), kNormal);
  }
  vocabulary.bos = 1;
  vocabulary.eos = 2;
  vocabulary.unk = 0;
  vocabulary.add_bos = true;
  vocabulary.add_eos = false;
  vocabulary.add_space_prefix = true;
  return vocabulary;
}

}  // namespace decant::model
