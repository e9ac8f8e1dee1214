// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <filesystem>
#include <iterator>
#include <string>

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/support/fixtures.h"
#include "tests/support/temp_dir.h"
#include "tests/tools/run_json.h"

using namespace decant::test;

namespace {

auto n_files(const TempDir& folder) {
  return std::distance(std::filesystem::directory_iterator(folder.path()), std::filesystem::directory_iterator());
}

/// Files that this process and its children write may have at most so many bytes: a disk that gets full.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) {
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before_) == 0);
    const rlimit small = {bytes, before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  }
  ~FileLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  FileLimit(const FileLimit&) = delete;
  FileLimit& operator=(const FileLimit&) = delete;

 private:
  rlimit before_ = {};
};

}  // namespace

TEST_CASE("session: what doesn't fit it is refused by name, and the file stays as it is") {
  const TempDir folder;
  const std::string file = folder.path("s.kv");
  REQUIRE(run_json({"-m", tiny_model(), "hello", "-n", "20", "--kv-type", "q8", "--session", file}).status == 0);
  const std::string before = read_file(file);
  struct Case {
    Words words;
    const char* named;
    const char* other;
  };
  const Case cases[] = {
      {{"-m", tiny_model("qwen2"), ""}, "llama-gqa", "qwen2"},
      {{"-m", fixture("gguf/llama-gqa-q8_0.gguf"), ""}, "llama-gqa", "s.kv"},
      {{"-m", tiny_model(), "", "--kv-type", "f16"}, "q8/q8", "f16/f16"},
      {{"-m", tiny_model(), "", "--kv-type", "q8,q4"}, "q8/q8", "q8/q4"},
      {{"-m", tiny_model(), "", "--numerics", "reference"}, "exact", "reference"},
      {{"-m", tiny_model(), "", "--ctx", "10"}, "10", "--ctx"},
      {{"-m", tiny_model(), "", "--window", "20"}, "--window", "s.kv"},
      {{"-m", tiny_model(), "", "--cache-bytes", "1K"}, "1024", "limit"},
      {{"-m", tiny_model(), "--ids", "1,512"}, "512", "vocabulary"},
  };
  for (const Case& wrong : cases) {
    CAPTURE(wrong.named);
    const Finished result = run_decant(Words{"run", "-n", "3", "--session", file} + wrong.words);
    CAPTURE(result.err);
    CHECK(result.status == 1);
    CHECK(result.out.empty());
    CHECK(is_one_line(result.err));
    CHECK(result.err.find(wrong.named) != std::string::npos);
    CHECK(result.err.find(wrong.other) != std::string::npos);
    CHECK(read_file(file) == before);
    CHECK(n_files(folder) == 1);
  }
}

TEST_CASE("session: an endless one stays as it was begun") {
  const TempDir folder;
  const Words words{"run", "-m", tiny_model(), "", "-n", "3", "--session", folder.path("s.kv")};
  REQUIRE(run_decant(words + Words{"--window", "40"}).status == 0);
  CHECK(run_decant(words).status == 0);
  CHECK(run_decant(words + Words{"--window", "40"}).status == 0);
  const Finished other = run_decant(words + Words{"--window", "41"});
  CHECK(other.status == 1);
  CHECK(other.err.find("--window 40") != std::string::npos);
  const Finished narrow = run_decant(words + Words{"--ctx", "100"});
  CHECK(narrow.status == 1);
  CHECK(is_one_line(narrow.err));
  CHECK(narrow.err.find("172") != std::string::npos);  // 40, the sinks' 4, and 128
}

TEST_CASE("session: a file that can't be read or written is refused before a prompt is read") {
  const TempDir folder;
  folder.write("empty.kv", "");
  folder.write("text.kv", "Once upon a time\n");
  std::filesystem::create_directory(folder.path("folder.kv"));
  REQUIRE(::mkfifo(folder.path("pipe.kv").c_str(), 0600) == 0);
  REQUIRE(run_decant({"run", "-m", tiny_model(), "hello", "-n", "5", "--session", folder.path("s.kv")}).status == 0);
  const std::string whole = read_file(folder.path("s.kv"));
  folder.write("cut.kv", whole.substr(0, whole.size() / 2));
  const auto before = n_files(folder);
  for (const char* name :
       {"empty.kv", "text.kv", "cut.kv", "folder.kv", "pipe.kv", "missing/s.kv", "text.kv/s.kv", "new.kv/"}) {
    CAPTURE(name);
    const Finished result =
        run_decant({"run", "-m", tiny_model(), "--session", folder.path(name)}, {.input_stays_open = true});
    CHECK(result.status == 1);
    CHECK(result.out.empty());
    CHECK(is_one_line(result.err));
    CHECK(result.err.find(name) != std::string::npos);
    CHECK(n_files(folder) == before);
  }
  CHECK(run_decant({"run", "-m", tiny_model(), "hello", "--session", "/dev/full"}).status == 1);
  CHECK(std::filesystem::is_character_file("/dev/full"));
}

TEST_CASE("session: a byte that changed is found before anything is generated") {
  const TempDir folder;
  const Words words{"run", "-m", tiny_model(), "", "-n", "5", "--session", folder.path("s.kv")};
  REQUIRE(run_decant(words).status == 0);
  const std::string whole = read_file(folder.path("s.kv"));
  for (size_t at = 0; at < whole.size(); at += whole.size() / 12 + 1) {
    CAPTURE(at);
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 4);
    folder.replace("s.kv", changed);
    const Finished result = run_decant(words);
    CHECK(result.status == 1);
    CHECK(result.out.empty());
    CHECK(is_one_line(result.err));
    CHECK(read_file(folder.path("s.kv")) == changed);
  }
}

TEST_CASE("session: a disk that gets full leaves the old file, after the text was shown") {
  const TempDir folder;
  const Words options{"-m", tiny_model(), "--temp", "0", "-n", "6"}, session{"--session", folder.path("s.kv")};
  const auto run_limited = [&](const Words& words) {
    const FileLimit limit(1000);
    return run_decant(Words{"run"} + options + session + words);
  };
  const Finished new_one = run_limited({"hello"});
  CHECK(new_one.status == 1);
  CHECK(!new_one.out.empty());
  CHECK(new_one.err.find("s.kv") != std::string::npos);
  CHECK(n_files(folder) == 0);

  REQUIRE(run_decant(Words{"run", "hello"} + options + session).status == 0);
  const std::string before = read_file(folder.path("s.kv"));
  const Finished later = run_limited({""});
  CHECK(later.status == 1);
  CHECK(!later.out.empty());
  CHECK(later.err.find("s.kv") != std::string::npos);
  CHECK(read_file(folder.path("s.kv")) == before);
  CHECK(n_files(folder) == 1);
}

TEST_CASE("session: of two runs at once with one file each succeeds, and the file is that of one of them") {
  const TempDir folder;
  const Words session{"--session", folder.path("s.kv"), "-m", tiny_model(), "-n", "200", "--temp", "0"};
  Child a(Words{"run", "hello"} + session), b(Words{"run", "Far away"} + session);
  const Finished first = a.finish(), second = b.finish();
  CHECK(first.status == 0);
  CHECK(second.status == 0);
  CHECK(n_files(folder) == 1);
  CHECK(run_decant({"cache", "inspect", folder.path("s.kv")}).status == 0);
}
