// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace decant::kernels::vmath {

constexpr float kExpLow = -87.3F;           // below: exp is +0 by definition (just above the least normal number)
constexpr float kExpHigh = 0x1.62e42ep+6F;  // the greatest x whose e^x is finite; above: +inf

constexpr float kRound = 0x1.8p23F;  // adding it rounds a float below 2^22 to an integer, which stands in the low bits
constexpr float kLog2E = 0x1.715476p+0F;
constexpr float kLn2High = 0x1.62e430p-1F, kLn2Low = -0x1.05c610p-29F;

// Minimax fits. (e^r − 1 − r) / r² on |r| ≤ ln2 / 2: 3.1e-9 of the result at most.
constexpr float kExpTerms[] = {0x1.fffffcp-2F, 0x1.555492p-3F, 0x1.5558f2p-5F, 0x1.1239f4p-7F, 0x1.6a2416p-10F};

// (tanh a − a) / a³ in a² on [0, 0.625]: 1.8e-10 of the result at most.
constexpr float kTanhSmall = 0.625F;
constexpr float kTanhTerms[] = {-0x1.555554p-2F, 0x1.111082p-3F,  -0x1.b9f30ep-5F,
                                0x1.63b4a2p-6F,  -0x1.0ca62ep-7F, 0x1.1b2244p-9F};

}  // namespace decant::kernels::vmath
