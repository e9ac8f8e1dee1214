/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The version of these headers, by Semantic Versioning; the library's own is decant_version_number(). For C, too. */
#define DECANT_VERSION_MAJOR 0
#define DECANT_VERSION_MINOR 1
#define DECANT_VERSION_PATCH 0
#define DECANT_VERSION_STRING "0.1.0"

/* Ascends with versions: 0.1.0 is 100, 1.2.3 is 10203. */
#define DECANT_VERSION_NUMBER (DECANT_VERSION_MAJOR * 10000 + DECANT_VERSION_MINOR * 100 + DECANT_VERSION_PATCH)
