# SPDX-License-Identifier: Apache-2.0
target_sources(decant_cache PRIVATE
  block_layout.cpp
  block_pool.cpp
  invariants.cpp
  kv_cache.cpp
  mapping.cpp
  sequence_cache.cpp)
