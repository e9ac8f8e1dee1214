# SPDX-License-Identifier: Apache-2.0
# Installs the library's components to PREFIX, for the other tests; the program's are left to package_deb.
include(${CMAKE_CURRENT_LIST_DIR}/common.cmake NO_POLICY_SCOPE)
file(REMOVE_RECURSE ${PREFIX})
foreach(component IN ITEMS engine dev cache python)
  run(${CMAKE_COMMAND} --install ${BUILD} --component ${component} --prefix ${PREFIX})
endforeach()
file(GLOB_RECURSE internal ${PREFIX}/include/*/detail/*)
if(internal)
  message(FATAL_ERROR "internal headers are installed: ${internal}")
endif()
