// SPDX-License-Identifier: Apache-2.0
#include "cache/snapshot_check.h"

#include <new>
#include <utility>
#include <vector>

#include "decant/detail/format.h"

namespace decant::cache {
namespace {

constexpr int kMaxBlockTokens = 1 << 16;
constexpr size_t kMaxQuoted = 120;

bool is_type(KvType type) { return static_cast<int>(type) >= 0 && static_cast<int>(type) < kKvTypeCount; }

// Each check returns what is wrong, or nothing.
std::string check_layout(const SnapshotLayout& layout) {
  if (layout.block_tokens < 1 || layout.block_tokens > kMaxBlockTokens)
    return detail::format("block_tokens is {}, expected 1 to {}", layout.block_tokens, kMaxBlockTokens);
  if (!is_type(layout.k_type) || !is_type(layout.v_type)) return "a cache type is none";
  if (layout.layers.empty()) return "it has no layers";
  for (size_t i = 0; i < layout.layers.size(); ++i) {
    const SnapshotLayout::Layer& layer = layout.layers[i];
    if (layer.n_kv_heads < 1 || layer.k_dim < 1 || layer.v_dim < 1 || layer.window < 0)
      return detail::format("layer {}: n_kv_heads {}, k_dim {}, v_dim {}, window {}: counts must be positive", i,
                            layer.n_kv_heads, layer.k_dim, layer.v_dim, layer.window);
    if (layer.v_in_k && layer.v_dim > layer.k_dim)
      return detail::format("layer {}: v_dim {} is more than the k_dim {} that it is a part of", i, layer.v_dim,
                            layer.k_dim);
  }
  if (layout.block_bytes.empty() || layout.block_bytes.size() > layout.layers.size())
    return detail::format("it has {} groups of {} layers", layout.block_bytes.size(), layout.layers.size());
  for (size_t g = 0; g < layout.block_bytes.size(); ++g)
    if (layout.block_bytes[g] == 0) return detail::format("block_bytes of group {} is 0", g);
  return {};
}

class Checker {
 public:
  explicit Checker(const SnapshotContents& contents)
      : contents_(contents),
        block_tokens_(contents.layout.block_tokens),
        n_groups_(contents.layout.block_bytes.size()),
        of_a_node_(contents.block_groups.size()) {}

  std::string check_block_groups() const {
    if (contents_.block_groups.size() > INT32_MAX) return "it has more blocks than can be numbered";
    for (size_t b = 0; b < contents_.block_groups.size(); ++b)
      if (const int32_t group = contents_.block_groups[b]; group < 0 || static_cast<size_t>(group) >= n_groups_)
        return detail::format("block {} is of group {}, there are {}", b, group, n_groups_);
    return {};
  }

  std::string check_sequence(const SnapshotSequence& sequence) const {
    if (sequence.n_tokens < 0) return detail::format("n_tokens is {}", sequence.n_tokens);
    if (sequence.pure_tokens < 0 || sequence.pure_tokens > sequence.n_tokens)
      return detail::format("pure_tokens is {}, n_tokens {}", sequence.pure_tokens, sequence.n_tokens);
    if (sequence.tables.size() != n_groups_)
      return detail::format("it has {} tables, there are {} groups", sequence.tables.size(), n_groups_);
    std::vector<bool> seen(n_groups_);
    for (const SnapshotTable& table : sequence.tables) {
      if (table.group < 0 || static_cast<size_t>(table.group) >= n_groups_)
        return detail::format("a table's group is {}, there are {}", table.group, n_groups_);
      if (seen[static_cast<size_t>(table.group)]) return detail::format("it has two tables of group {}", table.group);
      seen[static_cast<size_t>(table.group)] = true;
      if (std::string wrong = check_table(table, sequence.n_tokens); !wrong.empty())
        return detail::format("table of group {}: {}", table.group, wrong);
    }
    return {};
  }

  /// Nodes in order, each once: it is remembered which blocks they have named.
  std::string check_node(const SnapshotNode& node, size_t i) {
    const size_t n_tokens = node.tokens.size(), full = static_cast<size_t>(block_tokens_);
    if (node.parent < -1 || (node.parent >= 0 && static_cast<size_t>(node.parent) >= i))
      return detail::format("parent is {}, expected an earlier node or -1", node.parent);
    if (n_tokens > full) return detail::format("it has {} tokens, block_tokens is {}", n_tokens, full);
    if (node.parent >= 0) {
      const SnapshotNode& parent = contents_.nodes[static_cast<size_t>(node.parent)];
      if (!node.salt.empty()) return "it has a salt and is no root";
      if (n_tokens == 0) return "it has no tokens and is no root";
      if (parent.tokens.size() != full && !(parent.parent < 0 && parent.tokens.empty()))
        return detail::format("its parent {} has {} tokens, block_tokens is {}", node.parent, parent.tokens.size(),
                              full);
    }
    for (const int32_t token : node.tokens)
      if (token < 0) return detail::format("a token is {}", token);
    if (node.blocks.size() != n_groups_)
      return detail::format("it has {} blocks, there are {} groups", node.blocks.size(), n_groups_);
    for (size_t g = 0; g < n_groups_; ++g) {
      const int32_t block = node.blocks[g];
      if (std::string wrong = check_block(block, static_cast<int>(g)); !wrong.empty()) return wrong;
      if (block < 0) continue;
      if (of_a_node_[static_cast<size_t>(block)]) return detail::format("it names block {} of another node", block);
      of_a_node_[static_cast<size_t>(block)] = true;
    }
    return {};
  }

