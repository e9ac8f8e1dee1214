// SPDX-License-Identifier: Apache-2.0
#include "engine/c_api/boundary.h"

#include <limits>

#include "decant/detail/format.h"

namespace decant::c_api {

namespace {

/// Bytes of a text that fit, without cutting a character of UTF-8 in two.
size_t whole_characters(std::string_view text, size_t room) noexcept {
  if (text.size() <= room) return text.size();
  size_t n = room;
  while (n > 0 && (static_cast<unsigned char>(text[n]) & 0xC0U) == 0x80U) --n;
  return n;
}

Error too_small(const char* unit, size_t needed, size_t capacity) {
  return {ErrorCode::invalid_argument,
          detail::format("the buffer has room for {} {}, {} are needed", capacity, unit, needed)};
}

}  // namespace

decant_status fail(decant_error* error, ErrorCode code, std::string_view message) noexcept {
  const auto status = static_cast<decant_status>(code);
  if (error == nullptr) return status;
  error->code = status;
  const size_t n = whole_characters(message, sizeof error->message - 1);
  std::memcpy(error->message, message.data(), n);
  error->message[n] = '\0';
  return status;
}

decant_status fail(decant_error* error, const Check& check) noexcept {
  char message[128];
  size_t n = 0;
  for (const char* part : {check.name, " ", check.what})
    for (; *part != '\0' && n < sizeof message; ++part) message[n++] = *part;
  return fail(error, ErrorCode::invalid_argument, {message, n});
}

decant_status succeed(decant_error* error) noexcept {
  if (error != nullptr) {
    error->code = DECANT_OK;
    error->message[0] = '\0';
  }
  return DECANT_OK;
}

Status check_struct_size(size_t size, size_t alignment, const char* name) {
  if (size >= sizeof(size_t) && size <= kLargestStruct && size % alignment == 0) return {};
  return Error{ErrorCode::invalid_argument,
               detail::format("{}: struct_size is {}; is the struct initialised?", name, size)};
}

Result<std::string_view> text_in(const char* text, size_t size_bytes, const char* name) {
  if (text == nullptr) {
    if (size_bytes == 0) return std::string_view();
    return Error{ErrorCode::invalid_argument, detail::format("{} is NULL", name)};
  }
  if (size_bytes == DECANT_NUL_TERMINATED) return std::string_view(text);
  if (size_bytes > static_cast<size_t>(std::numeric_limits<ptrdiff_t>::max()))
    return Error{ErrorCode::invalid_argument, detail::format("{} has {} bytes", name, size_bytes)};
  return std::string_view(text, size_bytes);
}

Result<std::string_view> optional_text_in(const char* text, size_t size_bytes, const char* name) {
  if (text == nullptr && size_bytes == DECANT_NUL_TERMINATED) return std::string_view();
  return text_in(text, size_bytes, name);
}

Result<std::span<const int32_t>> ids_in(const int32_t* ids, size_t n, const char* name) {
  if (ids == nullptr && n > 0) return Error{ErrorCode::invalid_argument, detail::format("{} is NULL", name)};
  if (n > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
    return Error{ErrorCode::invalid_argument, detail::format("{} has {} ids", name, n)};
  return std::span<const int32_t>(ids, n);
}

Status ids_out(std::span<const int32_t> ids, int32_t* buffer, size_t capacity, size_t* n) {
  *n = ids.size();
  if (buffer == nullptr && capacity == 0) return {};
  if (buffer == nullptr) return Error{ErrorCode::invalid_argument, "ids is NULL, its capacity isn't 0"};
  if (capacity < ids.size()) return too_small("ids", ids.size(), capacity);
  std::copy(ids.begin(), ids.end(), buffer);
  return {};
}

Status text_out(std::string_view text, char* buffer, size_t capacity, size_t* n_bytes) {
  *n_bytes = text.size();
  if (buffer == nullptr && capacity == 0) return {};
  if (buffer == nullptr) return Error{ErrorCode::invalid_argument, "the buffer is NULL, its capacity isn't 0"};
  if (capacity < text.size() + 1) return too_small("bytes", text.size() + 1, capacity);
  std::copy(text.begin(), text.end(), buffer);
  buffer[text.size()] = '\0';
  return {};
}

}  // namespace decant::c_api
