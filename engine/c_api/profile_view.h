// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "decant/c_api.h"
#include "decant/options.h"
#include "decant/profile.h"

namespace decant::c_api {

/// A step's profile as C sees it, in memory that is used again.
class ProfileView {
 public:
  /// Valid until the next call.
  const decant_step_profile* assign(const StepProfile& step);

 private:
  std::vector<decant_op_profile> ops_;
  std::vector<const decant_op_profile*> op_pointers_;
  std::vector<decant_lap_profile> laps_;  ///< of all threads
  std::vector<const decant_lap_profile*> lap_pointers_;
  std::vector<decant_thread_profile> threads_;
  std::vector<const decant_thread_profile*> thread_pointers_;
  std::vector<decant_token_timing> tokens_;
  std::vector<const decant_token_timing*> token_pointers_;
  decant_step_profile step_ = {};
};

/// An observer that tells a C callback; null: an empty one.
StepObserver step_observer(decant_step_callback callback, void* user);

}  // namespace decant::c_api
