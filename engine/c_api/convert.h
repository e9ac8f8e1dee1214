// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "decant/c_api.h"
#include "decant/engine.h"

/// The caller's structs, of whatever size, as those of the C++ API; null: the defaults. `invalid_argument` for what the
/// C++ types can't even hold; their limits are judged by who gets them.
namespace decant::c_api {

// Defaults, as decant_…_init() hands them out: those of the C++ structs.
decant_model_options default_model_options() noexcept;
decant_engine_options default_engine_options() noexcept;
decant_sampling_params default_sampling_params() noexcept;
decant_generation_options default_generation_options() noexcept;
decant_sequence_options default_sequence_options() noexcept;
decant_request default_request() noexcept;

Result<ModelOptions> model_options(const decant_model_options* options);
Result<EngineOptions> engine_options(const decant_engine_options* options);
Result<SamplingParams> sampling_params(const decant_sampling_params* params);
Result<GenerationOptions> generation_options(const decant_generation_options* options);
Result<SequenceOptions> sequence_options(const decant_sequence_options* options);
Result<Request> request(const decant_request* request);

decant_sampling_params to_c(const SamplingParams& params) noexcept;

/// A token of a source, which may be null.
Result<std::stop_token> stop_token(const decant_stop_source* stop);

}  // namespace decant::c_api
