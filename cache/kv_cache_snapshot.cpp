// SPDX-License-Identifier: Apache-2.0

// Sequences and known prefixes, to files and back.

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "decant/detail/format.h"
#include "decant/detail/fp_state.h"

#include "cache/kv_cache_impl.h"
#include "cache/snapshot_file.h"

namespace decant::cache {
namespace {

SnapshotLayout snapshot_layout(const BlockLayout& layout) {
  SnapshotLayout out;
  out.block_tokens = layout.block_tokens;
  out.k_type = layout.k_type;
  out.v_type = layout.v_type;
  for (const LayerLayout& layer : layout.layers)
    out.layers.push_back({layer.n_kv_heads, layer.k_dim, layer.v_dim,
                          layout.groups[static_cast<size_t>(layer.group)].window, layer.v_in_k});
  for (const GroupLayout& group : layout.groups) out.block_bytes.push_back(group.block_bytes);
  return out;
}

/// A block on its way into a file.
struct SavedBlock {
  int group = 0;
  BlockId id;
  int n_slots = 0;  ///< of these the block holds something; the rest is whatever was there before
};

/// Gives the bytes of blocks to the writer. What lies beyond a block's slots may be another tenant's: zeros instead.
class BlockBytes {
 public:
  BlockBytes(const BlockLayout& layout, const kernels::AttentionKernels& kernels, const std::vector<BlockPool>& pools,
             const std::vector<SavedBlock>& blocks)
      : layout_(layout), kernels_(kernels), pools_(pools), blocks_(blocks) {
    int widest = 0;
    for (const LayerLayout& layer : layout.layers) widest = std::max({widest, layer.k_dim, layer.v_dim});
    zeros_.resize(static_cast<size_t>(widest));
  }

  std::span<const std::byte> operator()(int i) {
    const SavedBlock& block = blocks_[static_cast<size_t>(i)];
    const BlockPool& pool = pools_[static_cast<size_t>(block.group)];
    const std::span<const std::byte> whole(pool.data(block.id), pool.block_bytes());
    if (block.n_slots == layout_.block_tokens) return whole;
    copy_.assign(whole.begin(), whole.end());
    for (const LayerLayout& layer : layout_.layers) {
      if (layer.group != block.group) continue;
      for (int h = 0; h < layer.n_kv_heads; ++h)
        for (int slot = block.n_slots; slot < layout_.block_tokens; ++slot) {
          const auto tile = static_cast<size_t>(slot / kernels::kTileTokens);
          std::byte* const k = copy_.data() + layer.offset + static_cast<size_t>(h) * layer.head_stride;
          const int lane = slot % kernels::kTileTokens;
          kernels_.store_k[static_cast<size_t>(layout_.k_type)](zeros_.data(), layer.k_dim,
                                                                k + tile * layer.k_tile_bytes, lane);
          if (!layer.v_in_k)
            kernels_.store_v[static_cast<size_t>(layout_.v_type)](zeros_.data(), layer.v_dim,
                                                                  k + layer.v_offset + tile * layer.v_tile_bytes, lane);
        }
    }
    return copy_;
  }

