// SPDX-License-Identifier: Apache-2.0
#include "engine/model/convert_tokenizer.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "decant/detail/format.h"

#include "engine/model/printable.h"
#include "engine/tokenizer/gguf_pretokenizers.h"

namespace decant::model {

namespace {

enum TokenType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

constexpr float kSpecialScore = -1000.0F;
constexpr std::string_view kMetaspace = "▁";
// Names of GGUF whose split decant's own tokenizer knows, in the order they are tried.
constexpr std::array kPreTokenizers = {"gpt-2", "llama-bpe", "qwen2", "dbrx", "smollm", "gpt-4o", "tekken"};

const Json& member(const Json& object, const char* key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

std::string_view text_of(const Json& value) {
  return value.is_string() ? std::string_view(value.get_ref<const std::string&>()) : std::string_view();
}

bool is_type(const Json& object, std::string_view name) { return text_of(member(object, "type")) == name; }
bool is_true(const Json& value) { return value.is_boolean() && value.get<bool>(); }

/// The parts of a Sequence, or the one that stands in its place; none for null.
std::vector<const Json*> parts_of(const Json& component, const char* list) {
  std::vector<const Json*> parts;
  if (component.is_null()) return parts;
  if (!is_type(component, "Sequence")) return {&component};
  for (const Json& part : member(component, list)) parts.push_back(&part);
  return parts;
}

class TokenizerConverter {
 public:
  TokenizerConverter(const Json& tokenizer, const Json& tokenizer_config, const Json& config, int vocab_size,
                     const std::string& path)
      : tokenizer_(tokenizer),
        model_(member(tokenizer, "model")),
        tokenizer_config_(tokenizer_config),
        config_(config),
        vocab_size_(vocab_size),
        path_(path) {}

  Result<ConvertedTokenizer> run();

 private:
  Error refuse(ErrorCode code, const std::string& what) const {
    return Error{code, detail::format("{}: {}", path_, what)};
  }
  Error unsupported(const std::string& what) const {
    return refuse(ErrorCode::unsupported, what + ", which GGUF can't express");
  }
  Error bad(const std::string& what) const { return refuse(ErrorCode::bad_format, what); }

  Status read_tokens();
  Status read_merges();
  Status byte_level();
  Status sentencepiece();
  Status check_space_handling(bool& prefix) const;
  Status check_merge_order() const;
  Status read_post_processor();
  std::optional<int32_t> special_id(const char* token_key, const char* id_key) const;
  void read_chat_template();

  const Json& tokenizer_;
  const Json& model_;
  const Json& tokenizer_config_;
  const Json& config_;
  const int vocab_size_;
  const std::string& path_;
  ConvertedTokenizer out_;
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<std::pair<std::string, std::string>> merges_;
};

Status TokenizerConverter::read_tokens() {
  auto& vocabulary = out_.vocabulary;
  vocabulary.tokens.resize(static_cast<size_t>(vocab_size_));
  vocabulary.token_type.assign(static_cast<size_t>(vocab_size_), kUnused);
  const auto place = [&](const std::string& token, const Json& id, int32_t type) -> Status {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(vocab_size_))
      return bad(detail::format("token '{}' is not one of a vocabulary of {}", printable(token), vocab_size_));
    const auto i = id.get<size_t>();
    if (vocabulary.token_type[i] != kUnused && vocabulary.tokens[i] != token)
      return bad(
          detail::format("tokens '{}' and '{}' are both {}", printable(vocabulary.tokens[i]), printable(token), i));
    vocabulary.tokens[i] = token;
    vocabulary.token_type[i] = type;
    ids_[token] = static_cast<int32_t>(i);
    return {};
  };
  for (const auto& [token, id] : member(model_, "vocab").items())
    if (Status placed = place(token, id, kNormal); !placed) return placed;
  for (const Json& added : member(tokenizer_, "added_tokens")) {
    const std::string content(text_of(member(added, "content")));
    for (const char* const flag : {"lstrip", "rstrip", "single_word"})
      if (is_true(member(added, flag)))
        return unsupported(detail::format("added token '{}' has {}", printable(content), flag));
    const int32_t type = is_true(member(added, "special")) ? kControl : kUserDefined;
    if (Status placed = place(content, member(added, "id"), type); !placed) return placed;
  }
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i)
    if (vocabulary.token_type[i] == kUnused) vocabulary.tokens[i] = detail::format("[PAD{}]", i);
  return {};
}

Status TokenizerConverter::read_merges() {
  for (const Json& merge : member(model_, "merges")) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges_.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    const std::string_view text = text_of(merge);
    const size_t space = text.find(' ', 1);
    if (text.empty() || space == std::string_view::npos) return bad("a merge isn't a pair");
    merges_.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return {};
}

/// Byte-level BPE: the split pattern must be one that has a name.
Status TokenizerConverter::byte_level() {
  std::vector<std::string_view> patterns;
  for (const Json* const part : parts_of(member(tokenizer_, "pre_tokenizer"), "pretokenizers")) {
    if (is_type(*part, "ByteLevel")) {
      if (is_true(member(*part, "add_prefix_space"))) return unsupported("ByteLevel has add_prefix_space");
      if (member(*part, "use_regex") != Json(false))
        patterns.push_back(tokenizer::find_gguf_pretokenizer("gpt-2")->patterns.front());
    } else if (is_type(*part, "Split") && text_of(member(*part, "behavior")) == "Isolated" &&
               !is_true(member(*part, "invert"))) {
      patterns.push_back(text_of(member(member(*part, "pattern"), "Regex")));
    } else {
      return unsupported(detail::format("pre-tokenizer '{}'", printable(text_of(member(*part, "type")))));
    }
  }
  const bool ignore_merges = is_true(member(model_, "ignore_merges"));
  auto& vocabulary = out_.vocabulary;
  for (const char* const name : kPreTokenizers) {
    const tokenizer::GgufPreTokenizer* const known = tokenizer::find_gguf_pretokenizer(name);
    if (known == nullptr || known->ignore_merges != ignore_merges || known->patterns != patterns) continue;
    vocabulary.pre = name;
    break;
  }
  if (vocabulary.pre.empty())
    return unsupported(detail::format("split pattern '{}'{}", patterns.empty() ? "" : printable(patterns.front()),
                                      ignore_merges ? " with ignore_merges" : ""));
  // Qwen's NFC is left out, as llama.cpp does: text that isn't in this form already is rare.
  for (const Json* const part : parts_of(member(tokenizer_, "normalizer"), "normalizers"))
    if (vocabulary.pre != "qwen2" || !is_type(*part, "NFC"))
      return unsupported(detail::format("normalizer '{}'", printable(text_of(member(*part, "type")))));
  vocabulary.model = "gpt2";
  for (const auto& [left, right] : merges_) {
    if (left.find(' ') != std::string::npos || right.find(' ') != std::string::npos)
      return unsupported("a merge of tokens with a space");
    vocabulary.merges.push_back(left + " " + right);
  }
  return {};
}

/// How a SentencePiece-like tokenizer turns spaces into ▁; prefix: whether it puts one in front.
Status TokenizerConverter::check_space_handling(bool& prefix) const {
  prefix = false;
  bool replaces = false;
  for (const Json* const part : parts_of(member(tokenizer_, "normalizer"), "normalizers")) {
    if (is_type(*part, "Prepend") && text_of(member(*part, "prepend")) == kMetaspace)
      prefix = true;
    else if (is_type(*part, "Replace") && text_of(member(member(*part, "pattern"), "String")) == " " &&
             text_of(member(*part, "content")) == kMetaspace)
      replaces = true;
    else
      return unsupported(detail::format("normalizer '{}'", printable(text_of(member(*part, "type")))));
  }
  for (const Json* const part : parts_of(member(tokenizer_, "pre_tokenizer"), "pretokenizers")) {
    if (!is_type(*part, "Metaspace") || text_of(member(*part, "replacement")) != kMetaspace ||
        is_true(member(*part, "split")))
      return unsupported(detail::format("pre-tokenizer '{}'", printable(text_of(member(*part, "type")))));
    // Metaspace puts its ▁ in front only where there is none yet, GGUF's prefix always.
    const std::string_view scheme = text_of(member(*part, "prepend_scheme"));
    if (scheme.empty() ? member(*part, "add_prefix_space") != Json(false) : scheme != "never")
      return unsupported("a Metaspace pre-tokenizer that adds a space in front");
    replaces = true;
  }
  if (!replaces) return unsupported("spaces that stay spaces");
  return {};
}

/// In GGUF the score −id says what merges first.
Status TokenizerConverter::check_merge_order() const {
  int32_t last = -1;
  for (const auto& [left, right] : merges_) {
    const auto merged = ids_.find(left + right);
    if (merged == ids_.end())
      return bad(detail::format("merge of '{}' and '{}' gives no token", printable(left), printable(right)));
    if (merged->second < last) return unsupported("merges in another order than the vocabulary");
    last = merged->second;
  }
  return {};
}

Status TokenizerConverter::sentencepiece() {
  auto& vocabulary = out_.vocabulary;
  vocabulary.model = "llama";
  vocabulary.pre = "default";
  bool prefix = false;
  if (Status checked = check_space_handling(prefix); !checked) return checked;
  if (Status checked = check_merge_order(); !checked) return checked;
  vocabulary.add_space_prefix = prefix;
  if (const auto unk = ids_.find(std::string(text_of(member(model_, "unk_token")))); unk != ids_.end()) {
    vocabulary.unk = unk->second;
    vocabulary.token_type[static_cast<size_t>(unk->second)] = kUnknown;
  }
  for (int byte = 0; byte < 256; ++byte) {
    const auto token = ids_.find(detail::format("<0x{:02X}>", byte));
    if (token == ids_.end()) return unsupported("byte fallback without a token for every byte");
    vocabulary.token_type[static_cast<size_t>(token->second)] = kByte;
  }
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const int32_t type = vocabulary.token_type[i];
    vocabulary.scores.push_back(type == kNormal ? -static_cast<float>(i) : type == kByte ? 0.0F : kSpecialScore);
  }
  return {};
}

