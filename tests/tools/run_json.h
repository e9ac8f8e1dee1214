// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/tools/child.h"

namespace decant::test {

using Json = nlohmann::json;

/// What `decant run --json` said: a line a token, and the last one about the whole.
struct Run {
  int status = -1;
  std::vector<Json> tokens = {};
  Json whole = {};
  std::string text = {}, err = {};
  std::vector<int> ids = {};
};

Run read_run(const Finished& result);

/// words: without "run" and "--json".
Run run_json(Words words, const Start& start = {});

/// Words and more words, ids and more ids.
template <typename T>
std::vector<T> operator+(std::vector<T> a, const std::vector<T>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace decant::test
