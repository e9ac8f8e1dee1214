// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>

#include "decant/c_api.h"
#include "decant/engine.h"

#include "engine/c_api/piece_list.h"

// What is behind the opaque handles. Each begins with its kind, so that one type's handle isn't taken for another's.

struct decant_stop_source {
  static constexpr uint64_t kKind = 0x6465'6361'6e74'0001;
  uint64_t kind = kKind;
  std::stop_source source;
};

struct decant_model {
  static constexpr uint64_t kKind = 0x6465'6361'6e74'0002;
  uint64_t kind = kKind;
  bool lent = false;  ///< a part of an engine's handle
  std::shared_ptr<const decant::Model> model;
};

struct decant_engine {
  static constexpr uint64_t kKind = 0x6465'6361'6e74'0003;
  uint64_t kind = kKind;
  decant_model model;
  std::unique_ptr<decant::Engine> engine;
  decant::c_api::StepView step;
};

struct decant_session {
  static constexpr uint64_t kKind = 0x6465'6361'6e74'0004;
  uint64_t kind = kKind;
  std::shared_ptr<decant::Session> session;
};

struct decant_stream {
  static constexpr uint64_t kKind = 0x6465'6361'6e74'0005;
  uint64_t kind = kKind;
  std::shared_ptr<decant::Session> session;  ///< outlives the stream, which points into it
  std::optional<decant::Stream> stream;
  decant::c_api::PieceList piece;
};

namespace decant::c_api {

/// Ends a handle and the caller's pointer to it.
template <typename T>
void free_handle(T** it) noexcept {
  if (it == nullptr || *it == nullptr || (*it)->kind != T::kKind) return;
  (*it)->kind = 0;
  delete *it;
  *it = nullptr;
}

}  // namespace decant::c_api