/// The id of a special token: by its text in tokenizer_config.json, else as config.json has it.
std::optional<int32_t> TokenizerConverter::special_id(const char* token_key, const char* id_key) const {
  const Json& token = member(tokenizer_config_, token_key);
  const std::string_view text = token.is_object() ? text_of(member(token, "content")) : text_of(token);
  if (const auto found = ids_.find(std::string(text)); !text.empty() && found != ids_.end()) return found->second;
  const Json& id = member(config_, id_key);
  const Json& first = id.is_array() && !id.empty() ? id[0] : id;
  if (!first.is_number_unsigned() || first.get<uint64_t>() >= static_cast<uint64_t>(vocab_size_)) return std::nullopt;
  return first.get<int32_t>();
}

/// Which tokens are put around a text: at most one at each end.
Status TokenizerConverter::read_post_processor() {
  auto& vocabulary = out_.vocabulary;
  vocabulary.add_bos = false;
  vocabulary.add_eos = false;
  for (const Json* const part : parts_of(member(tokenizer_, "post_processor"), "processors")) {
    if (is_type(*part, "ByteLevel")) continue;
    if (!is_type(*part, "TemplateProcessing"))
      return unsupported(detail::format("post-processor '{}'", printable(text_of(member(*part, "type")))));
    bool after = false;
    for (const Json& item : member(*part, "single")) {
      if (item.is_object() && item.contains("Sequence")) {
        after = true;
        continue;
      }
      const std::string name(text_of(member(member(item, "SpecialToken"), "id")));
      const Json& ids = member(member(member(*part, "special_tokens"), name.c_str()), "ids");
      if (!ids.is_array() || ids.size() != 1 || !ids[0].is_number_unsigned() ||
          ids[0].get<uint64_t>() >= static_cast<uint64_t>(vocab_size_))
        return unsupported(detail::format("template token '{}'", printable(name)));
      const auto id = ids[0].get<int32_t>();
      std::optional<bool>& adds = after ? vocabulary.add_eos : vocabulary.add_bos;
      if (*adds || (after && vocabulary.eos != id)) return unsupported("a template of several tokens at one end");
      adds = true;
      if (!after) vocabulary.bos = id;
    }
  }
  return {};
}

