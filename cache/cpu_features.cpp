// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include <cpuid.h>

#include "decant/detail/format.h"
#include "decant/isa.h"

namespace decant {

namespace {

constexpr std::array<const char*, kIsaCount> kNames = {"reference", "avx2", "avxvnni", "avx512", "avx512vnni"};

struct IsaList {
  std::array<Isa, kIsaCount> isas = {Isa::reference};
  size_t count = 1;

  void add(Isa isa) { isas[count++] = isa; }
};

bool has_all(unsigned reg, unsigned bits) { return (reg & bits) == bits; }

/// Register states that the operating system saves on a context switch (XCR0). Asked for by opcode: the intrinsic would
/// need -mxsave. Faults unless CPUID says OSXSAVE.
unsigned saved_states() {
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

IsaList detect() {
  IsaList list;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;

  constexpr unsigned kFma = 1U << 12, kOsxsave = 1U << 27, kAvx = 1U << 28, kF16c = 1U << 29;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || !has_all(ecx, kFma | kOsxsave | kAvx | kF16c)) return list;

  constexpr unsigned kYmmState = 0x06, kZmmState = 0xE6;
  const unsigned states = saved_states();
  constexpr unsigned kAvx2 = 1U << 5;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || !has_all(ebx, kAvx2) || !has_all(states, kYmmState))
    return list;
  list.add(Isa::avx2);

  constexpr unsigned kAvxVnni = 1U << 4;
  unsigned eax1 = 0, ebx1 = 0, ecx1 = 0, edx1 = 0;
  if (__get_cpuid_count(7, 1, &eax1, &ebx1, &ecx1, &edx1) != 0 && has_all(eax1, kAvxVnni)) list.add(Isa::avxvnni);

  constexpr unsigned kF = 1U << 16, kDq = 1U << 17, kCd = 1U << 28, kBw = 1U << 30, kVl = 1U << 31;
  if (!has_all(ebx, kF | kDq | kCd | kBw | kVl) || !has_all(states, kZmmState)) return list;
  list.add(Isa::avx512);

  constexpr unsigned kVnni = 1U << 11;
  if (has_all(ecx, kVnni)) list.add(Isa::avx512vnni);
  return list;
}

}  // namespace

const char* to_string(Isa isa) noexcept { return kNames[static_cast<size_t>(isa)]; }

std::span<const Isa> available_isas() noexcept {
  static const IsaList list = detect();
  return {list.isas.data(), list.count};
}

Result<Isa> resolve_isa(std::string_view name) {
  const std::span<const Isa> available = available_isas();
  if (name == "auto") return available.back();
  for (const Isa isa : available)
    if (name == to_string(isa)) return isa;

  std::string names = "auto";
  for (const Isa isa : available) names += std::string(", ") + to_string(isa);
  for (const char* known : kNames)
    if (name == known)
      return Error{ErrorCode::unsupported, detail::format("this CPU can't run ISA '{}'; it has: {}", name, names)};
  return Error{ErrorCode::invalid_argument, detail::format("no ISA is called '{}'; this CPU has: {}", name, names)};
}

}  // namespace decant