 private:
  std::string check_block(int32_t block, int group) const {
    if (block == -1) return {};
    if (block < 0 || static_cast<size_t>(block) >= contents_.block_groups.size())
      return detail::format("it names block {}, there are {}", block, contents_.block_groups.size());
    if (const int32_t other = contents_.block_groups[static_cast<size_t>(block)]; other != group)
      return detail::format("it names block {} of group {}, expected one of group {}", block, other, group);
    return {};
  }

  std::string check_table(const SnapshotTable& table, int n_tokens) const {
    const size_t n_blocks = static_cast<size_t>(n_tokens / block_tokens_ + (n_tokens % block_tokens_ != 0));
    if (table.blocks.size() != n_blocks)
      return detail::format("it has {} blocks, {} tokens take {}", table.blocks.size(), n_tokens, n_blocks);
    if (table.first_slot < 0 || table.first_slot > n_tokens)
      return detail::format("first_slot is {}, n_tokens {}", table.first_slot, n_tokens);
    for (size_t i = 0; i < n_blocks; ++i) {
      if (std::string wrong = check_block(table.blocks[i], table.group); !wrong.empty()) return wrong;
      const bool kept = table.first_slot < n_tokens && i >= static_cast<size_t>(table.first_slot / block_tokens_);
      if (kept && table.blocks[i] < 0)
        return detail::format("block {} is missing, first_slot is {}", i, table.first_slot);
    }
    return {};
  }

  const SnapshotContents& contents_;
  int block_tokens_;
  size_t n_groups_;
  std::vector<bool> of_a_node_;  ///< by block: what two nodes share, a tree would own twice
};

Error mismatch(const std::string& path, const char* what, const std::string& has, const std::string& wanted) {
  return Error{ErrorCode::mismatch, detail::format("{}: made {} {}, this engine has {}", path, what, has, wanted)};
}

std::string describe(const SnapshotLayout::Layer& layer) {
  return detail::format("n_kv_heads {}, k_dim {}, v_dim {}{}, window {}", layer.n_kv_heads, layer.k_dim, layer.v_dim,
                        layer.v_in_k ? " within k" : "", layer.window);
}

std::string types(const SnapshotLayout& layout) {
  return detail::format("{}/{}", to_string(layout.k_type), to_string(layout.v_type));
}

Status check_same_layout(const SnapshotLayout& has, const SnapshotLayout& wanted, const std::string& path) {
  const auto number = [](auto n) { return detail::format("{}", n); };
  if (has.k_type != wanted.k_type || has.v_type != wanted.v_type)
    return mismatch(path, "with cache types", types(has), types(wanted));
  if (has.block_tokens != wanted.block_tokens)
    return mismatch(path, "with block_tokens", number(has.block_tokens), number(wanted.block_tokens));
  if (has.layers.size() != wanted.layers.size())
    return mismatch(path, "with n_layers", number(has.layers.size()), number(wanted.layers.size()));
  for (size_t i = 0; i < has.layers.size(); ++i)
    if (has.layers[i] != wanted.layers[i])
      return mismatch(path, detail::format("with a layer {} of", i).c_str(), describe(has.layers[i]),
                      describe(wanted.layers[i]));
  if (has.block_bytes.size() != wanted.block_bytes.size())
    return mismatch(path, "with groups of layers:", number(has.block_bytes.size()), number(wanted.block_bytes.size()));
  for (size_t g = 0; g < has.block_bytes.size(); ++g)
    if (has.block_bytes[g] != wanted.block_bytes[g])
      return mismatch(path, detail::format("with block_bytes of group {}:", g).c_str(), number(has.block_bytes[g]),
                      number(wanted.block_bytes[g]));
  return {};
}

}  // namespace

Status check_contents(const SnapshotContents& contents, ErrorCode code, const std::string& path) {
  const auto error = [&](const std::string& where, const std::string& wrong) {
    return Error{code, detail::format("{}: {}: {}", path, where, wrong)};
  };
  if (const std::string wrong = check_layout(contents.layout); !wrong.empty()) return error("layout", wrong);
  Checker checker(contents);
  if (const std::string wrong = checker.check_block_groups(); !wrong.empty()) return error("block groups", wrong);
  for (size_t i = 0; i < contents.sequences.size(); ++i)
    if (const std::string wrong = checker.check_sequence(contents.sequences[i]); !wrong.empty())
      return error(detail::format("sequence {}", i), wrong);
  for (size_t i = 0; i < contents.nodes.size(); ++i)
    if (const std::string wrong = checker.check_node(contents.nodes[i], i); !wrong.empty())
      return error(detail::format("node {}", i), wrong);
  return {};
}

std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (out.size() > kMaxQuoted) return out + "...'";
    if (c >= 0x20 && c < 0x7f && c != '\\')
      out += c;
    else
      out += detail::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return out + "'";
}

Status check_identity(const SnapshotContents& contents, const SnapshotIdentity& wanted,
                      const SnapshotLayout& wanted_layout, const std::string& path) noexcept try {
  const SnapshotIdentity& has = contents.identity;
  const auto error = [&](const char* what, const std::string& ours, const std::string& theirs) {
    return mismatch(path, what, quoted(ours), quoted(theirs));
  };
  if (has.model != wanted.model) return error("for model", has.model, wanted.model);
  if (has.model_fingerprint != wanted.model_fingerprint)
    return error("for a model of fingerprint", has.model_fingerprint, wanted.model_fingerprint);
  if (has.numerics != wanted.numerics) return error("with numerics", has.numerics, wanted.numerics);
  return check_same_layout(contents.layout, wanted_layout, path);
} catch (const std::bad_alloc&) {
  return Error{ErrorCode::out_of_memory, "out of memory"};
}

}  // namespace decant::cache
