// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"

namespace decant::test {

namespace {

namespace fs = std::filesystem;

const fs::path kGuide = DECANT_SOURCE_DIR "/tools/guide";
const fs::path kExamples = DECANT_SOURCE_DIR "/tools/examples";

/// A fenced block of a page: what stands behind the first fence, and the lines between.
struct Block {
  std::string language, name, part, code;
};

struct Page {
  std::string prose;
  std::vector<Block> blocks;
};

Page read_page(const fs::path& path) {
  const std::string page = read_file(path.string());
  std::string prose;
  std::vector<Block> blocks;
  bool inside = false;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("```")) {
      inside = !inside;
      if (!inside) continue;
      std::istringstream info(line.substr(3));
      Block block;
      info >> block.language >> block.name >> block.part;
      blocks.push_back(block);
    } else if (inside) {
      blocks.back().code += line + '\n';
    } else {
      prose += line + '\n';
    }
  }
  CHECK_FALSE(inside);
  return {prose, blocks};
}

std::vector<fs::path> files_in(const fs::path& folder, const std::string& extension) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == extension) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

/// Targets of a page's links to files, without their anchors.
std::vector<std::string> links_of(const fs::path& path) {
  const std::string page = read_page(path).prose;
  std::vector<std::string> links;
  for (size_t at = page.find("]("); at != std::string::npos; at = page.find("](", at + 1)) {
    const size_t begin = at + 2, end = page.find_first_of(")#", begin);
    const std::string link = page.substr(begin, end - begin);
    if (!link.empty() && link.find(':') == std::string::npos) links.push_back(link);
  }
  return links;
}

}  // namespace

TEST_CASE("guide: the code on its pages is that of the examples, line by line") {
  int n_blocks = 0;
  for (const fs::path& page : files_in(kGuide, ".md"))
    for (const Block& block : read_page(page).blocks) {
      CAPTURE(page.string());
      CAPTURE(block.name);
      if (block.language != "cpp" && block.language != "c" && block.language != "python") continue;
      REQUIRE_FALSE(block.name.empty());
      const std::string example = '\n' + read_file((kExamples / block.language / block.name).string());
      CHECK(block.code.size() > 100);
      CHECK(example.find('\n' + block.code) != std::string::npos);
      ++n_blocks;
    }
  CHECK(n_blocks >= 20);
}

TEST_CASE("guide: what its pages say that examples print is what they print") {
  std::map<std::string, std::string> inputs;
  int n_outputs = 0;
  for (const fs::path& page : files_in(kGuide, ".md"))
    for (const Block& block : read_page(page).blocks) {
      if (block.language != "text" || block.name.empty()) continue;
      CAPTURE(block.name);
      if (block.part == "input") {
        inputs[block.name] = block.code;
        continue;
      }
      const TempDir folder;
      folder.write("input", inputs[block.name]);
      const std::string run = "cd '" + folder.path() + "' && '" DECANT_EXAMPLES "/" +
                              fs::path(block.name).stem().string() + "' '" DECANT_BUNDLED_MODEL "' < input >> output";
      const int n_runs = block.name == "save_resume.cpp" ? 2 : 1;
      for (int i = 0; i < n_runs; ++i) REQUIRE(std::system(run.c_str()) == 0);
      std::string output = read_file(folder.path("output"));
      if (!output.ends_with('\n')) output += '\n';
      CHECK(output == block.code);
      ++n_outputs;
    }
  CHECK(n_outputs >= 6);
}

TEST_CASE("guide: every example is on a page, every page is in the list, every link leads to a file") {
  std::set<fs::path> linked;
  for (const fs::path& page : files_in(kGuide, ".md"))
    for (const std::string& link : links_of(page)) {
      CAPTURE(page.string());
      CAPTURE(link);
      CHECK(fs::exists(kGuide / link));
      linked.insert(fs::weakly_canonical(kGuide / link));
    }
  for (const auto& [folder, extension] : {std::pair("cpp", ".cpp"), std::pair("c", ".c"), std::pair("python", ".py")}) {
    const std::vector<fs::path> examples = files_in(kExamples / folder, extension);
    CHECK(examples.size() >= 6);
    for (const fs::path& example : examples) {
      CAPTURE(example.string());
      CHECK(linked.contains(fs::weakly_canonical(example)));
    }
  }
  const std::vector<std::string> list = links_of(kGuide / "README.md");
  for (const fs::path& page : files_in(kGuide, ".md")) {
    CAPTURE(page.string());
    if (page.filename() != "README.md") CHECK(std::find(list.begin(), list.end(), page.filename()) != list.end());
  }
}

TEST_CASE("guide: twelve lines load a model, open a session, stream text and stop") {
  const std::string code = read_file((kExamples / "cpp/stream.cpp").string());
  CHECK(std::count(code.begin(), code.end(), '\n') == 12);
  std::istringstream lines(code);
  for (std::string line; std::getline(lines, line);) {
    CAPTURE(line);
    CHECK(line.size() <= 120);
    CHECK(std::count(line.begin(), line.end(), ';') <= 2);  // a line is a statement, `if` and `for` with theirs
  }
}

}  // namespace decant::test
