# Targets that know nothing of LLVM: kernels, runtime, engines, and their tests.

set(MOE_WARNINGS -Wall -Wextra -Werror)

# moe_add_plain_library(name SRCS a.cpp... DEPS libs...)
function(moe_add_plain_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SRCS})
  target_compile_options(${name} PRIVATE ${MOE_WARNINGS})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS})
endfunction()

# moe_add_plain_tool(name SRCS a.cpp... DEPS libs...)
function(moe_add_plain_tool name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_compile_options(${name} PRIVATE ${MOE_WARNINGS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
endfunction()

# The compiler's programs allocate a great many small things. Sanitizers bring
# an allocator of their own.
function(moe_use_fast_allocator name)
  if(mimalloc_FOUND AND NOT MOE_SANITIZE)
    target_link_libraries(${name} PRIVATE mimalloc)
  endif()
endfunction()

# moe_add_unit_test(name SRCS a.cpp... DEPS libs...): a GoogleTest program, run
# by CTest as one test from the source directory of the project, so that tests
# read their data by root-relative paths.
function(moe_add_unit_test name)
  if(NOT MOE_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_compile_options(${name} PRIVATE ${MOE_WARNINGS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest
                                        GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY
                                           ${PROJECT_BINARY_DIR}/test)
  add_test(NAME ${name} COMMAND ${name}
           WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
endfunction()

# moe_add_fuzzer(name SRCS a.cpp... DEPS libs...): a libFuzzer program.
function(moe_add_fuzzer name)
  if(NOT MOE_BUILD_FUZZERS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_compile_options(${name} PRIVATE ${MOE_WARNINGS} -fsanitize=fuzzer)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY
                                           ${PROJECT_BINARY_DIR}/fuzz)
endfunction()
