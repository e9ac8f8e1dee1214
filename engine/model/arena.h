// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "decant/result.h"

#include "engine/model/input_file.h"

namespace decant::model {

/// Pages that hold the tiles of a whole model: anonymous ones, or those of a file.
class Arena {
 public:
  Arena() = default;
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;
  ~Arena();

  /// Zeroed pages, huge ones where the system gives them.
  static Result<Arena> create(size_t size_bytes);
  /// A whole file, to be read only. A process that touches what was cut off the file since dies of SIGBUS.
  static Result<Arena> map(const InputFile& file);

  /// What create() takes for so many bytes: whole huge pages.
  static size_t bytes_for(size_t size_bytes) noexcept;

  std::byte* data() const noexcept { return data_; }
  size_t size_bytes() const noexcept { return size_bytes_; }

  /// Makes the pages of [offset, offset + n) present, read from the file where they aren't in memory yet. Safe from
  /// many threads. `io` if the file can't be read or has been cut; where the system can't tell, the first use reads.
  Status populate(size_t offset, size_t n) const;

 private:
  std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
};

}  // namespace decant::model
