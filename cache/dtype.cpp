// SPDX-License-Identifier: Apache-2.0
#include "decant/dtype.h"

#include <array>
#include <cctype>

namespace decant {

namespace {

constexpr std::array<const char*, kDTypeCount> kDTypeNames = {"F32",  "F16",  "BF16", "Q8_0",   "Q4_0",
                                                              "Q4_1", "Q5_0", "Q5_1", "Q2_K",   "Q3_K",
                                                              "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"};
constexpr std::array<const char*, kKvTypeCount> kKvTypeNames = {"f32", "f16", "bf16", "q8", "q4", "q4_plain"};

bool same_name(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (size_t c = 0; c < a.size(); ++c)
    if (std::toupper(static_cast<unsigned char>(a[c])) != std::toupper(static_cast<unsigned char>(b[c]))) return false;
  return true;
}

template <typename Enum, size_t N>
std::optional<Enum> find_name(const std::array<const char*, N>& names, std::string_view name) noexcept {
  for (size_t i = 0; i < N; ++i)
    if (same_name(names[i], name)) return static_cast<Enum>(i);
  return std::nullopt;
}

}  // namespace

const char* to_string(DType type) noexcept { return kDTypeNames[static_cast<size_t>(type)]; }
std::optional<DType> parse_dtype(std::string_view name) noexcept { return find_name<DType>(kDTypeNames, name); }

const char* to_string(KvType type) noexcept { return kKvTypeNames[static_cast<size_t>(type)]; }
std::optional<KvType> parse_kv_type(std::string_view name) noexcept {
  if (same_name(name, "q8_0")) return KvType::q8;
  if (same_name(name, "q4_0")) return KvType::q4_plain;
  return find_name<KvType>(kKvTypeNames, name);
}

}  // namespace decant
