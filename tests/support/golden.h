// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>

namespace decant::test {

/// Committed hashes: lines of a name, a type and a hash, those with # in front aside. "name type" → hash.
inline std::map<std::string, std::string> read_golden(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::map<std::string, std::string> golden;
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string name, type, hash;
    if (line.empty() || line[0] == '#' || !(fields >> name >> type >> hash)) continue;
    golden[name + " " + type] = hash;
  }
  return golden;
}

}  // namespace decant::test
