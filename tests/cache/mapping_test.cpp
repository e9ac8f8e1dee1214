// SPDX-License-Identifier: Apache-2.0
#include "cache/mapping.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <sys/mman.h>

namespace decant::cache {
namespace {

size_t resident_pages(const Mapping& mapping) {
  std::vector<unsigned char> pages(mapping.size_bytes() / kPageBytes);
  REQUIRE(::mincore(mapping.data(), mapping.size_bytes(), pages.data()) == 0);
  return static_cast<size_t>(std::count_if(pages.begin(), pages.end(), [](unsigned char p) { return (p & 1) != 0; }));
}

TEST_CASE("mapping: pages taken now are there, zeroed, and aligned to huge pages where that large") {
  for (const size_t bytes : {size_t{1}, kPageBytes, 3 * kPageBytes, kHugePageBytes, kHugePageBytes * 3 + kPageBytes}) {
    CAPTURE(bytes);
    const Mapping mapping = Mapping::take(bytes, Mapping::Fault::now);
    REQUIRE(mapping);
    CHECK(mapping.size_bytes() == (bytes + kPageBytes - 1) / kPageBytes * kPageBytes);
    CHECK(reinterpret_cast<uintptr_t>(mapping.data()) % (bytes >= kHugePageBytes ? kHugePageBytes : kPageBytes) == 0);
    CHECK(std::all_of(mapping.data(), mapping.data() + mapping.size_bytes(),
                      [](std::byte b) { return b == std::byte{0}; }));
    CHECK(resident_pages(mapping) == mapping.size_bytes() / kPageBytes);
  }
}

TEST_CASE("mapping: address space costs no memory until it is touched") {
  const Mapping mapping = Mapping::take(size_t{1} << 36, Mapping::Fault::on_touch);
  REQUIRE(mapping);
  mapping.data()[mapping.size_bytes() - 1] = std::byte{7};
  CHECK(mapping.data()[mapping.size_bytes() - 1] == std::byte{7});
}

TEST_CASE("mapping: more than the system has gives an empty one") {
  for (const auto fault : {Mapping::Fault::now, Mapping::Fault::on_touch}) {
    CHECK_FALSE(Mapping::take(size_t{1} << 60, fault));
    CHECK_FALSE(Mapping::take(std::numeric_limits<size_t>::max(), fault));
    CHECK_FALSE(Mapping::take(std::numeric_limits<size_t>::max() - kPageBytes - 1, fault));
  }
}

TEST_CASE("mapping: moving passes the pages on") {
  Mapping a = Mapping::take(kPageBytes, Mapping::Fault::now);
  std::byte* const data = a.data();
  Mapping b = std::move(a);
  CHECK_FALSE(a);
  CHECK(b.data() == data);
  Mapping c;
  c = std::move(b);
  CHECK(c.data() == data);
  CHECK(c.size_bytes() == kPageBytes);
}

}  // namespace
}  // namespace decant::cache
