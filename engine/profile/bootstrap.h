// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

namespace decant::profile {

/// Samples of one figure, in the order in which they were measured: a vector a round. All above zero and finite.
using Rounds = std::vector<std::vector<double>>;

/// How many times a figure of A that of B is, with a 95 % interval.
struct RatioInterval {
  double a = 0.0, b = 0.0;                    ///< the figures themselves
  double ratio = 1.0, low = 1.0, high = 1.0;  ///< b / a; low ≤ ratio ≤ high
  bool enough = false;                        ///< false: too few samples to tell; the interval is then the ratio alone
  bool differs() const noexcept { return enough && (low > 1.0 || high < 1.0); }
};

/// The ratio of a quantile (0 ≤ q ≤ 1, as quantile() has it), or of the mean where there is none.
///
/// Percentile bootstrap with 2,000 resamples on two levels: rounds are drawn with replacement, since a machine drifts
/// from one to the next, and within each drawn round blocks of consecutive tokens (about sqrt(n) long), since
/// neighbours are alike. With few rounds such an interval comes out too narrow, as a standard deviation over n instead
/// of n - 1 does: it is widened by sqrt(k / (k - 1)) and by Student's t over the normal distribution's, for k rounds on
/// either side. Of one round on a side it tells nothing about the drift between rounds.
///
/// The generator's seed is fixed and its numbers are integers: equal data draw equal resamples on every machine.
/// Beyond 32,768 samples on a side every n-th is taken. About 20 ms for 3 rounds of 1,000 tokens.
/// Source: Efron & Tibshirani 1993, chapters 8 and 13; Davison & Hinkley 1997, section 3.8; Künsch 1989 (blocks).
RatioInterval ratio_interval(const Rounds& a, const Rounds& b, std::optional<double> q);

}  // namespace decant::profile
