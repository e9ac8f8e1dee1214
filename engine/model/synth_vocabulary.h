// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/tokenizer/tokenizer_source.h"

namespace decant::model {

/// Entries that every made-up vocabulary has: <unk>, <s>, </s> and the 256 bytes.
inline constexpr int kMinSynthVocabulary = 259;

/// A SentencePiece-style vocabulary of vocab_size entries: those above, letters, then words of made-up syllables, each
/// with and without a space before it, so that text is read and written in pieces of many lengths.
tokenizer::GgufVocabulary synth_vocabulary(int vocab_size);

}  // namespace decant::model
