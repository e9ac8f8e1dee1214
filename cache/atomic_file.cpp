// SPDX-License-Identifier: Apache-2.0
#include "cache/atomic_file.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <new>
#include <string_view>
#include <system_error>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "decant/detail/check.h"
#include "decant/detail/format.h"

namespace decant::cache {
namespace {

constexpr int kMaxLinks = 40;       // as Linux follows
constexpr int kMaxNames = 1000;     // temporary files of one target at once
constexpr size_t kMaxPrefix = 200;  // bytes of the target's name in the temporary's, of 255 that a name may have
constexpr mode_t kPermissions = 0777;
constexpr std::string_view kSuffix = ".tmp";

Error no_memory() noexcept { return Error{ErrorCode::out_of_memory, "out of memory"}; }

template <typename F>
auto until_interrupted_no_more(F call) noexcept {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// A write past RLIMIT_FSIZE is EFBIG and a signal whose default is to end the process: not a library's business. The
// signal goes to the writing thread, so that it can be held back and taken away here.
ssize_t write_without_signal(int file, std::span<const std::byte> bytes, off_t offset) noexcept {
  sigset_t signals, before;
  sigemptyset(&signals);
  sigaddset(&signals, SIGXFSZ);
  const bool held = pthread_sigmask(SIG_BLOCK, &signals, &before) == 0;
  const ssize_t n = ::pwrite(file, bytes.data(), bytes.size(), offset);
  const int code = errno;
  if (held) {
    // Where the signal was held back before, it is waited for by somebody.
    if (n < 0 && code == EFBIG && sigismember(&before, SIGXFSZ) == 0) {
      const timespec at_once = {};
      until_interrupted_no_more([&] { return ::sigtimedwait(&signals, nullptr, &at_once); });
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  errno = code;
  return n;
}

// The path behind the links at a path's end; one that points nowhere names the file to be made. Links to folders on the
// way are the operating system's.
Result<std::string> follow_links(std::string path) {
  std::string link(PATH_MAX, '\0');
  for (int i = 0; i < kMaxLinks; ++i) {
    const ssize_t n = ::readlink(path.c_str(), link.data(), link.size());
    if (n < 0 && errno != EINVAL && errno != ENOENT)
      return Error{ErrorCode::io, std::generic_category().message(errno)};
    if (n <= 0) return path;
    const std::string_view to(link.data(), static_cast<size_t>(n));
    const size_t slash = to.front() == '/' ? std::string::npos : path.rfind('/');
    path = slash == std::string::npos ? std::string(to) : path.substr(0, slash + 1).append(to);
  }
  return Error{ErrorCode::io, std::generic_category().message(ELOOP)};
}

std::string_view take_digits(std::string_view text) {
  const size_t n = std::min(text.find_first_not_of("0123456789"), text.size());
  return n == 0 ? std::string_view() : text.substr(n);
}

// NAME.PID-N.tmp; `prefix` is "NAME.".
bool is_temporary(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return false;
  name = take_digits(name.substr(prefix.size()));
  return name.starts_with('-') && take_digits(name.substr(1)) == kSuffix;
}

std::string temporary_prefix(std::string_view target) { return std::string(target.substr(0, kMaxPrefix)) + "."; }

bool same_file(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

// Nobody else can get the lock of a file that is being written, and no writer gives its file another name without it:
// what is locked here and still has its name is left over.
void remove_if_left_over(int folder, const char* name) noexcept {
  const int file = ::openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (file < 0) return;
  struct stat info = {}, named = {};
  if (::fstat(file, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == ::geteuid() &&
      ::flock(file, LOCK_EX | LOCK_NB) == 0 && ::fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
      same_file(info, named))
    ::unlinkat(folder, name, 0);
  ::close(file);
}

}  // namespace

Result<AtomicFile> AtomicFile::create(const std::string& path, mode_t mode) noexcept try {
  AtomicFile file;
  file.path_ = path;
  if (path.find('\0') != std::string::npos) return file.failed("open", EINVAL);
  struct stat old = {};
  const bool exists = ::stat(path.c_str(), &old) == 0;
  if (exists && !S_ISREG(old.st_mode))
    return Error{ErrorCode::io,
                 detail::format("{}: {}", path, S_ISDIR(old.st_mode) ? "is a directory" : "is not a regular file")};
  if (Status target = file.set_target(path); !target) return std::move(target).error();
  file.remove_left_over();
  if (Status opened = file.open_temporary(exists ? old.st_mode & kPermissions : mode, exists); !opened)
    return std::move(opened).error();
  return file;
} catch (const std::bad_alloc&) {
  return no_memory();
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      name_(std::move(other.name_)),
      temporary_(std::move(other.temporary_)),
      folder_(std::exchange(other.folder_, -1)),
      file_(std::exchange(other.file_, -1)),
      size_bytes_(other.size_bytes_),
      broken_(other.broken_) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(name_, other.name_);
  std::swap(temporary_, other.temporary_);
  std::swap(folder_, other.folder_);
  std::swap(file_, other.file_);
  std::swap(size_bytes_, other.size_bytes_);
  std::swap(broken_, other.broken_);
  return *this;
}

AtomicFile::~AtomicFile() {
  if (file_ >= 0) {
    ::unlinkat(folder_, temporary_.c_str(), 0);
    ::close(file_);
  }
  if (folder_ >= 0) ::close(folder_);
}

Error AtomicFile::failed(const char* what, int code) const {
  return Error{ErrorCode::io, detail::format("{}: cannot {}: {}", path_, what, std::generic_category().message(code))};
}

// Every later step goes by the folder's descriptor: renaming the folder meanwhile doesn't part the file from its
// temporary.
Status AtomicFile::set_target(const std::string& path) {
  Result<std::string> target = follow_links(path);
  if (!target)
    return Error{ErrorCode::io, detail::format("{}: cannot follow its link: {}", path, target.error().message)};
  const size_t slash = target->rfind('/');
  name_ = slash == std::string::npos ? *target : target->substr(slash + 1);
  if (name_.empty()) return failed("write", path.empty() ? ENOENT : EISDIR);
  const std::string folder = slash == std::string::npos ? "." : target->substr(0, slash + 1);
  folder_ = until_interrupted_no_more(
      [&] { return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK); });
  return folder_ < 0 ? Status(failed("open its folder", errno)) : Status();
}

void AtomicFile::remove_left_over() const noexcept {
  const int folder = ::openat(folder_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  DIR* const entries = ::fdopendir(folder);
  if (entries == nullptr) {
    ::close(folder);
    return;
  }
  const std::string_view prefix = std::string_view(name_).substr(0, kMaxPrefix);
  while (const dirent* const entry = ::readdir(entries)) {
    const std::string_view name = entry->d_name;
    if (name.starts_with(prefix) && is_temporary(name.substr(prefix.size()), "."))
      remove_if_left_over(folder_, entry->d_name);
  }
  ::closedir(entries);
}

Status AtomicFile::open_temporary(mode_t mode, bool keep_mode) {
  const std::string prefix = temporary_prefix(name_);
  for (int i = 0; i < kMaxNames; ++i) {
    temporary_ = detail::format("{}{}-{}{}", prefix, ::getpid(), i, kSuffix);
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    const int file = until_interrupted_no_more([&] { return ::openat(folder_, temporary_.c_str(), flags, mode); });
    if (file < 0 && errno == EEXIST) continue;
    if (file < 0) return failed("write", errno);
    // Between these two lines somebody who clears up may have had the lock, and the file is gone: another name, then.
    const bool locked = ::flock(file, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;  // else: no locks on this disk
    struct stat info = {};
    if (!locked || ::fstat(file, &info) != 0 || info.st_nlink == 0) {
      ::close(file);
      continue;
    }
    file_ = file;
    if (keep_mode && ::fchmod(file_, mode) != 0) return failed("set the permissions", errno);
    return {};
  }
  return failed("write: too many files are being written in its place", EEXIST);
}

Status AtomicFile::write(std::span<const std::byte> bytes) noexcept try {
  Status written = write_all(size_bytes_, bytes);
  if (written) size_bytes_ += bytes.size();
  return written;
} catch (const std::bad_alloc&) {
  return no_memory();
}

Status AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) noexcept try {
  DECANT_CHECK(offset <= size_bytes_ && bytes.size() <= size_bytes_ - offset, "write() makes the file longer");
  return write_all(offset, bytes);
} catch (const std::bad_alloc&) {
  return no_memory();
}

Status AtomicFile::write_all(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write_without_signal(file_, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int code = n < 0 ? errno : ENOSPC;
      broken_ = true;
      return failed("write", code);
    }
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status AtomicFile::commit() noexcept try {
  if (file_ < 0 || broken_) return failed("put it in place after a failed write", EIO);
  if (until_interrupted_no_more([&] { return ::fsync(file_); }) != 0) return failed("sync", errno);
  if (::renameat(folder_, temporary_.c_str(), folder_, name_.c_str()) != 0) return failed("put it in place", errno);
  ::close(std::exchange(file_, -1));
  // The name is durable only when its folder is. Some file systems have no such call, and need none.
  if (until_interrupted_no_more([&] { return ::fsync(folder_); }) != 0 && errno != EINVAL && errno != ENOTSUP)
    return failed("sync its folder; the new file is in place", errno);
  return {};
} catch (const std::bad_alloc&) {
  return no_memory();
}

}  // namespace decant::cache
