// SPDX-License-Identifier: Apache-2.0
#include "cache/kernels/vmath64.h"

#include "decant/isa.h"

namespace decant::kernels {

// vmath64_ref.cpp is compiled twice, for any x86-64 and with FMA instructions in place of calls. Same bits.
namespace reference {
double exp64(double x) noexcept;
double log64(double x) noexcept;
double sin64(double x) noexcept;
double cos64(double x) noexcept;
}  // namespace reference
namespace reference_fma {
double exp64(double x) noexcept;
double log64(double x) noexcept;
double sin64(double x) noexcept;
double cos64(double x) noexcept;
}  // namespace reference_fma

namespace {
bool has_fma() noexcept {
  static const bool has = available_isas().size() > 1;
  return has;
}
}  // namespace

double exp64(double x) noexcept { return has_fma() ? reference_fma::exp64(x) : reference::exp64(x); }
double log64(double x) noexcept { return has_fma() ? reference_fma::log64(x) : reference::log64(x); }
double sin64(double x) noexcept { return has_fma() ? reference_fma::sin64(x) : reference::sin64(x); }
double cos64(double x) noexcept { return has_fma() ? reference_fma::cos64(x) : reference::cos64(x); }

}  // namespace decant::kernels
