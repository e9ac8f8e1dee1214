# SPDX-License-Identifier: Apache-2.0
# Compares what the shared library offers, functions and the types behind them, with the description in abi/. With RENEW it
# writes that description.
include(${CMAKE_CURRENT_LIST_DIR}/common.cmake NO_POLICY_SCOPE)
need(ABIDW abidw)
need(ABIDIFF abidiff)
set(baseline ${CMAKE_CURRENT_LIST_DIR}/abi/libdecant.${COMPILER}.abi)
if(NOT EXISTS ${TYPED})
  message("skipped: ${TYPED} is made by Release builds with gcc only")
  return()
endif()
if(NOT EXISTS ${baseline} AND NOT RENEW)
  message("skipped: no description for ${COMPILER}; the target abi-baseline makes one")
  return()
endif()

file(MAKE_DIRECTORY ${WORK})
file(GLOB headers ${SOURCE}/include/decant/*.h ${SOURCE}/include/decant/*.hpp)
list(TRANSFORM headers PREPEND --header-file=)
string(REPLACE "--header-file=" "--header-file;" headers "${headers}")
set(now ${WORK}/libdecant.abi)
run(${ABIDW} --no-show-locs --no-corpus-path --no-comp-dir-path --no-parameter-names --no-write-default-sizes
  --drop-undefined-syms --exported-interfaces-only --drop-private-types --suppr ${CMAKE_CURRENT_LIST_DIR}/abi/std.suppr
  ${headers} --out-file ${now} ${TYPED})

# Each exported function must be described: its file has debug information only if tools/package/library.cmake names it.
file(READ ${now} text)
string(REGEX MATCHALL "<elf-symbol name='[^']+'[^>]*type='func-type'" symbols "${text}")
foreach(symbol IN LISTS symbols)
  string(REGEX REPLACE "<elf-symbol name='([^']+)'.*" "\\1" symbol "${symbol}")
  string(FIND "${text}" "${symbol}@@" described)
  if(described EQUAL -1)
    message(SEND_ERROR "no debug information for ${symbol}: name its source file in decant_api_sources, tools/package/library.cmake")
  endif()
endforeach()
if(RENEW)
  string(REPLACE "'${SOURCE}/" "'" text "${text}")  # nobody else's folders
  file(WRITE ${baseline} "${text}")
  message("wrote ${baseline}")
  return()
endif()

execute_process(COMMAND ${ABIDIFF} --harmless ${baseline} ${now} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT status EQUAL 0)
  # Bits of the status: 1 error, 2 usage, 4 a difference, 8 one that is surely incompatible.
  math(EXPR broken "(${status} >> 3) & 1")
  set(kind "The ABI is not as described")
  if(broken)
    set(kind "The ABI is broken")
  endif()
  message(FATAL_ERROR "${output}\n${kind}. A removal or a change needs a new minor version (tools/package/VERSIONING.md); an addition does not. \
In either case build the target abi-baseline and commit ${baseline} with the change.")
endif()
