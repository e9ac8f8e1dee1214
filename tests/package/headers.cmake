# SPDX-License-Identifier: Apache-2.0
# Each installed header by itself, included twice, without a warning, and with nothing but decant's own headers and those
# of the compiler and the C library behind it. Headers for C are compiled as C11 too.
include(${CMAKE_CURRENT_LIST_DIR}/common.cmake NO_POLICY_SCOPE)
file(MAKE_DIRECTORY ${WORK})
file(GLOB headers RELATIVE ${PREFIX}/include ${PREFIX}/include/decant/*)
if(NOT headers)
  message(FATAL_ERROR "no headers in ${PREFIX}/include/decant")
endif()

# check(HEADER LANGUAGE OPTION…)
function(check header language)
  string(MAKE_C_IDENTIFIER ${header}_${language} name)
  file(WRITE ${WORK}/${name}.in "#include <${header}>\n#include <${header}>\nint used;\n")
  run(${CXX} -x ${language} ${ARGN} -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fsyntax-only -MD -MF ${WORK}/${name}.d
    -isystem ${WORK}/none -I ${PREFIX}/include ${WORK}/${name}.in)
  file(READ ${WORK}/${name}.d files)
  string(REGEX MATCHALL "[^ \\\n:]+" files "${files}")
  foreach(file IN LISTS files)
    if(NOT file MATCHES "^${PREFIX}/include/decant/|/c\\+\\+/|/lib/(gcc|llvm|clang)|/include/(bits|asm|asm-generic|linux|sys|gnu)/"
       AND NOT file MATCHES "/include/[a-z0-9_-]+\\.h$|/include/[a-z0-9_]+-linux-gnu/|^${WORK}/|\\.o$")
      message(FATAL_ERROR "<${header}> includes ${file}")
    endif()
  endforeach()
endfunction()

foreach(header IN LISTS headers)
  check(${header} c++ -std=c++20)
  file(READ ${PREFIX}/include/${header} text)
  if(text MATCHES "extern \"C\"|For C, too")
    check(${header} c -std=c11)
  endif()
endforeach()
