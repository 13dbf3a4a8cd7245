# What only the MLIR part of the tree needs: the packages, their macros and
# thin wrappers around them. MLIR is linked as the shared libMLIR; its names go
# only through mlir_target_link_libraries, so that no static copy comes along.

find_package(MLIR 22.1 REQUIRED CONFIG HINTS /usr/lib/llvm-22)
set(MLIR_LINK_MLIR_DYLIB ON)
set(LLVM_ENABLE_ASSERTIONS ON) # ours, not the package's
set(LLVM_RUNTIME_OUTPUT_INTDIR ${PROJECT_BINARY_DIR}/bin)
set(LLVM_LIBRARY_OUTPUT_INTDIR ${PROJECT_BINARY_DIR}/lib)
set(LLVM_DEFAULT_EXTERNAL_LIT ${LLVM_TOOLS_BINARY_DIR}/lit)
set(MLIR_BINARY_DIR ${PROJECT_BINARY_DIR}) # mlir-doc writes docs/ below it
find_package(Python3 REQUIRED COMPONENTS Interpreter)
find_package(tomlplusplus 3.3 REQUIRED) # header only
list(APPEND CMAKE_MODULE_PATH ${MLIR_CMAKE_DIR} ${LLVM_CMAKE_DIR})
separate_arguments(LLVM_DEFINITIONS_LIST NATIVE_COMMAND ${LLVM_DEFINITIONS})
include(TableGen)
include(AddLLVM)
include(AddMLIR)
include(HandleLLVMOptions)
# HandleLLVMOptions adds flags to the directory scope; these follow it.
add_definitions(${LLVM_DEFINITIONS_LIST})
include_directories(${PROJECT_BINARY_DIR})
include_directories(SYSTEM ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})

set(MOE_COMPILER_WARNINGS -Wall -Wextra -Werror -Wno-unused-parameter)

# One precompiled header for all MLIR translation units: most of their cost is
# these headers.
set(MOE_PCH_HEADERS
    <mlir/IR/Builders.h> <mlir/IR/BuiltinOps.h> <mlir/IR/BuiltinTypes.h>
    <mlir/IR/OpImplementation.h> <mlir/Pass/Pass.h>)

# moe_add_library(name SRCS... DEPENDS tablegen targets... DEPS our libraries...
#                 MLIR_LIBS MLIR libraries...)
function(moe_add_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPENDS;DEPS;MLIR_LIBS" ${ARGN})
  add_mlir_library(${name} STATIC ${ARG_SRCS} EXCLUDE_FROM_LIBMLIR DISABLE_INSTALL
    PARTIAL_SOURCES_INTENDED
    DEPENDS ${ARG_DEPENDS} LINK_LIBS PUBLIC ${ARG_DEPS})
  mlir_target_link_libraries(${name} PUBLIC ${ARG_MLIR_LIBS})
  target_compile_options(${name} PRIVATE ${MOE_COMPILER_WARNINGS})
  if(TARGET obj.${name})
    target_compile_options(obj.${name} PRIVATE ${MOE_COMPILER_WARNINGS})
  endif()
  if(name STREQUAL "MoEDialect")
    target_precompile_headers(${name} PRIVATE ${MOE_PCH_HEADERS})
  elseif(TARGET MoEDialect)
    target_precompile_headers(${name} REUSE_FROM MoEDialect)
  endif()
endfunction()

function(moe_add_tool name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS;MLIR_LIBS" ${ARGN})
  add_llvm_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  mlir_target_link_libraries(${name} PRIVATE ${ARG_MLIR_LIBS})
  target_compile_options(${name} PRIVATE ${MOE_COMPILER_WARNINGS})
  moe_use_fast_allocator(${name})
endfunction()
