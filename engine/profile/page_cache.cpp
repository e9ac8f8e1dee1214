// SPDX-License-Identifier: Apache-2.0
#include "engine/profile/page_cache.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "decant/detail/format.h"

namespace decant::profile {
namespace {

/// A file, open and mapped in windows; nothing of it is ever read.
class Watched {
 public:
  // Without waiting: a pipe's open() would wait for a writer.
  explicit Watched(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    struct stat info {};
    if (fd_ == -1 || ::fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) return;
    // Since Linux 5.2 mincore() tells the truth to those only who own a file or may write to it.
    if (info.st_uid != ::geteuid() && ::faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) != 0) return;
    size_bytes_ = static_cast<uint64_t>(info.st_size);
  }
  ~Watched() {
    if (fd_ != -1) ::close(fd_);
  }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

  /// 0 where nothing can be known.
  uint64_t size_bytes() const noexcept { return size_bytes_; }

  std::optional<uint64_t> cached_bytes() const {
    const auto page_bytes = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    std::array<unsigned char, 16384> resident{};
    uint64_t cached = 0;
    for (uint64_t begin = 0; begin < size_bytes_; begin += resident.size() * page_bytes) {
      const uint64_t n = std::min(resident.size() * page_bytes, size_bytes_ - begin);
      void* const window = ::mmap(nullptr, n, PROT_READ, MAP_SHARED, fd_, static_cast<off_t>(begin));
      if (window == MAP_FAILED) return std::nullopt;
      const bool told = ::mincore(window, n, resident.data()) == 0;
      ::munmap(window, n);
      if (!told) return std::nullopt;
      for (uint64_t page = 0; page * page_bytes < n; ++page)
        if ((resident[page] & 1U) != 0) cached += std::min(page_bytes, n - page * page_bytes);
    }
    return cached;
  }

 private:
  int fd_;
  uint64_t size_bytes_ = 0;
};

/// "model-00001-of-00003.gguf": what stands before the numbers, and how many parts there are; 0 where it's no such
/// name.
struct SplitName {
  std::string_view stem;
  int n_parts = 0;
};

SplitName split_name(std::string_view path) {
  constexpr std::string_view kPattern = "-00000-of-00000.gguf";
  if (path.size() < kPattern.size()) return {};
  const std::string_view suffix = path.substr(path.size() - kPattern.size());
  int n_parts = 0;
  for (size_t i = 0; i < kPattern.size(); ++i) {
    const bool digit = suffix[i] >= '0' && suffix[i] <= '9';
    if (kPattern[i] == '0' ? !digit : suffix[i] != kPattern[i]) return {};
    if (digit && i > kPattern.find("of")) n_parts = 10 * n_parts + (suffix[i] - '0');
  }
  constexpr int kMostParts = 65535;  // of the format
  return {path.substr(0, path.size() - kPattern.size()), n_parts <= kMostParts ? n_parts : 0};
}

std::vector<std::string> safetensors_of(const std::string& directory) {
  std::error_code error;
  const std::string single = directory + "/model.safetensors";
  if (std::filesystem::exists(single, error)) return {single};
  std::vector<std::string> paths;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error))
    if (entry->path().extension() == ".safetensors") paths.push_back(entry->path().string());
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace

std::vector<std::string> weight_files(const std::string& model_path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(model_path, ignored)) return safetensors_of(model_path);
  const SplitName split = split_name(model_path);
  if (split.n_parts == 0) return {model_path};
  std::vector<std::string> paths;
  for (int i = 1; i <= split.n_parts; ++i)
    paths.push_back(detail::format("{}-{:05}-of-{:05}.gguf", split.stem, i, split.n_parts));
  return paths;
}

std::optional<double> cached_share(std::span<const std::string> paths) {
  uint64_t cached = 0, total = 0;
  for (const std::string& path : paths) {
    const Watched file(path);
    const std::optional<uint64_t> bytes = file.cached_bytes();
    if (!bytes || file.size_bytes() == 0) return std::nullopt;
    cached += *bytes;
    total += file.size_bytes();
  }
  if (total == 0) return std::nullopt;
  return static_cast<double>(cached) / static_cast<double>(total);
}

uint64_t disk_bytes_read() {
  std::ifstream counts("/proc/self/io");
  std::string key;
  for (uint64_t value = 0; counts >> key >> value;)
    if (key == "read_bytes:") return value;
  rusage usage{};  // where the kernel doesn't count bytes, it counts blocks of 512
  return ::getrusage(RUSAGE_SELF, &usage) == 0 ? static_cast<uint64_t>(usage.ru_inblock) * 512 : 0;
}

}  // namespace decant::profile
