// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>

#include "decant/export.h"

namespace decant {

/// What went wrong, in the classes that a caller would treat differently.
enum class ErrorCode : int32_t {
  ok = 0,
  invalid_argument = 1,  ///< the call itself is wrong: an id out of range, an option outside its limits
  io = 2,                ///< the operating system refused: a file is missing, unreadable, the disk is full
  bad_format = 3,        ///< a file contradicts itself or its format: truncated, corrupt, counts that cannot be
  unsupported = 4,       ///< well-formed, but decant (or this CPU) lacks it; the message names what
  out_of_memory = 5,     ///< the allocator or the operating system has no memory
  cache_full = 6,        ///< the KV cache has reached its limit: wait for sequences to finish, then retry
  cancelled = 7,         ///< the caller asked to stop
  non_finite = 8,   ///< a NaN or an infinity appeared in activations, logits or the cache; the message names the layer
  internal = 9,     ///< a mistake of decant's own
  mismatch = 10,    ///< well-formed, but made for something else: another model, layout or numerics; the message names
                    ///< both sides
  over_limit = 11,  ///< more memory than the limit that was set, however long one waits; the message has both numbers
};

/// The name of a code as it stands in the enumeration, e.g. "bad_format".
DECANT_API const char* to_string(ErrorCode code) noexcept;

/// An error: a class to branch on, and a message for people that names file, tensor, expected and found.
struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;
};

/// A value or an Error. Never both, never neither; asking for the wrong one is undefined.
template <typename T>
class [[nodiscard]] Result {
 public:
  /// Makes one of either, implicitly: `return value;`, `return Error{code, message};`.
  ///@{
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
  ///@}

  /// Whether there is a value.
  ///@{
  bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }
  ///@}

  /// The value. Undefined where there is an error.
  ///@{
  T& value() & noexcept { return *std::get_if<0>(&state_); }
  const T& value() const& noexcept { return *std::get_if<0>(&state_); }
  T&& value() && noexcept { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & noexcept { return value(); }
  const T& operator*() const& noexcept { return value(); }
  T&& operator*() && noexcept { return std::move(*this).value(); }
  T* operator->() noexcept { return std::get_if<0>(&state_); }
  const T* operator->() const noexcept { return std::get_if<0>(&state_); }
  ///@}

  /// The error. Undefined where there is a value.
  ///@{
  const Error& error() const& noexcept { return *std::get_if<1>(&state_); }
  Error&& error() && noexcept { return std::move(*std::get_if<1>(&state_)); }
  ///@}

 private:
  std::variant<T, Error> state_;
};

/// Success, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  /// Success, or an error: `return {};`, `return Error{code, message};`.
  ///@{
  Result() noexcept = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit by design
  ///@}

  /// Whether it is a success.
  ///@{
  bool ok() const noexcept { return error_.code == ErrorCode::ok; }
  explicit operator bool() const noexcept { return ok(); }
  ///@}

  /// The error; after a success, with the code `ok` and no message.
  ///@{
  const Error& error() const& noexcept { return error_; }
  Error&& error() && noexcept { return std::move(error_); }
  ///@}

 private:
  Error error_{ErrorCode::ok, {}};
};

/// Of a call that has nothing to answer but that it succeeded.
using Status = Result<void>;

}  // namespace decant
