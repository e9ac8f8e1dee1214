// SPDX-License-Identifier: Apache-2.0

// Sequences and files that go wrong: full disks, damaged bytes, missing ends.

#include <filesystem>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include "tests/cache/cache_model.h"
#include "tests/cache/snapshot_case.h"
#include "tests/support/in_child.h"
#include "tests/support/temp_dir.h"

namespace decant::cache {
namespace {

namespace fs = std::filesystem;

const SnapshotIdentity kIdentity = {"model", "weights", "exact"};

/// A cache of one sequence.
struct Grown {
  std::vector<KvLayerShape> layers;
  std::unique_ptr<KvCache> cache;
  decant::test::PlainCache plain;
  SequenceIndex s = 0;

  Grown(std::vector<KvLayerShape> shapes, int n_tokens)
      : layers(std::move(shapes)),
        cache(decant::test::make_cache(layers, decant::test::cache_options(KvType::f32, 16), 3, 1000)),
        plain(layers) {
    s = *cache->add_sequence();
    const KvGrowth growth{s, n_tokens};
    Result<KvReservation> slots = cache->reserve({&growth, 1});
    REQUIRE(slots.ok());
    for (int i = 0; i < n_tokens; ++i) plain.append(static_cast<unsigned>(i));
    REQUIRE(decant::test::write_tokens(*cache, s, plain, static_cast<int>(layers.size()), 0));
    slots->commit();
  }

  bool unchanged(size_t reserved_bytes) const {
    return cache->stats().n_sequences == 1 && cache->stats().reserved_bytes == reserved_bytes &&
           cache->check_invariants().empty() && decant::test::same_contents(*cache, s, plain, layers);
  }
};

TEST_CASE("kv_cache: every flipped byte and every missing end of a saved sequence is an error, and none is added") {
  const decant::test::TempDir folder;
  const std::string path = folder.path("small.kv");
  Grown g({{1, 4, 4, 0}}, 5);
  const std::byte payload[] = {std::byte{1}, std::byte{2}, std::byte{3}};
  REQUIRE(g.cache->save(g.s, path, kIdentity, payload).ok());
  const std::string good = test::read_bytes(path);
  const size_t reserved = g.cache->stats().reserved_bytes;
  REQUIRE(good.size() < 20'000);
  const auto is_refused = [&](size_t i) {
    CAPTURE(i);
    REQUIRE(!g.cache->restore(path, kIdentity).ok());
    REQUIRE(g.cache->stats().n_sequences == 1);
    REQUIRE(g.cache->stats().reserved_bytes == reserved);
    if (i % 64 == 0) REQUIRE(g.unchanged(reserved));
  };
  const int fd = ::open(path.c_str(), O_WRONLY);
  REQUIRE(fd >= 0);
  for (size_t i = 0; i < good.size(); ++i) {
    const auto at = static_cast<off_t>(i);
    const char bad = static_cast<char>(good[i] ^ (1 << (i % 8)));
    REQUIRE(::pwrite(fd, &bad, 1, at) == 1);
    is_refused(i);
    REQUIRE(::pwrite(fd, &good[i], 1, at) == 1);
  }
  for (size_t i = good.size(); i-- > 0;) {
    REQUIRE(::ftruncate(fd, static_cast<off_t>(i)) == 0);
    is_refused(i);
  }
  ::close(fd);
  REQUIRE(g.unchanged(reserved));
  test::write_bytes(path, good);
  const Result<RestoredSequence> restored = g.cache->restore(path, kIdentity);
  REQUIRE(restored.ok());
  CHECK(decant::test::same_contents(*g.cache, restored->sequence, g.plain, g.layers));
  CHECK(restored->payload == std::vector<std::byte>(std::begin(payload), std::end(payload)));
}

TEST_CASE("kv_cache: a full disk is an error of a save, the old file stays, and so does the sequence") {
  const decant::test::TempDir folder;
  constexpr int kNoMount = 50;
  const std::string path = folder.path("x.kv");
  const int status = decant::test::in_child([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=64k") != 0)
      return kNoMount;
    Grown small({{1, 4, 4, 0}}, 5), large({{4, 16, 16, 0}}, 400);
    if (!small.cache->save(small.s, path, kIdentity, {}).ok()) return 1;
    const std::string old = test::read_bytes(path);
    const size_t reserved = large.cache->stats().reserved_bytes;
    const Status saved = large.cache->save(large.s, path, kIdentity, {});
    if (saved.ok() || saved.error().code != ErrorCode::io) return 2;
    if (saved.error().message.find("No space left on device") == std::string::npos) return 3;
    if (test::read_bytes(path) != old) return 4;
    if (std::distance(fs::directory_iterator(folder.path()), {}) != 1) return 5;
    if (!large.unchanged(reserved)) return 6;
    return small.cache->restore(path, kIdentity).ok() ? 0 : 7;
  });
  if (status == kNoMount) MESSAGE("no right to mount a small disk: not tried");
  CHECK((status == 0 || status == kNoMount));
}

}  // namespace
}  // namespace decant::cache
