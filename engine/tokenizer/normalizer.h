// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "decant/result.h"

#include "engine/tokenizer/regex.h"

namespace decant::tokenizer {

/// A rewriting of text before it is cut into words. Immutable.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual Status apply(std::string& text) const = 0;
};
using NormalizerPtr = std::unique_ptr<const Normalizer>;
using Normalizers = std::vector<NormalizerPtr>;

enum class UnicodeForm { nfc, nfd, nfkc, nfkd };

/// Source: Unicode Standard Annex 15.
NormalizerPtr unicode_normalizer(UnicodeForm form);
NormalizerPtr lowercase_normalizer();                   ///< each character by itself, full mapping
NormalizerPtr strip_normalizer(bool left, bool right);  ///< white space
NormalizerPtr prepend_normalizer(std::string prefix);   ///< to text that isn't empty
NormalizerPtr replace_normalizer(Pattern pattern, std::string content);

/// All of them in order. `unsupported` if the text grows beyond all measure or a regular expression gives up.
Status normalize(const Normalizers& normalizers, std::string& text);

/// Every match of the pattern replaced. `unsupported` as above.
Status replace_all(const Pattern& pattern, std::string_view content, std::string& text);

}  // namespace decant::tokenizer
