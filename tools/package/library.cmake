# SPDX-License-Identifier: Apache-2.0
# libdecant.so and libdecant.a: the objects of the cache and of every folder of the engine but profile/, which is the
# program's.
set(decant_parts
  decant_cache
  decant_cache_reference_fma
  decant_engine
  decant_kernels
  decant_kernels_reference_fma
  decant_matmul
  decant_matmul_ref_fma
  decant_model
  decant_quant
  decant_sampler
  decant_tokenizer)
set(decant_objects "")
foreach(part IN LISTS decant_parts)
  list(APPEND decant_objects $<TARGET_OBJECTS:${part}>)
endforeach()
set(decant_dependencies decant_onednn PkgConfig::PCRE2 PkgConfig::UTF8PROC Threads::Threads)

# Symbols carry the version and bind to the library itself: a second decant in the process, of whatever version, is
# another library.
configure_file(decant.map.in decant.map @ONLY)
add_library(decant_shared SHARED ${decant_objects})
set_target_properties(decant_shared PROPERTIES
  OUTPUT_NAME decant EXPORT_NAME decant LINKER_LANGUAGE CXX
  VERSION ${PROJECT_VERSION} SOVERSION ${decant_abi}
  LINK_DEPENDS ${CMAKE_CURRENT_BINARY_DIR}/decant.map)
target_link_options(decant_shared PRIVATE
  -Wl,--version-script=${CMAKE_CURRENT_BINARY_DIR}/decant.map -Wl,-Bsymbolic -Wl,--no-undefined -Wl,--as-needed -Wl,-z,now)
target_link_libraries(decant_shared PRIVATE ${decant_dependencies})

# One object, in which all but the API is local: a program's own fmt, spdlog or nlohmann-json, of whatever version,
# never meets decant's.
set(whole ${CMAKE_CURRENT_BINARY_DIR}/decant.o)
add_custom_command(OUTPUT ${whole}
  COMMAND ${CMAKE_CXX_COMPILER} -r -nostdlib -Wl,--force-group-allocation -o ${whole} ${decant_objects}
  COMMAND ${CMAKE_OBJCOPY} --localize-hidden $<$<CONFIG:Release>:--strip-debug> ${whole}
  DEPENDS ${decant_objects}
  COMMENT "Joining the objects of libdecant.a"
  COMMAND_EXPAND_LISTS
  VERBATIM)
add_library(decant_static STATIC ${whole})
set_source_files_properties(${whole} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
set_target_properties(decant_static PROPERTIES OUTPUT_NAME decant EXPORT_NAME static LINKER_LANGUAGE CXX)
target_link_libraries(decant_static INTERFACE
  "$<BUILD_INTERFACE:${decant_dependencies};stdc++;m>" $<INSTALL_INTERFACE:decant::static_dependencies>)

foreach(library decant_shared decant_static)
  target_include_directories(${library} INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(${library} INTERFACE cxx_std_20)
endforeach()
add_library(decant::shared ALIAS decant_shared)
add_library(decant::static ALIAS decant_static)
if(NOT PROJECT_IS_TOP_LEVEL)
  set_target_properties(decant_shared decant_static PROPERTIES EXCLUDE_FROM_ALL ON)
endif()

# The check of the ABI reads types from the files that define public functions. Their debug information stays in a copy
# of the library, and is left out of everything else.
if(CMAKE_BUILD_TYPE STREQUAL Release AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  set(decant_api_sources
    cache/attention cache/cpu_features cache/dtype cache/kv_cache cache/kv_cache_prefix cache/kv_cache_shift
    cache/kv_cache_forecast cache/kv_cache_snapshot cache/result cache/stats
    engine/engine engine/model/model engine/profile engine/sequences engine/session engine/tokenizer/text_stream
    engine/tokenizer/tokenizer)
  file(GLOB decant_c_api_sources RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/engine/c_api/*.cpp)
  list(TRANSFORM decant_c_api_sources REPLACE "[.]cpp$" "")
  list(APPEND decant_api_sources ${decant_c_api_sources})
  list(TRANSFORM decant_api_sources REPLACE "(.+)" "${PROJECT_SOURCE_DIR}/\\1.cpp")
  set_property(SOURCE ${decant_api_sources} TARGET_DIRECTORY decant_cache decant_engine decant_tokenizer
    APPEND PROPERTY COMPILE_OPTIONS -g -fno-var-tracking -fno-var-tracking-assignments -gno-variable-location-views
    -gno-statement-frontiers -gno-inline-points)
  add_custom_command(TARGET decant_shared POST_BUILD
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/with-types
    COMMAND ${CMAKE_COMMAND} -E rename $<TARGET_FILE:decant_shared> ${CMAKE_CURRENT_BINARY_DIR}/with-types/libdecant.so
    COMMAND ${CMAKE_OBJCOPY} --strip-debug ${CMAKE_CURRENT_BINARY_DIR}/with-types/libdecant.so $<TARGET_FILE:decant_shared>
    VERBATIM)
endif()
