// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/decoder.h"

#include <algorithm>
#include <utility>

#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/utf8.h"

namespace decant::tokenizer {

namespace {

class ByteLevel final : public DecoderStage {
 public:
  DecoderStagePtr clone() const override { return std::make_unique<ByteLevel>(*this); }

  void feed(std::string_view text, bool last, const DecoderSink& next) override {
    if (!last) {
      token_ += text;
      return;
    }
    if (token_.empty()) {
      append_byte_level(text, bytes_);
    } else {
      token_ += text;
      append_byte_level(token_, bytes_);
      token_.clear();
    }
    size_t at = 0;
    text_.clear();
    while (at < bytes_.size()) {
      const std::string_view rest = std::string_view(bytes_).substr(at);
      const Utf8Step step = utf8_step(rest);
      if (step.kind == Utf8Kind::incomplete) break;
      text_ += step.kind == Utf8Kind::character ? rest.substr(0, step.bytes) : kReplacementCharacter;
      at += step.bytes;
    }
    bytes_.erase(0, at);
    if (!text_.empty()) next(text_, false);
  }

  bool append_bytes(std::string_view token, std::string& bytes) const override {
    append_byte_level(token, bytes);
    return true;
  }

  void finish(const DecoderSink& next) override {
    next(bytes_.empty() ? std::string_view() : kReplacementCharacter, true);
    bytes_.clear();
  }

 private:
  std::string token_;  // of a token that comes in parts
  std::string bytes_;  // the beginning of a character
  std::string text_;
};

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

class ByteFallback final : public DecoderStage {
 public:
  DecoderStagePtr clone() const override { return std::make_unique<ByteFallback>(*this); }

  void feed(std::string_view text, bool last, const DecoderSink& next) override {
    if (passing_) {
      next(text, last);
      passing_ = !last;
      return;
    }
    if (last && token_.empty()) return take(text, next);
    token_ += text;
    if (last) {
      take(token_, next);
      token_.clear();
    } else if (token_.size() > kTokenBytes) {  // too long for a byte: the rest can go straight through
      end_run(next);
      next(token_, false);
      token_.clear();
      passing_ = true;
    }
  }

  bool append_bytes(std::string_view token, std::string& bytes) const override { return append_byte(token, bytes); }

  void finish(const DecoderSink& next) override { end_run(next); }

 private:
  static constexpr size_t kTokenBytes = 6;  // <0x0A>

  static bool append_byte(std::string_view token, std::string& bytes) {
    if (token.size() != kTokenBytes || !token.starts_with("<0x") || token.back() != '>') return false;
    const int high = hex_value(token[3]), low = hex_value(token[4]);
    if (high < 0 || low < 0) return false;
    bytes += static_cast<char>(static_cast<uint8_t>(high * 16 + low));
    return true;
  }

  void take(std::string_view token, const DecoderSink& next) {
    if (append_byte(token, run_)) return;
    end_run(next);
    next(token, true);
  }

  void end_run(const DecoderSink& next) {
    if (run_.empty()) return;
    if (is_valid_utf8(run_)) {
      next(run_, true);
    } else {
      for (size_t i = 0; i < run_.size(); ++i) next(kReplacementCharacter, true);
    }
    run_.clear();
  }

  std::string token_;  // of a token that comes in parts
  bool passing_ = false;
  std::string run_;  // bytes so far: any further one may make all of them U+FFFD
};

class Fuse final : public DecoderStage {
 public:
  DecoderStagePtr clone() const override { return std::make_unique<Fuse>(*this); }
  void feed(std::string_view text, bool, const DecoderSink& next) override { next(text, false); }
  void finish(const DecoderSink& next) override { next({}, true); }
};

class Join final : public DecoderStage {
 public:
  explicit Join(std::string between) : between_(std::move(between)) {}
  DecoderStagePtr clone() const override { return std::make_unique<Join>(*this); }
  void feed(std::string_view text, bool last, const DecoderSink& next) override {
    if (begins_ && !first_) next(between_, false);
    next(text, last);
    begins_ = last;
    first_ = false;
  }
  void finish(const DecoderSink&) override { first_ = begins_ = true; }

 private:
  std::string between_;
  bool first_ = true, begins_ = true;
};

class Strip final : public DecoderStage {
 public:
  Strip(char32_t content, size_t start, size_t stop) : start_(start), stop_(stop), left_(start) {
    append_utf8(content_, content);
  }
  DecoderStagePtr clone() const override { return std::make_unique<Strip>(*this); }

  void feed(std::string_view text, bool last, const DecoderSink& next) override {
    while (left_ > 0 && text.starts_with(content_)) {
      text.remove_prefix(content_.size());
      --left_;
    }
    if (!text.empty()) left_ = 0;
    if (stop_ > 0) {
      feed_tail(text, last, next);
    } else {
      next(text, last);
    }
    if (last) left_ = start_;
  }
  void finish(const DecoderSink&) override {}

