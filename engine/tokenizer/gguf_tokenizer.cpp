// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/gguf_tokenizer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "decant/detail/format.h"

#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/gguf_pretokenizers.h"
#include "engine/tokenizer/json_reader.h"
#include "engine/tokenizer/pipeline.h"
#include "engine/tokenizer/sentencepiece_bpe.h"
#include "engine/tokenizer/utf8.h"

namespace decant::tokenizer {

namespace {

enum TokenType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

[[noreturn]] void refuse_gguf(ErrorCode code, std::string message) {
  throw Refusal{Error{code, "GGUF tokenizer: " + std::move(message)}};
}

class Builder {
 public:
  explicit Builder(const GgufVocabulary& gguf) : gguf_(gguf) {}

  PipelineParts build() {
    check_lists();
    if (gguf_.model == "gpt2") {
      byte_level_bpe();
    } else if (gguf_.model == "llama") {
      sentencepiece_bpe();
    } else {
      refuse_gguf(ErrorCode::unsupported, detail::format("tokenizer model '{}' is not supported", gguf_.model));
    }
    return std::move(parts_);
  }

 private:
  void check_lists() const {
    const size_t n = gguf_.tokens.size();
    if (n == 0) refuse_gguf(ErrorCode::bad_format, "no tokens");
    if (n > static_cast<size_t>(kMaxTokenId) + 1) refuse_gguf(ErrorCode::bad_format, detail::format("{} tokens", n));
    if (!gguf_.token_type.empty() && gguf_.token_type.size() != n)
      refuse_gguf(ErrorCode::bad_format, detail::format("{} token types for {} tokens", gguf_.token_type.size(), n));
    if (!gguf_.scores.empty() && gguf_.scores.size() != n)
      refuse_gguf(ErrorCode::bad_format, detail::format("{} scores for {} tokens", gguf_.scores.size(), n));
    for (const float score : gguf_.scores)
      if (std::isnan(score)) refuse_gguf(ErrorCode::bad_format, "a score is not a number");
  }

  int32_t type(size_t id) const { return gguf_.token_type.empty() ? kNormal : gguf_.token_type[id]; }

  /// Entries of the types for which `wanted` holds. Metadata may hold any bytes: what isn't UTF-8 is read as U+FFFD.
  template <typename Wanted>
  Vocabulary vocabulary(Wanted&& wanted) const {
    Vocabulary out;
    for (size_t i = 0; i < gguf_.tokens.size(); ++i)
      if (!gguf_.tokens[i].empty() && wanted(type(i)))
        take(out.add(to_valid_utf8(gguf_.tokens[i]), static_cast<int64_t>(i)));
    take(out.build());
    return out;
  }

  /// Control, unknown and user-defined tokens are found in the text as they are written.
  void added_tokens() {
    std::vector<AddedToken> tokens;
    for (size_t i = 0; i < gguf_.tokens.size(); ++i) {
      const int32_t t = type(i);
      if (gguf_.tokens[i].empty() || (t != kControl && t != kUnknown && t != kUserDefined)) continue;
      AddedToken token;
      token.id = static_cast<int32_t>(i);
      token.content = to_valid_utf8(gguf_.tokens[i]);
      token.special = t != kUserDefined;
      tokens.push_back(std::move(token));
    }
    parts_.added = take(AddedTokens::make(std::move(tokens), parts_.normalizers));
  }

  int32_t special_id(const std::optional<int32_t>& id, int32_t fallback, const char* name) const {
    const int32_t value = id.value_or(fallback);
    if (value < 0 || static_cast<size_t>(value) >= gguf_.tokens.size())
      refuse_gguf(ErrorCode::bad_format,
                  detail::format("{} token {} is not one of {} tokens", name, value, gguf_.tokens.size()));
    return value;
  }

  void around(bool add_bos, bool add_eos, int32_t bos, int32_t eos) {
    if (gguf_.add_bos.value_or(add_bos)) parts_.prefix.push_back(special_id(gguf_.bos, bos, "begin"));
    if (gguf_.add_eos.value_or(add_eos)) parts_.suffix.push_back(special_id(gguf_.eos, eos, "end"));
  }

  void byte_level_bpe() {
    const GgufPreTokenizer* const pre = find_gguf_pretokenizer(gguf_.pre);
    if (pre == nullptr)
      refuse_gguf(ErrorCode::unsupported, detail::format("pre-tokenizer '{}' is not supported", gguf_.pre));
    for (const std::string_view pattern : pre->patterns)
      parts_.pretokenizers.push_back(split_pretokenizer(take(Pattern::regex(pattern)), SplitBehavior::isolated, false));
    parts_.pretokenizers.push_back(take(byte_level_pretokenizer(false, false)));
    BpeModel::Merges merges;
    merges.reserve(gguf_.merges.size());
    for (const std::string& merge : gguf_.merges) {
      const size_t space = merge.find(' ', 1);
      if (space == std::string::npos)
        refuse_gguf(ErrorCode::bad_format, detail::format("merge {} has no space", merges.size()));
      merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
    }
    BpeOptions options;
    options.ignore_merges = pre->ignore_merges;
    parts_.model = take(BpeModel::make(vocabulary([](int32_t) { return true; }), merges, std::move(options)));
    parts_.decoder.add(byte_level_decoder());
    added_tokens();
    // Without an id of its own such a model has no begin token to add.
    around(pre->add_bos && gguf_.bos.has_value(), false, -1, -1);
  }

  void sentencepiece_bpe() {
    const bool space = gguf_.add_space_prefix.value_or(true);
    if (space) parts_.normalizers.push_back(prepend_normalizer(std::string(kMetaspace)));
    parts_.normalizers.push_back(replace_normalizer(take(Pattern::literal(" ")), std::string(kMetaspace)));
    const auto unk_at = std::find(gguf_.token_type.begin(), gguf_.token_type.end(), static_cast<int32_t>(kUnknown));
    int32_t unk = unk_at == gguf_.token_type.end() ? -1 : static_cast<int32_t>(unk_at - gguf_.token_type.begin());
    if (gguf_.unk) unk = special_id(gguf_.unk, -1, "unknown");
    std::vector<float> scores = gguf_.scores;
    scores.resize(gguf_.tokens.size());  // without scores, all are equal
    parts_.model = std::make_unique<SentencePieceBpe>(
        vocabulary([](int32_t) { return true; }),
        vocabulary([](int32_t t) { return t != kControl && t != kUnknown && t != kByte; }), scores, unk);
    parts_.decoder.add(replace_decoder(take(Pattern::literal(std::string(kMetaspace))), " "));
    parts_.decoder.add(byte_fallback_decoder());
    parts_.decoder.add(fuse_decoder());
    if (space) parts_.decoder.add(strip_decoder(U' ', 1, 0));
    added_tokens();
    around(true, false, 1, 2);
  }

  const GgufVocabulary& gguf_;
  PipelineParts parts_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> read_gguf_tokenizer(const GgufVocabulary& gguf) {
  try {
    return std::unique_ptr<Tokenizer>(std::make_unique<Pipeline>(Builder(gguf).build()));
  } catch (Refusal& refusal) {
    return std::move(refusal.error);
  }
}

}  // namespace decant::tokenizer
