// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace decant::test {

/// A folder that goes away with its owner.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "decant-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::string path(const std::string& name = "") const { return name.empty() ? path_ : path_ + "/" + name; }
  void write(const std::string& name, std::string_view bytes) const {
    std::ofstream out(path(name), std::ios::binary);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!out) throw std::runtime_error("cannot write " + path(name));
  }
  /// Links to every file of another folder.
  void link_all(const std::string& folder) const {
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      std::filesystem::create_symlink(std::filesystem::absolute(entry.path()), path(entry.path().filename().string()));
  }
  /// Replaces a link or file.
  void replace(const std::string& name, std::string_view bytes) const {
    std::filesystem::remove(path(name));
    write(name, bytes);
  }

 private:
  std::string path_;
};

}  // namespace decant::test
