// SPDX-License-Identifier: Apache-2.0
//
// report_page REPORT.json [OTHER.json [COMPARISON.json]] > PAGE.html: what profile_html makes of data that no run would
// give on demand.
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <vector>

#include "tools/profile_html.h"

int main(int argc, char** argv) {
  using Json = nlohmann::ordered_json;
  std::vector<Json> data;
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i]);
    Json json = Json::parse(file, nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded()) {
      std::cerr << argv[i] << ": no JSON\n";
      return 1;
    }
    data.push_back(std::move(json));
  }
  if (data.empty() || data.size() > 3) {
    std::cerr << "usage: report_page REPORT.json [OTHER.json [COMPARISON.json]]\n";
    return 2;
  }
  const auto part = [&data](size_t i) { return i < data.size() ? &data[i] : nullptr; };
  std::cout << decant::tools::profile_html(data[0], part(1), part(2));
  return std::cout.flush() ? 0 : 1;
}
