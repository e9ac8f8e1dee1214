// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <new>
#include <span>
#include <string>
#include <string_view>

#include "decant/c_api.h"
#include "decant/result.h"

/// What every function of the C ABI does with its arguments, its error and exceptions, in one place.
namespace decant::c_api {

/// Something that must hold of an argument, found out without memory. `what` is a literal.
struct Check {
  bool good = true;
  const char* name = "";
  const char* what = "";
};

template <typename T>
Check given(const T* argument, const char* name) noexcept {
  return {argument != nullptr, name, "is NULL"};
}

/// A result pointer: set to nothing, so that a caller never reads what was there before a failure.
template <typename T>
Check result(T* out, const char* name) noexcept {
  if (out != nullptr) *out = T{};
  return given(out, name);
}

/// A handle of its own kind: T::kKind is what a live one begins with.
template <typename T>
Check handle(const T* it, const char* name) noexcept {
  if (it == nullptr) return {false, name, "is NULL"};
  return {it->kind == T::kKind, name, "is no live handle of this type"};
}

/// Writes code and message, cut at a whole character; null: does nothing. Takes no memory.
decant_status fail(decant_error* error, ErrorCode code, std::string_view message) noexcept;
decant_status fail(decant_error* error, const Check& check) noexcept;
decant_status succeed(decant_error* error) noexcept;

/// Runs a call that returns a Status, if all checks are good. Here exceptions end.
template <typename Call>
decant_status guarded(decant_error* error, std::initializer_list<Check> checks, Call&& call) noexcept {
  for (const Check& check : checks)
    if (!check.good) return fail(error, check);
  try {
    const Status status = call();
    return status.ok() ? succeed(error) : fail(error, status.error().code, status.error().message);
  } catch (const std::bad_alloc&) {
    return fail(error, ErrorCode::out_of_memory, "out of memory");
  } catch (const std::exception& e) {
    return fail(error, ErrorCode::internal, e.what());
  } catch (...) {
    return fail(error, ErrorCode::internal, "an exception that is no std::exception");
  }
}

inline constexpr size_t kLargestStruct = 4096;  ///< a struct_size beyond is a mistake, and nothing is read or written

/// Whether a caller's struct of that size can be an older or newer T. Fields lie in whole units of its alignment, so
/// that no size that passes cuts one in two.
Status check_struct_size(size_t size, size_t alignment, const char* name);

/// What the caller's options say, over the defaults; null: the defaults.
template <typename T>
Result<T> read_struct(const T* in, const T& defaults, const char* name) {
  T out = defaults;
  if (in == nullptr) return out;
  const size_t size = in->struct_size;
  if (Status bad = check_struct_size(size, alignof(T), name); !bad) return bad.error();
  const auto* const bytes = reinterpret_cast<const unsigned char*>(in);
  if (size > sizeof(T) && std::any_of(bytes + sizeof(T), bytes + size, [](unsigned char b) { return b != 0; }))
    return Error{ErrorCode::invalid_argument, std::string(name) +
                                                  ": asks for something that only a later version of "
                                                  "decant knows"};
  std::memcpy(&out, in, std::min(size, sizeof(T)));
  return out;
}

/// Fills in a caller's struct, older, newer or the same; its struct_size is what has been filled in.
template <typename T>
Status fill_struct(const T& from, T* to, size_t size, const char* name) {
  if (Status bad = check_struct_size(size, alignof(T), name); !bad) return bad;
  const size_t known = std::min(size, sizeof(T));
  std::memset(static_cast<void*>(to), 0, size);
  std::memcpy(static_cast<void*>(to), &from, known);
  to->struct_size = known;
  return {};
}

/// A caller's text and list of ids. `invalid_argument` for NULL with a length. `optional`: NULL is empty whatever the
/// length, for fields of structs.
Result<std::string_view> text_in(const char* text, size_t size_bytes, const char* name);
Result<std::string_view> optional_text_in(const char* text, size_t size_bytes, const char* name);
Result<std::span<const int32_t>> ids_in(const int32_t* ids, size_t n, const char* name);

/// Results into a caller's buffer. See convention 7 of c_api.h.
Status ids_out(std::span<const int32_t> ids, int32_t* buffer, size_t capacity, size_t* n);
Status text_out(std::string_view text, char* buffer, size_t capacity, size_t* n_bytes);

}  // namespace decant::c_api
