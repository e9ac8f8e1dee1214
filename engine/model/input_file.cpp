// SPDX-License-Identifier: Apache-2.0
#include "engine/model/input_file.h"

#include <cstdint>
#include <span>

#include "decant/detail/format.h"

namespace decant::model {

namespace {

constexpr uint64_t kMaxText = uint64_t{1} << 30;

}  // namespace

Result<std::string> read_text(const std::string& path) {
  Result<InputFile> file = InputFile::open(path);
  if (!file) return file.error();
  if (file->size_bytes() > kMaxText)
    return Error{ErrorCode::unsupported,
                 detail::format("{}: {} bytes are more than decant reads as text", path, file->size_bytes())};
  std::string text(static_cast<size_t>(file->size_bytes()), '\0');
  if (Status read = file->read_at(0, std::as_writable_bytes(std::span(text))); !read) return read.error();
  return text;
}

}  // namespace decant::model
