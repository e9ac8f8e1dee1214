// SPDX-License-Identifier: Apache-2.0
#pragma once

// The whole C++ API.
#include "decant/attention.h"
#include "decant/dtype.h"
#include "decant/engine.h"
#include "decant/export.h"
#include "decant/generation.h"
#include "decant/isa.h"
#include "decant/model.h"
#include "decant/options.h"
#include "decant/profile.h"
#include "decant/result.h"
#include "decant/session.h"
#include "decant/stats.h"
#include "decant/text_stream.h"
#include "decant/tokenizer.h"
#include "decant/version.h"
