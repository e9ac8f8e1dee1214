// SPDX-License-Identifier: Apache-2.0
#include "cache/snapshot_sections.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <string_view>
#include <type_traits>

#include "decant/detail/format.h"

#include "cache/checksum.h"
#include "cache/snapshot_check.h"

namespace decant::cache {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie in memory");
static_assert(std::is_same_v<int, int32_t>);

constexpr std::string_view kMagic = "decantKV";
constexpr size_t kLeastLayerBytes = 17, kLeastSequenceBytes = 20, kLeastTableBytes = 12, kLeastNodeBytes = 12;

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Encoder and Decoder have the same calls, so that visit_section() says once what a section holds.
class Encoder {
 public:
  std::string take() { return std::move(out_); }

  void number(const char*, int32_t value) { put(out_, value); }
  void flag(const char*, bool value) { put(out_, static_cast<uint8_t>(value)); }
  void text(const char*, const std::string& value) {
    put(out_, static_cast<uint32_t>(value.size()));
    out_ += value;
  }
  void type(const char* what, KvType value) { text(what, to_string(value)); }
  void bytes(const char*, const std::vector<std::byte>& value) {
    put(out_, static_cast<uint64_t>(value.size()));
    rest(value);
  }
  void rest(const std::vector<std::byte>& value) {
    out_.append(reinterpret_cast<const char*>(value.data()), value.size());
  }
  void numbers(const char* what, const std::vector<int32_t>& values) {
    put(out_, static_cast<uint32_t>(values.size()));
    n_numbers(what, values, values.size());
  }
  void n_numbers(const char*, const std::vector<int32_t>& values, size_t) {
    out_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(int32_t));
  }
  template <typename T, typename F>
  void list(const char*, const std::vector<T>& items, size_t, F&& each) {
    put(out_, static_cast<uint32_t>(items.size()));
    for (const T& item : items) each(item);
  }
  void size(const char*, size_t value) { put(out_, static_cast<uint64_t>(value)); }

 private:
  std::string out_;
};

// Bytes that can't be what they should leave zeros behind and the first reason in error().
class Decoder {
 public:
  Decoder(std::span<const std::byte> bytes, SnapshotSection section, const std::string& path)
      : bytes_(bytes), n_bytes_(bytes.size()), section_(section), path_(path) {}

  Status finish() {
    if (!error_ && !bytes_.empty())
      fail(ErrorCode::bad_format, detail::format("{} bytes are left over at its end", bytes_.size()));
    return error_ ? Status(std::move(*error_)) : Status();
  }

  void number(const char* what, int32_t& value) { value = get<int32_t>(what); }
  void flag(const char* what, bool& value) {
    const uint8_t byte = get<uint8_t>(what);
    if (byte > 1) fail(ErrorCode::bad_format, detail::format("{} is {}, expected 0 or 1", what, byte));
    value = byte == 1;
  }
  void text(const char* what, std::string& value) {
    const std::span<const std::byte> taken = take(what, get<uint32_t>(what));
    value.assign(reinterpret_cast<const char*>(taken.data()), taken.size());
  }
  void type(const char* what, KvType& value) {
    std::string name;
    text(what, name);
    const std::optional<KvType> known = parse_kv_type(name);
    if (!known && !error_)
      fail(ErrorCode::unsupported, detail::format("{} is {}, which this decant lacks", what, quoted(name)));
    value = known.value_or(KvType::f32);
  }
  void bytes(const char* what, std::vector<std::byte>& value) {
    const std::span<const std::byte> taken = take(what, get<uint64_t>(what));
    value.assign(taken.begin(), taken.end());
  }
  void rest(std::vector<std::byte>& value) {
    value.assign(bytes_.begin(), bytes_.end());
    bytes_ = {};
  }
  void numbers(const char* what, std::vector<int32_t>& values) { n_numbers(what, values, get<uint32_t>(what)); }
  void n_numbers(const char* what, std::vector<int32_t>& values, size_t n) {
    const std::span<const std::byte> taken = take(what, uint64_t{n} * sizeof(int32_t));
    values.resize(taken.size() / sizeof(int32_t));
    if (!taken.empty()) std::memcpy(values.data(), taken.data(), taken.size());
  }
  /// least_bytes: an item takes no less, so that a count is worth no more memory than the file has bytes for it.
  template <typename T, typename F>
  void list(const char* what, std::vector<T>& items, size_t least_bytes, F&& each) {
    const uint32_t n = get<uint32_t>(what);
    if (n > bytes_.size() / least_bytes)
      return fail(ErrorCode::bad_format,
                  detail::format("it has {} {}, for which {} bytes are too few", n, what, bytes_.size()));
    items.resize(n);
    for (T& item : items) {
      if (error_) return;
      each(item);
    }
  }
  void size(const char* what, size_t& value) { value = get<uint64_t>(what); }