void TokenizerConverter::read_chat_template() {
  const Json& value = member(tokenizer_config_, "chat_template");
  out_.chat_template = text_of(value);
  if (!value.is_array()) return;
  for (const Json& named : value)
    if (text_of(member(named, "name")) == "default") out_.chat_template = text_of(member(named, "template"));
}

Result<ConvertedTokenizer> TokenizerConverter::run() {
  if (!is_type(model_, "BPE"))
    return unsupported(detail::format("tokenizer model '{}'", printable(text_of(member(model_, "type")))));
  if (Status read = read_tokens(); !read) return read.error();
  if (Status read = read_merges(); !read) return read.error();
  Status converted = is_true(member(model_, "byte_fallback")) ? sentencepiece() : byte_level();
  if (!converted) return converted.error();
  auto& vocabulary = out_.vocabulary;
  vocabulary.bos = special_id("bos_token", "bos_token_id");
  vocabulary.eos = special_id("eos_token", "eos_token_id");
  if (!vocabulary.unk) vocabulary.unk = special_id("unk_token", "unk_token_id");
  out_.padding = special_id("pad_token", "pad_token_id");
  if (Status read = read_post_processor(); !read) return read.error();
  read_chat_template();
  return std::move(out_);
}

}  // namespace

Result<ConvertedTokenizer> convert_tokenizer(const Json& tokenizer, const Json& tokenizer_config, const Json& config,
                                             int vocab_size, const std::string& path) {
  return TokenizerConverter(tokenizer, tokenizer_config, config, vocab_size, path).run();
}

}  // namespace decant::model
