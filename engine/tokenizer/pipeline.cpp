// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/pipeline.h"

#include <algorithm>
#include <utility>

#include "decant/detail/format.h"

#include "engine/tokenizer/utf8.h"

namespace decant::tokenizer {

namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;

bool is_continuation(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

}  // namespace

Pipeline::Pipeline(PipelineParts parts) : parts_(std::move(parts)), vocab_size_(parts_.model->vocabulary().size()) {
  const std::vector<AddedToken>& added = parts_.added.all();
  for (size_t i = 0; i < added.size(); ++i) {
    added_by_id_[added[i].id] = i;
    added_by_content_[added[i].content] = i;
    vocab_size_ = std::max(vocab_size_, added[i].id + 1);
  }
}

const AddedToken* Pipeline::added(int32_t id) const noexcept {
  const auto found = added_by_id_.find(id);
  return found == added_by_id_.end() ? nullptr : &parts_.added.all()[found->second];
}

std::string_view Pipeline::entry(int32_t id) const noexcept {
  const AddedToken* const token = added(id);
  return token != nullptr ? std::string_view(token->content) : parts_.model->vocabulary().text(id);
}

void Pipeline::append_bytes(int32_t id, std::string& bytes) const {
  if (const AddedToken* const token = added(id); token != nullptr) {
    bytes += token->content;
    return;
  }
  if (!parts_.model->vocabulary().contains(id)) return;
  const std::string_view text = parts_.model->vocabulary().text(id);
  if (parts_.decoder.append_bytes(text, bytes)) return;
  constexpr std::string_view kBefore = "x";  // the first token of a text may lose a space
  DecoderChain chain(parts_.decoder);
  std::string out;
  chain.push(kBefore, out);
  chain.push(text, out);
  chain.finish(out);
  bytes += std::string_view(out).substr(std::min(kBefore.size(), out.size()));
}

size_t Pipeline::size_bytes() const noexcept {
  constexpr size_t kMapNodeBytes = 64;
  size_t bytes = parts_.model->size_bytes();
  for (const AddedToken& token : parts_.added.all())
    bytes += sizeof(AddedToken) + 3 * token.content.size() + 2 * kMapNodeBytes;
  return bytes;
}

int32_t Pipeline::id_of(std::string_view entry) const noexcept {
  const auto found = added_by_content_.find(entry);
  return found == added_by_content_.end() ? parts_.model->vocabulary().id_of(entry)
                                          : parts_.added.all()[found->second].id;
}

bool Pipeline::is_special(int32_t id) const noexcept {
  const AddedToken* const token = added(id);
  return token != nullptr && token->special;
}

Result<std::vector<int32_t>> Pipeline::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() > kMaxTextBytes)
    return Error{ErrorCode::unsupported,
                 detail::format("a text of {} bytes (at most {} can be tokenized)", text.size(), kMaxTextBytes)};
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = to_valid_utf8(text);
    text = repaired;
  }
  std::vector<int32_t> ids;
  if (options.add_special) ids = parts_.prefix;
  std::vector<TextSection> sections;
  parts_.added.split(text, false, sections);
  Scratch scratch;
  for (const TextSection& section : sections) {
    if (section.id >= 0) {
      ids.push_back(section.id);
      continue;
    }
    const std::string_view part = text.substr(section.begin, section.end - section.begin);
    if (Status status = encode_text(std::string(part), section.begin == 0, scratch, ids); !status)
      return status.error();
  }
  if (options.add_special) ids.insert(ids.end(), parts_.suffix.begin(), parts_.suffix.end());
  return ids;
}

Status Pipeline::encode_text(std::string text, bool from_start, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (Status status = normalize(parts_.normalizers, text); !status) return status;
  std::vector<TextSection> sections;
  parts_.added.split(text, true, sections);
  for (const TextSection& section : sections) {
    if (section.id >= 0) {
      ids.push_back(section.id);
      continue;
    }
    PreTokens tokens;
    const bool whole = section.begin == 0 && section.end == text.size();
    tokens.text = whole ? std::move(text) : text.substr(section.begin, section.end - section.begin);
    tokens.pieces = {{0, tokens.text.size()}};
    tokens.from_start = from_start && section.begin == 0;
    if (Status status = encode_words(std::move(tokens), scratch, ids); !status) return status;
  }
  return {};
}

Status Pipeline::encode_words(PreTokens tokens, Scratch& scratch, std::vector<int32_t>& ids) const {
  for (const PreTokenizerPtr& step : parts_.pretokenizers)
    if (Status status = step->apply(tokens); !status) return status;
  // Symbols of a word are counted in 32 bits.
  if (tokens.text.size() > 2 * kMaxTextBytes - 1)
    return Error{ErrorCode::unsupported,
                 detail::format("a text that becomes {} bytes when normalized", tokens.text.size())};
  for (const Piece& piece : tokens.pieces)
    if (Status status = parts_.model->tokenize(tokens.view(piece), scratch, ids); !status) return status;
  return {};
}

void Pipeline::decode_id(int32_t id, bool skip_special, DecoderChain& chain, std::string& out) const {
  if (const AddedToken* const token = added(id); token != nullptr) {
    if (!(skip_special && token->special)) chain.push(token->content, out);
  } else if (parts_.model->vocabulary().contains(id)) {
    chain.push(parts_.model->vocabulary().text(id), out);
  }
}

std::string Pipeline::decode(std::span<const int32_t> ids, bool skip_special) const {
  DecoderChain chain(parts_.decoder);
  std::string out;
  for (const int32_t id : ids) decode_id(id, skip_special, chain, out);
  chain.finish(out);
  return out;
}

class Pipeline::PieceStream final : public Tokenizer::Stream {
 public:
  PieceStream(const Pipeline& tokenizer, std::span<const int32_t> context, bool skip_special)
      : tokenizer_(tokenizer), chain_(tokenizer.parts_.decoder), skip_special_(skip_special) {
    for (const int32_t id : context) {
      out_.clear();
      tokenizer_.decode_id(id, skip_special_, chain_, out_);
    }
    // What decode(context) ends with and the chain still holds back will come first: the text before this stream's.
    out_.clear();
    if (!context.empty()) DecoderChain(chain_).finish(known_);
  }

  std::string_view push(int32_t id) override {
    out_.clear();
    tokenizer_.decode_id(id, skip_special_, chain_, out_);
    return without_known();
  }

  std::string_view finish() override {
    out_.clear();
    chain_.finish(out_);
    const std::string_view text = without_known();
    known_.clear();
    return text;
  }

 private:
  /// What came, less what decode(context) has of it. Where a token changed that text (it completed a character that the
  /// context broke off), the stream has everything from the first character that differs.
  std::string_view without_known() {
    if (known_.empty() || out_.empty()) return out_;
    const auto differs = std::mismatch(out_.begin(), out_.end(), known_.begin(), known_.end());
    auto same = static_cast<size_t>(differs.first - out_.begin());
    const bool all_known = same == out_.size();
    if (!all_known && same < known_.size())
      while (same > 0 && is_continuation(out_[same])) --same;
    if (all_known) {
      known_.erase(0, same);
    } else {
      known_.clear();
    }
    return std::string_view(out_).substr(same);
  }

  const Pipeline& tokenizer_;
  DecoderChain chain_;
  bool skip_special_;
  std::string known_;  // text of decode(context) that is still to come out of the chain
  std::string out_;
};

std::unique_ptr<Tokenizer::Stream> Pipeline::stream(std::span<const int32_t> context, bool skip_special) const {
  return std::make_unique<PieceStream>(*this, context, skip_special);
}

}  // namespace decant::tokenizer
