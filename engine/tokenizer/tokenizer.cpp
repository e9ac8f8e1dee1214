// SPDX-License-Identifier: Apache-2.0
#include "decant/tokenizer.h"

namespace decant {

// Here, so that the classes' virtual tables and type information exist once, in the library.
Tokenizer::~Tokenizer() = default;
Tokenizer::Stream::~Stream() = default;

}  // namespace decant
