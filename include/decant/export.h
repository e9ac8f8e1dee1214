/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What decant's shared library exports: everything else in it is hidden, and so is what an exported class marks as
 * local. For C, too. */
#if defined(__GNUC__)
#define DECANT_API __attribute__((visibility("default")))
#define DECANT_LOCAL __attribute__((visibility("hidden")))
#else
#define DECANT_API
#define DECANT_LOCAL
#endif
