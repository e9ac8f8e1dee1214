// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>

#include "decant/model.h"

#include "tests/support/temp_dir.h"

namespace decant::test {

/// A small llama of random weights in every format: 2 layers, 256 channels, 4 heads over 2, 300 tokens. Rows of a
/// matrix are one or two blocks of the formats with 256 values; 300 of the embedding, which is the head too, fill no
/// tile.
class SyntheticModels {
 public:
  static constexpr int kVocabSize = 300;

  /// Every matrix is of this type, the head too. Written and opened when first asked for.
  std::shared_ptr<const Model> of(DType type);

 private:
  TempDir folder_;
  std::map<DType, std::shared_ptr<const Model>> open_;
};

}  // namespace decant::test
