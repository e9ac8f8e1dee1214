// SPDX-License-Identifier: Apache-2.0
#include "cache/snapshot_check.h"

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/cache/snapshot_case.h"
#include "tests/support/temp_dir.h"

namespace decant::cache {
namespace {

constexpr int kMost = std::numeric_limits<int32_t>::max();
constexpr int kLeast = std::numeric_limits<int32_t>::min();

struct Absurdity {
  std::function<void(SnapshotContents&)> make;
  std::string message;
};

const std::vector<Absurdity> kAbsurdities = {
    {[](auto& c) { c.layout.block_tokens = 0; }, "layout: block_tokens is 0"},
    {[](auto& c) { c.layout.block_tokens = -16; }, "layout: block_tokens is -16"},
    {[](auto& c) { c.layout.block_tokens = kMost; }, "layout: block_tokens is 2147483647"},
    {[](auto& c) { c.layout.layers.clear(); }, "layout: it has no layers"},
    {[](auto& c) { c.layout.layers[1].n_kv_heads = 0; }, "layout: layer 1: n_kv_heads 0"},
    {[](auto& c) { c.layout.layers[0].k_dim = -8; }, "layout: layer 0: n_kv_heads 2, k_dim -8"},
    {[](auto& c) { c.layout.layers[0].v_dim = 0; }, "v_dim 0"},
    {[](auto& c) { c.layout.layers[0].window = -1; }, "window -1"},
    {[](auto& c) { c.layout.layers[1].v_dim = 25; }, "layout: layer 1: v_dim 25 is more than the k_dim 24"},
    {[](auto& c) { c.layout.block_bytes.push_back(8); }, "layout: it has 3 groups of 2 layers"},
    {[](auto& c) { c.layout.block_bytes.clear(); }, "layout: it has 0 groups of 2 layers"},
    {[](auto& c) { c.layout.block_bytes[1] = 0; }, "layout: block_bytes of group 1 is 0"},
    {[](auto& c) { c.block_groups[4] = 2; }, "block groups: block 4 is of group 2, there are 2"},
    {[](auto& c) { c.block_groups[4] = -1; }, "block groups: block 4 is of group -1"},
    {[](auto& c) { c.sequences[0].n_tokens = -1; }, "sequence 0: n_tokens is -1"},
    {[](auto& c) { c.sequences[0].n_tokens = kLeast; }, "sequence 0: n_tokens is -2147483648"},
    {[](auto& c) { c.sequences[0].n_tokens = kMost; },
     "sequence 0: table of group 0: it has 3 blocks, 2147483647 tokens "
     "take 134217728"},
    {[](auto& c) { c.sequences[0].n_tokens = 49; }, "it has 3 blocks, 49 tokens take 4"},
    {[](auto& c) { c.sequences[0].n_tokens = c.sequences[0].pure_tokens = 32; }, "it has 3 blocks, 32 tokens take 2"},
    {[](auto& c) { c.sequences[1].pure_tokens = 34; }, "sequence 1: pure_tokens is 34, n_tokens 33"},
    {[](auto& c) { c.sequences[1].pure_tokens = -1; }, "sequence 1: pure_tokens is -1"},
    {[](auto& c) { c.sequences[1].tables.pop_back(); }, "sequence 1: it has 1 tables, there are 2 groups"},
    {[](auto& c) { c.sequences[1].tables[1] = c.sequences[1].tables[0]; }, "sequence 1: it has two tables of group 1"},
    {[](auto& c) { c.sequences[1].tables[0].group = 2; }, "sequence 1: a table's group is 2"},
    {[](auto& c) { c.sequences[1].tables[0].group = -1; }, "sequence 1: a table's group is -1"},
    {[](auto& c) { c.sequences[0].tables[0].blocks[1] = 9; }, "table of group 0: it names block 9, there are 9"},
    {[](auto& c) { c.sequences[0].tables[0].blocks[1] = -2; }, "it names block -2"},
    {[](auto& c) { c.sequences[0].tables[0].blocks[1] = kLeast; }, "it names block -2147483648"},
    {[](auto& c) { c.sequences[0].tables[0].blocks[1] = 3; }, "it names block 3 of group 1, expected one of group 0"},
    {[](auto& c) { c.sequences[0].tables[0].blocks[0] = -1; }, "block 0 is missing, first_slot is 0"},
    {[](auto& c) { c.sequences[0].tables[1].first_slot = 15; }, "group 1: block 0 is missing, first_slot is 15"},
    {[](auto& c) { c.sequences[0].tables[1].first_slot = 41; }, "group 1: first_slot is 41, n_tokens 40"},
    {[](auto& c) { c.sequences[0].tables[1].first_slot = -1; }, "group 1: first_slot is -1"},
    {[](auto& c) { c.nodes[1].parent = 1; }, "node 1: parent is 1, expected an earlier node or -1"},
    {[](auto& c) { c.nodes[2].parent = kMost; }, "node 2: parent is 2147483647"},
    {[](auto& c) { c.nodes[3].tokens.push_back(1); }, "node 3: it has 17 tokens, block_tokens is 16"},
    {[](auto& c) { c.nodes[1].tokens.clear(); }, "node 1: it has no tokens and is no root"},
    {[](auto& c) { c.nodes[1].tokens.pop_back(); }, "node 2: its parent 1 has 15 tokens, block_tokens is 16"},
    {[](auto& c) { c.nodes[2].tokens[0] = -7; }, "node 2: a token is -7"},
    {[](auto& c) { c.nodes[2].blocks[0] = 100; }, "node 2: it names block 100"},
    {[](auto& c) { c.nodes[2].blocks[1] = 0; }, "node 2: it names block 0 of group 0, expected one of group 1"},
    {[](auto& c) { c.nodes[2].blocks[1] = -3; }, "node 2: it names block -3"},
    {[](auto& c) { c.nodes[2].blocks[0] = c.nodes[1].blocks[0]; }, "node 2: it names block 0 of another node"},
};

TEST_CASE("snapshot_file: every absurd field is named, by the reader as bad_format, by the writer before it writes") {
  const decant::test::TempDir folder;
  const std::string path = folder.path("s.kv"), unwritten = folder.path("w.kv");
  for (const Absurdity& absurdity : kAbsurdities) {
    SnapshotContents contents = test::small_contents();
    absurdity.make(contents);
    CAPTURE(absurdity.message);
    test::write_bytes(path, test::forge(contents));
    const Result<SnapshotReader> reader = SnapshotReader::open(path);
    REQUIRE_FALSE(reader.ok());
    CAPTURE(reader.error().message);
    CHECK(reader.error().code == ErrorCode::bad_format);
    CHECK(reader.error().message.starts_with(path));
    // Where the groups are other than said, nodes have another size: an earlier error, then.
    const bool other_groups = contents.layout.block_bytes.size() != 2;
    if (!other_groups) CHECK(reader.error().message.find(absurdity.message) != std::string::npos);

    const Status written = write_snapshot(unwritten, contents, [](int) { return std::span<const std::byte>(); });
    REQUIRE_FALSE(written.ok());
    CAPTURE(written.error().message);
    CHECK(written.error().code == ErrorCode::invalid_argument);
    CHECK(written.error().message.find(absurdity.message) != std::string::npos);
  }
}

TEST_CASE("snapshot_file: contents that no file can say are refused by the writer") {
  const auto refused = [](const std::function<void(SnapshotContents&)>& make, std::string_view text) {
    const decant::test::TempDir folder;
    SnapshotContents contents = test::small_contents();
    make(contents);
    const Status written = write_snapshot(folder.path("s"), contents, [](int) { return std::span<const std::byte>(); });
    return !written && written.error().code == ErrorCode::invalid_argument &&
           written.error().message.find(text) != std::string::npos;
  };
  CHECK(refused([](auto& c) { c.nodes[1].salt = std::string(1, 'x'); }, "node 1: it has a salt and is no root"));
  CHECK(refused([](auto& c) { c.nodes[0].parent = -2; }, "node 0: parent is -2"));
  CHECK(refused([](auto& c) { c.nodes[1].blocks.pop_back(); }, "node 1: it has 1 blocks, there are 2 groups"));
  CHECK(refused([](auto& c) { c.layout.k_type = static_cast<KvType>(99); }, "a cache type is none"));
  CHECK(
      refused([](auto& c) { c.layout.block_bytes[0] = ~size_t{0} / 2; }, "more bytes of blocks than a file can have"));
}

TEST_CASE("check_identity: the first field that differs is named, with both sides") {
  const SnapshotContents contents = test::small_contents();
  CHECK(check_identity(contents, contents.identity, contents.layout, "s.kv").ok());
  const auto message = [&](const std::function<void(SnapshotIdentity&, SnapshotLayout&)>& change) {
    SnapshotIdentity identity = contents.identity;
    SnapshotLayout layout = contents.layout;
    change(identity, layout);
    const Status status = check_identity(contents, identity, layout, "s.kv");
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().code == ErrorCode::mismatch);
    return status.error().message;
  };
  CHECK(message([](auto& i, auto&) { i.model = std::string("b\x1b[31mig"); }) ==
        "s.kv: made for model 'tiny', this engine has 'b\\x1b[31mig'");
  CHECK(message([](auto& i, auto&) { i.model_fingerprint.clear(); }) ==
        "s.kv: made for a model of fingerprint '0123456789abcdef', this engine has ''");
  CHECK(message([](auto& i, auto&) { i.numerics = std::string("decant 2"); }) ==
        "s.kv: made with numerics 'decant 1', this engine has 'decant 2'");
  CHECK(message([](auto&, auto& l) { l.k_type = KvType::f32; }) ==
        "s.kv: made with cache types f16/f32, this engine has f32/f32");
  CHECK(message([](auto&, auto& l) { l.block_tokens = 32; }) == "s.kv: made with block_tokens 16, this engine has 32");
  CHECK(message([](auto&, auto& l) { l.layers.pop_back(); }) == "s.kv: made with n_layers 2, this engine has 1");
  CHECK(message([](auto&, auto& l) { l.layers[1].v_in_k = false; }) ==
        "s.kv: made with a layer 1 of n_kv_heads 1, k_dim 24, v_dim 16 within k, window 20, this engine has "
        "n_kv_heads 1, k_dim 24, v_dim 16, window 20");
  CHECK(message([](auto&, auto& l) { l.block_bytes.pop_back(); }) ==
        "s.kv: made with groups of layers: 2, this engine has 1");
  CHECK(message([](auto&, auto& l) { l.block_bytes[1] = 64; }) ==
        "s.kv: made with block_bytes of group 1: 40, this engine has 64");
  // What differs first is not always what tells most: a long name is cut.
  CHECK(message([](auto& i, auto&) { i.model = std::string(5000, 'm'); }).size() < 200);
}

TEST_CASE("result: a mismatch has a name") { CHECK(to_string(ErrorCode::mismatch) == std::string("mismatch")); }

}  // namespace
}  // namespace decant::cache
