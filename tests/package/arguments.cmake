# SPDX-License-Identifier: Apache-2.0
# Arguments of each example by its language and name: MODEL stands for the bundled model, which is also what examples
# without a line get.
set(arguments_cpp_stream MODEL "Once upon a time" 20)
