# SPDX-License-Identifier: Apache-2.0
# Debian packages: `ninja deb` writes them to packages/ in the build folder. Components become
#   libdecant0.1   engine       the shared library; a soname has a package of its own, so that two of them can be there
#   libdecant-dev  dev, cache   headers, static libraries, CMake and pkg-config files
#   decant-tools   tools        the program and its model
#   python3-decant python       the module
set(DECANT_DEB_MAINTAINER "decant maintainers <maintainers@decant.invalid>" CACHE STRING "Who answers for the Debian packages")
find_program(DECANT_DPKG_SHLIBDEPS dpkg-shlibdeps)  # of dpkg-dev
mark_as_advanced(DECANT_DPKG_SHLIBDEPS)

set(library_package libdecant${decant_abi})
set(package_version ${PROJECT_VERSION}-1)
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME decant)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT ${DECANT_DEB_MAINTAINER})
set(CPACK_OUTPUT_FILE_PREFIX ${PROJECT_BINARY_DIR}/packages)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL engine dev cache tools python)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")  # each package has its own
set(about "decant continues text token by token: each new token's key and value are
appended to growing buffers, and one attention step reads them. The same
weights, prompt and seed give the same logits, bit for bit, whatever the
threads, batch, prompt chunking or instruction set.")
# describe(COMPONENT SUMMARY SENTENCE…)
function(describe component summary)
  list(JOIN ARGN "\n" rest)
  set(CPACK_DEBIAN_${component}_DESCRIPTION "engine for autoregressive decoding (${summary})\n${about}\n\n${rest}" PARENT_SCOPE)
endfunction()

configure_file(shlibs.in deb/shlibs @ONLY)
set(CPACK_DEBIAN_ENGINE_PACKAGE_NAME ${library_package})
set(CPACK_DEBIAN_ENGINE_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_ENGINE_PACKAGE_CONTROL_EXTRA
  ${CMAKE_CURRENT_BINARY_DIR}/deb/shlibs ${CMAKE_CURRENT_SOURCE_DIR}/triggers)
describe(ENGINE "shared library" "This package has the library that programs run with.")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libdecant-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "${library_package} (= ${package_version})")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SUGGESTS "libdnnl-dev, libpcre2-dev, libutf8proc-dev")  # for libdecant.a alone

describe(DEVELOPMENT "development files"
  "This package has headers, static libraries, and files for CMake and pkg-config.")

set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME decant-tools)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION science)
describe(TOOLS "program"
  "This package has the program decant, which runs, measures and converts models," "and a small language model that tells stories.")

set(CPACK_DEBIAN_PYTHON_PACKAGE_NAME python3-decant)
set(CPACK_DEBIAN_PYTHON_PACKAGE_SECTION python)
set(CPACK_DEBIAN_PYTHON_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_PYTHON_PACKAGE_DEPENDS "${library_package} (>= ${PROJECT_VERSION}), python3 (>= 3.11)")
describe(PYTHON "Python module" "This package has the module decant, which needs nothing but Python's standard library.")

foreach(component ENGINE TOOLS)
  if(DECANT_DPKG_SHLIBDEPS)
    set(CPACK_DEBIAN_${component}_PACKAGE_SHLIBDEPS ON)
  endif()
endforeach()

# What Debian wants beside: a copyright file and a change log a package.
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_BINARY_DIR}/deb/documents.cmake)
configure_file(deb_documents.cmake.in deb/documents.cmake @ONLY)

include(CPack)
cpack_add_component_group(development)
cpack_add_component(dev GROUP development)
cpack_add_component(cache GROUP development)
add_custom_target(deb
  COMMAND ${CMAKE_CPACK_COMMAND} -G DEB --config ${PROJECT_BINARY_DIR}/CPackConfig.cmake
  DEPENDS decant_shared decant_static decant_cache
  WORKING_DIRECTORY ${PROJECT_BINARY_DIR}
  USES_TERMINAL VERBATIM)
if(TARGET decant_program)
  add_dependencies(deb decant_program)
endif()
