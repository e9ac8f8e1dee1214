# SPDX-License-Identifier: Apache-2.0
# Install components: engine (the shared library), dev (headers, both libraries' link names, CMake, pkg-config), cache
# (the cache alone, with its headers), python (the module), tools (the program and its model; tools/CMakeLists.txt).
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/decant)
configure_package_config_file(decant-config.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/decant-config.cmake
  INSTALL_DESTINATION ${config_dir} NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/decant-config-version.cmake COMPATIBILITY SameMinorVersion)

# install_config(COMPONENT): the package file that both components share.
function(install_config component)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/decant-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/decant-config-version.cmake
    DESTINATION ${config_dir} COMPONENT ${component})
endfunction()

set(cache_headers attention cache dtype export isa options result stats)
list(TRANSFORM cache_headers REPLACE "(.+)" "${PROJECT_SOURCE_DIR}/include/decant/\\1.h")
install(FILES ${cache_headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/decant COMPONENT cache)
install(TARGETS decant_cache EXPORT decant-cache-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT cache)
install(EXPORT decant-cache-targets NAMESPACE decant:: DESTINATION ${config_dir} COMPONENT cache)
install_config(cache)
if(DECANT_SANITIZE)
  return()
endif()

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/decant DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT dev
  FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp" PATTERN detail EXCLUDE)
install(TARGETS decant_shared EXPORT decant-shared-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT engine NAMELINK_COMPONENT dev)
install(TARGETS decant_static EXPORT decant-static-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
install(EXPORT decant-shared-targets NAMESPACE decant:: DESTINATION ${config_dir} COMPONENT dev)
install(EXPORT decant-static-targets NAMESPACE decant:: DESTINATION ${config_dir} COMPONENT dev)
install_config(dev)

# Found from its own place, so that an installed tree may be moved.
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH up /${pkgconfig_dir} /)
string(REGEX REPLACE "/$" "" up ${up})
configure_file(decant.pc.in decant.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/decant.pc DESTINATION ${pkgconfig_dir} COMPONENT dev)
# Where Debian's python3 looks, if the prefix is /usr; elsewhere it belongs into PYTHONPATH.
install(FILES ${PROJECT_SOURCE_DIR}/tools/python/decant.py DESTINATION lib/python3/dist-packages COMPONENT python)
install(FILES VERSIONING.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT dev)