 private:
  const BlockLayout& layout_;
  const kernels::AttentionKernels& kernels_;
  const std::vector<BlockPool>& pools_;
  const std::vector<SavedBlock>& blocks_;
  std::vector<float> zeros_;  ///< the widest row
  std::vector<std::byte> copy_;
};

Error bad(const std::string& path, const std::string& what) {
  return Error{ErrorCode::bad_format, detail::format("{}: {}", path, what)};
}

/// A snapshot that was made for this; of one sequence, or of prefixes.
Result<SnapshotReader> open_snapshot(const std::string& path, const SnapshotIdentity& identity,
                                     const BlockLayout& layout, bool of_sequence) {
  Result<SnapshotReader> reader = SnapshotReader::open(path);
  if (!reader) return reader;
  const SnapshotContents& contents = reader->contents();
  if (Status same = check_identity(contents, identity, snapshot_layout(layout), path); !same) return same.error();
  const bool fits = of_sequence ? contents.sequences.size() == 1 && contents.nodes.empty() : contents.sequences.empty();
  if (!fits)
    return Error{ErrorCode::mismatch, detail::format("{}: made with {} sequences and {} prefixes, {} wanted", path,
                                                     contents.sequences.size(), contents.nodes.size(),
                                                     of_sequence ? "one sequence is" : "prefixes are")};
  return reader;
}

/// The file's blocks that a table names, in order; those at the front may be gone, others not.
Result<std::vector<int32_t>> kept_blocks(const SnapshotTable& table, const std::string& path) {
  const auto first = std::find_if(table.blocks.begin(), table.blocks.end(), [](int32_t b) { return b >= 0; });
  if (std::find(first, table.blocks.end(), -1) != table.blocks.end())
    return bad(path, detail::format("group {}: a block is missing in the middle", table.group));
  return std::vector<int32_t>(first, table.blocks.end());
}

}  // namespace

Status KvCache::save(SequenceIndex sequence, const std::string& path, const SnapshotIdentity& identity,
                     std::span<const std::byte> payload) const try {
  if (Status idle = impl_->check_idle(sequence); !idle) return idle;
  const detail::FpState default_state;
  const Impl& impl = *impl_;
  const Impl::Place& place = impl.places[sequence];
  const int bt = impl.layout.block_tokens, len = place.cache.len();
  SnapshotContents contents;
  contents.identity = identity;
  contents.layout = snapshot_layout(impl.layout);
  contents.payload.assign(payload.begin(), payload.end());
  SnapshotSequence saved;
  saved.n_tokens = len;
  saved.pure_tokens = place.cache.n_pure();
  std::vector<SavedBlock> blocks;
  for (int g = 0; g < impl.n_groups(); ++g) {
    const BlockTable& table = place.cache.table(g);
    SnapshotTable entry{g, {}, place.cache.first_slot(g)};
    for (int b = 0; b < table.n_blocks(); ++b) {
      entry.blocks.push_back(b < table.n_gone() ? -1 : static_cast<int32_t>(blocks.size()));
      if (b < table.n_gone()) continue;
      blocks.push_back({g, table.id(b), std::min(bt, len - b * bt)});
      contents.block_groups.push_back(g);
    }
    saved.tables.push_back(std::move(entry));
  }
  const auto* const keys =
      reinterpret_cast<const std::byte*>(place.sinks.n() > 0 ? place.sinks.keys(impl.layout, 0, 0) : nullptr);
  saved.sinks.assign(keys, keys + place.sinks.key_bytes(impl.layout));
  contents.sequences.push_back(std::move(saved));
  return write_snapshot(path, contents, BlockBytes(impl.layout, impl.kernels, impl.pools, blocks));
} catch (const std::bad_alloc&) {
  return no_memory();
}

Result<RestoredSequence> KvCache::restore(const std::string& path, const SnapshotIdentity& identity) try {
  Impl& impl = *impl_;
  if (Status idle = impl.check_no_reservation(); !idle) return std::move(idle).error();
  Result<SnapshotReader> reader = open_snapshot(path, identity, impl.layout, /*of_sequence=*/true);
  if (!reader) return reader.error();
  const SnapshotContents& contents = reader->contents();
  RestoredSequence restored{0, contents.payload};
  Result<SequenceIndex> added = impl.add_sequence();
  if (!added) return added.error();
  restored.sequence = *added;
  Status done = impl.fill(impl.places[*added], contents.sequences.front(), *reader, path);
  if (done) return restored;
  impl.release(*added);
  return std::move(done).error();
} catch (const std::bad_alloc&) {
  return no_memory();
}

// Into an empty place. On an error it holds some of it, for release().
Status KvCache::Impl::fill(Place& place, const SnapshotSequence& saved, const SnapshotReader& reader,
                           const std::string& path) try {
  const size_t sink_bytes_each = Sinks::bytes_each(layout);
  const size_t n_sinks = saved.sinks.size() / sink_bytes_each;
  if (n_sinks * sink_bytes_each != saved.sinks.size() || n_sinks > kMaxSinks)
    return bad(path, detail::format("{} bytes of sinks, each takes {}", saved.sinks.size(), sink_bytes_each));
  const int begin = n_sinks > 0 ? saved.tables.front().first_slot : 0;
  std::vector<std::vector<int32_t>> kept(pools.size());
  std::vector<int> first_slots(pools.size());
  for (const SnapshotTable& table : saved.tables) {
    const auto g = static_cast<size_t>(table.group);
    Result<std::vector<int32_t>> blocks = kept_blocks(table, path);
    if (!blocks) return blocks.error();
    const size_t n_gone = table.blocks.size() - blocks->size();
    if (blocks->size() > static_cast<size_t>(layout.blocks_for(max_tokens)) + 1 || saved.n_tokens > kMaxSlot)
      return Error{ErrorCode::invalid_argument,
                   detail::format("{}: {} tokens, of which {} blocks are kept; this cache keeps {} tokens", path,
                                  saved.n_tokens, blocks->size(), max_tokens)};
    if (table.first_slot < 0 || static_cast<size_t>(table.first_slot / layout.block_tokens) < n_gone ||
        (n_sinks > 0 && table.first_slot != begin))
      return bad(path, detail::format("group {}: slots from {} on, {} blocks are gone", table.group, table.first_slot,
                                      n_gone));
    first_slots[g] = table.first_slot;
    kept[g] = std::move(*blocks);
    n_new[g] = static_cast<int64_t>(kept[g].size());
  }
  const size_t sink_bytes = n_sinks > 0 ? Sinks::bytes_for(layout, static_cast<int>(n_sinks)) : 0;
  if (Status room = make_room(sink_bytes); !room) return room;
  for (size_t g = 0; g < pools.size(); ++g) {
    BlockTable& table = place.cache.table(static_cast<int>(g));
    const int n_blocks = layout.blocks_for(saved.n_tokens);
    for (int b = static_cast<int>(kept[g].size()); b < n_blocks; ++b) table.append_gone();
    table.grow(pools[g], n_blocks);
  }
  place.cache.begin_with(saved.n_tokens, saved.pure_tokens, begin, first_slots);
  if (!place.cache.can_cut(layout, saved.n_tokens))
    return bad(path, "slots that the next token attends to are missing");
  if (n_sinks > 0) {
    Result<Sinks> sinks = Sinks::take(layout, static_cast<int>(n_sinks), &budget);
    if (!sinks) return sinks.error();
    std::memcpy(sinks->keys(layout, 0, 0), saved.sinks.data(), saved.sinks.size());
    place.sinks = std::move(*sinks);
    place.cache.keep_front();
  }
  for (size_t g = 0; g < pools.size(); ++g) {
    const BlockTable& table = place.cache.table(static_cast<int>(g));
    for (size_t i = 0; i < kept[g].size(); ++i)
      if (Status read = reader.read_block(kept[g][i],
                                          {table.block(table.n_gone() + static_cast<int>(i)), pools[g].block_bytes()});
          !read)
        return read;
  }
  return {};
} catch (const std::bad_alloc&) {
  return no_memory();
}

Status KvCache::save_prefixes(const std::string& path, const SnapshotIdentity& identity) const try {
  const detail::FpState default_state;
  const Impl& impl = *impl_;
  SnapshotContents contents;
  contents.identity = identity;
  contents.layout = snapshot_layout(impl.layout);
  std::vector<SavedBlock> blocks;
  impl.prefixes.visit([&](const PrefixTree::Visited& node) {
    SnapshotNode saved;
    saved.parent = node.parent;
    if (node.parent < 0) saved.salt = node.salt;
    saved.priority = node.priority;
    saved.tokens.assign(node.tokens.begin(), node.tokens.end());
    for (int g = 0; g < impl.n_groups(); ++g) {
      const BlockId id = node.blocks[static_cast<size_t>(g)];
      saved.blocks.push_back(id == BlockId{} ? -1 : static_cast<int32_t>(blocks.size()));
      if (id == BlockId{}) continue;
      blocks.push_back({g, id, static_cast<int>(node.tokens.size())});
      contents.block_groups.push_back(g);
    }
    contents.nodes.push_back(std::move(saved));
  });
  return write_snapshot(path, contents, BlockBytes(impl.layout, impl.kernels, impl.pools, blocks));
} catch (const std::bad_alloc&) {
  return no_memory();
}

Result<int64_t> KvCache::restore_prefixes(const std::string& path, const SnapshotIdentity& identity) try {
  Impl& impl = *impl_;
  if (Status idle = impl.check_no_reservation(); !idle) return std::move(idle).error();
  Result<SnapshotReader> reader = open_snapshot(path, identity, impl.layout, /*of_sequence=*/false);
  if (!reader) return reader.error();
  return impl.fill_prefixes(*reader);
} catch (const std::bad_alloc&) {
  return no_memory();
}

// Every block is read before the first prefix becomes known.
Result<int64_t> KvCache::Impl::fill_prefixes(const SnapshotReader& reader) {
  const std::vector<SnapshotNode>& nodes = reader.contents().nodes;
  const std::vector<int32_t>& groups = reader.contents().block_groups;
  std::vector<BlockId> ids(groups.size());
  std::fill(n_new.begin(), n_new.end(), 0);
  for (const int32_t g : groups) ++n_new[static_cast<size_t>(g)];
  if (Status room = make_room(); !room) return room.error();
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = pools[static_cast<size_t>(groups[i])].take();
  const auto give_back = [&] {
    for (size_t i = 0; i < ids.size(); ++i) pools[static_cast<size_t>(groups[i])].drop(ids[i]);
  };
  int64_t n_tokens = 0;
  try {
    for (size_t i = 0; i < ids.size(); ++i) {
      const BlockPool& pool = pools[static_cast<size_t>(groups[i])];
      if (Status read = reader.read_block(static_cast<int>(i), {pool.data(ids[i]), pool.block_bytes()}); !read) {
        give_back();
        return std::move(read).error();
      }
    }
    std::vector<bool> has_children(nodes.size(), false);
    for (const SnapshotNode& node : nodes) {
      n_tokens += static_cast<int64_t>(node.tokens.size());
      if (node.parent >= 0) has_children[static_cast<size_t>(node.parent)] = true;
    }
    // Leaves from the one to be evicted first: the order of use comes out as it was.
    std::vector<size_t> path;
    std::vector<int32_t> tokens;
    for (size_t leaf = nodes.size(); leaf-- > 0;) {
      if (has_children[leaf]) continue;
      path.clear();
      for (int64_t at = static_cast<int64_t>(leaf); at >= 0; at = nodes[static_cast<size_t>(at)].parent)
        path.push_back(static_cast<size_t>(at));
      tokens.clear();
      std::vector<std::vector<BlockId>> blocks(pools.size());
      for (auto at = path.rbegin(); at != path.rend(); ++at) {
        const SnapshotNode& node = nodes[*at];
        if (node.tokens.empty()) continue;
        tokens.insert(tokens.end(), node.tokens.begin(), node.tokens.end());
        for (size_t g = 0; g < pools.size(); ++g)
          blocks[g].push_back(node.blocks[g] < 0 ? BlockId{} : ids[static_cast<size_t>(node.blocks[g])]);
      }
      const std::vector<std::span<const BlockId>> spans(blocks.begin(), blocks.end());
      prefixes.insert(nodes[path.back()].salt, tokens, spans, nodes[leaf].priority);
    }
  } catch (const std::bad_alloc&) {
    give_back();
    throw;
  }
  give_back();
  prefixes.trim_to_budget();
  return n_tokens;
}

}  // namespace decant::cache
