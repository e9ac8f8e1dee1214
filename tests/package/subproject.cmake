# SPDX-License-Identifier: Apache-2.0
# A project that has decant within it, up to its build files: decant::decant is there, brings no flags and no folders of
# decant's own, and nothing of decant is built, tested or installed unless it is asked for.
include(${CMAKE_CURRENT_LIST_DIR}/common.cmake NO_POLICY_SCOPE)
file(REMOVE_RECURSE ${WORK})
file(WRITE ${WORK}/CMakeLists.txt "
cmake_minimum_required(VERSION 3.25)
project(host LANGUAGES CXX)
add_subdirectory(${SOURCE} decant)
file(WRITE ${WORK}/main.cpp \"#include <decant/decant.hpp>\\nint main() {}\\n\")
add_executable(host main.cpp)
target_link_libraries(host PRIVATE decant::decant)
")
run(${CMAKE_COMMAND} -G ${GENERATOR} -S ${WORK} -B ${WORK}/build -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_EXPORT_COMPILE_COMMANDS=ON)
file(READ ${WORK}/build/compile_commands.json commands)
string(REGEX MATCH "\"command\": \"[^\"]* -c ${WORK}/main.cpp\"" command "${commands}")
if(NOT command MATCHES "${SOURCE}/include" OR command MATCHES "-W|-ffp|-fno|roots")
  message(FATAL_ERROR "the host is compiled with ${command}")
endif()
file(READ ${WORK}/build/cmake_install.cmake install)
if(install MATCHES "libdecant")
  message(FATAL_ERROR "the host would install decant")
endif()
