// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/tokenizer_json.h"

#include <limits>
#include <utility>

#include "decant/detail/format.h"

#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/json_reader.h"
#include "engine/tokenizer/unigram.h"
#include "engine/tokenizer/utf8.h"

namespace decant::tokenizer {

namespace {

[[noreturn]] void lacks(const char* what, const std::string& type) {
  refuse(ErrorCode::unsupported, detail::format("{} '{}' is not supported", what, type));
}

Pattern read_pattern(const Json& object, const char* where) {
  const Json& pattern = required(object, "pattern", where);
  if (member(pattern, "String") != nullptr) return take(Pattern::literal(read_string(pattern, "String", where)));
  if (member(pattern, "Regex") != nullptr) return take(Pattern::regex(read_string(pattern, "Regex", where)));
  refuse(ErrorCode::bad_format, detail::format("pattern of {} is neither a String nor a Regex", where));
}

char32_t read_character(const Json& object, const char* key, const char* where) {
  const std::string text = read_string(object, key, where);
  const Utf8Step step = text.empty() ? Utf8Step{} : utf8_step(text);
  if (text.empty() || step.bytes != text.size())
    refuse(ErrorCode::bad_format, detail::format("'{}' of {} is '{}', not one character", key, where, text));
  return step.code_point;
}

std::string read_replacement(const Json& object) {
  std::string out;
  append_utf8(out, read_character(object, "replacement", "Metaspace"));
  return out;
}

PrependScheme read_prepend_scheme(const Json& object) {
  const bool declared = member(object, "prepend_scheme") != nullptr;
  const std::string name = declared ? read_string(object, "prepend_scheme", "Metaspace") : "always";
  if (!declared && !read_bool(object, "add_prefix_space", true, "Metaspace"))
    return PrependScheme::never;  // older spelling
  if (name == "first") return PrependScheme::first;
  if (name == "always") return PrependScheme::always;
  if (name == "never") return PrependScheme::never;
  lacks("prepend scheme", name);
}

size_t read_count(const Json& object, const char* key, const char* where) {
  const int64_t n = read_integer(required(object, key, where), key);
  if (n < 0) refuse(ErrorCode::bad_format, detail::format("'{}' of {} is {}", key, where, n));
  return static_cast<size_t>(n);
}

/// Every item of a list, or the one that stands in its place.
template <typename Each>
void for_each(const Json& object, const char* key, const char* where, Each&& each) {
  const Json& list = required(object, key, where);
  if (!list.is_array()) refuse(ErrorCode::bad_format, detail::format("'{}' of {} is not a list", key, where));
  for (const Json& item : list) each(item);
}

void read_normalizer(const Json& json, Normalizers& out) {
  const std::string type = type_of(json, "normalizer");
  if (type == "Sequence") {
    for_each(json, "normalizers", "normalizer", [&](const Json& item) { read_normalizer(item, out); });
  } else if (type == "NFC") {
    out.push_back(unicode_normalizer(UnicodeForm::nfc));
  } else if (type == "NFD") {
    out.push_back(unicode_normalizer(UnicodeForm::nfd));
  } else if (type == "NFKC") {
    out.push_back(unicode_normalizer(UnicodeForm::nfkc));
  } else if (type == "NFKD") {
    out.push_back(unicode_normalizer(UnicodeForm::nfkd));
  } else if (type == "Lowercase") {
    out.push_back(lowercase_normalizer());
  } else if (type == "Strip") {
    out.push_back(
        strip_normalizer(read_bool(json, "strip_left", true, "Strip"), read_bool(json, "strip_right", true, "Strip")));
  } else if (type == "Prepend") {
    out.push_back(prepend_normalizer(read_string(json, "prepend", "Prepend")));
  } else if (type == "Replace") {
    out.push_back(replace_normalizer(read_pattern(json, "Replace"), read_string(json, "content", "Replace")));
  } else {
    lacks("normalizer", type);
  }
}

SplitBehavior read_behavior(const Json& json, const char* where, const char* fallback) {
  const std::string name = member(json, "behavior") != nullptr ? read_string(json, "behavior", where) : fallback;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  lacks("split behavior", name);
}

void read_pretokenizer(const Json& json, PreTokenizers& out) {
  const std::string type = type_of(json, "pre_tokenizer");
  if (type == "Sequence") {
    for_each(json, "pretokenizers", "pre_tokenizer", [&](const Json& item) { read_pretokenizer(item, out); });
  } else if (type == "ByteLevel") {
    out.push_back(take(byte_level_pretokenizer(read_bool(json, "add_prefix_space", true, "ByteLevel"),
                                               read_bool(json, "use_regex", true, "ByteLevel"))));
  } else if (type == "Split") {
    out.push_back(split_pretokenizer(read_pattern(json, "Split"), read_behavior(json, "Split", ""),
                                     read_bool(json, "invert", false, "Split")));
  } else if (type == "Digits") {
    const bool individual = read_bool(json, "individual_digits", false, "Digits");
    out.push_back(character_pretokenizer(is_numeric, individual ? SplitBehavior::isolated : SplitBehavior::contiguous));
  } else if (type == "Whitespace") {
    out.push_back(whitespace_pretokenizer());
  } else if (type == "WhitespaceSplit") {
    out.push_back(character_pretokenizer(is_white_space, SplitBehavior::removed));
  } else if (type == "Punctuation") {
    out.push_back(character_pretokenizer(is_punctuation, read_behavior(json, "Punctuation", "Isolated")));
  } else if (type == "Metaspace") {
    out.push_back(metaspace_pretokenizer(read_replacement(json), read_prepend_scheme(json),
                                         read_bool(json, "split", true, "Metaspace")));
  } else {
    lacks("pre-tokenizer", type);
  }
}

void read_decoder(const Json& json, DecoderChain& out) {
  const std::string type = type_of(json, "decoder");
  if (type == "Sequence") {
    for_each(json, "decoders", "decoder", [&](const Json& item) { read_decoder(item, out); });
  } else if (type == "ByteLevel") {
    out.add(byte_level_decoder());
  } else if (type == "ByteFallback") {
    out.add(byte_fallback_decoder());
  } else if (type == "Fuse") {
    out.add(fuse_decoder());
  } else if (type == "Strip") {
    const char32_t content = read_character(json, "content", "Strip");
    const size_t start = read_count(json, "start", "Strip"), stop = read_count(json, "stop", "Strip");
    out.add(strip_decoder(content, start, stop));
  } else if (type == "Replace") {
    out.add(replace_decoder(read_pattern(json, "Replace"), read_string(json, "content", "Replace")));
  } else if (type == "Metaspace") {
    out.add(metaspace_decoder(read_replacement(json), read_prepend_scheme(json)));
  } else {
    lacks("decoder", type);
  }
}

int32_t read_id(const Json& value, const char* where) {
  const int64_t id = read_integer(value, where);
  if (id < 0 || id > kMaxTokenId)
    refuse(ErrorCode::bad_format, detail::format("{} is {}, outside 0 … {}", where, id, kMaxTokenId));
  return static_cast<int32_t>(id);
}

/// ["</s>", 2] of Bert's and Roberta's post-processors.
int32_t read_named_id(const Json& json, const char* key, const char* where) {
  const Json& pair = required(json, key, where);
  if (!pair.is_array() || pair.size() != 2)
    refuse(ErrorCode::bad_format, detail::format("'{}' of {} is not [name, id]", key, where));
  return read_id(pair[1], key);
}

void read_template(const Json& json, PipelineParts& parts) {
  std::vector<int32_t> before, after;
  bool seen_text = false;
  for_each(json, "single", "TemplateProcessing", [&](const Json& item) {
    if (const Json* const special = member(item, "SpecialToken")) {
      const std::string name = read_string(*special, "id", "SpecialToken");
      const Json& token =
          required(required(json, "special_tokens", "TemplateProcessing"), name.c_str(), "special_tokens");
      for_each(token, "ids", "special token",
               [&](const Json& id) { (seen_text ? after : before).push_back(read_id(id, "id of a special token")); });
    } else if (const Json* const sequence = member(item, "Sequence")) {
      if (seen_text || read_string(*sequence, "id", "Sequence") != "A")
        refuse(ErrorCode::unsupported, "a template 'single' with other than one sequence A is not supported");
      seen_text = true;
    } else {
      refuse(ErrorCode::bad_format, "template 'single' has an item that is neither SpecialToken nor Sequence");
    }
  });
  if (!seen_text) refuse(ErrorCode::unsupported, "a template 'single' without sequence A is not supported");
  parts.prefix.insert(parts.prefix.begin(), before.begin(), before.end());
  parts.suffix.insert(parts.suffix.end(), after.begin(), after.end());
}

void read_post_processor(const Json& json, PipelineParts& parts) {
  const std::string type = type_of(json, "post_processor");
  if (type == "Sequence") {
    for_each(json, "processors", "post_processor", [&](const Json& item) { read_post_processor(item, parts); });
  } else if (type == "TemplateProcessing") {
    read_template(json, parts);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    parts.prefix.insert(parts.prefix.begin(), read_named_id(json, "cls", "post_processor"));
    parts.suffix.push_back(read_named_id(json, "sep", "post_processor"));
  } else if (type != "ByteLevel") {  // which moves offsets only
    lacks("post-processor", type);
  }
}

BpeModel::Merges read_merges(const Json& json) {
  BpeModel::Merges merges;
  for_each(json, "merges", "model", [&](const Json& item) {
    if (item.is_array() && item.size() == 2 && item[0].is_string() && item[1].is_string()) {
      merges.emplace_back(item[0].get<std::string>(), item[1].get<std::string>());
      return;
    }
    if (!item.is_string())
      refuse(ErrorCode::bad_format, detail::format("merge {} is neither a string nor a pair of them", merges.size()));
    const auto& line = item.get_ref<const std::string&>();
    if (line.starts_with("#version")) return;
    const size_t space = line.find(' ');
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos)
      refuse(ErrorCode::bad_format,
             detail::format("merge {} is '{}', not two entries with a space between", merges.size(), line));
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  });
  return merges;
}

void refuse_affix(const Json& json, const char* key) {
  if (member(json, key) != nullptr && !read_string(json, key, "model").empty())
    refuse(ErrorCode::unsupported, detail::format("model with '{}' is not supported", key));
}

std::unique_ptr<Model> read_bpe(const Json& json) {
  if (const Json* const dropout = member(json, "dropout");
      dropout != nullptr && !(dropout->is_number() && dropout->get<double>() == 0.0))
    refuse(ErrorCode::unsupported, "model with 'dropout' is not supported");
  refuse_affix(json, "continuing_subword_prefix");
  refuse_affix(json, "end_of_word_suffix");
  const Json& entries = required(json, "vocab", "model");
  if (!entries.is_object()) refuse(ErrorCode::bad_format, "'vocab' of a BPE model is not an object");
  Vocabulary vocabulary;
  for (const auto& [text, id] : entries.items()) take(vocabulary.add(text, read_integer(id, "id of an entry")));
  take(vocabulary.build());
  BpeOptions options;
  if (member(json, "unk_token") != nullptr) options.unk_token = read_string(json, "unk_token", "model");
  options.fuse_unk = read_bool(json, "fuse_unk", false, "model");
  options.byte_fallback = read_bool(json, "byte_fallback", false, "model");
  options.ignore_merges = read_bool(json, "ignore_merges", false, "model");
  return take(BpeModel::make(std::move(vocabulary), read_merges(json), std::move(options)));
}

std::unique_ptr<Model> read_unigram(const Json& json) {
  Vocabulary vocabulary;
  std::vector<double> scores;
  for_each(json, "vocab", "model", [&](const Json& item) {
    if (!item.is_array() || item.size() != 2 || !item[0].is_string() || !item[1].is_number())
      refuse(ErrorCode::bad_format, detail::format("entry {} of a Unigram model is not [text, score]", scores.size()));
    take(vocabulary.add(item[0].get<std::string>(), static_cast<int64_t>(scores.size())));
    scores.push_back(item[1].get<double>());
  });
  take(vocabulary.build());
  int32_t unk = -1;
  if (const Json* const id = member(json, "unk_id")) {
    unk = read_id(*id, "unk_id");
    if (static_cast<size_t>(unk) >= scores.size())
      refuse(ErrorCode::bad_format, detail::format("unk_id {} is not one of {} entries", unk, scores.size()));
  }
  return std::make_unique<UnigramModel>(std::move(vocabulary), std::move(scores), unk,
                                        read_bool(json, "byte_fallback", false, "model"));
}

std::unique_ptr<Model> read_model(const Json& json) {
  if (!json.is_object()) refuse(ErrorCode::bad_format, "'model' is not an object");
  // Old files don't name the type; only BPE has merges.
  const std::string type =
      member(json, "type") != nullptr || member(json, "merges") == nullptr ? type_of(json, "model") : "BPE";
  if (type == "BPE") return read_bpe(json);
  if (type == "Unigram") return read_unigram(json);
  lacks("tokenizer model", type);
}

AddedTokens read_added_tokens(const Json& json, const Vocabulary& vocabulary, const Normalizers& normalizers) {
  std::vector<AddedToken> tokens;
  if (member(json, "added_tokens") == nullptr) return {};
  for_each(json, "added_tokens", "tokenizer.json", [&](const Json& item) {
    AddedToken token;
    token.id = read_id(required(item, "id", "added token"), "id of an added token");
    token.content = read_string(item, "content", "added token");
    if (token.content.empty()) return;
    // An entry of the model keeps the model's id, whatever the list says.
    if (const int32_t id = vocabulary.id_of(token.content); id >= 0) token.id = id;
    token.special = read_bool(item, "special", false, "added token");
    token.normalized = read_bool(item, "normalized", !token.special, "added token");
    token.lstrip = read_bool(item, "lstrip", false, "added token");
    token.rstrip = read_bool(item, "rstrip", false, "added token");
    token.single_word = read_bool(item, "single_word", false, "added token");
    tokens.push_back(std::move(token));
  });
  return take(AddedTokens::make(std::move(tokens), normalizers));
}

PipelineParts read_parts(const Json& json) {
  PipelineParts parts;
  if (const Json* const normalizer = member(json, "normalizer")) read_normalizer(*normalizer, parts.normalizers);
  if (const Json* const pretokenizer = member(json, "pre_tokenizer"))
    read_pretokenizer(*pretokenizer, parts.pretokenizers);
  if (const Json* const processor = member(json, "post_processor")) read_post_processor(*processor, parts);
  if (const Json* const decoder = member(json, "decoder")) {
    read_decoder(*decoder, parts.decoder);
  } else {
    parts.decoder.add(join_decoder(" "));
  }
  parts.model = read_model(required(json, "model", "tokenizer.json"));
  parts.added = read_added_tokens(json, parts.model->vocabulary(), parts.normalizers);
  return parts;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> read_tokenizer_json(std::string_view text) {
  try {
    return std::unique_ptr<Tokenizer>(std::make_unique<Pipeline>(read_parts(parse_json(text))));
  } catch (Refusal& refusal) {
    return std::move(refusal.error);
  } catch (const Json::exception& problem) {
    return Error{ErrorCode::bad_format, detail::format("tokenizer.json: {}", problem.what())};
  }
}

}  // namespace decant::tokenizer
