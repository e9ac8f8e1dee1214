// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "decant/detail/format.h"

#include "cache/snapshot_file.h"
#include "tools/args.h"
#include "tools/cache_view.h"
#include "tools/output.h"
#include "tools/terminal.h"

namespace decant::tools {
namespace {

using cache::SnapshotContents;
using cache::SnapshotLayout;
using cache::SnapshotReader;
using Json = nlohmann::ordered_json;

constexpr size_t kMapColumns = 64;
constexpr size_t kTreeLines = 40;

/// A file whose every checksum holds.
Result<SnapshotReader> read_whole(const std::string& path, const Interrupts& interrupts) {
  Result<SnapshotReader> reader = SnapshotReader::open(path);
  if (!reader) return reader;
  Progress progress(detail::format("checking {}", path));
  std::vector<std::byte> block;
  for (int i = 0; i < reader->n_blocks(); ++i) {
    if (interrupts.stopped()) return Error{ErrorCode::cancelled, "interrupted"};
    block.resize(reader->block_bytes(i));
    if (Status read = reader->read_block(i, block); !read) return read.error();
    progress.update(static_cast<size_t>(i), static_cast<size_t>(reader->n_blocks()));
  }
  return reader;
}

int64_t n_node_tokens(const SnapshotContents& contents) {
  int64_t n = 0;
  for (const cache::SnapshotNode& node : contents.nodes) n += static_cast<int64_t>(node.tokens.size());
  return n;
}

/// "8 × 6 kv heads × (64 + 64), window 512" for each run of equal layers.
std::vector<std::string> describe_layers(const SnapshotLayout& layout) {
  std::vector<std::string> lines;
  for (size_t i = 0; i < layout.layers.size();) {
    const SnapshotLayout::Layer& layer = layout.layers[i];
    size_t end = i + 1;
    while (end < layout.layers.size() && layout.layers[end] == layer) ++end;
    lines.push_back(detail::format("{} × {} kv heads × ({} + {}){}{}", end - i, layer.n_kv_heads, layer.k_dim,
                                   layer.v_dim, layer.v_in_k ? ", values within keys" : "",
                                   layer.window > 0 ? detail::format(", window {}", layer.window) : ""));
    i = end;
  }
  return lines;
}

Json inspect_json(const SnapshotReader& reader) {
  const SnapshotContents& contents = reader.contents();
  Json result;
  result["bytes"] = reader.file_bytes();
  result["model"] = contents.identity.model;
  result["model_fingerprint"] = contents.identity.model_fingerprint;
  result["numerics"] = contents.identity.numerics;
  result["k_type"] = to_string(contents.layout.k_type);
  result["v_type"] = to_string(contents.layout.v_type);
  result["block_tokens"] = contents.layout.block_tokens;
  result["n_layers"] = contents.layout.layers.size();
  result["n_blocks"] = reader.n_blocks();
  result["sequences"] = Json::array();
  for (const cache::SnapshotSequence& sequence : contents.sequences)
    result["sequences"].push_back({{"n_tokens", sequence.n_tokens}, {"sink_bytes", sequence.sinks.size()}});
  result["n_prefix_nodes"] = contents.nodes.size();
  result["n_prefix_tokens"] = n_node_tokens(contents);
  result["payload_bytes"] = contents.payload.size();
  return result;
}

std::string inspect_text(const std::string& path, const SnapshotReader& reader) {
  const SnapshotContents& contents = reader.contents();
  const auto line = [](const char* name, const std::string& value) {
    return detail::format("  {:<10}{}\n", name, value);
  };
  std::string out = detail::format("{}: {}; every checksum holds\n", path, show_bytes(reader.file_bytes()));
  out += line("model", detail::format("{} (weights {})", contents.identity.model, contents.identity.model_fingerprint));
  out += line("numerics", contents.identity.numerics);
  out += line("cache", detail::format("K {}, V {}, {} blocks of {} tokens", to_string(contents.layout.k_type),
                                      to_string(contents.layout.v_type), show_count(reader.n_blocks()),
                                      contents.layout.block_tokens));
  for (const std::string& layers : describe_layers(contents.layout)) out += line("layers", layers);
  for (const cache::SnapshotSequence& sequence : contents.sequences)
    out += line("sequence", detail::format("{} tokens{}", show_count(sequence.n_tokens),
                                           sequence.sinks.empty() ? "" : ", attention sinks kept"));
  if (!contents.nodes.empty())
    out += line("prefixes", detail::format("{} tokens in {} nodes", show_count(n_node_tokens(contents)),
                                           show_count(static_cast<int64_t>(contents.nodes.size()))));
  const Json state = Json::parse(contents.payload.begin(), contents.payload.end(), nullptr, /*allow_exceptions=*/false);
  if (state.is_object() && state.contains("sampling")) out += line("sampling", state["sampling"].dump());
  return out;
}

/// A character a block: gone, full, or partly filled at the end. Long tables are shown at so many blocks a character.
std::string block_map(const cache::SnapshotTable& table, int n_tokens, int block_tokens) {
  const size_t per_mark = (table.blocks.size() + kMapColumns - 1) / kMapColumns;
  std::string marks;
  for (size_t first = 0; first < table.blocks.size(); first += per_mark) {
    const size_t end = std::min(first + per_mark, table.blocks.size());
    const bool any = std::any_of(table.blocks.begin() + static_cast<ptrdiff_t>(first),
                                 table.blocks.begin() + static_cast<ptrdiff_t>(end), [](int32_t b) { return b >= 0; });
    const bool partial = end == table.blocks.size() && n_tokens % block_tokens != 0;
    marks += !any ? "·" : partial ? "▌" : "█";
  }
  if (per_mark > 1) marks += detail::format("  ({} blocks a mark)", per_mark);
  return marks;
}

/// Runs of nodes without a branch, indented by how deep they lie.
std::string tree_outline(const SnapshotContents& contents) {
  std::vector<std::vector<size_t>> children(contents.nodes.size());
  std::vector<size_t> roots;
  for (size_t i = 0; i < contents.nodes.size(); ++i)
    (contents.nodes[i].parent < 0 ? roots : children[static_cast<size_t>(contents.nodes[i].parent)]).push_back(i);
  struct Run {
    size_t node;
    size_t depth;
  };
  std::vector<Run> open;
  for (auto root = roots.rbegin(); root != roots.rend(); ++root) open.push_back({*root, 0});
  std::string out;
  size_t n_lines = 0;
  while (!open.empty() && n_lines < kTreeLines) {
    auto [node, depth] = open.back();
    open.pop_back();
    const std::string& salt = contents.nodes[node].salt;
    size_t n_tokens = contents.nodes[node].tokens.size(), n_nodes = 1;
    while (children[node].size() == 1) {
      node = children[node].front();
      n_tokens += contents.nodes[node].tokens.size();
      ++n_nodes;
    }
    out += detail::format("  {}{}{} tokens{}\n", std::string(2 * depth, ' '), depth == 0 ? "" : "└ ",
                          show_count(static_cast<int64_t>(n_tokens)),
                          salt.empty() ? "" : detail::format(" (salt {} bytes)", salt.size()));
    ++n_lines;
    for (auto child = children[node].rbegin(); child != children[node].rend(); ++child)
      open.push_back({*child, depth + 1});
  }
  if (!open.empty()) out += "  …\n";
  return out;
}

std::string stats_text(const SnapshotReader& reader) {
  const SnapshotContents& contents = reader.contents();
  CacheStats stats;
  for (int i = 0; i < reader.n_blocks(); ++i) stats.used_bytes += reader.block_bytes(i);
  stats.n_blocks_used = reader.n_blocks();
  stats.n_sequences = static_cast<int>(contents.sequences.size());
  (contents.sequences.empty() ? stats.prefix_bytes : stats.unique_bytes) = stats.used_bytes;
  for (const cache::SnapshotSequence& sequence : contents.sequences) {
    stats.n_tokens += sequence.n_tokens;
    stats.sink_bytes += sequence.sinks.size();
  }
  stats.reserved_bytes = stats.used_bytes + stats.sink_bytes;
  stats.prefixes.n_nodes = static_cast<int64_t>(contents.nodes.size());
  stats.prefixes.n_tokens = n_node_tokens(contents);
  std::string out = draw_cache(stats);
  for (const cache::SnapshotSequence& sequence : contents.sequences)
    for (const cache::SnapshotTable& table : sequence.tables)
      out += detail::format("  blocks, group {}: {}\n", table.group,
                            block_map(table, sequence.n_tokens, contents.layout.block_tokens));
  return out + tree_outline(contents);
}

}  // namespace

int cmd_cache(const Words& words) {
  Arguments arguments("cache", "Looks into a session file (run --session) or saved prefixes, without a model.");
  std::optional<std::string> what, file;
  bool json = false;
  arguments.text("WHAT", "", what, "inspect: what the file was made of and for; stats: what it holds, drawn");
  arguments.text("FILE", "", file, "The file");
  arguments.flag("--json", json, "inspect: one line of JSON");
  arguments.note("Every byte is read and compared with its checksum first.");
  if (const std::optional<int> status = arguments.parse(words)) return *status;
  if (!what || (*what != "inspect" && *what != "stats"))
    return usage_error("cache", what ? detail::format("'{}' is neither inspect nor stats", *what)
                                     : "what to do is missing: inspect or stats");
  if (!file) return usage_error("cache", "FILE is missing");

  const Interrupts interrupts;
  const Result<SnapshotReader> reader = read_whole(*file, interrupts);
  if (!reader && interrupts.stopped()) return interrupts.exit_status();
  if (!reader) return fail("cache", reader.error());
  Output out;
  out.write(*what == "stats" ? stats_text(*reader)
            : json           ? inspect_json(*reader).dump() + "\n"
                             : inspect_text(*file, *reader));
  return out.status("cache");
}

}  // namespace decant::tools
