# SPDX-License-Identifier: Apache-2.0
target_sources(decant_cache PRIVATE
  atomic_file.cpp
  block_layout.cpp
  block_pool.cpp
  checksum.cpp
  input_file.cpp
  invariants.cpp
  kv_cache.cpp
  kv_cache_forecast.cpp
  kv_cache_prefix.cpp
  kv_cache_shift.cpp
  kv_cache_snapshot.cpp
  mapping.cpp
  prefix_eviction.cpp
  prefix_nodes.cpp
  prefix_tree.cpp
  prefix_tree_check.cpp
  sequence_cache.cpp
  snapshot_check.cpp
  snapshot_file.cpp
  snapshot_sections.cpp)

# Inlined into checksum.cpp, so that nothing is linked.
find_path(XXHASH_INCLUDE_DIR xxhash.h REQUIRED)
target_include_directories(decant_cache SYSTEM PRIVATE ${XXHASH_INCLUDE_DIR})
