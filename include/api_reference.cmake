# SPDX-License-Identifier: Apache-2.0
# cmake -DDOXYGEN=… -DDOXYFILE=… -DOUTPUT=… -P api_reference.cmake: makes the reference in OUTPUT, and fails on what
# Doxygen warns of.
if(NOT DOXYGEN)
  message("Doxygen is not installed: no API reference")
  return()
endif()
file(MAKE_DIRECTORY ${OUTPUT})
execute_process(COMMAND ${DOXYGEN} ${DOXYFILE} RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${DOXYGEN} ended with ${status}")
endif()

# Every class, function, enumeration and type has a docstring. What needs none: a field whose name says it all, in a
# struct that has one; an operator; a move; the members of an iterator.
file(STRINGS ${OUTPUT}/warnings.txt warnings ENCODING UTF-8)
list(FILTER warnings EXCLUDE REGEX
  "Member ([^ ]+ \\(variable\\)|[^ ]*operator.*|([A-Za-z]+)\\(.* &&other\\) noexcept \\(function\\)) of (struct|class) .* is not documented")
list(FILTER warnings EXCLUDE REGEX "of class decant::Stream::Iterator is not documented")
if(warnings)
  list(JOIN warnings "\n" warnings)
  message(FATAL_ERROR "The API reference isn't complete:\n${warnings}")
endif()
