/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What decant's shared library exports: everything else in it is hidden. For C, too. */
#if defined(__GNUC__)
#define DECANT_API __attribute__((visibility("default")))
#else
#define DECANT_API
#endif