 private:
  void fail(ErrorCode code, const std::string& why) {
    if (!error_) error_ = Error{code, detail::format("{}: section '{}': {}", path_, to_string(section_), why)};
    bytes_ = {};
  }
  std::span<const std::byte> take(const char* what, uint64_t n) {
    if (n > bytes_.size()) {
      fail(ErrorCode::bad_format, detail::format("{} at byte {} takes {} bytes, {} are left", what,
                                                 n_bytes_ - bytes_.size(), n, bytes_.size()));
      return {};
    }
    const std::span<const std::byte> taken = bytes_.first(n);
    bytes_ = bytes_.subspan(n);
    return taken;
  }
  template <typename T>
  T get(const char* what) {
    T value = 0;
    const std::span<const std::byte> taken = take(what, sizeof value);
    if (!taken.empty()) std::memcpy(&value, taken.data(), sizeof value);
    return value;
  }

  std::span<const std::byte> bytes_;
  size_t n_bytes_;
  SnapshotSection section_;
  const std::string& path_;
  std::optional<Error> error_;
};

template <typename Coder, typename Layout>
void visit_layout(Coder& coder, Layout& layout) {
  coder.number("block_tokens", layout.block_tokens);
  coder.type("k_type", layout.k_type);
  coder.type("v_type", layout.v_type);
  coder.list("layers", layout.layers, kLeastLayerBytes, [&](auto& layer) {
    coder.number("n_kv_heads", layer.n_kv_heads);
    coder.number("k_dim", layer.k_dim);
    coder.number("v_dim", layer.v_dim);
    coder.number("window", layer.window);
    coder.flag("v_in_k", layer.v_in_k);
  });
  coder.list("groups", layout.block_bytes, sizeof(uint64_t), [&](auto& bytes) { coder.size("block_bytes", bytes); });
}

template <typename Coder, typename Sequences>
void visit_sequences(Coder& coder, Sequences& sequences) {
  coder.list("sequences", sequences, kLeastSequenceBytes, [&](auto& sequence) {
    coder.number("n_tokens", sequence.n_tokens);
    coder.number("pure_tokens", sequence.pure_tokens);
    coder.list("tables", sequence.tables, kLeastTableBytes, [&](auto& table) {
      coder.number("group", table.group);
      coder.number("first_slot", table.first_slot);
      coder.numbers("a table's blocks", table.blocks);
    });
    coder.bytes("sinks", sequence.sinks);
  });
}

template <typename Coder, typename Nodes>
void visit_nodes(Coder& coder, Nodes& nodes, size_t n_groups) {
  coder.list("nodes", nodes, kLeastNodeBytes, [&](auto& node) {
    coder.number("parent", node.parent);
    coder.number("priority", node.priority);
    if (node.parent < 0) coder.text("salt", node.salt);
    coder.numbers("tokens", node.tokens);
    coder.n_numbers("a node's blocks", node.blocks, n_groups);
  });
}

template <typename Coder, typename Contents>
void visit_section(Coder& coder, SnapshotSection section, Contents& contents) {
  switch (section) {
    case SnapshotSection::identity:
      coder.text("model", contents.identity.model);
      coder.text("model_fingerprint", contents.identity.model_fingerprint);
      coder.text("numerics", contents.identity.numerics);
      return;
    case SnapshotSection::layout:
      return visit_layout(coder, contents.layout);
    case SnapshotSection::sequences:
      return visit_sequences(coder, contents.sequences);
    case SnapshotSection::nodes:
      return visit_nodes(coder, contents.nodes, contents.layout.block_bytes.size());
    case SnapshotSection::payload:
      return coder.rest(contents.payload);
    case SnapshotSection::block_groups:
      return coder.numbers("block groups", contents.block_groups);
    case SnapshotSection::block_checksums:
      return;  // of the file, not of its contents
  }
}

}  // namespace

uint64_t SnapshotHeader::offset(SnapshotSection section) const noexcept {
  uint64_t offset = kSnapshotHeaderBytes;
  for (int i = 0; i < static_cast<int>(section); ++i) offset += sections[static_cast<size_t>(i)].bytes;
  return offset;
}