 private:
  /// Holds back up to stop_ of the characters that may turn out to end the token.
  void feed_tail(std::string_view text, bool last, const DecoderSink& next) {
    size_t tail = 0;
    std::string_view body = text;
    while (body.ends_with(content_)) {
      body.remove_suffix(content_.size());
      ++tail;
    }
    std::string out;
    const auto put = [&](size_t n) {
      for (size_t i = 0; i < n; ++i) out += content_;
    };
    if (!body.empty()) {
      put(held_);
      out += body;
      held_ = 0;
    }
    held_ += tail;
    if (held_ > stop_) {
      put(held_ - stop_);
      held_ = stop_;
    }
    if (last) held_ = 0;
    next(out, last);
  }

  std::string content_;
  size_t start_, stop_;
  size_t left_;  // characters that may still go from the front of this token
  size_t held_ = 0;
};

class Replace final : public DecoderStage {
 public:
  Replace(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  DecoderStagePtr clone() const override { return std::make_unique<Replace>(*this); }

  void feed(std::string_view text, bool last, const DecoderSink& next) override {
    buffer_ += text;
    const std::string* const literal = pattern_.literal_text();
    if (!last && literal == nullptr) return;
    const size_t keep = last ? 0 : undecided(*literal);
    std::string ready = buffer_.substr(0, buffer_.size() - keep);
    buffer_.erase(0, ready.size());
    // A regular expression that gives up leaves the token as it is: decode() has no errors.
    static_cast<void>(replace_all(pattern_, content_, ready).ok());
    next(ready, last);
  }
  void finish(const DecoderSink&) override {}

 private:
  /// Length of the buffer's end that, with text to come, may be a match.
  size_t undecided(const std::string& literal) const {
    size_t at = 0;  // matches don't overlap: only what is behind the last one counts
    for (size_t found = buffer_.find(literal); found != std::string::npos; found = buffer_.find(literal, at))
      at = found + literal.size();
    for (size_t n = std::min(literal.size() - 1, buffer_.size() - at); n > 0; --n)
      if (std::string_view(buffer_).ends_with(std::string_view(literal).substr(0, n))) return n;
    return 0;
  }

  Pattern pattern_;
  std::string content_, buffer_;
};

class MetaspaceDecoder final : public DecoderStage {
 public:
  MetaspaceDecoder(std::string replacement, bool drop_first)
      : replacement_(std::move(replacement)), drop_first_(drop_first) {}
  DecoderStagePtr clone() const override { return std::make_unique<MetaspaceDecoder>(*this); }

  void feed(std::string_view text, bool last, const DecoderSink& next) override {
    std::string out;
    size_t at = 0;
    for (size_t found = text.find(replacement_); found != std::string_view::npos; found = text.find(replacement_, at)) {
      out += text.substr(at, found - at);
      if (!(first_ && drop_first_)) out += ' ';
      at = found + replacement_.size();
    }
    out += text.substr(at);
    next(out, last);
    if (last) first_ = false;
  }
  void finish(const DecoderSink&) override { first_ = true; }

 private:
  std::string replacement_;
  bool drop_first_;
  bool first_ = true;
};

}  // namespace

void DecoderSink::operator()(std::string_view text, bool last) const {
  if (next_ == chain_.stages_.size()) {
    out_ += text;
  } else {
    chain_.stages_[next_]->feed(text, last, DecoderSink(chain_, next_ + 1, out_));
  }
}

DecoderChain::DecoderChain(const DecoderChain& other) {
  stages_.reserve(other.stages_.size());
  for (const DecoderStagePtr& stage : other.stages_) stages_.push_back(stage->clone());
}

bool DecoderChain::append_bytes(std::string_view token, std::string& bytes) const {
  return std::any_of(stages_.begin(), stages_.end(),
                     [&](const DecoderStagePtr& stage) { return stage->append_bytes(token, bytes); });
}

void DecoderChain::finish(std::string& out) {
  for (size_t i = 0; i < stages_.size(); ++i) stages_[i]->finish(DecoderSink(*this, i + 1, out));
}

DecoderStagePtr byte_level_decoder() { return std::make_unique<ByteLevel>(); }
DecoderStagePtr byte_fallback_decoder() { return std::make_unique<ByteFallback>(); }
DecoderStagePtr fuse_decoder() { return std::make_unique<Fuse>(); }
DecoderStagePtr join_decoder(std::string between) { return std::make_unique<Join>(std::move(between)); }
DecoderStagePtr strip_decoder(char32_t content, size_t start, size_t stop) {
  return std::make_unique<Strip>(content, start, stop);
}
DecoderStagePtr replace_decoder(Pattern pattern, std::string content) {
  return std::make_unique<Replace>(std::move(pattern), std::move(content));
}
DecoderStagePtr metaspace_decoder(std::string replacement, PrependScheme scheme) {
  return std::make_unique<MetaspaceDecoder>(std::move(replacement), scheme != PrependScheme::never);
}

}  // namespace decant::tokenizer
