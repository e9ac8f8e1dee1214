// SPDX-License-Identifier: Apache-2.0
#include "decant/text_stream.h"

#include <algorithm>
#include <utility>

#include "engine/tokenizer/utf8.h"

namespace decant {

TextStream::TextStream(const Tokenizer& tokenizer, std::span<const int32_t> context, std::vector<std::string> stops)
    : stream_(tokenizer.stream(context)), stops_(std::move(stops)) {
  // Text is UTF-8: a stop string that isn't can't occur in it, and an empty one would be everywhere.
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty() || !tokenizer::is_valid_utf8(stop); });
}

std::string_view TextStream::push(int32_t id) {
  if (stopped_) return {};
  return release(stream_->push(id), false);
}

std::string_view TextStream::finish() {
  if (stopped_) return {};
  return release(stream_->finish(), true);
}

// The stop string that ends first wins, and of several that end at one place the longest: then the text doesn't depend
// on how it was cut into tokens.
std::string_view TextStream::release(std::string_view text, bool last) {
  out_.clear();
  held_ += text;
  size_t stop_begin = std::string::npos, stop_end = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t begin = held_.find(stop);
    if (begin == std::string::npos) continue;
    const size_t end = begin + stop.size();
    if (end < stop_end || (end == stop_end && begin < stop_begin)) {
      stop_begin = begin;
      stop_end = end;
    }
  }
  if (stop_begin != std::string::npos) {
    stopped_ = true;
    out_.assign(held_, 0, stop_begin);
    held_.clear();
    return out_;
  }
  size_t keep = 0;  // the longest end of the text that begins a stop string
  if (!last)
    for (const std::string& stop : stops_)
      for (size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n)
        if (held_.ends_with(std::string_view(stop).substr(0, n))) keep = n;
  out_.assign(held_, 0, held_.size() - keep);
  held_.erase(0, out_.size());
  return out_;
}

}  // namespace decant
