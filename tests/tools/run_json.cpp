// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/run_json.h"

#include <sstream>
#include <utility>

namespace decant::test {

Run read_run(const Finished& result) {
  Run run{.status = result.status, .err = result.err};
  std::istringstream lines(result.out);
  for (std::string line; std::getline(lines, line);) run.tokens.push_back(Json::parse(line));
  if (run.tokens.empty()) return run;
  run.whole = run.tokens.back();
  run.tokens.pop_back();
  for (const Json& token : run.tokens) {
    run.text += token.at("text").get<std::string>();
    run.ids.push_back(token.at("id").get<int>());
  }
  return run;
}

Run run_json(Words words, const Start& start) {
  words.insert(words.begin(), "run");
  words.push_back("--json");
  return read_run(run_decant(words, start));
}

}  // namespace decant::test
