// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include "decant/model.h"

namespace decant {
namespace {

/// A copy of the shared library under a name of its own, loaded. Its file stays until the end.
class Copy {
 public:
  Copy(const std::string& name, int flags)
      : path_(std::filesystem::temp_directory_path() / (name + std::to_string(::getpid()) + ".so")) {
    std::filesystem::copy_file(DECANT_SHARED_LIBRARY, path_, std::filesystem::copy_options::overwrite_existing);
    library_ = dlopen(path_.c_str(), RTLD_NOW | flags);
    REQUIRE_MESSAGE(library_ != nullptr, dlerror());
  }
  ~Copy() {
    dlclose(library_);
    std::filesystem::remove(path_);
  }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  /// A function by its mangled name.
  template <typename Function>
  Function* function(const char* name) const {
    void* const address = dlsym(library_, name);
    REQUIRE_MESSAGE(address != nullptr, name);
    return reinterpret_cast<Function*>(address);
  }

  /// Whether code or data lies in this copy.
  bool holds(const void* address) const {
    Dl_info info = {};
    return dladdr(address, &info) != 0 && path_ == info.dli_fname;
  }

 private:
  std::filesystem::path path_;
  void* library_ = nullptr;
};

using OpenedModel = Result<std::shared_ptr<const Model>>;
constexpr const char* kToString = "_ZN6decant9to_stringENS_9ErrorCodeE";
constexpr const char* kOpen =
    "_ZN6decant5Model4openERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEERKNS_12ModelOptionsE";
constexpr const char* kTokenizer = "_ZNK6decant5Model9tokenizerEv";

/// Opens a model with a copy, and tells how it writes a text.
std::vector<int32_t> encode(const Copy& copy, const std::string& path) {
  const OpenedModel model = copy.function<OpenedModel(const std::string&, const ModelOptions&)>(kOpen)(path, {});
  REQUIRE_MESSAGE(model.ok(), model.error().message);
  const auto tokenizer = copy.function<Result<const Tokenizer*>(const Model*)>(kTokenizer)(model->get());
  REQUIRE(tokenizer.ok());
  CHECK(copy.holds(*reinterpret_cast<void* const*>(*tokenizer)));  // its virtual table
  const auto ids = (*tokenizer)->encode("Once upon a time");
  REQUIRE(ids.ok());
  CHECK((*tokenizer)->decode(*ids).find("upon") != std::string::npos);
  return *ids;
}

TEST_CASE("two copies of the shared library work side by side in one process and never meet") {
  const std::string path = DECANT_BUNDLED_MODEL;
  const Copy one("decant-one-", RTLD_LOCAL), two("decant-two-", RTLD_GLOBAL), three("decant-three-", RTLD_GLOBAL);
  std::vector<std::vector<int32_t>> ids;
  for (const Copy* copy : {&one, &two, &three}) {
    auto* const to_string = copy->function<const char*(ErrorCode)>(kToString);
    CHECK(copy->holds(reinterpret_cast<const void*>(to_string)));
    CHECK(std::string(to_string(ErrorCode::bad_format)) == "bad_format");
    CHECK(copy->holds(to_string(ErrorCode::bad_format)));
    CHECK_FALSE(copy->function<OpenedModel(const std::string&, const ModelOptions&)>(kOpen)("/none.gguf", {}).ok());
    ids.push_back(encode(*copy, path));
  }
  CHECK(ids[0] == ids[1]);
  CHECK(ids[0] == ids[2]);

  std::vector<int32_t> first, second;
  std::thread other([&] { first = encode(one, path); });
  second = encode(two, path);
  other.join();
  CHECK(first == ids[0]);
  CHECK(second == ids[0]);
}

TEST_CASE("the shared library: closed and opened again, it works as before") {
  std::vector<int32_t> ids;
  for (int round = 0; round < 2; ++round) {
    const Copy copy("decant-again-", RTLD_LOCAL);
    const auto found = encode(copy, DECANT_BUNDLED_MODEL);
    if (round > 0) CHECK(found == ids);
    ids = found;
  }
}

}  // namespace
}  // namespace decant
