# SPDX-License-Identifier: Apache-2.0
# For the scripts beside: include it with NO_POLICY_SCOPE.
cmake_minimum_required(VERSION 3.25)

# run(COMMAND…): a failure ends the test with the command's output. Otherwise its standard output is in `output`. `input`
# may be INPUT_FILE and a file.
function(run)
  execute_process(COMMAND ${ARGV} ${input} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE errors)
  if(NOT status EQUAL 0)
    list(JOIN ARGV " " command)
    message(FATAL_ERROR "${command}: ${status}\n${output}${errors}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

# need(VARIABLE PROGRAM…): where it is; without it the test is skipped.
macro(need variable)
  find_program(${variable} NAMES ${ARGN})
  if(NOT ${variable})
    message("skipped: no ${ARGN}")
    return()
  endif()
endmacro()

# lines(VARIABLE TEXT): a list of its lines, which hold no semicolons and brackets.
function(lines variable text)
  string(REGEX REPLACE "[][;]" "_" text "${text}")
  string(REGEX REPLACE "\n+" ";" text "${text}")
  list(FILTER text EXCLUDE REGEX "^$")
  set(${variable} "${text}" PARENT_SCOPE)
endfunction()

# find_examples(VARIABLE): NAME:SOURCE of tools/examples/{c,cpp}/NAME.{c,cpp}.
function(find_examples variable)
  file(GLOB sources ${SOURCE}/tools/examples/c/*.c ${SOURCE}/tools/examples/cpp/*.cpp)
  if(NOT sources)
    message(FATAL_ERROR "no examples in ${SOURCE}/tools/examples")
  endif()
  set(${variable} "${sources}" PARENT_SCOPE)
endfunction()

# example_name(VARIABLE SOURCE): c_NAME or cpp_NAME.
function(example_name variable source)
  get_filename_component(name ${source} NAME_WE)
  get_filename_component(language ${source} LAST_EXT)
  string(SUBSTRING ${language} 1 -1 language)
  set(${variable} ${language}_${name} PARENT_SCOPE)
endfunction()

# run_example(PROGRAM NAME): with the arguments that arguments.cmake names, MODEL alone if it names none, and a line for
# those that read. Something must come out.
include(${CMAKE_CURRENT_LIST_DIR}/arguments.cmake)
function(run_example program name)
  set(arguments ${MODEL})
  if(DEFINED arguments_${name})
    set(arguments ${arguments_${name}})
    list(TRANSFORM arguments REPLACE "^MODEL$" "${MODEL}")
  endif()
  file(WRITE ${WORK}/input "Once upon a time there was a king.\n")
  set(input INPUT_FILE ${WORK}/input)
  run(${CMAKE_COMMAND} -E chdir ${WORK} ${program} ${arguments})
  if(output STREQUAL "")
    message(FATAL_ERROR "${program} ${arguments} said nothing")
  endif()
endfunction()
