# SPDX-License-Identifier: Apache-2.0
#
# cmake -D OUT=FILE.cpp -D PAGE=FILE.html -D STYLE=FILE.css -D SCRIPTS=A.js,B.js,… -P embed.cmake
# Puts style and scripts into the page, names their hashes in its Content-Security-Policy (nothing else may run), and
# writes the page as two strings of C++: up to the data, and after it.
cmake_minimum_required(VERSION 3.25)

# base64 of the SHA-256 of text: CMake has the digest in hexadecimal only.
function(sha256_base64 text result)
  string(SHA256 hex "${text}")
  set(alphabet "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
  set(encoded "")
  string(APPEND hex "00")  # 32 bytes are ten groups of three, and two
  foreach(group RANGE 10)
    math(EXPR begin "6 * ${group}")
    string(SUBSTRING "${hex}" ${begin} 6 bytes)
    foreach(shift 18 12 6 0)
      math(EXPR digit "(0x${bytes} >> ${shift}) & 63")
      string(SUBSTRING "${alphabet}" ${digit} 1 letter)
      string(APPEND encoded "${letter}")
    endforeach()
  endforeach()
  string(SUBSTRING "${encoded}" 0 43 encoded)
  set(${result} "sha256-${encoded}=" PARENT_SCOPE)
endfunction()

file(READ "${PAGE}" page)
file(READ "${STYLE}" style)
set(script "")
string(REPLACE "," ";" SCRIPTS "${SCRIPTS}")
foreach(file IN LISTS SCRIPTS)
  file(READ "${file}" part)
  string(APPEND script "${part}")
endforeach()
if("${style}${script}" MATCHES "</s|<!--")
  message(FATAL_ERROR "style and scripts may hold neither '</s' nor '<!--': they would end their element")
endif()

sha256_base64("${style}" style_hash)
sha256_base64("${script}" script_hash)
string(REPLACE "@STYLE_HASH@" "${style_hash}" page "${page}")
string(REPLACE "@SCRIPT_HASH@" "${script_hash}" page "${page}")
string(FIND "${page}" "@DATA@" data)
string(SUBSTRING "${page}" 0 ${data} head)
math(EXPR data "${data} + 6")
string(SUBSTRING "${page}" ${data} -1 tail)
# Last, so that nothing in them is taken for a place to fill.
string(REPLACE "@STYLE@" "${style}" head "${head}")
string(REPLACE "@SCRIPT@" "${script}" tail "${tail}")

file(WRITE "${OUT}" "#include <string_view>

namespace decant::tools {
extern const std::string_view kReportHead, kReportTail;
const std::string_view kReportHead = R\"decantpage(${head})decantpage\";
const std::string_view kReportTail = R\"decantpage(${tail})decantpage\";
}  // namespace decant::tools
")
