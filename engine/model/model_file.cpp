// SPDX-License-Identifier: Apache-2.0
#include "engine/model/model_file.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "decant/detail/format.h"

#include "engine/model/printable.h"

namespace decant::model {

int64_t TensorInfo::n_elements() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, [](int64_t a, int64_t b) { return a * b; });
}

Result<std::shared_ptr<const TensorFiles>> TensorFiles::create(
    std::vector<InputFile> files, std::vector<TensorInfo> tensors,
    std::map<std::string, std::string, std::less<>> unreadable) {
  auto all = std::make_shared<TensorFiles>();
  all->files_ = std::move(files);
  all->tensors_ = std::move(tensors);
  all->unreadable_ = std::move(unreadable);
  for (size_t i = 0; i < all->tensors_.size(); ++i) {
    const TensorInfo& tensor = all->tensors_[i];
    const uint64_t file_bytes = all->files_[static_cast<size_t>(tensor.file)].size_bytes();
    if (tensor.offset > file_bytes || tensor.size_bytes > file_bytes - tensor.offset)
      return Error{ErrorCode::bad_format,
                   detail::format("{}: tensor '{}' takes {} bytes at {}, file has {}", all->path(tensor),
                                  printable(tensor.name), tensor.size_bytes, tensor.offset, file_bytes)};
    if (!all->by_name_.emplace(tensor.name, i).second || all->unreadable_.contains(tensor.name))
      return Error{ErrorCode::bad_format,
                   detail::format("{}: two tensors are named '{}'", all->path(tensor), printable(tensor.name))};
  }

  std::vector<const TensorInfo*> order;
  order.reserve(all->tensors_.size());
  for (const TensorInfo& tensor : all->tensors_) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const TensorInfo* a, const TensorInfo* b) {
    return std::pair(a->file, a->offset) < std::pair(b->file, b->offset);
  });
  for (size_t i = 1; i < order.size(); ++i) {
    const TensorInfo &before = *order[i - 1], &tensor = *order[i];
    if (before.file == tensor.file && before.offset + before.size_bytes > tensor.offset)
      return Error{ErrorCode::bad_format, detail::format("{}: tensors '{}' and '{}' overlap", all->path(tensor),
                                                         printable(before.name), printable(tensor.name))};
  }
  return std::shared_ptr<const TensorFiles>(std::move(all));
}

const TensorInfo* TensorFiles::find(std::string_view name) const noexcept {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

const std::string* TensorFiles::unreadable_type(std::string_view name) const noexcept {
  const auto found = unreadable_.find(name);
  return found == unreadable_.end() ? nullptr : &found->second;
}

Status TensorFiles::read(const TensorInfo& tensor, uint64_t offset, std::span<std::byte> out) const {
  if (offset > tensor.size_bytes || out.size() > tensor.size_bytes - offset)
    return Error{ErrorCode::internal, detail::format("read of {} bytes at {} of tensor '{}', which has {}", out.size(),
                                                     offset, printable(tensor.name), tensor.size_bytes)};
  Status status = files_[static_cast<size_t>(tensor.file)].read_at(tensor.offset + offset, out);
  if (!status)
    return Error{status.error().code,
                 detail::format("{} (tensor '{}')", status.error().message, printable(tensor.name))};
  return status;
}

}  // namespace decant::model