uint64_t SnapshotHeader::blocks_begin() const noexcept {
  return offset(SnapshotSection::block_checksums) + (*this)[SnapshotSection::block_checksums].bytes;
}

std::array<std::byte, kSnapshotHeaderBytes> encode_header(const SnapshotHeader& header) noexcept {
  std::array<std::byte, kSnapshotHeaderBytes> bytes = {};
  size_t at = 0;
  const auto add = [&](const void* data, size_t n) {
    std::memcpy(bytes.data() + at, data, n);
    at += n;
  };
  add(kMagic.data(), kMagic.size());
  add(&kSnapshotVersion, sizeof kSnapshotVersion);
  add(&kSnapshotKind, sizeof kSnapshotKind);
  add(&header.file_bytes, sizeof header.file_bytes);
  for (const SnapshotHeader::Entry& entry : header.sections) {
    add(&entry.bytes, sizeof entry.bytes);
    add(&entry.checksum, sizeof entry.checksum);
  }
  const uint64_t sum = checksum(std::span(bytes).first(at));
  add(&sum, sizeof sum);
  return bytes;
}

Result<SnapshotHeader> decode_header(std::span<const std::byte, kSnapshotHeaderBytes> bytes, uint64_t file_bytes,
                                     const std::string& path) {
  size_t at = 0;
  const auto get = [&](auto value) {
    std::memcpy(&value, bytes.data() + at, sizeof value);
    at += sizeof value;
    return value;
  };
  if (std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0)
    return Error{ErrorCode::bad_format,
                 detail::format("{}: not a snapshot of decant: it doesn't begin with '{}'", path, kMagic)};
  at += kMagic.size();
  const uint32_t version = get(uint32_t{});
  // What follows the version is the version's own, so a later one's checksum can't be asked for.
  if (version > kSnapshotVersion)
    return Error{ErrorCode::unsupported, detail::format("{}: a snapshot of version {}, this decant reads version {}",
                                                        path, version, kSnapshotVersion)};
  const uint64_t sum = checksum(bytes.first(kSnapshotHeaderBytes - sizeof(uint64_t)));
  if (std::memcmp(bytes.data() + kSnapshotHeaderBytes - sizeof sum, &sum, sizeof sum) != 0)
    return Error{ErrorCode::bad_format, detail::format("{}: the header doesn't agree with its checksum", path)};
  if (version == 0) return Error{ErrorCode::bad_format, detail::format("{}: version is 0", path)};
  const uint32_t kind = get(uint32_t{});
  if (kind != kSnapshotKind)
    return Error{ErrorCode::unsupported,
                 detail::format("{}: a snapshot of kind {}, this decant reads kind {}", path, kind, kSnapshotKind)};

  SnapshotHeader header;
  header.file_bytes = get(uint64_t{});
  if (header.file_bytes != file_bytes)
    return Error{ErrorCode::bad_format,
                 detail::format("{}: the file has {} bytes, its header says {}", path, file_bytes, header.file_bytes)};
  uint64_t end = kSnapshotHeaderBytes;
  for (int i = 0; i < kSnapshotSections; ++i) {
    SnapshotHeader::Entry& entry = header.sections[static_cast<size_t>(i)];
    entry.bytes = get(uint64_t{});
    entry.checksum = get(uint64_t{});
    if (entry.bytes > kMaxSectionBytes || entry.bytes > file_bytes - end)
      return Error{ErrorCode::bad_format,
                   detail::format("{}: section '{}' has {} bytes from byte {} on, the file has {}", path,
                                  to_string(static_cast<SnapshotSection>(i)), entry.bytes, end, file_bytes)};
    end += entry.bytes;
  }
  return header;
}

std::string encode_section(SnapshotSection section, const SnapshotContents& contents) {
  Encoder encoder;
  visit_section(encoder, section, contents);
  return encoder.take();
}

Status decode_section(SnapshotSection section, std::span<const std::byte> bytes, SnapshotContents& contents,
                      const std::string& path) {
  Decoder decoder(bytes, section, path);
  visit_section(decoder, section, contents);
  return decoder.finish();
}

const char* to_string(SnapshotSection section) noexcept {
  constexpr std::array<const char*, kSnapshotSections> kNames = {"identity", "layout",       "sequences",      "nodes",
                                                                 "payload",  "block groups", "block checksums"};
  return kNames[static_cast<size_t>(section)];
}

}  // namespace decant::cache
