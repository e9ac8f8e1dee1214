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
#include "tools/session.h"
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

/// Text out of a file, for a terminal: control characters become spaces.
std::string plain(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return text;
}

/// A line for each run of equal layers.
std::vector<std::string> describe_layers(const SnapshotLayout& layout) {
  std::vector<std::string> lines;
  for (size_t i = 0; i < layout.layers.size();) {
    const SnapshotLayout::Layer& layer = layout.layers[i];
    size_t end = i + 1;
    while (end < layout.layers.size() && layout.layers[end] == layer) ++end;
    lines.push_back(detail::format("{} of {}, each {} channels for K {} {} for V{}", end - i,
                                   show_count(layer.n_kv_heads, "kv head"), layer.k_dim, layer.v_in_k ? "with" : "and",
                                   layer.v_dim, layer.window > 0 ? detail::format(", window {}", layer.window) : ""));
    i = end;
  }
  return lines;
}

Json inspect_json(const SnapshotReader& reader, const Result<Session>& session) {
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
  if (session) {
    Json& text = result["session"];
    text["n_tokens"] = session->n_tokens;
    text["window"] = session->recent_window;
    const SamplingParams& s = session->sampling;
    text["sampling"] = {{"temperature", s.temperature},
                        {"top_k", s.top_k},
                        {"top_p", s.top_p},
                        {"min_p", s.min_p},
                        {"typical_p", s.typical_p},
                        {"repeat_penalty", s.repetition_penalty},
                        {"no_repeat_ngram", s.no_repeat_ngram_size},
                        {"seed", s.seed}};
    text["ids"] = session->ids;
  }
  return result;
}

std::string inspect_text(const std::string& path, const SnapshotReader& reader, const Result<Session>& session) {
  const SnapshotContents& contents = reader.contents();
  const SnapshotLayout& layout = contents.layout;
  const auto line = [](const char* name, const std::string& value) {
    return detail::format("  {:<10}{}\n", name, value);
  };
  std::string out = detail::format("{}: {}; every checksum holds\n", path, show_bytes(reader.file_bytes()));
  out += line("model", detail::format("{} (weights {})", plain(contents.identity.model),
                                      plain(contents.identity.model_fingerprint)));
  out += line("numerics", plain(contents.identity.numerics));
  if (session) {
    out += line("text", show_count(session->n_tokens, "token"));
    if (session->recent_window > 0)
      out += line("window", detail::format("without end: the first {} tokens and at least the last {} are kept",
                                           session->n_sinks, session->recent_window));
    out += line("sampling", describe(session->sampling));
  }
  for (const cache::SnapshotSequence& sequence : contents.sequences)
    out += line("cache",
                detail::format("keys and values of {}, {} for K and {} for V", show_count(sequence.n_tokens, "token"),
                               to_string(layout.k_type), to_string(layout.v_type)));
  if (!contents.nodes.empty())
    out +=
        line("prefixes", detail::format("{} in {}, {} for K and {} for V", show_count(n_node_tokens(contents), "token"),
                                        show_count(static_cast<int64_t>(contents.nodes.size()), "node"),
                                        to_string(layout.k_type), to_string(layout.v_type)));
  out += line("blocks",
              detail::format("{} of {}", show_count(reader.n_blocks()), show_count(layout.block_tokens, "token")));
  for (const std::string& layers : describe_layers(layout)) out += line("layers", layers);
  if (!session && !contents.payload.empty())
    out += line("payload", detail::format("{} of the program that saved it", show_bytes(contents.payload.size())));
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

/// Groups of layers, in the file's order: those with the same window.
std::vector<int> group_windows(const SnapshotLayout& layout) {
  std::vector<int> windows;
  for (const SnapshotLayout::Layer& layer : layout.layers)
    if (std::find(windows.begin(), windows.end(), layer.window) == windows.end()) windows.push_back(layer.window);
  return windows;
}

std::string stats_text(const std::string& path, const SnapshotReader& reader) {
  const SnapshotContents& contents = reader.contents();
  CacheStats stats;
  size_t& block_bytes = contents.sequences.empty() ? stats.prefix_bytes : stats.unique_bytes;
  for (int i = 0; i < reader.n_blocks(); ++i) block_bytes += reader.block_bytes(i);
  int64_t n_tokens = n_node_tokens(contents);
  for (const cache::SnapshotSequence& sequence : contents.sequences) {
    n_tokens += sequence.n_tokens;
    stats.sink_bytes += sequence.sinks.size();
  }
  const size_t total = block_bytes + stats.sink_bytes;
  std::string out = detail::format("{}: KV cache of {}, {} in {}\n", path, show_bytes(total),
                                   show_count(n_tokens, "token"), show_count(reader.n_blocks(), "block"));
  out += draw_owners(stats, total);
  const std::vector<int> windows = group_windows(contents.layout);
  for (const cache::SnapshotSequence& sequence : contents.sequences)
    for (const cache::SnapshotTable& table : sequence.tables) {
      const auto g = static_cast<size_t>(table.group);
      const std::string which = windows.size() < 2 || g >= windows.size() ? std::string()
                                : windows[g] == 0                         ? " of layers without a window"
                                                  : detail::format(" of layers with window {}", windows[g]);
      out +=
          detail::format("  blocks{}: {}\n", which, block_map(table, sequence.n_tokens, contents.layout.block_tokens));
    }
  if (!contents.sequences.empty()) out += "  █ full  ▌ filled in part  · no longer needed; the oldest first\n";
  return out + tree_outline(contents);
}

}  // namespace

int cmd_cache(const Words& words) {
  Arguments arguments("cache", "Looks into a session file (run --session) or saved prefixes, without a model.");
  std::optional<std::string> what, file;
  bool json = false;
  arguments.option(
      "WHAT", "",
      [&what](const std::string& text) -> std::string {
        what = text;
        return text == "inspect" || text == "stats" ? "" : detail::format("needs inspect or stats, not '{}'", text);
      },
      "inspect: what the file was made of and for; stats: what it holds, drawn");
  arguments.text("FILE", "", file, "The file");
  arguments.flag("--json", json, "inspect: one line of JSON, with the ids of a session's tokens");
  arguments.note("Every byte is read and compared with its checksum first.");
  if (const std::optional<int> status = arguments.parse(words)) return *status;
  if (!what) return usage_error("cache", "WHAT is missing: inspect or stats");
  if (!file || file->empty()) return usage_error("cache", "FILE is missing");
  if (json && *what != "inspect") return usage_error("cache", "--json goes with inspect");

  const Interrupts interrupts;
  const Result<SnapshotReader> reader = read_whole(*file, interrupts);
  if (!reader && interrupts.stopped()) return interrupts.exit_status();
  if (!reader) return fail("cache", reader.error());
  const Result<Session> session = read_session(reader->contents(), *file);
  Output out;
  out.write(*what == "stats" ? stats_text(*file, *reader)
            : json ? inspect_json(*reader, session).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"
                   : inspect_text(*file, *reader, session));
  return out.status("cache");
}

}  // namespace decant::tools
